import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchEncoder } from './batch-encoder.ts';
import { batchHeaderBytes } from './batch-header.ts';
import { KeyCursor } from './key-cursor.ts';
import { RecordInput } from './record-input.ts';
import { RecordTable } from './record-table.ts';

interface Pair {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

/** The records section of a batch. */
function sectionOf(pairs: readonly Pair[]): Buffer {
  const encoder = new BatchEncoder({ batchBytesMax: 1 << 24 });
  const input = new RecordInput();
  for (const [index, { key, value }] of pairs.entries()) {
    input.clear().setKey(key).setValue(value);
    input.timestamp = index * 1000;
    encoder.append(input);
  }
  return encoder.finish().subarray(batchHeaderBytes);
}

function keysOf(section: Buffer, count: number): { keys: (string | null)[]; isDone: boolean } {
  const cursor = new KeyCursor().open(section, 0, section.length, count);
  const keys: (string | null)[] = [];
  while (cursor.next()) {
    const { keyStart, keyEnd } = cursor;
    keys.push(keyStart < 0 ? null : section.toString('hex', keyStart, keyEnd));
  }
  return { keys, isDone: cursor.isDone };
}

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((each) => Buffer.from(each));
const pair: fc.Arbitrary<Pair> = fc.record({ key: fc.option(bytes(200)), value: fc.option(bytes(300)) });
const three: Pair[] = [
  { key: Buffer.from('k1'), value: Buffer.from('hello') },
  { key: null, value: Buffer.alloc(100) },
  { key: Buffer.alloc(70, 'k'), value: null },
];

describe('KeyCursor', () => {
  it('walks the keys of any records, and is done behind the last', () => {
    fc.assert(
      fc.property(fc.array(pair, { minLength: 1, maxLength: 80 }), (pairs) => {
        const expected = pairs.map(({ key }) => (key === null ? null : key.toString('hex')));
        expect(keysOf(sectionOf(pairs), pairs.length)).toEqual({ keys: expected, isDone: true });
      }),
    );
  });

  it('ends within a section that is cut anywhere, and is not done', () => {
    const section = sectionOf(three);
    for (let end = 0; end < section.length; end++) {
      const { keys, isDone } = keysOf(section.subarray(0, end), 3);
      expect(isDone, `${end}`).toBe(false);
      expect(keys.length).toBeLessThan(3);
    }
  });

  it('is not done with more or fewer records than it was told of', () => {
    const section = sectionOf(three);
    expect(keysOf(section, 2)).toMatchObject({ isDone: false });
    expect(keysOf(section, 4)).toMatchObject({ isDone: false });
    expect(keysOf(section, 0)).toEqual({ keys: [], isDone: false });
    expect(keysOf(section.subarray(0, 0), 0)).toEqual({ keys: [], isDone: true });
  });

  it('never leaves any bytes, and finds the keys of all that a RecordTable reads', () => {
    const table = new RecordTable();
    const section = sectionOf(three);
    fc.assert(
      fc.property(fc.nat(section.length - 1), fc.nat(255), (at, value) => {
        const changed = Buffer.from(section);
        changed[at] = value;
        const cursor = new KeyCursor().open(changed, 0, changed.length, 3);
        for (let row = 0; cursor.next(); row++) {
          expect(row).toBeLessThan(3);
          expect(cursor.keyEnd).toBeLessThanOrEqual(changed.length);
        }
        let readable = true;
        try {
          table.read(changed, 0, changed.length, { count: 3 });
        } catch {
          readable = false;
        }
        if (!readable) return;
        const keys = [0, 1, 2].map((row) => table.key(row)?.toString('hex') ?? null);
        expect(keysOf(changed, 3)).toEqual({ keys, isDone: true });
      }),
      { numRuns: 3000 },
    );
  });
});
