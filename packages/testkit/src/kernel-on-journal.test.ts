import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import type { NodeId, TopicId } from '@robustmq/core';
import { openJournal } from '@robustmq/journal';
import type { LocalJournal } from '@robustmq/journal';
import type { Kernel, Shard } from '@robustmq/kernel';
import { SimDisk, SimRandom } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  append,
  brokerBatch,
  createShard,
  produce,
  publishThrough,
  recordOf,
  valuesOf,
} from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

const mebibyte = 1024 * 1024;
const limits = {
  walFileBytes: 4 * mebibyte,
  walBytes: 16 * mebibyte,
  reserveBytes: mebibyte,
  poolFiles: 0,
  // What is read is counted here.
  scrubBytesPerSecond: 0,
};

/** A kernel on the real journal, whose disk is simulated; metadata survives everything. */
class Broker {
  storage!: MemoryStorage;
  kernel!: Kernel;
  #journal!: LocalJournal;
  #disk = new SimDisk({ seed: 7 });

  /** What was read from the disk since this was set. */
  bytesRead = 0;

  async start(): Promise<void> {
    this.storage ??= await createMemoryStorage();
    const { metadata } = this.storage;
    this.#disk.fault = ({ kind, bytes }) => {
      if (kind === 'pread') this.bytesRead += bytes;
      return undefined;
    };
    this.#journal = await openJournal({
      disk: this.#disk,
      folder: '/journal',
      nodeId: 1 as NodeId,
      uuid: this.storage.journal.uuid,
      metadata,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      limits,
      onFatal: (error) => {
        throw error;
      },
    });
    this.kernel = await startKernel(this.storage, { modules: { metadata, journal: this.#journal } });
  }

  /** A clean stop, and a start. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** kill -9 (what was written stays) or a power cut (only what is durable does), and a start. */
  async crash(how: 'crash' | 'kill'): Promise<void> {
    const before = this.#disk;
    this.#disk = how === 'crash' ? before.crash() : before.kill();
    // The dead process's halves hear nothing any more; they are stopped only so that the test leaves no timer.
    const { kernel } = this;
    void kernel.stop().catch(() => undefined);
    await this.start();
  }

  async stop(): Promise<void> {
    await this.kernel.stop();
    await this.#journal.stop();
  }

  shard(topic: TopicId): Promise<Shard> {
    return this.kernel.openShard(this.kernel.topics.byId(topic)!.shards[0]!);
  }
}

let broker: Broker;

beforeEach(async () => {
  broker = new Broker();
  await broker.start();
});

afterEach(() => broker.stop());

describe('a kernel on the real journal', () => {
  it('reads the state at the head of a segment that holds nothing else, from disk', async () => {
    const shard = await createShard(broker.kernel, 'orders', { 'segment.bytes': String(mebibyte) });
    const topic = shard.topic.id;
    await produce(shard, { sequence: 0 }).outcome;
    await append(shard, brokerBatch(['x'.repeat(1_100_000)]));
    await waitUntil(() => recordOf(broker.storage, shard.id).segments.length === 2);
    await shard.log.whenIdle();
    await broker.kernel.trim(shard, 2);
    for (let times = 0; times < 2; times++) {
      await broker.restart();
      const again = await broker.shard(topic);
      expect([again.startOffset, again.highWatermark]).toEqual([2, 2]);
      expect(await produce(again, { sequence: 0 }).outcome).toBe(0);
    }
    const again = await broker.shard(topic);
    expect(await produce(again, { sequence: 1 }).outcome).toBe(2);
    expect(await valuesOf(again)).toEqual(['2:7/0/1']);
  });

  it.each(['crash', 'kill'] as const)('%s: what was acknowledged is there, once', async (how) => {
    const random = new SimRandom(how === 'crash' ? 1 : 2);
    const shard = await createShard(broker.kernel, 'orders', { 'segment.bytes': String(mebibyte) });
    const topic = shard.topic.id;
    let sequence = 0;
    let opened = shard;
    const acknowledged: string[] = [];
    for (let life = 0; life < 6; life++) {
      for (let at = 0; at < 12; at++) {
        const offset = await produce(opened, { sequence }).outcome;
        acknowledged.push(`${offset}:7/0/${sequence}`);
        sequence++;
        if (random.u32() % 3 === 0) await append(opened, brokerBatch(['x'.repeat(300_000)]));
      }
      await publishThrough(broker.kernel, 'dev/1', `life ${life}`, { retain: true });
      // The answer to this one is lost with the process.
      void produce(opened, { sequence });
      await broker.crash(how);
      opened = await broker.shard(topic);
      const offset = await produce(opened, { sequence }).outcome;
      acknowledged.push(`${offset}:7/0/${sequence}`);
      sequence++;
      const shards = await broker.kernel.subscriptions.prepare(['dev/#']);
      const retained = [...broker.kernel.subscriptions.retained('dev/#', shards)];
      expect(retained.map(({ value }) => value.toString())).toEqual([`life ${life}`]);
    }
    const stored = (await valuesOf(opened)).filter((value) => value.includes(':7/0/'));
    expect(stored).toEqual(acknowledged);
  });

  it('storage 4.5: what is acknowledged early is durable before metadata calls it sealed', async () => {
    const lazy = await createShard(broker.kernel, 'lazy', {
      flush: 'interval',
      'flush.interval.ms': '60000',
    });
    for (const value of ['a', 'b', 'c']) await append(lazy, brokerBatch([value]));
    lazy.log.rollIfOld(Date.now() + 1e12);
    await waitUntil(() => recordOf(broker.storage, lazy.id).segments.length === 2);
    await broker.crash('crash');
    const again = await broker.shard(lazy.topic.id);
    const offset = await append(again, brokerBatch(['d']));
    expect(offset).toBeGreaterThan(3);
    expect(await valuesOf(again)).toEqual(['0:a', '1:b', '2:c', `${offset}:d`]);
  });

  it('flush=interval and storage=memory: no offset is used twice after a power cut', async () => {
    const lazy = await createShard(broker.kernel, 'lazy', {
      flush: 'interval',
      'flush.interval.ms': '60000',
    });
    const volatile = await createShard(broker.kernel, 'volatile', { storage: 'memory' });
    const used: number[] = [];
    for (const value of ['a', 'b', 'c']) {
      used.push((await append(lazy, brokerBatch([value]))) as number);
      await append(volatile, brokerBatch([value]));
    }
    await broker.crash('crash');
    const again = await broker.shard(lazy.topic.id);
    expect(await append(again, brokerBatch(['d']))).toBeGreaterThan(Math.max(...used));
    const values = await valuesOf(again);
    expect(values.at(-1)).toMatch(/:d$/);
    const empty = await broker.shard(volatile.topic.id);
    expect(empty.startOffset).toBe(empty.highWatermark);
    expect(await append(empty, brokerBatch(['d']))).toBeGreaterThanOrEqual(3);
    expect((await valuesOf(empty)).length).toBe(1);
  });

  it('storage 4.2: what a release, or a trim to the end, leaves behind a checkpoint is there after a power cut', async () => {
    const token = { producerId: 900, token: 5 };
    const open = (): Promise<Shard> =>
      broker.kernel.openShard(broker.kernel.subjects.forPublish('dev/1').shard);
    for (const each of [{}, { token }]) {
      await publishThrough(broker.kernel, 'dev/1', 'x'.repeat(600_000), { guarantee: 2, ...each });
    }
    await broker.restart();
    const shard = await open();
    expect(shard.tokens.openOf(900)).toEqual([5]);
    await new Promise<void>((resolve) => shard.release([token], { settled: () => resolve() }));
    await broker.crash('crash');
    expect((await open()).tokens.openOf(900)).toEqual([]);
    // Also of a topic that may lose what is younger than its interval.
    const lazy = await createShard(broker.kernel, 'lazy', {
      flush: 'interval',
      'flush.interval.ms': '60000',
    });
    for (const sequence of [0, 1]) await produce(lazy, { sequence }).outcome;
    await broker.restart();
    await broker.kernel.trim(await broker.shard(lazy.topic.id), 2);
    await broker.crash('crash');
    expect(await produce(await broker.shard(lazy.topic.id), { sequence: 1 }).outcome).toBe(1);
  });
});

describe('storage 4.1: what a start reads', () => {
  const shardBytesMax = 16 * mebibyte;
  /** With the file that a start may add. */
  const ringBytesMax = limits.walBytes + limits.walFileBytes;
  /** A shard is read in pieces: the checkpoint may lie inside one. */
  const pieceBytes = mebibyte;

  async function readBy(work: () => Promise<unknown>): Promise<number> {
    broker.bytesRead = 0;
    await work();
    return broker.bytesRead;
  }

  it('is at most the ring, and for each shard that is used 16 MiB, however much is stored', async () => {
    const { kernel } = broker;
    const value = 'x'.repeat(250_000);
    const timestamp = Date.now();
    // Both are written as in a long life: more than 16 MiB, and almost as much since the last checkpoint.
    for (let at = 0; at < 130; at++) {
      await publishThrough(kernel, 'kept', value, { retain: true });
      // Runs by itself every few seconds; copies that are of no use any more go with it.
      if (at % 10 === 0) await kernel.enforceRetention();
    }
    const large = await createShard(kernel, 'large');
    for (let at = 0; at < 130; at++) await append(large, brokerBatch([value], { timestamp }));
    const many: TopicId[] = [];
    for (let at = 0; at < 100; at++) {
      const shard = await createShard(kernel, `small-${at}`);
      many.push(shard.topic.id);
      await append(shard, brokerBatch([value], { timestamp }));
    }
    // The ring holds nothing of the two any more.
    for (const topic of many) await append(await broker.shard(topic), brokerBatch([value], { timestamp }));

    expect(await readBy(() => broker.crash('crash'))).toBeLessThanOrEqual(ringBytesMax);
    const ofLarge = await readBy(() => broker.shard(large.topic.id));
    expect(ofLarge).toBeGreaterThan(shardBytesMax / 2);
    expect(ofLarge).toBeLessThanOrEqual(shardBytesMax + pieceBytes);
    const { shard: kept } = broker.kernel.subjects.forPublish('kept');
    const ofKept = await readBy(() => broker.kernel.openShard(kept));
    // Two shards: the records, and beside them the copies of what is retained.
    expect(ofKept).toBeGreaterThan(shardBytesMax / 2);
    expect(ofKept).toBeLessThanOrEqual(2 * (shardBytesMax + pieceBytes));
    const ofMany = await readBy(async () => {
      for (const topic of many) await broker.shard(topic);
    });
    // Of these there is no more than this, twice in each.
    expect(ofMany).toBeLessThanOrEqual(many.length * 3 * value.length);
  }, 60_000);

  it('does not grow with each process that dies before its marker of retained copies is due', async () => {
    const value = 'x'.repeat(250_000);
    await publishThrough(broker.kernel, 'kept', value, { retain: true });
    for (let life = 0; life < 4; life++) {
      // 12 MiB in each life: less than lets it write a marker by itself.
      for (let at = 0; at < 50; at++) await publishThrough(broker.kernel, 'kept', value);
      await broker.crash('crash');
      const { shard } = broker.kernel.subjects.forPublish('kept');
      const ofKept = await readBy(() => broker.kernel.openShard(shard));
      expect(ofKept).toBeLessThanOrEqual(2 * (shardBytesMax + pieceBytes));
    }
  }, 60_000);
});
