import { describe, expect, it } from 'vitest';
import { heapGrowth } from './heap-pacing.ts';

const mib = 1024 * 1024;

describe('heap pacing', () => {
  it('lets a small heap gather about 96 MiB of garbage, in steps of two', () => {
    expect([5, 12, 22, 47, 95, 97, 192].map((used) => heapGrowth(used * mib))).toEqual([
      800, 800, 400, 200, 100, 100, 100,
    ]);
  });

  it('leaves a large heap to V8', () => {
    expect(heapGrowth(193 * mib)).toBe(0);
    expect(heapGrowth(4096 * mib)).toBe(0);
  });
});
