import { describe, expect, it } from 'vitest';
import { SlabPool } from './slab-pool.ts';

const freeBytesMax = 64 * 1024;

/** How many of `count` requests got memory that was there, when each is given back before the next. */
function reused(pool: SlabPool, bytes: number, count: number): number {
  const known = new Set<Buffer>();
  let times = 0;
  for (let at = 0; at < count; at++) {
    const slab = pool.take(bytes);
    if (known.has(slab)) times++;
    known.add(slab);
    pool.give(slab);
  }
  return times;
}

describe('a pool of slabs', () => {
  it('gives what is free and not much too large', () => {
    const pool = new SlabPool({ unitBytes: 1024, freeBytesMax, wasteMax: 1.25 });
    const slab = pool.take(10_000);
    expect(slab.length).toBe(10 * 1024);
    pool.give(slab);
    expect(pool.take(7 * 1024)).not.toBe(slab);
    expect(pool.take(8 * 1024)).toBe(slab);
    expect(pool.freeBytes).toBe(0);
  });

  it('has at most so much that is free', () => {
    const pool = new SlabPool({ unitBytes: 1024, freeBytesMax });
    const slabs = Array.from({ length: 100 }, (_, at) => pool.take(1024 * (1 + (at % 7))));
    for (const slab of slabs) pool.give(slab);
    expect(pool.freeBytes).toBeGreaterThan(freeBytesMax - 7 * 1024);
    expect(pool.freeBytes).toBeLessThanOrEqual(freeBytesMax);
  });

  it.each([
    ['larger', 1000, 20_000],
    ['smaller', 20_000, 1000],
  ])('regression: was full of what nobody asks for any more when requests grew %s', (_, before, after) => {
    const pool = new SlabPool({ unitBytes: 1024, freeBytesMax });
    const slabs = Array.from({ length: 200 }, () => pool.take(before));
    for (const slab of slabs) pool.give(slab);
    expect(pool.freeBytes).toBeGreaterThan(freeBytesMax / 2);
    expect(reused(pool, after, 20)).toBe(19);
    expect(pool.freeBytes).toBeLessThanOrEqual(freeBytesMax);
  });

  it('keeps both sizes of those that come in turns', () => {
    const pool = new SlabPool({ unitBytes: 1024, freeBytesMax });
    let times = 0;
    for (let round = 0; round < 10; round++) times += reused(pool, 1000, 2) + reused(pool, 20_000, 2);
    expect(times).toBe(20);
    expect(pool.freeBytes).toBe(21 * 1024);
  });
});
