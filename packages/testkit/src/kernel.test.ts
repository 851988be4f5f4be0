import type { ShardId } from '@robustmq/core';
import type { DeliveryBatch, Kernel } from '@robustmq/kernel';
import { LogBatch, PublishMessage } from '@robustmq/kernel';
import { BatchEncoder, HeaderEncoder, RecordInput } from '@robustmq/record';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

let kernel: Kernel;
let storage: MemoryStorage;

beforeEach(async () => {
  storage = await createMemoryStorage();
  kernel = await startKernel(storage);
});

afterEach(() => kernel.stop());

function publish(name: string, text: string, options: { retain?: boolean } = {}): Promise<void> {
  const message = new PublishMessage();
  const value = Buffer.from(text);
  message.subject = kernel.subjects.forPublish(name);
  message.guarantee = 1;
  message.retain = options.retain ?? false;
  message.record.timestamp = Date.now();
  message.record.setValue(value);
  message.record.setHeaders(
    new HeaderEncoder().add(Buffer.from('mq'), Buffer.from([1 | (message.retain ? 4 : 0)])),
  );
  return new Promise((resolve, reject) => {
    const batch = kernel.publisher.publish(message);
    if (typeof batch === 'string') reject(new Error(batch));
    else batch.listen({ settled: (_batch, error) => (error === null ? resolve() : reject(error)) });
  });
}

async function readAll(id: ShardId): Promise<string[]> {
  const shard = await kernel.openShard(id);
  const values: string[] = [];
  for (let offset = shard.startOffset; offset < shard.highWatermark; ) {
    const answer = await shard.read(offset, { maxBytes: 1 << 20, limit: shard.highWatermark });
    for (const entry of answer.entries) if (entry.count > 0) values.push(entry.payload.toString('latin1'));
    offset = answer.nextOffset;
  }
  return values;
}

describe('kernel', () => {
  it('commits what is published and reads it back from the log', async () => {
    await Promise.all([publish('a/b', 'one'), publish('a/b', 'two')]);
    const { shard } = kernel.subjects.forPublish('a/b');
    const [text] = await readAll(shard);
    expect(text).toContain('one');
    expect(text).toContain('two');
  });

  it('delivers committed records to a matching subscription, once', async () => {
    const seen: string[] = [];
    const take = (batch: DeliveryBatch): void => {
      for (let row = 0; row < batch.records.count; row++) {
        if (batch.matches[row]!.guaranteeMax > 0) seen.push(batch.records.value(row)!.toString());
      }
    };
    kernel.addDeliveryPort({ appended: () => undefined, committed: take, gap: () => undefined });
    const shards = await kernel.subscriptions.prepare(['a/+']);
    const request = { filter: 'a/+', subscriber: {}, guarantee: 1 as const, options: null, since: null };
    const [subscription] = kernel.subscriptions.subscribe([request], shards);
    await publish('a/b', 'one');
    await publish('x/y', 'other');
    kernel.subscriptions.unsubscribe(subscription!);
    await publish('a/b', 'two');
    expect(seen).toEqual(['one']);
  });

  it('goes on after a restart with the same offsets and what was retained', async () => {
    await publish('a/b', 'kept', { retain: true });
    await publish('a/c', 'plain');
    const { shard } = kernel.subjects.forPublish('a/b');
    const before = (await kernel.openShard(shard)).highWatermark;
    await kernel.stop();
    kernel = await startKernel(storage);
    const opened = await kernel.openShard(shard);
    expect(opened.highWatermark).toBe(before);
    const shards = await kernel.subscriptions.prepare(['a/#']);
    const retained = [...kernel.subscriptions.retained('a/#', shards)];
    expect(retained.map((record) => [record.subject, record.value.toString()])).toEqual([['a/b', 'kept']]);
    await publish('a/b', '', { retain: true });
    expect([...kernel.subscriptions.retained('a/#', shards)]).toEqual([]);
    expect(opened.highWatermark).toBe(before + 1);
  });

  it('answers a duplicate of an idempotent batch with its first offset, also after a restart', async () => {
    const topic = await kernel.topics.create('orders', 1);
    const append = async (sequence: number): Promise<{ kind: string; offset: number }> => {
      const shard = await kernel.openShard(topic.shards[0]!);
      const encoder = new BatchEncoder();
      encoder.append(Object.assign(new RecordInput(), { timestamp: 1 }).setValue(Buffer.from('v')));
      const buffer = encoder.finish({ producerId: 7, producerEpoch: 0, baseSequence: sequence });
      const batch = new LogBatch(false).fill(buffer, 0, buffer.length, 1, 1);
      return new Promise((resolve, reject) => {
        const producer = { producerId: 7, epoch: 0, firstSequence: sequence, count: 1 };
        const verdict = shard.appendClient(batch, producer, {
          settled: (settled, error) =>
            error ? reject(error) : resolve({ kind: 'append', offset: settled.baseOffset }),
        });
        if (verdict.kind === 'committed') resolve({ kind: 'committed', offset: verdict.baseOffset });
        if (verdict.kind === 'refuse') resolve({ kind: verdict.code, offset: -1 });
      });
    };
    expect(await append(0)).toEqual({ kind: 'append', offset: 0 });
    expect(await append(1)).toEqual({ kind: 'append', offset: 1 });
    expect(await append(1)).toEqual({ kind: 'committed', offset: 1 });
    expect(await append(3)).toEqual({ kind: 'SEQUENCE_OUT_OF_ORDER', offset: -1 });
    await kernel.stop();
    kernel = await startKernel(storage);
    expect(await append(1)).toEqual({ kind: 'committed', offset: 1 });
    expect(await append(2)).toEqual({ kind: 'append', offset: 2 });
  });

  it('brings a reader that is behind to the live path', async () => {
    const topic = kernel.topics.defaultTopic;
    for (let i = 0; i < 5; i++) await publish('b/c', `m${i}`);
    const { shard } = kernel.subjects.forPublish('b/c');
    const subscriber = {};
    const seen: string[] = [];
    const shards = await kernel.subscriptions.prepare(['b/c']);
    kernel.subscriptions.subscribe(
      [{ filter: 'b/c', subscriber, guarantee: 1, options: null, since: new Map() }],
      shards,
    );
    await new Promise<void>((resolve) =>
      kernel.catchUp.add(shard, {
        subscriber,
        filters: ['b/c'],
        next: 2,
        take: (batch, row) => {
          seen.push(batch.records.value(row)!.toString());
          return true;
        },
        caughtUp: resolve,
        skipped: () => undefined,
      }),
    );
    expect(seen).toEqual(['m2', 'm3', 'm4']);
    expect(topic.shards).toContain(shard);
  });
});
