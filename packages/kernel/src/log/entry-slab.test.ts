import { expect, test } from 'vitest';
import { EntrySlab } from './entry-slab.ts';

test('regression: small entries kept all that was cut beside them from the same memory', () => {
  const slab = new EntrySlab();
  const held = new Set<ArrayBufferLike>();
  let counted = 0;
  for (let entry = 0; entry < 1000; entry++) {
    const bytes = 64 + (entry % 300);
    const memory = slab.take(bytes);
    // What others cut meanwhile.
    for (let at = 0; at < 10; at++) Buffer.allocUnsafe(1000);
    expect(memory.length).toBe(bytes);
    counted += bytes;
    held.add(memory.buffer);
  }
  let bytes = 0;
  for (const buffer of held) bytes += buffer.byteLength;
  expect(bytes).toBeLessThan(counted + 64 * 1024);
});

test('no two entries share a byte, and a large one has memory of its own', () => {
  const slab = new EntrySlab();
  const entries = [100, 4096, 4097, 5000, 4096, 4096, 4096, 1].map((bytes, at) => slab.take(bytes).fill(at));
  for (const [at, entry] of entries.entries()) expect(entry.every((byte) => byte === at)).toBe(true);
  for (const entry of [entries[2]!, entries[3]!]) expect(entry.buffer.byteLength).toBe(entry.length);
});
