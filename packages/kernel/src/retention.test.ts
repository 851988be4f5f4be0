import type { Offset } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import type { SegmentRecord, ShardRecord } from './ports/metadata.ts';
import { retainedFrom } from './retention.ts';
import { parseTopicConfig } from './topic-config.ts';

const now = 1_000_000;

interface SegmentInput {
  readonly from: Offset;
  readonly to: Offset;
  readonly bytes?: number;
  readonly newest?: number;
}

/** A shard of sealed segments and an open one. */
function shardOf(sealed: readonly SegmentInput[], startOffset = 0): ShardRecord {
  const segments = sealed.map(({ from, to, bytes = 100, newest = now }) => ({
    state: 'sealed',
    baseOffset: from,
    endOffset: to,
    bytes,
    maxTimestamp: newest,
  }));
  const end = sealed.at(-1)?.to ?? 0;
  const open = { state: 'open', baseOffset: end, endOffset: end, bytes: 0, maxTimestamp: -1 };
  return { startOffset, segments: [...segments, open] as SegmentRecord[] } as unknown as ShardRecord;
}

function configOf(values: Record<string, string>): ReturnType<typeof parseTopicConfig> {
  return parseTopicConfig(new Map(Object.entries(values)));
}

const unbounded = configOf({ 'retention.ms': '-1' });
const threeSegments = [
  { from: 0, to: 10 },
  { from: 10, to: 20 },
  { from: 20, to: 30 },
];

describe('retention by time', () => {
  const config = configOf({ 'retention.ms': '1000' });

  it('trims segments whose newest record is too old, in order, and stops at the first that is not', () => {
    const shard = shardOf([
      { from: 0, to: 10, newest: now - 1001 },
      { from: 10, to: 20, newest: now - 1000 },
      { from: 20, to: 30, newest: now - 5000 },
    ]);
    expect(retainedFrom(shard, config, now, null)).toBe(10);
  });

  it('never trims the open segment, and nothing without a bound', () => {
    const shard = shardOf([{ from: 0, to: 10, newest: 1 }]);
    expect(retainedFrom(shard, config, now, null)).toBe(10);
    expect(retainedFrom(shard, unbounded, now, null)).toBe(0);
  });

  it('a segment without records hides nothing behind it', () => {
    const shard = shardOf([
      { from: 0, to: 10, newest: 1 },
      { from: 10, to: 10, newest: -1, bytes: 0 },
      { from: 10, to: 20, newest: 1 },
      { from: 20, to: 30 },
    ]);
    expect(retainedFrom(shard, config, now, null)).toBe(20);
  });
});

describe('retention by bytes', () => {
  it('keeps as many of the newest segments as make up the bound', () => {
    const at = (bytes: string): Offset =>
      retainedFrom(
        shardOf(threeSegments),
        configOf({ 'retention.ms': '-1', 'retention.bytes': bytes }),
        now,
        null,
      );
    expect(at('300')).toBe(0);
    expect(at('299')).toBe(0);
    expect(at('200')).toBe(10);
    expect(at('101')).toBe(10);
    expect(at('0')).toBe(30);
  });

  it('does not count what was trimmed before', () => {
    const config = configOf({ 'retention.ms': '-1', 'retention.bytes': '200' });
    expect(retainedFrom(shardOf(threeSegments, 10), config, now, null)).toBe(10);
  });
});

describe('semantics 6.1: session cursors', () => {
  const config = configOf({ 'retention.ms': '1000' });
  const old = threeSegments.map((segment) => ({ ...segment, newest: 1 }));

  it('hold back what they have not read while it is within the bound', () => {
    const at = (offset: Offset, backlogBytesMax: number): Offset =>
      retainedFrom(shardOf(old), config, now, { offset, backlogBytesMax });
    expect(at(0, 300)).toBe(0);
    expect(at(9, 300)).toBe(0);
    expect(at(10, 300)).toBe(10);
    expect(at(30, 300)).toBe(30);
  });

  it('beyond the bound they hold back the newest within it, and no more', () => {
    const at = (offset: Offset, backlogBytesMax: number): Offset =>
      retainedFrom(shardOf(old), config, now, { offset, backlogBytesMax });
    expect(at(0, 299)).toBe(10);
    expect(at(0, 199)).toBe(20);
    expect(at(0, 0)).toBe(30);
    expect(at(15, 150)).toBe(20);
  });

  it('hold back nothing that retention does not want', () => {
    expect(retainedFrom(shardOf(threeSegments), config, now, { offset: 30, backlogBytesMax: 0 })).toBe(0);
  });
});
