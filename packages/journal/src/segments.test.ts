import type { Epoch } from '@robustmq/core';
import { SimClock, SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { decodeIndex, decodeTrailer, indexRowBytes, trailerBytes } from './footer.ts';
import { FakeMetadata, startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as TestLog['shard'];
const kibibyte = 1024;
const small: Partial<JournalLimits> = {
  walFileBytes: 64 * kibibyte,
  walBytes: 256 * kibibyte,
  blockBytes: 1500,
  sweepBytes: 1,
  tailCacheBytes: 0,
  deleteAfterMs: 1000,
  orphanGraceMs: 5000,
};

interface Rig {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly metadata: FakeMetadata;
  readonly journal: LocalJournal;
  readonly got: AppendRecorder;
}

async function rig(limits: Partial<JournalLimits> = small, from?: Rig): Promise<Rig> {
  const disk = from?.disk ?? new SimDisk();
  const clock = new SimClock();
  const metadata = from?.metadata ?? new FakeMetadata();
  const journal = await startJournal({ disk, clock, metadata, limits });
  return { disk, clock, metadata, journal, got: new AppendRecorder(journal) };
}

async function append({ got, clock }: Rig, log: TestLog, sizes: readonly number[]): Promise<void> {
  for (const bytes of sizes) {
    const entry = log.data(1, 1000 + log.next, { bytes });
    got.stream.send([entry]);
    await got.durable(log.segment, entry.entryId);
    await clock.advance(1);
  }
}

/** Lists these segments in metadata, all sealed at their ends but the last, unless `sealLast`. */
async function list({ metadata, clock }: Rig, logs: readonly TestLog[], sealLast = false): Promise<void> {
  metadata.set(
    shard,
    logs.map((log, at) => {
      const open = at === logs.length - 1 && !sealLast;
      const { segment: id, epoch: writerEpoch, crc: chainCrc } = log;
      const baseOffset = log.next - log.payloads.length;
      if (open) return { id, writerEpoch, baseOffset };
      const end = { endEntry: log.payloads.length - 1, endOffset: log.next, chainCrc };
      return { id, writerEpoch, baseOffset, state: 'sealed' as const, ...end };
    }),
  );
  await clock.advance(20);
}

async function files(disk: SimDisk): Promise<string[]> {
  return (await disk.list('/journal/segments')).map(({ name }) => name);
}

describe('storage 3.2: one file per segment', () => {
  it('an idle shard has no file; the first sweep makes one; a seal ends it with a footer that describes it', async () => {
    const of = await rig();
    const log = new TestLog(shard, 3, { baseOffset: 100 });
    await list(of, [log]);
    await of.clock.advance(5000);
    expect(await files(of.disk)).toEqual([]);
    await append(of, log, [400, 400, 400, 400, 400]);
    expect(await files(of.disk)).toEqual(['7-3.seg']);
    await list(of, [log], true);
    const bytes = of.disk.peek('/journal/segments/7-3.seg');
    const trailer = decodeTrailer(bytes.subarray(bytes.length - trailerBytes), bytes.length)!;
    expect(trailer).toMatchObject({
      shard,
      segment: 3,
      epoch: 1,
      baseOffset: 100,
      endOffset: 105,
      endEntry: 4,
      maxTimestamp: 1104,
      chainCrc: log.crc,
      dataBytes: log.bytes,
      blocks: 3,
    });
    const rowsAt = trailer.dataBytes + trailer.filtersBytes;
    const rows = bytes.subarray(rowsAt, rowsAt + trailer.blocks * indexRowBytes);
    const index = decodeIndex(trailer, rows, 1500)!;
    expect(index.firstOffset).toEqual([100, 102, 104]);
    expect(index.maxTimestamp).toEqual([1101, 1103, 1104]);
  });

  it('any flipped bit of a trailer or of index rows is noticed', async () => {
    const of = await rig();
    const log = new TestLog(shard, 3);
    await append(of, log, [400, 400, 400]);
    await list(of, [log], true);
    const bytes = of.disk.peek('/journal/segments/7-3.seg');
    const end = bytes.subarray(bytes.length - trailerBytes);
    const trailer = decodeTrailer(end, bytes.length)!;
    for (let bit = 0; bit < trailerBytes * 8; bit++) {
      const damaged = Buffer.from(end);
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      expect(decodeTrailer(damaged, bytes.length)).toBeNull();
    }
    expect(decodeTrailer(end, bytes.length + 1)).toBeNull();
    const rowsAt = trailer.dataBytes + trailer.filtersBytes;
    const rows = bytes.subarray(rowsAt, rowsAt + trailer.blocks * indexRowBytes);
    for (let bit = 0; bit < rows.length * 8; bit++) {
      const damaged = Buffer.from(rows);
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      expect(decodeIndex(trailer, damaged, 1500)).toBeNull();
    }
  });

  it('a shard rolls from segment to segment: offsets go on, an append to a sealed one is refused', async () => {
    const of = await rig();
    const first = new TestLog(shard, 1);
    await append(of, first, [100, 100]);
    const second = new TestLog(shard, 2, { baseOffset: first.next });
    await list(of, [first, second]);
    await append(of, second, [100, 100]);
    of.got.stream.send([first.data(1)]);
    await of.got.until(() => of.got.refusals.length > 0);
    expect(of.got.refusals[0]!.code).toBe('JOURNAL_SEGMENT_UNKNOWN');
    for (const [log, offset] of [
      [first, 0],
      [second, 2],
    ] as const) {
      const request = { shard, segment: log.segment, offset, limit: offset + 2, maxBytes: 1 << 20 };
      const answer = of.journal.readCached(request) ?? (await of.journal.read(request));
      expect(answer.entries.map((entry) => entry.baseOffset)).toEqual([offset, offset + 1]);
    }
    expect(of.journal.counters.sealedSegments).toBe(1);
  });

  it('entries behind the end at which metadata sealed a segment are never served', async () => {
    const of = await rig();
    const log = new TestLog(shard, 1);
    await append(of, log, [100, 100, 100, 100]);
    of.metadata.set(shard, [{ id: log.segment, state: 'sealed', endEntry: 1, endOffset: 2 }]);
    await of.clock.advance(20);
    const request = { shard, segment: log.segment, offset: 0, limit: 4, maxBytes: 1 << 20 };
    const answer = of.journal.readCached(request) ?? (await of.journal.read(request));
    expect([answer.entries.map((entry) => entry.baseOffset), answer.nextOffset]).toEqual([[0, 1], 2]);
  });
});

describe('storage 3.7: what metadata no longer lists', () => {
  it('is deleted after the longest read, not before, and frees its file; the rest stays', async () => {
    const of = await rig();
    const logs = [1, 2, 3].map((id) => new TestLog(shard, id, { baseOffset: (id - 1) * 2 }));
    for (const log of logs) await append(of, log, [100, 100]);
    await list(of, logs);
    await list(of, logs.slice(1));
    await of.clock.advance(900);
    const request = { shard, segment: logs[0]!.segment, offset: 0, limit: 2, maxBytes: 1 << 20 };
    const answer = of.journal.readCached(request) ?? (await of.journal.read(request));
    expect(answer.entries).toHaveLength(2);
    await of.clock.advance(200);
    expect(await files(of.disk)).toEqual(['7-2.seg', '7-3.seg']);
    expect(() => of.journal.readCached(request)).toThrow(
      expect.objectContaining({ code: 'JOURNAL_SEGMENT_UNKNOWN' }),
    );
    expect(of.journal.usage().shards.get(shard)).toBe(logs[1]!.bytes + logs[2]!.bytes);
  });

  it('a deleted shard takes its files, its checkpoint and its place in memory along', async () => {
    const of = await rig();
    const logs = [1, 2].map((id) => new TestLog(shard, id, { baseOffset: (id - 1) * 2 }));
    for (const log of logs) await append(of, log, [100, 100]);
    await list(of, logs);
    await of.journal.saveCheckpoint(shard, 2, Buffer.from('state'));
    const fence = { shard, segment: logs[1]!.segment, epoch: 5 as Epoch };
    await of.journal.fence([fence]);
    of.metadata.delete(shard);
    await of.clock.advance(3000);
    expect(await files(of.disk)).toEqual([]);
    expect(await of.disk.list('/journal/folds')).toEqual([]);
    expect(of.journal.usage().shards.size).toBe(0);
    // Regression: its fence and a kilobyte more stayed when its files took their time.
    expect(await of.journal.fence([{ ...fence, epoch: 1 as Epoch }])).toMatchObject([
      { status: 'ok', epoch: 1 },
    ]);
  });

  it('storage 4.2: a checkpoint whose shard was deleted while nobody looked goes at the next start, no other', async () => {
    const of = await rig();
    const other = 8 as TestLog['shard'];
    await list(of, [new TestLog(shard, 1)]);
    for (const each of [shard, other]) await of.journal.saveCheckpoint(each, 2, Buffer.from('state'));
    await (await of.disk.open('writeBehind', '/journal/folds/9.fold.new', { create: true })).close();
    const again = await rig(small, { ...of, disk: of.disk.kill() });
    await again.clock.advance(60_000);
    expect((await again.disk.list('/journal/folds')).map(({ name }) => name)).toEqual(['7.fold']);
  });

  it('stays deleted after a power cut, whatever the log still holds of it', async () => {
    const of = await rig();
    const logs = [1, 2].map((id) => new TestLog(shard, id, { baseOffset: (id - 1) * 2 }));
    for (const log of logs) await append(of, log, [100, 100]);
    await list(of, logs);
    await list(of, logs.slice(1));
    await of.clock.advance(2000);
    const again = await rig(small, { ...of, disk: of.disk.crash() });
    await again.clock.advance(10_000);
    expect(await files(again.disk)).toEqual(['7-2.seg']);
    expect(again.journal.usage().shards.get(shard)).toBe(logs[1]!.bytes);
  });

  it('a segment that compaction wrote and nobody swapped in is deleted after its grace', async () => {
    const of = await rig();
    const log = new TestLog(shard, 1);
    await append(of, log, [100]);
    await list(of, [log]);
    const orphan = new TestLog(shard, 9);
    const entries = [orphan.data(1)];
    await of.journal.writeSegment({ shard, segment: orphan.segment, epoch: 1 as Epoch, entries });
    expect(await files(of.disk)).toEqual(['7-1.seg', '7-9.seg']);
    await of.clock.advance(4900);
    expect(await files(of.disk)).toEqual(['7-1.seg', '7-9.seg']);
    await of.clock.advance(200);
    expect(await files(of.disk)).toEqual(['7-1.seg']);
  });

  it('what a crash left half written is removed at the start', async () => {
    const of = await rig();
    await of.journal.stop();
    for (const name of ['7-5.seg.new', '3.free', '9-9.seg']) {
      const file = await of.disk.open('read', `/journal/segments/${name}`, { create: true });
      await file.pwrite('read', Buffer.alloc(1000, 7), 0);
    }
    const again = await rig(small, of);
    await again.clock.advance(10_000);
    expect(await files(again.disk)).toEqual([]);
  });
});

describe('storage 3.3: the pool of written files', () => {
  const pooled = { ...small, poolFiles: 2, poolFileBytes: 8 * kibibyte, sweepBytes: 2 * kibibyte };
  const full = Array.from({ length: 9 }, () => 800);

  it('files of deleted segments serve shards that fill their segments, and nothing of theirs shows through', async () => {
    const of = await rig(pooled);
    const logs: TestLog[] = [];
    let next = 0;
    for (let id = 1; id <= 6; id++) {
      const log = new TestLog(shard, id, { baseOffset: next });
      logs.push(log);
      await list(of, logs.slice(-2));
      await append(of, log, full);
      next = log.next;
      await of.clock.advance(1500);
    }
    const { counters } = of.journal;
    expect(counters.pooledSegments).toBeGreaterThan(1);
    expect(counters.poolFiles).toBeLessThanOrEqual(2);
    for (const log of logs.slice(-2)) {
      const base = log.next - full.length;
      const request = { shard, segment: log.segment, offset: base, limit: log.next, maxBytes: 1 << 20 };
      const answer = of.journal.readCached(request) ?? (await of.journal.read(request));
      expect(answer.entries.map((entry) => entry.baseOffset)).toEqual(full.map((_, at) => base + at));
    }
    // A restart counts the pool again and trusts no byte of an old use.
    const again = await rig(pooled, { ...of, disk: of.disk.crash() });
    expect(again.journal.counters.poolFiles).toBeLessThanOrEqual(2);
    const last = logs.at(-1)!;
    const [answer] = await again.journal.fence([{ shard, segment: last.segment, epoch: 2 as Epoch }]);
    expect(answer).toMatchObject({ status: 'ok', endEntry: full.length - 1, chainCrc: last.crc });
  });

  it('a segment that waits to be deleted is deleted once, however often metadata says that it may go', async () => {
    const of = await rig(pooled);
    const [first, second] = [new TestLog(shard, 1), new TestLog(shard, 2, { baseOffset: full.length })];
    await list(of, [first]);
    await append(of, first, full);
    await list(of, [first, second]);
    await append(of, second, [100]);
    // Nothing can be written, so that the deletion waits behind what has to be.
    of.disk.fault = (op) => (op.kind === 'pwrite' && op.io === 'writeBehind' ? 'DISK_FULL' : undefined);
    await append(of, second, [3000]);
    await list(of, [second]);
    await of.clock.advance(1500);
    expect(await files(of.disk)).toContain('7-1.seg');
    of.metadata.delete(shard);
    let deletions = 0;
    of.disk.fault = (op) => {
      if (op.path.endsWith('7-1.seg') && (op.kind === 'rename' || op.kind === 'unlink')) deletions++;
      return undefined;
    };
    await of.clock.advance(5000);
    expect(await files(of.disk)).not.toContain('7-1.seg');
    expect(deletions).toBe(1);
    expect(of.journal.counters.deletedSegments).toBe(2);
  });
});

describe('storage 3.7: a segment written whole', () => {
  it('is whole or not there after a power cut at any call', async () => {
    let cut = true;
    for (let call = 1; cut; call++) {
      const of = await rig();
      const log = new TestLog(shard, 5);
      const entries = [log.data(2, 1000, { bytes: 300 }), log.data(2, 1000, { bytes: 300 })];
      await list(of, [log]);
      const from = of.disk.ops;
      let survivor: SimDisk | null = null;
      of.disk.fault = (op) => {
        if (op.number === from + call) queueMicrotask(() => (survivor ??= of.disk.crash()));
        return undefined;
      };
      let written = false;
      void of.journal.writeSegment({ shard, segment: log.segment, epoch: 1 as Epoch, entries }).then(() => {
        written = true;
      });
      for (let turn = 0; survivor === null && !written && turn < 100; turn++) await of.clock.advance(0);
      cut = survivor !== null;
      survivor ??= of.disk.crash();
      of.metadata.set(shard, [{ id: log.segment, state: 'sealed', endEntry: 1, endOffset: 4 }]);
      const again = await rig(small, { ...of, disk: survivor });
      const names = await files(again.disk);
      if (written) expect(names).toEqual(['7-5.seg']);
      if (names.length === 0) continue;
      const request = { shard, segment: log.segment, offset: 0, limit: 4, maxBytes: 1 << 20 };
      const answer = again.journal.readCached(request) ?? (await again.journal.read(request));
      expect(answer.entries.map((entry) => entry.baseOffset)).toEqual([0, 2]);
      for (const [at, entry] of answer.entries.entries()) {
        expect(entry.payload.equals(log.payloads[at]!)).toBe(true);
      }
    }
  });
});
