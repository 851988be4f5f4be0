import type { SegmentId } from '@robustmq/core';
import { TestLog } from '@robustmq/kernel/conformance';
import { expect, it } from 'vitest';
import { DirtySegments } from './dirty-segments.ts';
import { Segment } from './segment.ts';
import { entryNumbersOf, headerOf } from './tail-entry.ts';

/** A segment with an entry of each generation. */
function segmentOf(id: number, generations: readonly number[]): Segment {
  const log = new TestLog(id as TestLog['shard'], 1);
  const identity = { shard: log.shard, id: id as SegmentId, epoch: log.epoch, baseOffset: 0, memory: false };
  const segment = new Segment(identity, 4096);
  for (const generation of generations) {
    const entry = log.data(1);
    const place = { position: segment.end.bytes, generation };
    segment.push(entryNumbersOf(headerOf(entry)!, entry.parts, place), entry.parts);
  }
  return segment;
}

/** The first entry reached its file. */
function sweepFirst(segment: Segment): void {
  const first = segment.tail.at(0);
  segment.stored = { ...segment.stored, entry: first.entryId, bytes: first.bytes, offset: first.endOffset };
}

it('knows the oldest generation while segments come, are written and go', () => {
  const dirty = new DirtySegments();
  expect(dirty.oldestGeneration(9)).toBe(9);
  const [old, young, same] = [segmentOf(1, [1, 3]), segmentOf(2, [2]), segmentOf(3, [2])];
  dirty.add(old, 10);
  dirty.add(young, 20);
  dirty.add(same, 30);
  expect(dirty.oldestGeneration(9)).toBe(1);
  sweepFirst(old);
  dirty.delete(old);
  dirty.add(old, 40);
  expect(dirty.oldestGeneration(9)).toBe(2);
  expect([...dirty]).toEqual([young, same, old]);
  expect(dirty.delete(young)).toBe(true);
  expect(dirty.oldestGeneration(9)).toBe(2);
  expect(dirty.delete(same)).toBe(true);
  expect(dirty.oldestGeneration(9)).toBe(3);
  expect(dirty.delete(same)).toBe(false);
  expect(dirty.oldestGeneration(2)).toBe(2);
});

it('leaves a segment that waits already where it is', () => {
  const dirty = new DirtySegments();
  const [first, second] = [segmentOf(1, [1]), segmentOf(2, [1])];
  dirty.add(first, 10);
  dirty.add(second, 20);
  dirty.add(first, 30);
  expect([...dirty]).toEqual([first, second]);
  expect(first.dirtySince).toBe(10);
  dirty.delete(first);
  dirty.delete(second);
  expect(dirty.oldestGeneration(5)).toBe(5);
});
