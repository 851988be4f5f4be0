import type { Epoch } from '@robustmq/core';
import { SimClock, SimDisk, settle } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { FakeMetadata, startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as TestLog['shard'];
const kibibyte = 1024;
const walBytes = 3 * 64 * kibibyte;
const reserveBytes = 128 * kibibyte;
const small: Partial<JournalLimits> = {
  walFileBytes: 64 * kibibyte,
  walBytes,
  sweepBytes: 4 * kibibyte,
  tailCacheBytes: 0,
  reserveBytes,
  pollMs: 100,
  deleteAfterMs: 100,
};

interface Rig {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly metadata: FakeMetadata;
  readonly journal: LocalJournal;
  readonly got: AppendRecorder;
}

async function rig(capacityBytes: number, limits: Partial<JournalLimits> = small): Promise<Rig> {
  const disk = new SimDisk({ capacityBytes });
  const clock = new SimClock();
  const metadata = new FakeMetadata();
  const journal = await startJournal({ disk, clock, metadata, limits });
  return { disk, clock, metadata, journal, got: new AppendRecorder(journal) };
}

/** Appends as long as the journal admits, 2 KiB at a time; the bytes of all entries. */
async function fill({ got, clock }: Rig, log: TestLog): Promise<number> {
  for (let round = 0; got.admitted && round < 1000; round++) {
    const entry = log.data(1, 1000, { bytes: 2 * kibibyte });
    got.stream.send([entry]);
    await clock.advance(20);
    await got.durable(log.segment, entry.entryId);
  }
  return log.bytes;
}

async function readAll({ journal }: Rig, log: TestLog): Promise<number> {
  let offset = 0;
  let entries = 0;
  while (offset < log.next) {
    const request = { shard: log.shard, segment: log.segment, offset, limit: log.next, maxBytes: 1 << 16 };
    const answer = journal.readCached(request) ?? (await journal.read(request));
    for (const entry of answer.entries) expect(entry.payload.equals(log.payloads[entries++]!)).toBe(true);
    offset = answer.nextOffset;
  }
  return entries;
}

describe('storage 4.6: a disk that fills up', () => {
  it('admission closes while the reserve is still free, and opens one reserve above it', async () => {
    const capacity = walBytes + reserveBytes * 4;
    const of = await rig(capacity);
    const log = new TestLog(shard, 1);
    of.metadata.set(shard, [{ id: log.segment }]);
    await fill(of, log);
    expect(of.got.admitted).toBe(false);
    expect(of.got.refusals).toEqual([]);
    const { freeBytes } = of.journal.usage();
    expect(freeBytes).toBeLessThan(reserveBytes + of.journal.counters.tailBytes + 20 * kibibyte);
    expect(freeBytes).toBeGreaterThan(reserveBytes / 2);
    // All that was acknowledged goes to its file and is read.
    await of.clock.advance(5000);
    expect(of.journal.counters.tailBytes).toBe(0);
    expect(await readAll(of, log)).toBe(log.payloads.length);
    of.disk.capacityBytes += reserveBytes / 2;
    await of.clock.advance(500);
    expect(of.got.admitted).toBe(false);
    of.disk.capacityBytes += reserveBytes;
    await of.clock.advance(500);
    expect(of.got.admitted).toBe(true);
    await fill(of, log);
    expect(await readAll(of, log)).toBe(log.payloads.length);
  });

  it('admission closes by what came meanwhile when free space can not be looked at', async () => {
    const capacity = walBytes + reserveBytes * 4;
    const of = await rig(capacity, { ...small, pollMs: 3_600_000 });
    const log = new TestLog(shard, 1);
    of.metadata.set(shard, [{ id: log.segment }]);
    // A machine so busy that no look at the volume ends.
    of.disk.free = () => new Promise(() => undefined);
    await fill(of, log);
    expect([of.got.admitted, of.got.refusals]).toEqual([false, []]);
    const { freeBytes } = await SimDisk.prototype.free.call(of.disk, '/');
    expect(freeBytes - of.journal.counters.tailBytes).toBeGreaterThan(reserveBytes - 20 * kibibyte);
    expect(log.bytes).toBeGreaterThan(reserveBytes);
  });

  it('retention makes room: what metadata no longer lists opens admission again', async () => {
    const of = await rig(walBytes + reserveBytes * 6);
    const logs: TestLog[] = [];
    for (let id = 1; id <= 2; id++) {
      const log = new TestLog((10 + id) as TestLog['shard'], id);
      of.metadata.set(log.shard, [{ id: log.segment }]);
      logs.push(log);
    }
    of.got.stream.send([logs[1]!.data(1)]);
    await fill(of, logs[0]!);
    expect(of.got.admitted).toBe(false);
    of.metadata.delete(logs[0]!.shard);
    await of.clock.advance(1000);
    expect(of.got.admitted).toBe(true);
    await fill(of, logs[1]!);
    expect(await readAll(of, logs[1]!)).toBe(logs[1]!.payloads.length);
  });

  it('a segment write that finds no space is not fatal, drops nothing, and is tried again', async () => {
    const of = await rig(100 * reserveBytes);
    const log = new TestLog(shard, 1);
    of.metadata.set(shard, [{ id: log.segment }]);
    let full = true;
    of.disk.fault = (op) =>
      full && op.path.endsWith('.seg') && (op.kind === 'open' || op.kind === 'pwrite')
        ? 'DISK_FULL'
        : undefined;
    for (let round = 0; round < 5; round++) {
      of.got.stream.send([log.data(1, 1000, { bytes: 2 * kibibyte })]);
      await of.clock.advance(20);
    }
    await of.got.durable(log.segment, 4);
    expect(of.got.admitted).toBe(false);
    await of.clock.advance(2000);
    expect(await readAll(of, log)).toBe(5);
    // Nor does a power cut lose any of it.
    const journal = await startJournal({
      ...of,
      disk: of.disk.crash(),
      clock: new SimClock(),
      limits: small,
    });
    const [answer] = await journal.fence([{ shard, segment: log.segment, epoch: 2 as Epoch }]);
    expect(answer).toMatchObject({ status: 'ok', endEntry: 4, chainCrc: log.crc });
    full = false;
  });

  it('goes on by itself when there is space again', async () => {
    const of = await rig(100 * reserveBytes);
    const log = new TestLog(shard, 1);
    let full = true;
    of.disk.fault = (op) =>
      full && op.path.endsWith('.seg') && op.kind === 'pwrite' ? 'DISK_FULL' : undefined;
    for (let round = 0; round < 5; round++) {
      of.got.stream.send([log.data(1, 1000, { bytes: 2 * kibibyte })]);
      await of.clock.advance(20);
    }
    expect([of.got.admitted, of.journal.counters.tailBytes]).toEqual([false, log.bytes]);
    full = false;
    await of.clock.advance(3000);
    expect([of.got.admitted, of.journal.counters.tailBytes]).toEqual([true, 0]);
    expect(await readAll(of, log)).toBe(5);
  });

  it('compaction and fold checkpoints leave half of the reserve, so that a killed journal starts again', async () => {
    const of = await rig(walBytes + reserveBytes * 3);
    const log = new TestLog(shard, 1);
    of.metadata.set(shard, [{ id: log.segment }]);
    await fill(of, log);
    await of.clock.advance(3000);
    const big = new TestLog(shard, 2);
    const entries = Array.from({ length: 30 }, () => big.data(1, 1000, { bytes: 10 * kibibyte }));
    const writing = of.journal.writeSegment({ shard, segment: big.segment, epoch: 1 as Epoch, entries });
    await expect(writing).rejects.toMatchObject({ code: 'STORAGE_FULL', retriable: true });
    const saving = of.journal.saveCheckpoint(shard, 1, Buffer.alloc(300 * kibibyte));
    await expect(saving).rejects.toMatchObject({ code: 'STORAGE_FULL', retriable: true });
    expect((await of.disk.list('/journal/segments')).map(({ name }) => name)).toEqual(['7-1.seg']);
    const { freeBytes } = await of.disk.free('/');
    expect(freeBytes).toBeGreaterThan(reserveBytes / 2);
    const journal = await startJournal({ ...of, disk: of.disk.kill(), clock: new SimClock(), limits: small });
    expect(await readAll({ ...of, journal }, log)).toBe(log.payloads.length);
  });

  it('the pool counts as free space: it is given back before admission closes', async () => {
    const pool = { poolFiles: 4, poolFileBytes: 64 * kibibyte };
    const of = await rig(walBytes + reserveBytes * 6, { ...small, ...pool });
    for (let number = 1; number <= 3; number++) {
      const log = new TestLog((20 + number) as TestLog['shard'], number);
      of.metadata.set(log.shard, [{ id: log.segment }]);
      for (let round = 0; round < 30; round++) {
        of.got.stream.send([log.data(1, 1000, { bytes: 2 * kibibyte })]);
        await of.clock.advance(20);
      }
      of.metadata.delete(log.shard);
      await of.clock.advance(1000);
    }
    expect(of.journal.counters.poolFiles).toBeGreaterThan(0);
    const log = new TestLog(shard, 9);
    await fill(of, log);
    expect(of.journal.counters.poolFiles).toBe(0);
    expect(log.bytes).toBeGreaterThan(reserveBytes * 4);
  });

  it('a log that stands still for want of a file goes on when there is space, with no help', async () => {
    const limits = { ...small, walBytes: 8 * 64 * kibibyte, sweepBytes: 1 << 30, tailAgeMs: 1 << 30 };
    const of = await rig(2 * 64 * kibibyte + 30 * kibibyte, { ...limits, reserveBytes: 0 });
    const log = new TestLog(shard, 1);
    // No segment file can be made either, so nothing of the log may be given up.
    of.disk.fault = (op) => (op.path.endsWith('.seg') ? 'DISK_FULL' : undefined);
    for (let round = 0; round < 40; round++) of.got.stream.send([log.data(1, 1000, { bytes: 3 * kibibyte })]);
    await of.clock.advance(500);
    expect(of.got.heard.at(-1)!.durableUpTo).toBeLessThan(39);
    of.disk.capacityBytes = 100 * reserveBytes;
    await of.clock.advance(500);
    for (let turn = 0; turn < 20; turn++) await settle();
    expect(of.got.heard.at(-1)!.durableUpTo).toBe(39);
  });
});
