import { silentLogger } from '@robustmq/core';
import type { Kernel, Shard } from '@robustmq/kernel';
import { entryFlag } from '@robustmq/kernel';
import { SimClock } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  append,
  brokerBatch,
  createShard,
  lastSegment,
  produce,
  publishThrough,
  recordOf,
  reopenShard,
  valuesOf,
} from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

let storage: MemoryStorage;
let kernel: Kernel;

beforeEach(async () => {
  storage = await createMemoryStorage();
  kernel = await startKernel(storage);
});

afterEach(() => storage.journal.crash());

/** kill -9, and a new process on the same storage. */
async function crash(): Promise<void> {
  storage.journal.crash();
  kernel = await startKernel(storage);
}

async function reopened(shard: Shard): Promise<Shard> {
  await crash();
  return reopenShard(kernel, shard.topic.id);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('recovery of a shard', () => {
  it('storage 4.1: seals what the last owner left open at the last entry, and goes on with the next offset', async () => {
    const shard = await createShard(kernel, 'orders');
    for (const value of ['a', 'b']) await append(shard, brokerBatch([value]));
    const again = await reopened(shard);
    expect(recordOf(storage, shard.id).segments).toMatchObject([
      { state: 'sealed', baseOffset: 0, endOffset: 2, endEntry: 2 },
    ]);
    expect(again.highWatermark).toBe(2);
    expect(again.epoch).toBe(shard.epoch + 1);
    expect(await append(again, brokerBatch(['c']))).toBe(2);
    expect(await valuesOf(again)).toEqual(['0:a', '1:b', '2:c']);
  });

  it('a segment that never got an entry ends where it begins', async () => {
    const shard = await createShard(kernel, 'orders');
    await append(shard, brokerBatch(['a']));
    const again = await reopened(shard);
    // Room for the roll, and nothing behind it.
    storage.journal.fuse.blowAfter(1);
    again.stage(brokerBatch(['lost']));
    for (let turns = 0; turns < 5; turns++) await turn();
    expect(lastSegment(storage, shard.id)).toMatchObject({ state: 'open', baseOffset: 1 });
    const third = await reopened(again);
    expect(lastSegment(storage, shard.id)).toMatchObject({ state: 'sealed', endOffset: 1, endEntry: -1 });
    expect(await append(third, brokerBatch(['b']))).toBe(1);
    expect(await valuesOf(third)).toEqual(['0:a', '1:b']);
  });

  it('answers the end offset of the newest epoch that is not above the one asked for', async () => {
    const shard = await createShard(kernel, 'orders');
    await append(shard, brokerBatch(['a', 'b']));
    const first = shard.epoch;
    let again = await reopened(shard);
    await append(again, brokerBatch(['c']));
    again = await reopened(again);
    await append(again, brokerBatch(['d']));
    expect(again.endOfEpoch(first)).toEqual({ epoch: first, endOffset: 2 });
    expect(again.endOfEpoch(first + 1)).toEqual({ epoch: first + 1, endOffset: 3 });
    expect(again.endOfEpoch(again.epoch)).toEqual({ epoch: again.epoch, endOffset: 4 });
    expect(again.endOfEpoch(first - 1)).toEqual({ epoch: first - 1, endOffset: 0 });
    expect(again.endOfEpoch(-1)).toBe(null);
  });
});

describe('a shard that can not be opened', () => {
  it('says so to each who asks, and to the log every 10 s', async () => {
    const { id } = await createShard(kernel, 'orders');
    await append(await kernel.openShard(id), brokerBatch(['a']));
    storage.journal.crash();
    const clock = new SimClock();
    const errors: string[] = [];
    const error = (_fields: object, message: string): void => void errors.push(message);
    kernel = await startKernel(storage, { modules: { clock, logger: { ...silentLogger, error } } });
    storage.journal.answerFenced = true;
    for (let second = 0; second < 25; second++) {
      for (let times = 0; times < 4; times++)
        await expect(kernel.openShard(id)).rejects.toMatchObject({ code: 'SHARD_FENCED' });
      await clock.advance(1000);
    }
    expect(errors).toEqual(Array.from({ length: 3 }, () => 'a shard could not be opened'));
    storage.journal.answerFenced = false;
    expect((await kernel.openShard(id)).highWatermark).toBe(1);
  });
});

describe('storage 4.5: offsets that were acknowledged and lost', () => {
  it('flush=interval: no offset is used twice, and readers step over the gap', async () => {
    const shard = await createShard(kernel, 'lazy', { flush: 'interval' });
    for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
    const limit = recordOf(storage, shard.id).offsetLimit;
    storage.journal.loseTail(lastSegment(storage, shard.id).id, 2);
    const again = await reopened(shard);
    expect(recordOf(storage, shard.id).holes).toEqual([{ from: 1, to: limit, kind: 'skipped' }]);
    expect(await append(again, brokerBatch(['d']))).toBe(limit);
    expect(await valuesOf(again)).toEqual(['0:a', `${limit}:d`]);
  });

  it.each<Record<string, string>>([{ flush: 'interval' }, { storage: 'memory' }])(
    'a clean stop leaves none in doubt: the next start goes on with the next offset: %j',
    async (config) => {
      const shard = await createShard(kernel, 'lazy', config);
      for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
      await kernel.stop();
      // What is in memory only does not outlive its process.
      if (config.storage === 'memory') storage.journal.forget(lastSegment(storage, shard.id)?.id);
      kernel = await startKernel(storage);
      const again = await reopenShard(kernel, shard.topic.id);
      expect(recordOf(storage, shard.id).holes).toEqual([]);
      expect(again.startOffset).toBe(config.storage === 'memory' ? 3 : 0);
      expect(await append(again, brokerBatch(['d']))).toBe(3);
      // It counts from there: a crash skips again.
      const limit = recordOf(storage, shard.id).offsetLimit;
      const crashed = await reopened(again);
      expect(await append(crashed, brokerBatch(['e']))).toBe(limit);
    },
  );

  it('regression: a topic made durable meanwhile used offsets again that were given out lazily', async () => {
    const shard = await createShard(kernel, 'lazy', { flush: 'interval' });
    for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
    const limit = recordOf(storage, shard.id).offsetLimit;
    await kernel.topics.configure(shard.topic, new Map([['flush', 'always']]));
    storage.journal.loseTail(lastSegment(storage, shard.id).id, 2);
    const again = await reopened(shard);
    expect(again.highWatermark).toBe(limit);
    expect(await append(again, brokerBatch(['d']))).toBe(limit);
  });

  it('the log says once what a crash may have cost', async () => {
    const shard = await createShard(kernel, 'lazy', { flush: 'interval' });
    for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
    const limit = recordOf(storage, shard.id).offsetLimit;
    storage.journal.loseTail(lastSegment(storage, shard.id).id, 2);
    const said: object[] = [];
    const warn = (fields: object): void => void said.push(fields);
    for (let start = 0; start < 2; start++) {
      storage.journal.crash();
      kernel = await startKernel(storage, { modules: { logger: { ...silentLogger, warn } } });
      await kernel.openShard(shard.id);
    }
    expect(said).toEqual([{ topic: 'lazy', shard: shard.id, from: 1, to: limit, kind: 'skipped' }]);
  });

  it('storage=memory: a restart loses the records and none of the offsets', async () => {
    const shard = await createShard(kernel, 'volatile', { storage: 'memory' });
    for (const value of ['a', 'b']) await append(shard, brokerBatch([value]));
    expect(await valuesOf(shard)).toEqual(['0:a', '1:b']);
    const limit = recordOf(storage, shard.id).offsetLimit;
    storage.journal.forget(lastSegment(storage, shard.id).id);
    const again = await reopened(shard);
    expect([again.startOffset, again.highWatermark]).toEqual([limit, limit]);
    expect(await append(again, brokerBatch(['c']))).toBe(limit);
    expect(await valuesOf(again)).toEqual([`${limit}:c`]);
  });

  it('a loss that the journal reports is a hole: named to who asks, refused to who does not', async () => {
    const shard = await createShard(kernel, 'orders');
    for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
    storage.journal.loseTail(lastSegment(storage, shard.id).id, 2);
    storage.journal.lostTo = 3;
    const again = await reopened(shard);
    storage.journal.lostTo = 0;
    expect(recordOf(storage, shard.id).holes).toEqual([{ from: 1, to: 3, kind: 'lost' }]);
    expect(await append(again, brokerBatch(['d']))).toBe(3);
    await expect(again.read(1, { maxBytes: 1000, limit: 4 })).rejects.toMatchObject({
      code: 'JOURNAL_DATA_LOST',
    });
    const told: number[][] = [];
    const lost = (from: number, to: number): void => void told.push([from, to]);
    expect((await again.read(2, { maxBytes: 1000, limit: 4, lost })).nextOffset).toBe(3);
    expect(told).toEqual([[2, 3]]);
    expect(await valuesOf(again)).toEqual(['0:a', '3:d']);
  });

  it('regression: damage that only a read finds stopped who may step over it, for ever', async () => {
    const shard = await createShard(kernel, 'orders');
    for (const value of ['a', 'b', 'c', 'd']) await append(shard, brokerBatch([value]));
    storage.journal.damage(lastSegment(storage, shard.id).id, 1, 3);
    await expect(shard.read(1, { maxBytes: 1000, limit: 4 })).rejects.toMatchObject({
      code: 'JOURNAL_DATA_LOST',
    });
    expect(await valuesOf(shard)).toEqual(['0:a', '3:d']);
  });
});

describe('storage 4.2: what a start reads of a data shard', () => {
  const mebibyte = 1024 * 1024;

  /** Records of a mebibyte from a producer, from a sequence on. */
  async function fill(shard: Shard, from: number, count: number): Promise<void> {
    for (let sequence = from; sequence < from + count; sequence++) {
      expect(await produce(shard, { sequence, padding: 'v'.repeat(mebibyte) }).outcome).toBe(sequence);
    }
  }

  /** The lowest offset of the shard that opening it reads. */
  async function readFrom(shard: Shard): Promise<{ again: Shard; lowest: number }> {
    const read = vi.spyOn(storage.journal, 'readCached');
    const again = await reopenShard(kernel, shard.topic.id);
    const segments = new Set(recordOf(storage, shard.id).segments.map(({ id }) => id));
    const calls = read.mock.calls.map(([request]) => request).filter(({ segment }) => segments.has(segment));
    read.mockRestore();
    return { again, lowest: Math.min(...calls.map(({ offset }) => offset)) };
  }

  it('after a crash is what follows a checkpoint, 16 MiB at most, and the state is whole', async () => {
    const shard = await createShard(kernel, 'orders');
    await fill(shard, 0, 40);
    expect(recordOf(storage, shard.id).segments).toHaveLength(1);
    await crash();
    const { again, lowest } = await readFrom(shard);
    expect(lowest).toBeGreaterThanOrEqual(40 - 17);
    for (const sequence of [36, 39]) expect(await produce(again, { sequence }).outcome).toBe(sequence);
    expect(await produce(again, { sequence: 40 }).outcome).toBe(40);
  });

  it('after a clean stop is no record, once a mebibyte was written', async () => {
    const shard = await createShard(kernel, 'orders');
    await fill(shard, 0, 3);
    await kernel.stop();
    kernel = await startKernel(storage);
    const { again, lowest } = await readFrom(shard);
    // What was released since has no offset, and would stand at the end.
    expect(lowest).toBe(3);
    expect(await produce(again, { sequence: 2 }).outcome).toBe(2);
    expect(await produce(again, { sequence: 3 }).outcome).toBe(3);
  });

  it('is not taken from a checkpoint of offsets that were lost', async () => {
    const shard = await createShard(kernel, 'lazy', { flush: 'interval' });
    await fill(shard, 0, 20);
    expect(storage.journal.checkpoints.get(shard.id)?.coveredTo).toBeGreaterThan(14);
    storage.journal.loseTail(lastSegment(storage, shard.id).id, 10);
    const again = await reopened(shard);
    // Its last batch that is there: what was lost may come again.
    expect(await produce(again, { sequence: 9 }).outcome).toBe(9);
    expect(await produce(again, { sequence: 10 }).outcome).toBeGreaterThan(2 ** 20);
  });
});

describe('storage 4.2: idempotence after a restart', () => {
  it('answers the last five batches with their offsets, and refuses a gap', async () => {
    const shard = await createShard(kernel, 'orders');
    for (let sequence = 0; sequence < 7; sequence++) await produce(shard, { sequence }).outcome;
    const again = await reopened(shard);
    for (let sequence = 2; sequence < 7; sequence++) {
      expect(await produce(again, { sequence }).outcome).toBe(sequence);
    }
    expect(await produce(again, { sequence: 1 }).outcome).toBe('SEQUENCE_OUT_OF_ORDER');
    expect(await produce(again, { sequence: 8 }).outcome).toBe('SEQUENCE_OUT_OF_ORDER');
    expect(await produce(again, { sequence: 7 }).outcome).toBe(7);
    expect((await valuesOf(again)).length).toBe(8);
  });

  it('regression: a snapshot named batches that only waited for the roll; their repetition was no duplicate', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    await produce(shard, { sequence: 0 }).outcome;
    storage.journal.hold();
    shard.stage(brokerBatch(['x'.repeat(1_100_000)]));
    await turn();
    // These wait for the roll, and are known to the table already.
    const waiting = [1, 2].map((sequence) => produce(shard, { sequence }).outcome);
    await turn();
    storage.journal.release();
    expect(await Promise.all(waiting)).toEqual([2, 3]);
    const again = await reopened(shard);
    expect(await produce(again, { sequence: 1 }).outcome).toBe(2);
    expect(await produce(again, { sequence: 2 }).outcome).toBe(3);
  });

  it('regression: what a snapshot named and a crash lost was acknowledged as a duplicate', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    await produce(shard, { sequence: 0 }).outcome;
    storage.journal.hold();
    shard.stage(brokerBatch(['x'.repeat(1_100_000)]));
    await turn();
    void produce(shard, { sequence: 1 });
    await turn();
    // The roll and the snapshot behind it still reach the disk; the batch does not.
    storage.journal.fuse.blowAfter(2);
    storage.journal.release();
    for (let turns = 0; turns < 5; turns++) await turn();
    const again = await reopened(shard);
    expect(again.highWatermark).toBe(2);
    expect(await produce(again, { sequence: 1 }).outcome).toBe(2);
    expect((await valuesOf(again)).at(-1)).toBe('2:7/0/1');
  });

  it('regression: a segment with nothing but its snapshot was passed over, and the state was gone', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    await produce(shard, { sequence: 0 }).outcome;
    await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
    await waitUntil(() => storage.journal.entriesOf(lastSegment(storage, shard.id).id).length === 1);
    // Nothing but the snapshot is left of the log.
    expect(await kernel.trim(shard, 2)).toBe(2);
    expect(recordOf(storage, shard.id).segments.length).toBe(1);
    const again = await reopened(shard);
    expect([again.startOffset, again.highWatermark]).toEqual([2, 2]);
    expect(await produce(again, { sequence: 0 }).outcome).toBe(0);
    expect(await produce(again, { sequence: 1 }).outcome).toBe(2);
  });

  it('regression: a trim into the newest segment took the state of what it trimmed at the next crash', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    await produce(shard, { sequence: 0 }).outcome;
    await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
    await waitUntil(() => recordOf(storage, shard.id).segments.length === 2);
    for (const sequence of [1, 2]) await produce(shard, { sequence }).outcome;
    await append(shard, brokerBatch(['y']));
    const base = lastSegment(storage, shard.id).baseOffset;
    expect(base).toBe(2);
    // Behind one batch of the newest segment, behind both, and behind everything.
    let again = shard;
    for (const start of [3, 4, 5]) {
      await kernel.trim(again, start);
      again = await reopened(shard);
      expect([again.startOffset, again.highWatermark]).toEqual([start, 5]);
      for (const [sequence, offset] of [
        [0, 0],
        [1, 2],
        [2, 3],
      ] as const) {
        expect(await produce(again, { sequence }).outcome).toBe(offset);
      }
      await expect(again.read(start - 1, { maxBytes: 1000, limit: 5 })).rejects.toMatchObject({
        code: 'OFFSET_OUT_OF_RANGE',
      });
    }
    expect(await produce(again, { sequence: 4 }).outcome).toBe('SEQUENCE_OUT_OF_ORDER');
    expect(await produce(again, { sequence: 3 }).outcome).toBe(5);
  });

  it('a trim to the end makes what room it can on a full disk, says that it has none for the state, and ends when it has', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    for (const sequence of [0, 1]) {
      await produce(shard, { sequence }).outcome;
      await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
      await waitUntil(() => recordOf(storage, shard.id).segments.length === sequence + 2);
    }
    const again = await reopened(shard);
    expect(recordOf(storage, shard.id).segments.filter(({ state }) => state === 'open')).toEqual([]);
    storage.journal.refuseAll = 'STORAGE_FULL';
    // Without a byte for the log, as long as a segment with records stays.
    expect(await kernel.trim(again, 2)).toBe(2);
    await expect(kernel.trim(again, 4)).rejects.toMatchObject({ code: 'STORAGE_FULL' });
    expect(again.startOffset).toBe(2);
    storage.journal.refuseAll = null;
    expect(await kernel.trim(again, 4)).toBe(4);
    const last = await reopened(again);
    for (const [sequence, offset] of [
      [0, 0],
      [1, 2],
    ] as const) {
      expect(await produce(last, { sequence }).outcome).toBe(offset);
    }
    expect(await produce(last, { sequence: 2 }).outcome).toBe(4);
  }, 20_000);

  it('regression: retention took the state with all records of a shard that was not written to since a start', async () => {
    const shard = await createShard(kernel, 'orders', { 'retention.ms': '1' });
    for (const sequence of [0, 1]) await produce(shard, { sequence }).outcome;
    // Opening it has sealed its only segment.
    const idle = await reopened(shard);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await kernel.enforceRetention();
    expect(recordOf(storage, shard.id)).toMatchObject({ startOffset: 2, segments: [{ state: 'open' }] });
    const again = await reopened(idle);
    expect(await produce(again, { sequence: 1 }).outcome).toBe(1);
    expect(await produce(again, { sequence: 2 }).outcome).toBe(2);
  });

  it('retention deletes what it can while there is no room for the state, and the rest later', async () => {
    const shard = await createShard(kernel, 'orders', {
      'segment.bytes': String(1024 * 1024),
      'retention.ms': '1',
    });
    for (const sequence of [0, 1]) {
      await produce(shard, { sequence }).outcome;
      await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
      await waitUntil(() => recordOf(storage, shard.id).segments.length === sequence + 2);
    }
    const again = await reopened(shard);
    storage.journal.refuseAll = 'STORAGE_FULL';
    await kernel.enforceRetention();
    expect(again.startOffset).toBe(2);
    storage.journal.refuseAll = null;
    await kernel.enforceRetention();
    expect(again.startOffset).toBe(4);
    const last = await reopened(again);
    expect(await produce(last, { sequence: 1 }).outcome).toBe(2);
    expect(await produce(last, { sequence: 2 }).outcome).toBe(4);
  }, 20_000);

  it('regression: half a snapshot at the head of the newest segment hid the whole one before it', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    for (let sequence = 0; sequence < 3; sequence++) await produce(shard, { sequence }).outcome;
    // More state than one entry of a snapshot takes.
    for (let token = 0; token < 60_000; token++) shard.tokens.add(1, token, 0);
    await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
    await waitUntil(() => recordOf(storage, shard.id).segments.length === 2);
    const head = lastSegment(storage, shard.id);
    await waitUntil(() => storage.journal.entriesOf(head.id).length === 2);
    expect(storage.journal.entriesOf(head.id).every(({ flags }) => (flags & entryFlag.snapshot) !== 0)).toBe(
      true,
    );
    storage.journal.loseTail(head.id, 1);
    const again = await reopened(shard);
    expect(again.highWatermark).toBe(4);
    expect(await produce(again, { sequence: 2 }).outcome).toBe(2);
    expect(await produce(again, { sequence: 4 }).outcome).toBe('SEQUENCE_OUT_OF_ORDER');
  });

  it('a snapshot of several entries is read whole; regression: one larger than a segment rolled for ever', async () => {
    const shard = await createShard(kernel, 'orders', { 'segment.bytes': String(1024 * 1024) });
    await produce(shard, { sequence: 0 }).outcome;
    for (let token = 0; token < 60_000; token++) shard.tokens.add(1, token, 0);
    await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
    await waitUntil(() => storage.journal.entriesOf(lastSegment(storage, shard.id).id).length === 2);
    const again = await reopened(shard);
    expect(again.tokens.size).toBe(60_000);
    expect(await produce(again, { sequence: 0 }).outcome).toBe(0);
  });
});

describe('what brokers note in records, after a restart', () => {
  const name = 'dev/1/state';
  const shardOfName = (): Promise<Shard> => kernel.openShard(kernel.subjects.forPublish(name).shard);

  it('open tokens are known again, released ones are not', async () => {
    const token = (each: number): { token: { producerId: number; token: number } } => ({
      token: { producerId: 900, token: each },
    });
    for (const each of [1, 2, 3]) {
      await publishThrough(kernel, name, `m${each}`, { guarantee: 2, ...token(each) });
    }
    const shard = await shardOfName();
    await new Promise<void>((resolve) =>
      shard.release([{ producerId: 900, token: 2 }], { settled: () => resolve() }),
    );
    expect(shard.tokens.openOf(900)).toEqual([1, 3]);
    await crash();
    const again = await shardOfName();
    expect(again.tokens.openOf(900)).toEqual([1, 3]);
    // Once more with the release in the snapshot instead of the log.
    await append(again, brokerBatch(['x']));
    await crash();
    expect((await shardOfName()).tokens.openOf(900)).toEqual([1, 3]);
  });

  it('regression: a token that was released behind a checkpoint, with no record behind it, was open again', async () => {
    const token = { producerId: 900, token: 5 };
    await publishThrough(kernel, name, 'x'.repeat(600_000), { guarantee: 2 });
    await publishThrough(kernel, name, 'x'.repeat(600_000), { guarantee: 2, token });
    await kernel.stop();
    kernel = await startKernel(storage);
    const shard = await shardOfName();
    expect(storage.journal.checkpoints.get(shard.id)?.coveredTo).toBe(shard.highWatermark);
    expect(shard.tokens.openOf(900)).toEqual([5]);
    await new Promise<void>((resolve) => shard.release([token], { settled: () => resolve() }));
    await crash();
    expect((await shardOfName()).tokens.openOf(900)).toEqual([]);
  });

  it('a release that the crash cut off leaves its token open', async () => {
    await publishThrough(kernel, name, 'm', { guarantee: 2, token: { producerId: 900, token: 1 } });
    const shard = await shardOfName();
    storage.journal.fuse.blowAfter(0);
    shard.release([{ producerId: 900, token: 1 }], null);
    await turn();
    await crash();
    expect((await shardOfName()).tokens.has(900, 1)).toBe(true);
  });

  it('semantics 5.3: what is retained is there, with the offset it comes from, and counted once', async () => {
    await publishThrough(kernel, name, 'first', { retain: true });
    await publishThrough(kernel, name, 'second', { retain: true });
    await publishThrough(kernel, 'dev/2/state', 'other', { retain: true });
    const usage = { ...kernel.retainedUsage };
    await crash();
    const shards = await kernel.subscriptions.prepare(['dev/#']);
    const retained = [...kernel.subscriptions.retained('dev/#', shards)];
    expect(retained.map(({ subject, value }) => `${subject}=${value.toString()}`).sort()).toEqual([
      'dev/1/state=second',
      'dev/2/state=other',
    ]);
    expect(retained.find(({ subject }) => subject === name)?.sourceOffset).toBe(1);
    expect({ ...kernel.retainedUsage }).toEqual(usage);
    // Regression: every reopening of a shard counted what it retains once more.
    storage.journal.disconnect(new Error('cable'));
    await kernel.subscriptions.prepare(['dev/#']);
    expect({ ...kernel.retainedUsage }).toEqual(usage);
  });

  it('storage 4.3: copies that were lost with the process are made again from the data', async () => {
    await publishThrough(kernel, 'warm/up', 'x', { retain: true });
    const subject = kernel.subjects.forPublish(name);
    await kernel.openShard(subject.shard);
    await publishThrough(kernel, name, 'before', { retain: true });
    // The record is stored, its copy (a turn later) is not.
    storage.journal.fuse.blowAfter(1);
    void publishThrough(kernel, name, 'after', { retain: true });
    for (let turns = 0; turns < 5; turns++) await turn();
    await crash();
    const shards = await kernel.subscriptions.prepare([name]);
    const [record] = kernel.subscriptions.retained(name, shards);
    expect(record?.value.toString()).toBe('after');
  });

  it('a bound topic that is deleted no longer counts', async () => {
    await kernel.topics.create('bound', 2, new Map([['subject.bind', 'true']]));
    await publishThrough(kernel, 'bound/a', 'x', { retain: true });
    expect(kernel.retainedUsage.records).toBe(1);
    await kernel.topics.delete(kernel.topics.byName('bound')!);
    expect({ ...kernel.retainedUsage }).toMatchObject({ records: 0, bytes: 0 });
  });
});
