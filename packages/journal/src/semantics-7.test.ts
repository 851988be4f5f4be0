import type { Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import type { AppendEntry, BlockFilter } from '@robustmq/kernel';
import { encodeEntryHeader, entryCrcOf, keyTokens } from '@robustmq/kernel';
import { BatchEncoder, codecs, compressBatch, RecordInput } from '@robustmq/record';
import { SimClock, SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder } from '@robustmq/kernel/conformance';
import { FakeMetadata, startJournal } from './journal-fixture.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as ShardId;
const segment = 1 as SegmentId;
const count = 30;

interface Rig {
  readonly journal: LocalJournal;
  readonly end: Offset;
}

/** A sealed segment of one-record entries as clients encode them, in blocks of about three. */
async function sealed(encode: (batch: Buffer) => Buffer): Promise<Rig> {
  const clock = new SimClock();
  const metadata = new FakeMetadata();
  const limits = { blockBytes: 1500, sweepBytes: 1, tailCacheBytes: 0, blockCacheBytes: 1500 };
  const journal = await startJournal({ disk: new SimDisk(), clock, metadata, limits });
  const got = new AppendRecorder(journal);
  let previousCrc = 0;
  for (let at = 0; at < count; at++) {
    const entry = entryOf(at, previousCrc, encode);
    previousCrc = entryCrcOf(entry.parts[0]!);
    got.stream.send([entry]);
    await got.durable(segment, at);
    await clock.advance(1);
  }
  metadata.set(shard, [{ id: segment, state: 'sealed', endEntry: count - 1, endOffset: count }]);
  await clock.advance(10);
  return { journal, end: count };
}

function entryOf(at: number, previousCrc: number, encode: (batch: Buffer) => Buffer): AppendEntry {
  const encoder = new BatchEncoder();
  const record = new RecordInput();
  record.timestamp = 1000;
  // What compression can't make small, so that blocks have the same size either way.
  const value = Buffer.from(Array.from({ length: 250 }, (_, byte) => (byte * 7919 + at * 104_729) % 251));
  encoder.append(record.setKey(Buffer.from(`dev/${at}/state`)).setValue(value));
  const payload = encode(encoder.finish({ baseOffset: at, leaderEpoch: 1 }));
  const header = encodeEntryHeader(
    {
      flags: 0,
      shard,
      entryId: at,
      segment,
      epoch: 1 as Epoch,
      count: 1,
      baseOffset: at,
      lastCommitted: at,
      payloadBytes: payload.length,
      previousCrc,
    },
    [payload],
  );
  const epoch = 1 as Epoch;
  const durability = { kind: 'always' } as const;
  return {
    shard,
    segment,
    entryId: at,
    epoch,
    parts: [header, payload],
    bytes: header.length + payload.length,
    durability,
  };
}

function filterFor(key: string): BlockFilter {
  const bytes = Buffer.from(key);
  const tokens: number[] = [];
  keyTokens(bytes, 0, bytes.length, { add: (token) => tokens.push(token) });
  return [Uint32Array.from(tokens)];
}

/** Offsets that a reader of the whole segment is given, and the blocks that were read and skipped for it. */
async function scan({ journal, end }: Rig, filter: BlockFilter) {
  const { blocksRead, blocksSkipped } = journal.counters;
  const offsets: Offset[] = [];
  for (let offset = 0; offset < end; ) {
    const request = { shard, segment, offset, limit: end, maxBytes: 1 << 20, filter };
    const answer = journal.readCached(request) ?? (await journal.read(request));
    for (const entry of answer.entries) offsets.push(entry.baseOffset);
    offset = answer.nextOffset;
  }
  const { counters } = journal;
  return {
    offsets,
    read: counters.blocksRead - blocksRead,
    skipped: counters.blocksSkipped - blocksSkipped,
  };
}

const all = Array.from({ length: count }, (_, at) => at);

describe('semantics 7.3: blocks with client batches', () => {
  it('are read by the first filtered reader of the sealed segment, and skipped by the next', async () => {
    const of = await sealed((batch) => batch);
    const first = await scan(of, filterFor('dev/99/state'));
    // Each block was read, and is not handed on as soon as its filter is there.
    expect(first.offsets).toEqual([]);
    expect(first.read).toBeGreaterThan(8);
    const second = await scan(of, filterFor('dev/99/state'));
    expect(second).toMatchObject({ offsets: [], read: 0 });
    expect(second.skipped).toBeGreaterThan(8);
    const found = await scan(of, filterFor('dev/17/state'));
    expect(found.offsets).toContain(17);
    expect(found.read).toBeLessThanOrEqual(1);
    expect(found.skipped).toBeGreaterThan(7);
  });

  it('go on matching anything where they are compressed: their keys are not seen', async () => {
    const of = await sealed((batch) => compressBatch(codecs.gzip, batch));
    for (let round = 0; round < 3; round++) {
      const { offsets, skipped } = await scan(of, filterFor('dev/99/state'));
      expect(offsets).toEqual(all);
      expect(skipped).toBe(0);
    }
  });

  it('an unfiltered reader builds no filter', async () => {
    const of = await sealed((batch) => batch);
    for (let offset = 0; offset < of.end; ) {
      const request = { shard, segment, offset, limit: of.end, maxBytes: 1 << 20 };
      const answer = of.journal.readCached(request) ?? (await of.journal.read(request));
      offset = answer.nextOffset;
    }
    expect((await scan(of, filterFor('dev/99/state'))).read).toBeGreaterThan(8);
  });
});
