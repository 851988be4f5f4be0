import { describe, expect, it } from 'vitest';
import { RunCopier } from './run-copier.ts';

/** Bytes that differ from their neighbours, at an odd place of a larger buffer. */
function numbered(length: number, first: number): Buffer {
  return Buffer.alloc(length + 7)
    .subarray(3, length + 3)
    .map((_, index) => (first + index * 7) & 0xff) as Buffer;
}

describe('RunCopier', () => {
  it('copies ranges of any length from and to any place, and nothing beside them', () => {
    const copier = new RunCopier();
    const source = numbered(600, 1);
    const target = Buffer.alloc(700).subarray(5);
    for (let length = 0; length <= 300; length++) {
      // The first of a run is copied in another way than those behind it.
      for (const [at, start] of [
        [1, 3],
        [2, 0],
        [3, 2],
        [4, 1],
      ] as const) {
        target.fill(0xee);
        expect(copier.copy(target, at, source, start, start + length)).toBe(at + length);
        expect(target.subarray(at, at + length).equals(source.subarray(start, start + length))).toBe(true);
        expect(target.subarray(0, at).every((byte) => byte === 0xee)).toBe(true);
        expect(target.subarray(at + length).every((byte) => byte === 0xee)).toBe(true);
      }
    }
  });

  it('notices when either buffer becomes another, or it is cleared', () => {
    const copier = new RunCopier();
    const sources = [numbered(64, 0), numbered(64, 100)];
    const targets = [Buffer.alloc(64), Buffer.alloc(64)];
    for (let turn = 0; turn < 64; turn++) {
      const source = sources[turn & 1]!;
      const target = targets[(turn >> 1) & 1]!.fill(0);
      for (let again = (turn >> 2) & 3; again >= 0; again--) copier.copy(target, 0, source, 0, 64);
      expect(target.equals(source), `turn ${turn}`).toBe(true);
      if (turn % 5 === 0) copier.clear();
    }
  });
});
