import type { Offset } from '@robustmq/core';
import type { ReadAnswer, ReadRequest } from '@robustmq/kernel';
import { keyTokens } from '@robustmq/kernel';
import type { SimOp } from '@robustmq/sim';
import { SimClock, SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { FakeMetadata, startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as TestLog['shard'];
/** Blocks of about three entries of 400 bytes, and next to nothing kept in memory. */
const small: Partial<JournalLimits> = {
  blockBytes: 1500,
  sweepBytes: 1,
  tailCacheBytes: 0,
  blockCacheBytes: 1500,
};

interface Rig {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly metadata: FakeMetadata;
  readonly journal: LocalJournal;
  readonly got: AppendRecorder;
  readonly log: TestLog;
}

async function rig(limits: Partial<JournalLimits> = small, disk = new SimDisk()): Promise<Rig> {
  const clock = new SimClock();
  const metadata = new FakeMetadata();
  const journal = await startJournal({ disk, clock, metadata, limits });
  const log = new TestLog(shard, 1);
  return { disk, clock, metadata, journal, got: new AppendRecorder(journal), log };
}

/** Appends entries of about 400 bytes with these keys, each durable and in its file before the next. */
async function append({ got, log, clock }: Rig, keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    const entry = log.data(1, 1000 + log.next, { key, bytes: 250 });
    got.stream.send([entry]);
    await got.durable(log.segment, entry.entryId);
    await clock.advance(1);
  }
}

async function seal({ metadata, log, clock }: Rig): Promise<void> {
  metadata.set(shard, [
    { id: log.segment, state: 'sealed', endEntry: log.payloads.length - 1, endOffset: log.next },
  ]);
  await clock.advance(10);
}

type Range = Pick<ReadRequest, 'offset'> & Partial<ReadRequest>;

function read({ journal, log }: Rig, range: Range): Promise<ReadAnswer> {
  const request = { shard, segment: log.segment, limit: log.next, maxBytes: 1 << 20, ...range };
  const cached = journal.readCached(request);
  return cached === null ? journal.read(request) : Promise.resolve(cached);
}

/** Offsets of all entries, read in pages. */
async function offsets(of: Rig, range: Range): Promise<Offset[]> {
  const found: Offset[] = [];
  let { offset } = range;
  while (offset < of.log.next) {
    const answer = await read(of, { ...range, offset });
    found.push(...answer.entries.map((entry) => entry.baseOffset));
    expect(answer.nextOffset).toBeGreaterThan(offset);
    offset = answer.nextOffset;
  }
  return found;
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at);
}

function filterFor(key: string): Uint32Array[] {
  const bytes = Buffer.from(key);
  const tokens: number[] = [];
  keyTokens(bytes, 0, bytes.length, { add: (token) => tokens.push(token) });
  return [Uint32Array.from(tokens)];
}

describe('storage 3.4: reads find every entry wherever it lies', () => {
  it('a block of which the file has a part goes on in memory: entries there are not skipped', async () => {
    const of = await rig({ ...small, sweepBytes: 1000, tailAgeMs: 1_000_000 });
    const { got, log, clock } = of;
    await append(of, ['a', 'b', 'c']);
    // In memory only: the rest of that block, and the next one.
    const entries = upTo(4).map(() => log.data(1, 2000, { bytes: 150 }));
    got.stream.send(entries);
    await got.durable(log.segment, 6);
    const request = { offset: 0, maxBytes: 1 };
    for (const wait of [0, 10, 100]) {
      expect(await offsets(of, request)).toEqual(upTo(7));
      await clock.advance(wait);
    }
  });

  it('every offset is found by a read that starts there, in the file, across it, and in memory', async () => {
    const of = await rig({ ...small, tailCacheBytes: 1200, blockCacheBytes: 4000 });
    await append(
      of,
      upTo(20).map((at) => `k${at}`),
    );
    for (const sealed of [false, true]) {
      if (sealed) await seal(of);
      for (let offset = 0; offset < 20; offset++) {
        const { entries, nextOffset } = await read(of, { offset, maxBytes: 900 });
        expect([entries[0]!.baseOffset, nextOffset]).toEqual([offset, Math.min(20, offset + entries.length)]);
        expect(entries[0]!.payload).toEqual(of.log.payloads[offset]);
      }
    }
    expect(of.journal.counters.blocksRead).toBeGreaterThan(7);
  });

  it('a control entry at the very end of a segment comes with a page that is full', async () => {
    for (const sealed of [false, true]) {
      const of = await rig();
      const { got, log } = of;
      await append(of, ['a', 'b', 'c']);
      got.stream.send([log.control('one'), log.control('two')]);
      await got.durable(log.segment, 4);
      await of.clock.advance(2000);
      if (sealed) await seal(of);
      const { entries, nextOffset } = await read(of, { offset: 2, maxBytes: 1 });
      expect([entries.map((entry) => entry.count), nextOffset]).toEqual([[1, 0, 0], 3]);
      expect(entries[2]!.payload.toString()).toBe('two');
    }
  });

  it('a read that meets a sweep of its block is whole: nothing is called lost', async () => {
    const clock = new SimClock();
    const latencyMs = (op: SimOp): number => (op.kind === 'pread' && op.path.endsWith('.seg') ? 100 : 0);
    const disk = new SimDisk({ clock, latencyMs });
    const starting = startJournal({ disk, clock, limits: small });
    await clock.advance(50);
    const journal = await starting;
    const got = new AppendRecorder(journal);
    const log = new TestLog(shard, 1);
    const of = { disk, clock, metadata: new FakeMetadata(), journal, got, log };
    got.stream.send([log.data(1, 1000, { bytes: 250 })]);
    await clock.advance(20);
    const answer = read(of, { offset: 0, limit: 1 });
    got.stream.send([log.data(1, 1000, { bytes: 250 })]);
    await clock.advance(50);
    // The file has more of the block than the read was told to take.
    expect(journal.counters.sweeps).toBe(2);
    await clock.advance(200);
    expect((await answer).entries.map((entry) => entry.baseOffset)).toEqual([0]);
    expect(journal.counters.rotEntries).toBe(0);
  });

  it.each([2, 3, 4, 5, 6])(
    '%i readers in step do not take each other the index away for ever',
    async (count) => {
      // Loading again and again would take turns of no event loop, which no timeout ends.
      let readsLeft = Number.POSITIVE_INFINITY;
      const fault = (op: SimOp) =>
        op.kind === 'pread' && --readsLeft < 0 ? ('DISK_IO' as const) : undefined;
      const of = await rig({ ...small, indexCacheBytes: 1 }, new SimDisk({ fault }));
      const logs = upTo(count).map((id) => new TestLog(shard, id + 1));
      for (const log of logs) await append({ ...of, log }, ['a', 'b', 'c', 'd']);
      of.metadata.set(
        shard,
        logs.map((log) => ({ id: log.segment, state: 'sealed' as const, endEntry: 3, endOffset: 4 })),
      );
      await of.clock.advance(50);
      readsLeft = 200;
      const filter = filterFor('a');
      for (const range of [{}, { filter }]) {
        const answers = await Promise.all(logs.map((log) => read({ ...of, log }, { offset: 0, ...range })));
        for (const { entries } of answers) expect(entries[0]?.baseOffset).toBe(0);
      }
      const seek = ({ segment }: TestLog): Promise<Offset | null> =>
        of.journal.seekTimestamp({ shard, segment, timestamp: 1002 });
      expect(await Promise.all(logs.map(seek))).toEqual(logs.map(() => 2));
    },
  );

  it('many readers of many segments get on with caches that hold one block and one index', async () => {
    const of = await rig({ ...small, indexCacheBytes: 1, openFiles: 2 });
    const logs: TestLog[] = [];
    for (let id = 1; id <= 4; id++) {
      const log = new TestLog(shard, id);
      await append(
        { ...of, log },
        upTo(12).map((at) => `k${at}`),
      );
      logs.push(log);
    }
    of.metadata.set(
      shard,
      logs.map((log) => ({ id: log.segment, state: 'sealed' as const, endEntry: 11, endOffset: 12 })),
    );
    await of.clock.advance(50);
    const readers = logs.flatMap((log) =>
      [0, 5].map((offset) => offsets({ ...of, log }, { offset, maxBytes: 1 })),
    );
    const found = await Promise.all(readers);
    found.forEach((list, at) => expect(list).toEqual(upTo(12).slice(at % 2 === 0 ? 0 : 5)));
    // Each of these takes the index of the one before away.
    const seek = ({ segment }: TestLog): Promise<Offset | null> =>
      of.journal.seekTimestamp({ shard, segment, timestamp: 1005 });
    expect(await Promise.all(logs.map(seek))).toEqual([5, 5, 5, 5]);
    const { blockCacheBytes, indexCacheBytes, openFiles } = of.journal.counters;
    expect(blockCacheBytes).toBeLessThanOrEqual(1500);
    // The one in use is kept whatever its size.
    expect(indexCacheBytes).toBeLessThan(1000);
    expect(openFiles).toBeLessThanOrEqual(2);
  });
});

describe('storage 3.2: timestamps', () => {
  it('finds the first entry that is young enough, in file and memory, and nothing beyond the youngest', async () => {
    const of = await rig({ ...small, tailCacheBytes: 800, blockCacheBytes: 2400 });
    const { got, log, clock, journal } = of;
    const times = [10, 50, 20, 90, 30, 80, 95, 95, 40, 120, 60, 110];
    for (const time of times) {
      const entry = log.data(1, time, { bytes: 250 });
      got.stream.send([entry]);
      await got.durable(log.segment, entry.entryId);
      await clock.advance(1);
    }
    for (const sealed of [false, true]) {
      if (sealed) await seal(of);
      for (let timestamp = 0; timestamp <= 120; timestamp += 5) {
        const found = await journal.seekTimestamp({ shard, segment: log.segment, timestamp });
        expect(found, `${timestamp}`).toBe(times.findIndex((time) => time >= timestamp));
      }
      expect(await journal.seekTimestamp({ shard, segment: log.segment, timestamp: 121 })).toBeNull();
    }
  });
});

describe('semantics 7.2: filtered reads skip blocks', () => {
  /** Enough is kept that the filter of a block is built when the next one begins. */
  const filtering = { ...small, tailCacheBytes: 3000, blockCacheBytes: 6000 };

  it('a sealed segment without the key is skipped whole, one block with it is the only one read', async () => {
    const of = await rig(filtering);
    await append(
      of,
      upTo(30).map((at) => (at === 17 ? 'dev/9/alarm' : `dev/${at}/state`)),
    );
    await seal(of);
    const { counters } = of.journal;
    const before = counters.blocksRead;
    const none = await read(of, { offset: 0, filter: filterFor('dev/99/alarm') });
    expect([none.entries, none.nextOffset, counters.blocksRead]).toEqual([[], 30, before]);
    const skipped = counters.blocksSkipped;
    expect(skipped).toBeGreaterThan(8);
    const found = await offsets(of, { offset: 0, filter: filterFor('dev/9/alarm') });
    expect(found).toContain(17);
    expect(counters.blocksRead).toBe(before + 1);
    expect(counters.blocksSkipped - skipped).toBeGreaterThan(8);
  });

  it('the same with an index and filters that come from the footer', async () => {
    const of = await rig({ ...filtering, indexCacheBytes: 1 });
    await append(
      of,
      upTo(30).map((at) => (at === 17 ? 'dev/9/alarm' : `dev/${at}/state`)),
    );
    await seal(of);
    const other = new TestLog(shard, 2);
    const sealed = { state: 'sealed' as const, endEntry: 29, endOffset: 30 };
    await append(
      { ...of, log: other },
      upTo(30).map((at) => `other/${at}`),
    );
    of.metadata.set(
      shard,
      [of.log, other].map(({ segment: id }) => ({ id, ...sealed })),
    );
    await of.clock.advance(50);
    const { counters } = of.journal;
    expect(counters.sealedSegments).toBe(2);
    // The other one's index has pushed this one's out.
    await read({ ...of, log: other }, { offset: 0, filter: filterFor('nothing') });
    const { blocksRead, blocksSkipped } = counters;
    const none = await read(of, { offset: 0, filter: filterFor('dev/99/alarm') });
    expect([none.entries, none.nextOffset, counters.blocksRead]).toEqual([[], 30, blocksRead]);
    expect(await offsets(of, { offset: 0, filter: filterFor('dev/9/alarm') })).toContain(17);
    expect(counters.blocksRead).toBe(blocksRead + 1);
    expect(counters.blocksSkipped).toBeGreaterThan(blocksSkipped + 15);
  });

  it('a block that ended where a sweep did is in the filter of its segment', async () => {
    // Each entry is swept by itself, so every block ends at the end of a sweep.
    for (let count = 1; count <= 12; count++) {
      const of = await rig();
      const keys = upTo(count).map((at) => `only/${at}`);
      await append(of, keys);
      await seal(of);
      for (let at = 0; at < count; at++) {
        expect(await offsets(of, { offset: 0, filter: filterFor(keys[at]!) }), `${at} of ${count}`).toContain(
          at,
        );
      }
    }
  });

  it('what is still in memory and in the file as well is skipped, and found, by block', async () => {
    const of = await rig({ ...small, tailCacheBytes: 1 << 20, blockCacheBytes: 1 << 21 });
    const keys = upTo(30).map((at) => (at % 11 === 5 ? 'dev/9/alarm' : `dev/${at}/state`));
    await append(of, keys);
    const { counters } = of.journal;
    const none = await read(of, { offset: 0, filter: filterFor('dev/99/alarm') });
    // Only the last block has no filter yet.
    expect(none.entries.length).toBeLessThan(4);
    expect(none.nextOffset).toBe(30);
    expect(counters.blocksSkipped).toBeGreaterThan(7);
    for (const page of [{ offset: 0 }, { offset: 0, maxBytes: 1 }]) {
      const found = await offsets(of, { ...page, filter: filterFor('dev/9/alarm') });
      expect(found).toEqual(expect.arrayContaining([5, 16, 27]));
      expect(found.length).toBeLessThan(15);
    }
    expect(counters.blocksRead).toBe(0);
  });

  it('storage 3.5: the blocks that a filter lets through are read ahead, and no others', async () => {
    const of = await rig({ ...filtering, blockCacheBytes: 1 << 20 });
    await append(
      of,
      upTo(60).map((at) => (at % 12 === 5 ? 'dev/9/alarm' : `dev/${at}/state`)),
    );
    await seal(of);
    const filter = filterFor('dev/9/alarm');
    const request = { shard, segment: of.log.segment, offset: 0, limit: of.log.next, maxBytes: 1, filter };
    let { nextOffset } = await of.journal.read(request);
    await of.clock.advance(10);
    const { blocksRead } = of.journal.counters;
    const found: Offset[] = [];
    while (nextOffset < 50) {
      const answer = of.journal.readCached({ ...request, offset: nextOffset })!;
      found.push(...answer.entries.map((entry) => entry.baseOffset));
      ({ nextOffset } = answer);
    }
    expect(found).toEqual(expect.arrayContaining([17, 29, 41]));
    expect(of.journal.counters.blocksRead).toBe(blocksRead);
    expect(blocksRead).toBeLessThan(8);
  });

  it('finds every key of an open segment while it grows', async () => {
    const of = await rig();
    const keys: string[] = [];
    for (let at = 0; at < 12; at++) {
      keys.push(`only/${at}`);
      await append(of, [keys[at]!]);
      for (let wanted = 0; wanted <= at; wanted++) {
        expect(await offsets(of, { offset: 0, filter: filterFor(keys[wanted]!) })).toContain(wanted);
      }
    }
  });
});

describe('storage 3.4: bounds', () => {
  it('what is kept after it was written, blocks and memory-class entries stay within their bounds', async () => {
    const limits = { ...small, tailCacheBytes: 3000, blockCacheBytes: 6000, memoryBytes: 5000 };
    const of = await rig(limits);
    const { counters } = of.journal;
    const memory = new TestLog(shard, 9, { durability: { kind: 'memory' } });
    for (let round = 0; round < 40; round++) {
      await append(of, [`k${round}`]);
      of.got.stream.send([memory.data(1, 1000, { bytes: 250 })]);
      await read(of, { offset: Math.max(0, round - 7), maxBytes: 1000 });
      expect(counters.tailCacheBytes).toBeLessThanOrEqual(3000);
      expect(counters.blockCacheBytes + counters.tailCacheBytes).toBeLessThanOrEqual(6000);
      expect(counters.memoryBytes).toBeLessThanOrEqual(5000);
    }
    expect(counters.memoryDropped).toBeGreaterThan(10);
    // What was dropped is gone, and says so by where the answer begins.
    const left = await read({ ...of, log: memory }, { offset: 0 });
    expect(left.entries.at(-1)!.baseOffset).toBe(39);
    expect(left.entries[0]!.baseOffset).toBe(counters.memoryDropped);
  });

  it('all shards together never have more than the bound in memory and in no file, given time', async () => {
    const of = await rig({ ...small, sweepBytes: 1 << 20, tailBytes: 4000, tailAgeMs: 1_000_000 });
    const logs = upTo(5).map((id) => new TestLog((100 + id) as TestLog['shard'], 100 + id));
    for (let round = 0; round < 20; round++) {
      for (const log of logs) of.got.stream.send([log.data(1, 1000, { bytes: 250 })]);
      await of.clock.advance(5);
      expect(of.journal.counters.tailBytes).toBeLessThanOrEqual(4000);
    }
    expect(of.journal.counters.sweeps).toBeGreaterThan(5);
  });
});
