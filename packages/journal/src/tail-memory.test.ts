import { describe, expect, it } from 'vitest';
import { TailMemory } from './tail-memory.ts';

const spareBytesMax = 100 * 1024;

function bytesOf(length: number, fill: number): Buffer[] {
  return [Buffer.alloc(length, fill)];
}

describe('storage 3.4: memory of the tail', () => {
  it('puts small entries into one slab, and a large one into its own', () => {
    const memory = new TailMemory(spareBytesMax);
    const small = memory.add(bytesOf(100, 1), 100);
    const large = memory.add(bytesOf(5000, 2), 5000);
    const next = memory.add(bytesOf(200, 3), 200);
    expect(next).toBe(small);
    expect(large).not.toBe(small);
    expect([small.used, small.entries, large.used, large.entries]).toEqual([300, 2, 5000, 1]);
    expect(small.bytes.subarray(0, 300)).toEqual(Buffer.concat([bytesOf(100, 1)[0]!, bytesOf(200, 3)[0]!]));
  });

  it('uses the memory of a large entry again when it has left', () => {
    const memory = new TailMemory(spareBytesMax);
    const first = memory.add(bytesOf(70_000, 1), 70_000);
    expect(memory.add(bytesOf(70_000, 2), 70_000).bytes).not.toBe(first.bytes);
    memory.release(first);
    expect(memory.add(bytesOf(69_000, 3), 69_000).bytes).toBe(first.bytes);
  });

  it('uses the slab of small entries again when the last has left, whoever is last', () => {
    const memory = new TailMemory(spareBytesMax);
    const slab = memory.add(bytesOf(4000, 0), 4000);
    for (let at = 1; at < 4; at++) expect(memory.add(bytesOf(4000, at), 4000)).toBe(slab);
    for (let at = 0; at < 3; at++) memory.release(slab);
    // Still the one that is filled: it is not free, and what comes next does not fit.
    const other = memory.add(bytesOf(4000, 5), 4000);
    expect(other.bytes).not.toBe(slab.bytes);
    expect(memory.spareBytes).toBe(0);
    memory.release(slab);
    expect(memory.spareBytes).toBe(slab.bytes.length);
    // All of one left while it was filled.
    memory.release(other);
    expect(memory.spareBytes).toBe(slab.bytes.length);
    for (let at = 0; at < 3; at++) memory.release(memory.add(bytesOf(4000, at), 4000));
    expect(memory.add(bytesOf(4000, 9), 4000).bytes).toBe(slab.bytes);
    expect(memory.spareBytes).toBe(other.bytes.length);
  });

  it('never uses again what a reader was given', () => {
    const memory = new TailMemory(spareBytesMax);
    const slab = memory.add(bytesOf(70_000, 1), 70_000);
    slab.isGiven = true;
    memory.release(slab);
    expect(memory.spareBytes).toBe(0);
    expect(memory.add(bytesOf(70_000, 2), 70_000).bytes).not.toBe(slab.bytes);
    expect(slab.bytes.subarray(0, 70_000).equals(bytesOf(70_000, 1)[0]!)).toBe(true);
  });

  it('keeps no more than its bound', () => {
    const memory = new TailMemory(spareBytesMax);
    const slabs = Array.from({ length: 10 }, (_, at) => memory.add(bytesOf(20_000, at), 20_000));
    for (const slab of slabs) memory.release(slab);
    expect(memory.spareBytes).toBeGreaterThan(spareBytesMax - 20_480);
    expect(memory.spareBytes).toBeLessThanOrEqual(spareBytesMax);
  });

  it('refuses an entry that is not as long as its parts', () => {
    const memory = new TailMemory(spareBytesMax);
    expect(() => memory.add(bytesOf(100, 1), 200)).toThrow();
    const slab = memory.add(bytesOf(100, 1), 100);
    memory.release(slab);
    expect(() => memory.release(slab)).toThrow();
  });
});
