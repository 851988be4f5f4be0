import type { Offset, ShardId } from '@robustmq/core';
import type { DeliveryBatch, DeliveryPort, Kernel, Shard, Subscription } from '@robustmq/kernel';
import { LogBatch, MqHeaderReader } from '@robustmq/kernel';
import { BatchEncoder, codecs, compressBatch, HeaderCursor, RecordInput } from '@robustmq/record';
import { SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { publish } from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

const names = ['a/b', 'a/c', 'a/d'];
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A subscriber as adapters serve them: at most once when appended, or with the commit while it bridges. */
class Subscriber {
  readonly heard = new Map<ShardId, Offset[]>();
  /** Offset of what was retained under each name at the beginning. */
  readonly retained: ReadonlyMap<string, Offset>;
  readonly subscription: Subscription;
  readonly #guarantee: 0 | 1;

  constructor(kernel: Kernel, shards: readonly Shard[], guarantee: 0 | 1) {
    this.#guarantee = guarantee;
    const request = { filter: 'a/#', subscriber: this, guarantee, options: null, since: null };
    this.subscription = kernel.subscriptions.subscribe([request], shards)[0]!;
    const retained = [...kernel.subscriptions.retained('a/#', shards)];
    this.retained = new Map(retained.map(({ subject, sourceOffset }) => [subject, sourceOffset]));
  }

  take(path: 'appended' | 'committed', shard: ShardId, record: { offset: Offset; guarantee: number }): void {
    const atMostOnce = Math.min(record.guarantee, this.#guarantee) === 0;
    const waits = !atMostOnce || this.subscription.bridging?.has(shard) === true;
    if (waits !== (path === 'committed')) return;
    const offsets = this.heard.get(shard) ?? [];
    offsets.push(record.offset);
    this.heard.set(shard, offsets);
  }
}

/** Hands every record to every subscriber that matches it, once per path. */
function port(): DeliveryPort {
  const mq = new MqHeaderReader();
  const cursor = new HeaderCursor();
  const take = (path: 'appended' | 'committed') => (batch: DeliveryBatch) => {
    const { records } = batch;
    for (let row = 0; row < records.count; row++) {
      const marked = batch.brokerEncoded && mq.find(records.headers(row, cursor), records.buffer);
      const record = { offset: records.offset(row), guarantee: marked ? mq.guarantee : 2 };
      for (const subscription of batch.matches[row]!.subscriptions) {
        (subscription.subscriber as Subscriber).take(path, batch.shard, record);
      }
    }
  };
  return { appended: take('appended'), committed: take('committed'), gap: () => undefined };
}

/** A client's batch that is decoded off the event loop, and so holds up what follows it. */
function slowBatch(): LogBatch {
  const encoder = new BatchEncoder({ batchBytesMax: 2 ** 22 });
  const record = new RecordInput();
  record.timestamp = 1;
  encoder.append(record.setKey(Buffer.from('a/b')).setValue(Buffer.alloc(200_000, 'v')));
  const buffer = compressBatch(codecs.gzip, encoder.finish());
  return new LogBatch(false).fill(buffer, 0, buffer.length, 1, 1);
}

interface Written {
  readonly name: string;
  readonly guarantee: number;
  readonly retain: boolean;
}

class Game {
  readonly written = new Map<ShardId, Map<Offset, Written>>();
  readonly subscribers: Subscriber[] = [];
  readonly #random: SimRandom;
  #storage!: MemoryStorage;
  #kernel!: Kernel;
  #shards!: Shard[];

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
  }

  async play(): Promise<void> {
    this.#storage = await createMemoryStorage();
    this.#kernel = await startKernel(this.#storage);
    this.#kernel.addDeliveryPort(port());
    this.#shards = await this.#kernel.subscriptions.prepare(['a/#']);
    for (let step = 0; step < 120; step++) {
      this.#step();
      if (this.#below(3) === 0) await turn();
    }
    this.#storage.journal.release();
    const { dispatcher } = this.#kernel;
    await waitUntil(() =>
      this.#shards.every(
        ({ id, log, highWatermark }) =>
          log.nextOffset === highWatermark && dispatcher.routedTo(id) === highWatermark,
      ),
    );
    for (let turns = 0; turns < 5; turns++) await turn();
    this.#storage.journal.crash();
  }

  #below(bound: number): number {
    return this.#random.u32() % bound;
  }

  #step(): void {
    const dice = this.#below(100);
    if (dice < 60) this.#publish();
    else if (dice < 70) this.#produce();
    else if (dice < 85 && this.subscribers.length < 12) {
      const guarantee = this.#below(2) === 0 ? 0 : 1;
      this.subscribers.push(new Subscriber(this.#kernel, this.#shards, guarantee));
    } else if (dice < 92) this.#storage.journal.hold();
    else this.#storage.journal.release();
  }

  #publish(): void {
    const name = names[this.#below(names.length)]!;
    const retain = this.#below(3) === 0;
    const guarantee = this.#below(3) as 0 | 1 | 2;
    const batch = publish(this.#kernel, name, 'x', { guarantee, retain }) as LogBatch;
    const row = this.#rows.get(batch) ?? 0;
    this.#rows.set(batch, row + 1);
    batch.listen({
      settled: (settled) =>
        this.#note(this.#kernel.subjects.forPublish(name).shard, settled.baseOffset + row, {
          name,
          retain,
          guarantee,
        }),
    });
  }

  readonly #rows = new Map<LogBatch, number>();

  #produce(): void {
    const { shard } = this.#kernel.subjects.forPublish('a/b');
    this.#kernel.readyShard(shard)!.appendClient(slowBatch(), null, {
      settled: ({ baseOffset }) =>
        this.#note(shard, baseOffset, { name: 'a/b', retain: false, guarantee: 2 }),
    });
  }

  #note(shard: ShardId, offset: Offset, written: Written): void {
    const known = this.written.get(shard) ?? new Map<Offset, Written>();
    known.set(offset, written);
    this.written.set(shard, known);
  }
}

describe('a subscription that begins at any moment', () => {
  it.each(Array.from({ length: 20 }, (_, seed) => [seed]))(
    'game %i: hears everything from its beginning on, once and in order, and what was retained before it',
    async (seed) => {
      const game = new Game(seed);
      await game.play();
      for (const { heard, subscription, retained } of game.subscribers) {
        const before = new Map<string, Offset>();
        for (const [shard, written] of game.written) {
          const since = subscription.since.get(shard)!;
          const offsets = [...written.keys()].sort((a, b) => a - b);
          const due = offsets.filter((offset) => offset >= since);
          const got = heard.get(shard) ?? [];
          // What may be lost goes out before what is awaited; each of the two keeps the order of the log.
          for (const isAwaited of [false, true]) {
            const ofKind = (offset: Offset): boolean =>
              Math.min(written.get(offset)!.guarantee, subscription.guarantee) > 0 === isAwaited;
            expect(got.filter(ofKind), `shard ${shard} since ${since}`).toEqual(due.filter(ofKind));
          }
          for (const offset of offsets) {
            const { name, retain } = written.get(offset)!;
            if (retain && offset < since) before.set(name, offset);
          }
        }
        expect(Object.fromEntries(retained)).toEqual(Object.fromEntries(before));
      }
    },
  );
});
