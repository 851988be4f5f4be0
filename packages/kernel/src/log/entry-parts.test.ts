import type { Epoch, SegmentId, ShardId } from '@robustmq/core';
import { BatchEncoder, RecordInput } from '@robustmq/record';
import { describe, expect, it } from 'vitest';
import { checkEntry, encodeEntryHeader, entryHeaderBytes } from './entry.ts';
import type { EntryHeader } from './entry.ts';
import { entryParts } from './entry-parts.ts';
import { EntrySlab } from './entry-slab.ts';
import { LogBatch } from './log-batch.ts';

/** A batch with one record of so many bytes, in memory that is somebody else's. */
function borrowedBatch(bytes: number, fill: string): LogBatch {
  const encoder = new BatchEncoder({ batchBytesMax: 64 * 1024 });
  const input = new RecordInput();
  input.setKey(null).setValue(Buffer.alloc(bytes, fill));
  encoder.append(input);
  const encoded = encoder.finish({ producerId: -1, producerEpoch: -1, baseSequence: -1, attributes: 0 });
  const chunk = Buffer.alloc(100 * 1024);
  encoded.copy(chunk, 500);
  const batch = new LogBatch(false).fill(chunk, 500, 500 + encoded.length, 1, 0);
  batch.borrowed = true;
  return batch;
}

function headerOf(batches: readonly LogBatch[]): EntryHeader {
  return {
    flags: 0,
    shard: 1 as ShardId,
    entryId: 2,
    segment: 3 as SegmentId,
    epoch: 4 as Epoch,
    count: batches.length,
    baseOffset: 5,
    lastCommitted: 5,
    payloadBytes: batches.reduce((sum, { bytes }) => sum + bytes, 0),
    previousCrc: 6,
  };
}

/** Stages batches as one log does, makes an entry of them, and compares it with the one of their copies. */
function entryOf(
  slab: EntrySlab,
  batches: readonly LogBatch[],
  between: () => void = () => undefined,
): Buffer[] {
  const copies = batches.map(({ buffer, start, end }) => Buffer.from(buffer.subarray(start, end)));
  const header = headerOf(batches);
  const expected = Buffer.concat([encodeEntryHeader(header, copies), ...copies]);
  let last: LogBatch | undefined;
  for (const batch of batches) {
    const { buffer } = batch;
    slab.adopt(batch, last);
    buffer.fill(0xdd);
    between();
    last = batch;
  }
  const parts = entryParts(header, batches, slab);
  const entry = Buffer.concat(parts);
  expect(checkEntry(entry)).not.toBeNull();
  expect(entry.equals(expected)).toBe(true);
  return parts;
}

describe('an entry of borrowed batches', () => {
  it('lies in one piece when they came one behind the other, whatever their number and size', () => {
    const slab = new EntrySlab();
    for (const sizes of [[1], [10, 20, 30], [1000, 1000, 1000, 1000, 1000], [15_000, 15_000, 15_000]]) {
      const parts = entryOf(
        slab,
        sizes.map((size, at) => borrowedBatch(size, String(at))),
      );
      // At the end of the slab a group may be cut in two.
      expect(parts.length).toBeLessThanOrEqual(3);
    }
    const fresh = new EntrySlab();
    expect(
      entryOf(
        fresh,
        [1000, 1000, 1000, 1000, 1000].map((size) => borrowedBatch(size, 'x')),
      ).length,
    ).toBe(1);
  });

  it('is whole when other logs cut memory between them', () => {
    const slab = new EntrySlab();
    for (const size of [10, 2000, 9000]) {
      const batches = [1, 2, 3].map((at) => borrowedBatch(size, String(at)));
      entryOf(slab, batches, () => slab.adopt(borrowedBatch(300, 'o'), undefined));
    }
  });

  it('is whole at every place of a slab, its end above all', () => {
    // Batches that leave from nothing to 200 bytes behind them, then a group that has to go elsewhere.
    for (let left = 0; left <= 200; left += 3) {
      const slab = new EntrySlab();
      for (let at = 0; at < 4; at++) entryOf(slab, [borrowedBatch(15_000, 'f')]);
      const used = 4 * (entryHeaderBytes + borrowedBatch(15_000, 'f').bytes);
      const overhead = entryHeaderBytes + borrowedBatch(1000, 'g').bytes - 1000;
      entryOf(slab, [borrowedBatch(64 * 1024 - used - overhead - left, 'g')]);
      entryOf(
        slab,
        [7, 100, 3000].map((size, at) => borrowedBatch(size, String(at))),
      );
    }
  });

  it('is whole when a group of more than fits one copy is cut by the end of a slab, or by another log', () => {
    const slab = new EntrySlab();
    for (let round = 0; round < 40; round++) {
      const batches = [3000, 3001, 3002, 3003].map((size, at) => borrowedBatch(size + round, String(at)));
      let adopted = 0;
      entryOf(slab, batches, () => {
        if (++adopted === 2 && round % 2 === 0) slab.adopt(borrowedBatch(300, 'o'), undefined);
      });
    }
  });

  it('takes batches for one run only where they lie in the same memory', () => {
    const slab = new EntrySlab();
    const first = borrowedBatch(100, '1');
    slab.adopt(first, undefined);
    const chunk = Buffer.alloc(2000, 'n');
    const second = borrowedBatch(100, '2');
    second.moveTo(chunk, first.end);
    const batches = [first, second];
    const copies = batches.map(({ buffer, start, end }) => Buffer.from(buffer.subarray(start, end)));
    const entry = Buffer.concat(entryParts(headerOf(batches), batches, slab));
    expect(entry.subarray(entryHeaderBytes)).toEqual(Buffer.concat(copies));
  });

  it('takes no room twice: entries of one group that is cut in two do not touch each other', () => {
    const slab = new EntrySlab();
    const batches = [100, 200, 300, 400].map((size, at) => borrowedBatch(size, String(at)));
    let last: LogBatch | undefined;
    for (const batch of batches) {
      slab.adopt(batch, last);
      last = batch;
    }
    const entries = [batches.slice(0, 2), batches.slice(2)].map((some) =>
      entryParts(headerOf(some), some, slab),
    );
    for (const entry of entries) expect(checkEntry(Buffer.concat(entry))).not.toBeNull();
  });
});

it('an entry of batches that nobody lent leaves large ones where they are', () => {
  const batches = [5000, 6000].map((size) => {
    const { buffer, start, end } = borrowedBatch(size, 'k');
    return new LogBatch(true).fill(buffer, start, end, 1, 0);
  });
  const parts = entryParts(headerOf(batches), batches, new EntrySlab());
  expect(parts.map(({ length }) => length)).toEqual([entryHeaderBytes, batches[0]!.bytes, batches[1]!.bytes]);
  expect(parts[1]!.buffer).toBe(batches[0]!.buffer.buffer);
  expect(checkEntry(Buffer.concat(parts))).not.toBeNull();
});
