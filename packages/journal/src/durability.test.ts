import type { Epoch } from '@robustmq/core';
import type { FenceAnswer } from '@robustmq/kernel';
import type { SimOp } from '@robustmq/sim';
import { SimClock, SimDisk, settle } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { FakeMetadata, startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as TestLog['shard'];
const kibibyte = 1024;

interface Rig {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly metadata: FakeMetadata;
  readonly journal: LocalJournal;
  readonly got: AppendRecorder;
}

async function rig(
  options: { disk?: SimDisk; limits?: Partial<JournalLimits>; metadata?: FakeMetadata } = {},
): Promise<Rig> {
  const { disk = new SimDisk(), limits = {}, metadata = new FakeMetadata() } = options;
  const clock = new SimClock();
  const journal = await startJournal({ disk, clock, metadata, limits });
  return { disk, clock, metadata, journal, got: new AppendRecorder(journal) };
}

async function fence(journal: LocalJournal, log: TestLog, epoch: number): Promise<FenceAnswer> {
  const [answer] = await journal.fence([{ shard: log.shard, segment: log.segment, epoch: epoch as Epoch }]);
  return answer!;
}

describe('storage 4.7: flush=interval', () => {
  it('is acknowledged from memory, written alone only after its time, and durable from then on', async () => {
    const of = await rig();
    const log = new TestLog(shard, 1, { durability: { kind: 'interval', ms: 50 } });
    of.metadata.set(shard, [{ id: log.segment }]);
    of.got.stream.send([log.data(1), log.data(1)]);
    await settle();
    expect(of.got.lastAck(log.segment)).toMatchObject({ receivedUpTo: 1, durableUpTo: -1 });
    const { frames } = of.journal.walStats;
    await of.clock.advance(49);
    expect(of.journal.walStats.frames).toBe(frames);
    await of.clock.advance(1);
    await settle();
    expect(of.journal.walStats.frames).toBe(frames + 1);
    expect(of.got.lastAck(log.segment)).toMatchObject({ receivedUpTo: 1, durableUpTo: 1 });
  });

  it('what was not durable is lost by a power cut, and what was durable is not; the answer says which', async () => {
    const of = await rig();
    const log = new TestLog(shard, 1, { durability: { kind: 'interval', ms: 50 } });
    of.metadata.set(shard, [{ id: log.segment }]);
    of.got.stream.send([log.data(2), log.data(2)]);
    await of.clock.advance(60);
    const durableCrc = log.crc;
    of.got.stream.send([log.data(2)]);
    await settle();
    expect(of.got.lastAck(log.segment)).toMatchObject({ receivedUpTo: 2, durableUpTo: 1 });
    const again = await rig({ disk: of.disk.crash(), metadata: of.metadata });
    const answer = await fence(again.journal, log, 2);
    expect(answer).toMatchObject({ status: 'ok', endEntry: 1, endOffset: 4, chainCrc: durableCrc });
  });

  it('travels with the frame that another shard starts, and alone at the bound in bytes', async () => {
    const of = await rig({ limits: { lazyBytes: 4 * kibibyte } });
    const lazy = new TestLog(shard, 1, { durability: { kind: 'interval', ms: 1_000_000 } });
    const eager = new TestLog(8 as TestLog['shard'], 2);
    of.got.stream.send([lazy.data(1), eager.data(1)]);
    await of.got.durable(eager.segment, 0);
    expect(of.got.lastAck(lazy.segment).durableUpTo).toBe(0);
    of.got.stream.send([lazy.data(1, 1000, { bytes: 5 * kibibyte })]);
    await of.got.durable(lazy.segment, 1);
  });

  it('storage 4.7: regression: it waited for the time of another shard that allows longer', async () => {
    const of = await rig();
    const patient = new TestLog(shard, 1, { durability: { kind: 'interval', ms: 60_000 } });
    const hasty = new TestLog(8 as TestLog['shard'], 2, { durability: { kind: 'interval', ms: 50 } });
    of.got.stream.send([patient.data(1)]);
    await of.clock.advance(1000);
    of.got.stream.send([hasty.data(1), patient.data(1)]);
    await of.clock.advance(49);
    await settle();
    expect(of.got.lastAck(hasty.segment).durableUpTo).toBe(-1);
    await of.clock.advance(1);
    await of.got.durable(hasty.segment, 0);
    expect(of.got.lastAck(patient.segment).durableUpTo).toBe(1);
  });

  it('a clean stop makes all of it durable', async () => {
    const of = await rig();
    const log = new TestLog(shard, 1, { durability: { kind: 'interval', ms: 1_000_000 } });
    of.metadata.set(shard, [{ id: log.segment }]);
    of.got.stream.send([log.data(1), log.data(1), log.data(1)]);
    await of.journal.stop();
    const again = await rig({ disk: of.disk.crash(), metadata: of.metadata });
    expect(await fence(again.journal, log, 2)).toMatchObject({ status: 'ok', endEntry: 2, endOffset: 3 });
  });
});

describe('DESIGN 7: storage class memory', () => {
  it('is ordered and addressed by offset, takes nothing of the disk, and is gone after a restart', async () => {
    const of = await rig();
    const log = new TestLog(shard, 1, { durability: { kind: 'memory' } });
    of.metadata.set(shard, [{ id: log.segment }]);
    const { writtenBytes } = of.journal.walStats;
    of.got.stream.send([log.data(3), log.data(3)]);
    await settle();
    expect(of.got.lastAck(log.segment)).toMatchObject({ receivedUpTo: 1, durableUpTo: -1 });
    const request = { shard, segment: log.segment, limit: 6, maxBytes: 1 << 20 };
    const answer = of.journal.readCached({ ...request, offset: 4 });
    expect([answer!.entries.map((entry) => entry.baseOffset), answer!.nextOffset]).toEqual([[3], 6]);
    await of.clock.advance(5000);
    expect(of.journal.walStats.writtenBytes).toBe(writtenBytes);
    expect(await of.disk.list('/journal/segments')).toEqual([]);
    await of.journal.stop();
    const again = await rig({ disk: of.disk.crash(), metadata: of.metadata });
    expect(await fence(again.journal, log, 2)).toMatchObject({ status: 'ok', endEntry: -1, endOffset: 0 });
  });

  it('a deleted segment gives its memory back', async () => {
    const of = await rig({ limits: { deleteAfterMs: 100 } });
    const log = new TestLog(shard, 1, { durability: { kind: 'memory' } });
    of.metadata.set(shard, [{ id: log.segment }]);
    of.got.stream.send([log.data(3), log.data(3)]);
    await settle();
    expect(of.journal.counters.memoryBytes).toBe(log.bytes);
    of.metadata.delete(shard);
    await of.clock.advance(200);
    expect(of.journal.counters.memoryBytes).toBe(0);
  });
});

describe('replication 2.5: a fence is durable when it is answered', () => {
  it('no lower epoch appends after a power cut behind the answer', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const of = await rig({ disk: new SimDisk({ seed }) });
      const log = new TestLog(shard, 1, { epoch: 3 });
      of.metadata.set(shard, [{ id: log.segment }]);
      of.got.stream.send([log.data(1)]);
      await of.got.durable(log.segment, 0);
      await fence(of.journal, log, 5);
      const again = await rig({ disk: of.disk.crash(), metadata: of.metadata });
      again.got.stream.send([log.data(1)]);
      await again.got.until(() => again.got.refusals.length > 0);
      expect(again.got.refusals[0]).toMatchObject({ code: 'JOURNAL_FENCED', epoch: 5 });
    }
  });

  it('outlives the file of the log that it was written to', async () => {
    const limits = {
      walFileBytes: 64 * kibibyte,
      walBytes: 192 * kibibyte,
      sweepBytes: 1,
      tailCacheBytes: 0,
    };
    const of = await rig({ limits });
    const log = new TestLog(shard, 1, { epoch: 3 });
    const other = new TestLog(8 as TestLog['shard'], 2);
    for (const { shard: id, segment } of [log, other]) of.metadata.set(id, [{ id: segment }]);
    await fence(of.journal, log, 5);
    const { checkpoints } = of.journal.walStats;
    for (let round = 0; round < 30; round++) {
      const entry = other.data(1, 1000, { bytes: 10_000 });
      of.got.stream.send([entry]);
      await of.clock.advance(20);
      await of.got.durable(other.segment, entry.entryId);
    }
    expect(of.journal.walStats.checkpoints).toBeGreaterThan(checkpoints + 3);
    const again = await rig({ disk: of.disk.crash(), metadata: of.metadata, limits });
    again.got.stream.send([log.data(1)]);
    await again.got.until(() => again.got.refusals.length > 0);
    expect(again.got.refusals[0]).toMatchObject({ code: 'JOURNAL_FENCED', epoch: 5 });
  });
});

describe('storage 2.5: names before entries', () => {
  it('the file of a segment whose making a kill cut off is trusted only when its name is durable', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const disk = new SimDisk({ seed });
      const limits = {
        walFileBytes: 64 * kibibyte,
        walBytes: 192 * kibibyte,
        sweepBytes: 1,
        tailCacheBytes: 0,
      };
      const of = await rig({ disk, limits });
      const log = new TestLog(shard, 1);
      const other = new TestLog(8 as TestLog['shard'], 2);
      for (const { shard: id, segment } of [log, other]) of.metadata.set(id, [{ id: segment }]);
      of.got.stream.send([other.data(1)]);
      await of.got.durable(other.segment, 0);
      await of.clock.advance(10);
      let killed: SimDisk | null = null;
      let made = false;
      disk.fault = (op: SimOp) => {
        made ||= op.kind === 'open' && op.path.endsWith('/7-1.seg');
        if (made && op.kind === 'syncDir') queueMicrotask(() => (killed ??= disk.kill()));
        return undefined;
      };
      of.got.stream.send([log.data(1)]);
      for (let turn = 0; killed === null && turn < 100; turn++) await of.clock.advance(1);
      const second = await rig({ disk: killed!, metadata: of.metadata, limits });
      await fence(second.journal, log, 2);
      // The file is written, and the log that had the entry is used again; no other file is made meanwhile.
      for (let round = 0; round < 30; round++) {
        const entry = other.data(1, 1000, { bytes: 10_000 });
        second.got.stream.send([entry]);
        await second.clock.advance(20);
        await second.got.durable(other.segment, entry.entryId);
      }
      const third = await rig({ disk: killed!.crash(), metadata: of.metadata, limits });
      expect(await fence(third.journal, log, 3)).toMatchObject({ status: 'ok', endEntry: 0 });
      const request = { shard, segment: log.segment, offset: 0, limit: 1, maxBytes: 1 << 20 };
      const answer = third.journal.readCached(request) ?? (await third.journal.read(request));
      expect(answer.entries[0]!.payload.equals(log.payloads[0]!)).toBe(true);
    }
  });
});
