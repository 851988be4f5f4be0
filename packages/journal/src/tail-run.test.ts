import type { SegmentId } from '@robustmq/core';
import type { AppendEntry } from '@robustmq/kernel';
import { TestLog } from '@robustmq/kernel/conformance';
import { describe, expect, it } from 'vitest';
import { Segment } from './segment.ts';
import { entryNumbersOf, headerOf } from './tail-entry.ts';
import { TailRun } from './tail-run.ts';

const log = new TestLog(1 as TestLog['shard'], 1);
const entries: readonly AppendEntry[] = [
  log.data(1, 1000, { bytes: 100 }),
  log.data(3, 3000, { bytes: 70 }),
  log.control('fold'),
  log.data(1, 2000, { bytes: 5000 }),
  log.data(2, 1000, { bytes: 1 }),
];

function segmentOf(durableEntry: number, memory = false): Segment {
  const identity = { shard: log.shard, id: 1 as SegmentId, epoch: log.epoch, baseOffset: 0, memory };
  const segment = new Segment(identity, 4096);
  for (const entry of entries) {
    const place = { position: segment.end.bytes, generation: 1 };
    segment.push(entryNumbersOf(headerOf(entry)!, entry.parts, place), entry.parts);
  }
  segment.durableEntry = durableEntry;
  return segment;
}

function bytesOf(count: number): Buffer {
  return Buffer.concat(entries.slice(0, count).flatMap(({ parts }) => parts));
}

/** Gives all of a run out into targets of this size. */
function filled(run: TailRun, targetBytes: number): Buffer {
  const target = Buffer.alloc(targetBytes);
  const pieces: Buffer[] = [];
  for (let bytes = run.fill(target); bytes > 0; bytes = run.fill(target)) {
    // Only the last may be smaller.
    if (pieces.length > 0) expect(pieces.at(-1)).toHaveLength(targetBytes);
    pieces.push(Buffer.from(target.subarray(0, bytes)));
  }
  return Buffer.concat(pieces);
}

describe('storage 3.4: what a sweep writes', () => {
  it('is what is durable, byte for byte, however little is taken at a time', () => {
    for (let targetBytes = 1; targetBytes < 6000; targetBytes += targetBytes < 300 ? 1 : 97) {
      const segment = segmentOf(entries.length - 1);
      const run = new TailRun(segment);
      expect([run.position, run.entries, run.isGivenOut]).toEqual([0, entries.length, false]);
      expect(filled(run, targetBytes).equals(bytesOf(entries.length))).toBe(true);
      expect([run.end, run.isGivenOut]).toEqual([segment.end, true]);
    }
  });

  it('begins behind what is stored and ends with what is durable', () => {
    for (let durable = 0; durable < entries.length; durable++) {
      const segment = segmentOf(durable);
      const first = new TailRun(segment);
      const bytes = filled(first, 64);
      expect(bytes.equals(bytesOf(durable + 1))).toBe(true);
      segment.stored = first.end;
      segment.durableEntry = entries.length - 1;
      const second = new TailRun(segment);
      expect([second.position, second.entries]).toEqual([bytes.length, entries.length - 1 - durable]);
      const rest = filled(second, 64);
      expect(Buffer.concat([bytes, rest]).equals(bytesOf(entries.length))).toBe(true);
      expect(second.end).toEqual(segment.end);
    }
  });

  it('is nothing when nothing is durable that is not stored, and for a segment that stays in memory', () => {
    for (const segment of [segmentOf(-1), segmentOf(entries.length - 1, true)]) {
      const run = new TailRun(segment);
      expect([run.entries, run.isGivenOut, run.fill(Buffer.alloc(10))]).toEqual([0, true, 0]);
    }
  });
});
