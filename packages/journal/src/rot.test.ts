import type { Epoch, Offset, RobustError } from '@robustmq/core';
import type { AppendEntry, FenceAnswer, ReadAnswer } from '@robustmq/kernel';
import { entryHeaderBytes } from '@robustmq/kernel';
import { SimClock, SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { parseBlock } from './block-parser.ts';
import { FakeMetadata, recordingLogger, startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as TestLog['shard'];
const small: Partial<JournalLimits> = {
  walFileBytes: 64 * 1024,
  walBytes: 256 * 1024,
  blockBytes: 1500,
  sweepBytes: 1,
  tailCacheBytes: 0,
  blockCacheBytes: 1,
  indexCacheBytes: 1,
};
const count = 9;
const perEntry = 2;
const bases = Array.from({ length: count }, (_, at) => at * perEntry);

interface Rig {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly metadata: FakeMetadata;
  readonly journal: LocalJournal;
  readonly got: AppendRecorder;
}

async function rig(limits: Partial<JournalLimits>, disk = new SimDisk()): Promise<Rig> {
  const clock = new SimClock();
  const metadata = new FakeMetadata();
  const journal = await startJournal({ disk, clock, metadata, limits });
  return { disk, clock, metadata, journal, got: new AppendRecorder(journal) };
}

/** Segments of nine entries, two records each, in their files. */
async function sealed(of: Rig, segments: readonly number[]): Promise<TestLog[]> {
  const logs = segments.map((id) => new TestLog(shard, id));
  for (const log of logs) {
    for (let at = 0; at < count; at++) {
      of.got.stream.send([log.data(perEntry, 1000, { bytes: 150 })]);
      await of.got.durable(log.segment, at);
      await of.clock.advance(1);
    }
  }
  of.metadata.set(
    shard,
    logs.map((log) => ({
      id: log.segment,
      state: 'sealed' as const,
      endEntry: count - 1,
      endOffset: log.next,
      chainCrc: log.crc,
    })),
  );
  await of.clock.advance(50);
  expect(of.journal.counters.sealedSegments).toBe(segments.length);
  return logs;
}

async function read(journal: LocalJournal, log: TestLog, offset: Offset): Promise<ReadAnswer> {
  const request = { shard: log.shard, segment: log.segment, offset, limit: log.next, maxBytes: 1 << 20 };
  return journal.readCached(request) ?? (await journal.read(request));
}

type Lost = [Offset, Offset];

/** Reads on over losses, as a reader does that may skip them. */
async function readOver(journal: LocalJournal, log: TestLog): Promise<{ found: Offset[]; lost: Lost[] }> {
  const found: Offset[] = [];
  const lost: Lost[] = [];
  for (let offset = 0; offset < log.next; ) {
    try {
      const answer = await read(journal, log, offset);
      for (const { baseOffset, payload } of answer.entries) {
        expect(payload.equals(log.payloads[baseOffset / perEntry]!), `the payload at ${baseOffset}`).toBe(
          true,
        );
        found.push(baseOffset);
      }
      expect(answer.nextOffset).toBeGreaterThan(offset);
      offset = answer.nextOffset;
    } catch (error) {
      const { code, detail } = error as RobustError;
      const { from, to } = detail as { from: Offset; to: Offset };
      expect([code, from >= offset, to > from]).toEqual(['JOURNAL_DATA_LOST', true, true]);
      lost.push([from, to]);
      offset = to;
    }
  }
  return { found, lost };
}

function bytesOf(entry: AppendEntry): Buffer {
  return Buffer.concat(entry.parts);
}

describe('storage 4.5: rot in a segment', () => {
  it('storage 3.5: any flipped bit of a block costs exactly the entry it is in', () => {
    const log = new TestLog(shard, 1);
    const entries = [log.data(2), log.data(1, 1000, { bytes: 90 }), log.data(3)];
    const ends: number[] = [];
    for (const entry of entries) ends.push((ends.at(-1) ?? 0) + bytesOf(entry).length);
    const block = Buffer.concat(entries.map(bytesOf));
    const extent = { shard, segment: log.segment, firstOffset: 0, endOffset: 6, verify: true };
    expect(parseBlock(block, extent).lost).toEqual([]);
    const ranges: Lost[] = [
      [0, 2],
      [2, 3],
      [3, 6],
    ];
    for (let bit = 0; bit < block.length * 8; bit += 3) {
      const bytes = Buffer.from(block);
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
      const hit = ends.findIndex((end) => bit >> 3 < end);
      const { entries: found, lost } = parseBlock(bytes, extent);
      expect(
        lost.map(({ from, to }) => [from, to]),
        `bit ${bit}`,
      ).toEqual([ranges[hit]]);
      const left = ranges.filter((_, at) => at !== hit).map(([from]) => from);
      expect(
        found.map((entry) => entry.baseOffset),
        `bit ${bit}`,
      ).toEqual(left);
    }
  });

  it('a block of another segment, as a recycled file may hold, is lost and not served', () => {
    const block = bytesOf(new TestLog(shard, 2).data(2));
    const extent = {
      shard,
      segment: new TestLog(shard, 1).segment,
      firstOffset: 0,
      endOffset: 2,
      verify: true,
    };
    expect(parseBlock(block, extent)).toEqual({ entries: [], lost: [{ from: 0, to: 2 }] });
  });

  for (let hit = 0; hit < count; hit += 2) {
    it(`a damaged entry ${hit} is refused with its range, and the rest is served`, async () => {
      const of = await rig(small);
      const [log] = await sealed(of, [1]);
      const size = bytesOf(new TestLog(shard, 1).data(perEntry, 1000, { bytes: 150 })).length;
      of.disk.rot('/journal/segments/7-1.seg', (hit * size + 100) * 8);
      const wanted = { found: bases.filter((base) => base !== hit * 2), lost: [[hit * 2, hit * 2 + 2]] };
      expect(await readOver(of.journal, log!)).toEqual(wanted);
      // And again, from the cache or not.
      expect(await readOver(of.journal, log!)).toEqual(wanted);
      expect(of.journal.counters.rotEntries).toBeGreaterThan(0);
      await of.journal.stop();
    });
  }

  it('a file that is gone is lost as a whole, one that was cut from the cut on', async () => {
    const of = await rig({ ...small, openFiles: 0 });
    const [gone, cut] = await sealed(of, [1, 2]);
    await of.disk.unlink('/journal/segments/7-1.seg');
    const lost = await readOver(of.journal, gone!);
    expect([lost.found, lost.lost[0]![0], lost.lost.at(-1)![1]]).toEqual([[], 0, gone!.next]);
    const file = await of.disk.open('read', '/journal/segments/7-2.seg');
    await file.truncate('read', 1300);
    const rest = await readOver(of.journal, cut!);
    expect(rest.found.length).toBeGreaterThan(0);
    expect(rest.found).toEqual(bases.slice(0, rest.found.length));
    expect(rest.lost.at(-1)![1]).toBe(cut!.next);
  });

  it('any flipped bit of a footer is made good by a scan: every entry is served', async () => {
    const of = await rig(small);
    const [log, other] = await sealed(of, [1, 2]);
    const path = '/journal/segments/7-1.seg';
    const { length } = of.disk.peek(path);
    const from = log!.bytes;
    expect(length - from).toBeGreaterThan(96);
    for (let at = from; at < length; at += at > length - 96 ? 3 : 17) {
      // The other one's index pushes this one's out.
      await readOver(of.journal, other!);
      of.disk.rot(path, at * 8 + (at % 8));
      expect(await readOver(of.journal, log!), `byte ${at}`).toEqual({ found: bases, lost: [] });
      of.disk.rot(path, at * 8 + (at % 8));
    }
  });
});

describe('storage 4.5: rot in the log', () => {
  const lazyFiles: Partial<JournalLimits> = { ...small, sweepBytes: 1 << 20, tailAgeMs: 1_000_000 };
  const shards = [11, 12, 13].map((id) => id as TestLog['shard']);

  /** Three shards, an entry of each in every frame, all acknowledged and in no file. */
  async function inLog(limits = lazyFiles): Promise<{ of: Rig; logs: TestLog[] }> {
    const of = await rig(limits);
    const logs = shards.map((id) => new TestLog(id, id));
    for (const { shard: id, segment } of logs) of.metadata.set(id, [{ id: segment }]);
    for (let at = 0; at < count; at++) {
      // Of different lengths, so that a payload is found where it is.
      of.got.stream.send(logs.map((log, nth) => log.data(perEntry, 1000, { bytes: 150 + nth })));
      for (const log of logs) await of.got.durable(log.segment, at);
    }
    return { of, logs };
  }

  async function fencedAgain(
    of: Rig,
    logs: readonly TestLog[],
  ): Promise<{ journal: LocalJournal; answers: FenceAnswer[] }> {
    const journal = await startJournal({
      ...of,
      disk: of.disk.kill(),
      clock: new SimClock(),
      limits: lazyFiles,
    });
    const epoch = 2 as Epoch;
    const answers = await journal.fence(
      logs.map(({ shard: id, segment }) => ({ shard: id, segment, epoch })),
    );
    return { journal, answers };
  }

  /** Where entry `at` of `log` lies in the log's file, found by its payload. */
  function placeOf(of: Rig, log: TestLog, at: number): { path: string; byte: number } {
    const path = '/journal/wal/0001.wal';
    return { path, byte: of.disk.peek(path).indexOf(log.payloads[at]!) };
  }

  for (const [title, shift] of [
    ['its records', 70],
    ['its header, behind the names in it', -10],
  ] as const) {
    it(`a bit flipped in ${title} loses one shard from there on, and says so; the others are whole`, async () => {
      for (const hit of [0, 4, 7]) {
        const { of, logs } = await inLog();
        const { path, byte } = placeOf(of, logs[1]!, hit);
        of.disk.rot(path, (byte + shift) * 8);
        const { journal, answers } = await fencedAgain(of, logs);
        expect(answers.map((answer) => answer.status)).toEqual(['ok', 'lost', 'ok']);
        expect(answers.map((answer) => answer.endEntry)).toEqual([count - 1, hit - 1, count - 1]);
        expect(answers[1]!.lostTo).toBeGreaterThanOrEqual(logs[1]!.next);
        expect(journal.counters.lostSegments).toBe(1);
        const damaged = await readOver(journal, logs[1]!);
        expect(damaged.found).toEqual(bases.slice(0, hit));
        expect(damaged.lost[0]![0]).toBe(hit * perEntry);
        for (const log of [logs[0]!, logs[2]!]) {
          expect(await readOver(journal, log)).toEqual({ found: bases, lost: [] });
        }
      }
    });
  }

  it('a frame that cannot be read at all loses every shard that may have been in it, and never silently', async () => {
    const { of, logs } = await inLog();
    const { path, byte } = placeOf(of, logs[0]!, 4);
    // The frame's header: what it held is not known any more.
    const frame = Math.floor(byte / 4096) * 4096;
    of.disk.poke(path, frame, Buffer.alloc(64));
    const { answers } = await fencedAgain(of, logs);
    expect(answers.map((answer) => answer.status)).toEqual(['lost', 'lost', 'lost']);
    for (const [at, answer] of answers.entries()) {
      expect(answer.endEntry).toBe(3);
      expect(answer.lostTo).toBeGreaterThanOrEqual(logs[at]!.next);
    }
  });

  it('what is in a segment file already is not lost with the log', async () => {
    const { of, logs } = await inLog(small);
    await of.clock.advance(100);
    const { path, byte } = placeOf(of, logs[1]!, 4);
    of.disk.rot(path, (byte + 70) * 8);
    const { journal, answers } = await fencedAgain(of, logs);
    expect(answers.map((answer) => [answer.status, answer.endEntry])).toEqual(
      logs.map(() => ['ok', count - 1]),
    );
    for (const log of logs) expect(await readOver(journal, log)).toEqual({ found: bases, lost: [] });
  });

  /** As `inLog`, and one more frame, in which the second shard has nothing. */
  async function withLaterFrame(): Promise<{ of: Rig; logs: TestLog[] }> {
    const made = await inLog();
    made.of.got.stream.send([made.logs[0]!.data(1)]);
    await made.of.got.durable(made.logs[0]!.segment, count);
    return made;
  }

  it('whatever bit of its header is flipped, a last entry alone is lost, and nobody uses its offsets again', async () => {
    // One bit of each byte, and every bit of the low bytes of shard, entry, segment, epoch, count and base offset.
    const bits = Array.from({ length: entryHeaderBytes }, (_, at) => at * 8 + (at % 8));
    for (const at of [11, 15, 23, 27, 31, 39]) for (let bit = 0; bit < 8; bit++) bits.push(at * 8 + bit);
    for (const bit of bits) {
      const { of, logs } = await withLaterFrame();
      const { path, byte } = placeOf(of, logs[1]!, count - 1);
      of.disk.rot(path, (byte - entryHeaderBytes) * 8 + bit);
      const { answers } = await fencedAgain(of, logs);
      expect(answers[1], `bit ${bit}`).toMatchObject({
        status: 'lost',
        endEntry: count - 2,
        lostTo: logs[1]!.next,
      });
      expect([answers[0]!.status, answers[2]!.status], `bit ${bit}`).toEqual(['ok', 'ok']);
    }
  });

  it('a header of which nothing is left loses every shard that may have had the entry', async () => {
    const { of, logs } = await withLaterFrame();
    const { path, byte } = placeOf(of, logs[1]!, count - 1);
    of.disk.poke(path, byte - entryHeaderBytes, Buffer.alloc(entryHeaderBytes));
    const { answers } = await fencedAgain(of, logs);
    // The first goes on in a later frame, so nothing of it is missing.
    expect(answers.map(({ status }) => status)).toEqual(['ok', 'lost', 'lost']);
    expect(answers[1]!.lostTo).toBeGreaterThanOrEqual(logs[1]!.next);
  });

  it('a flipped bit in a fence costs no shard anything, and the fence holds', async () => {
    for (let bit = 0; bit < 20 * 8; bit += 3) {
      const { of, logs } = await inLog();
      const { shard: fenced, segment } = logs[1]!;
      await of.journal.fence([{ shard: fenced, segment, epoch: 5 as Epoch }]);
      of.got.stream.send([new TestLog(99 as TestLog['shard'], 9).data(1)]);
      await of.got.durable(9 as TestLog['segment'], 0);
      const path = '/journal/wal/0001.wal';
      const at = of.disk.peek(path).indexOf(Buffer.from('RMQF'));
      of.disk.rot(path, at * 8 + bit);
      const { answers } = await fencedAgain(of, logs);
      expect(
        answers.map(({ status }) => status),
        `bit ${bit}`,
      ).toEqual(['ok', 'fenced', 'ok']);
    }
  });

  it('two damaged entries of one shard are lost both: the offsets of the second are not used again', async () => {
    const { of, logs } = await withLaterFrame();
    for (const hit of [count - 2, count - 1]) {
      const { path, byte } = placeOf(of, logs[1]!, hit);
      of.disk.rot(path, (byte + 70) * 8);
    }
    const { answers } = await fencedAgain(of, logs);
    expect(answers.map((answer) => answer.status)).toEqual(['ok', 'lost', 'ok']);
    expect(answers[1]).toMatchObject({ endEntry: count - 3, lostTo: logs[1]!.next });
  });

  it('an append to a segment that lost entries is refused', async () => {
    const { of, logs } = await inLog();
    const { path, byte } = placeOf(of, logs[1]!, 4);
    of.disk.rot(path, (byte + 70) * 8);
    const { journal } = await fencedAgain(of, logs);
    const got = new AppendRecorder(journal);
    const next = logs[1]!.data(1);
    got.stream.send([{ ...next, epoch: 2 as Epoch }]);
    await got.until(() => got.refusals.length > 0);
    expect(got.heard).toEqual([]);
  });
});

describe('storage 4.5: a sealed segment of which less is here than metadata says', () => {
  it('regression: its readers waited for ever; what is missing is lost', async () => {
    const of = await rig(small);
    const log = new TestLog(shard, 1);
    for (let at = 0; at < 3; at++) of.got.stream.send([log.data(perEntry)]);
    await of.got.durable(log.segment, 2);
    of.metadata.set(shard, [{ id: log.segment, state: 'sealed', endEntry: 5, endOffset: 12 }]);
    await of.clock.advance(50);
    const found: Offset[] = [];
    const request = { shard, segment: log.segment, limit: 12, maxBytes: 1 << 20 };
    const first = await of.journal.read({ ...request, offset: 0 });
    for (const entry of first.entries) found.push(entry.baseOffset);
    expect([found, first.nextOffset]).toEqual([[0, 2, 4], 6]);
    await expect(of.journal.read({ ...request, offset: 6 })).rejects.toMatchObject({
      code: 'JOURNAL_DATA_LOST',
      detail: { from: 6, to: 12 },
    });
  });
});

describe('storage 3.5: what is stored is checked in the background', () => {
  const slow = { ...small, pollMs: 3_600_000, scrubBytesPerSecond: 1 << 20 };
  const day = 24 * 3600;

  /** Lets so many seconds pass, in which the disk may work. */
  async function pass(of: Rig, seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      await of.clock.advance(1000);
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  function dataBytes(of: Rig): number {
    return [...of.journal.usage().shards.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  it('each segment once a day, at the rate that is set', async () => {
    const of = await rig(slow);
    await sealed(of, [1, 2, 3]);
    await pass(of, 10);
    const all = dataBytes(of);
    const { counters } = of.journal;
    expect([counters.scrubbedBytes, counters.scrubDamagedSegments]).toEqual([all, 0]);
    await of.clock.advance((day - 60) * 1000);
    await pass(of, 10);
    expect(counters.scrubbedBytes).toBe(all);
    await pass(of, 70);
    expect(counters.scrubbedBytes).toBe(2 * all);
    await of.journal.stop();
  });

  it('a large one takes as long as its bytes need, and entries of 1.9 MB are checked whole', async () => {
    const of = await rig({ ...slow, walFileBytes: 8 << 20, walBytes: 64 << 20 });
    const log = new TestLog(shard, 1);
    for (let at = 0; at < 5; at++) {
      of.got.stream.send([log.data(1, 1000, { bytes: 1_900_000 })]);
      await of.got.durable(log.segment, at);
    }
    const state = 'sealed' as const;
    of.metadata.set(shard, [{ id: log.segment, state, endEntry: 4, endOffset: 5, chainCrc: log.crc }]);
    await pass(of, 1);
    const { counters } = of.journal;
    let seconds = 0;
    for (; counters.scrubbedBytes < dataBytes(of) && seconds < 30; seconds++) await pass(of, 1);
    expect(seconds).toBeGreaterThanOrEqual(7);
    expect([counters.scrubbedBytes, counters.scrubDamagedSegments]).toEqual([dataBytes(of), 0]);
    await of.journal.stop();
  });

  it.each([
    ['a flipped bit', (of: Rig) => of.disk.rot('/journal/segments/7-2.seg', 900 * 8)],
    ['a file that is gone', (of: Rig) => of.disk.rename('/journal/segments/7-2.seg', '/journal/segments/x')],
  ])('%s is counted once a pass, and the other segments are checked', async (_what, damage) => {
    const of = await rig({ ...slow, openFiles: 0 });
    await sealed(of, [1, 2, 3]);
    await damage(of);
    await pass(of, 10);
    const { counters } = of.journal;
    expect(counters.scrubDamagedSegments).toBe(1);
    expect(counters.scrubbedBytes).toBeGreaterThanOrEqual((dataBytes(of) * 2) / 3);
    expect(counters.scrubbedBytes).toBeLessThan(dataBytes(of));
    await of.clock.advance(day * 1000);
    await pass(of, 10);
    expect(counters.scrubDamagedSegments).toBe(2);
    await of.journal.stop();
  });

  it('one that metadata does not list is on its way out, and may be cut already', async () => {
    const of = await rig(slow);
    const [first, second] = await sealed(of, [1, 2]);
    await of.journal.stop();
    of.disk.poke('/journal/segments/7-2.seg', 0, Buffer.alloc(4000));
    const metadata = new FakeMetadata();
    const state = 'sealed' as const;
    const { segment: id, crc: chainCrc } = first!;
    metadata.set(shard, [{ id, state, endEntry: count - 1, endOffset: second!.next, chainCrc }]);
    const told: string[] = [];
    const options = {
      disk: of.disk,
      clock: of.clock,
      metadata,
      limits: { ...slow, orphanGraceMs: day * 1000 },
    };
    const journal = await startJournal({ ...options, logger: recordingLogger(told) });
    const bytes = journal.usage().shards.get(shard)!;
    await pass({ ...of, journal }, 10);
    expect([journal.counters.scrubbedBytes, journal.counters.scrubDamagedSegments]).toEqual([bytes / 2, 0]);
    expect(told).toEqual([]);
    await journal.stop();
  });

  it('not at all at rate 0', async () => {
    const of = await rig({ ...slow, scrubBytesPerSecond: 0 });
    await sealed(of, [1]);
    await pass(of, 10);
    expect(of.journal.counters.scrubbedBytes).toBe(0);
  });
});
