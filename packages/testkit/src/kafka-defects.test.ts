import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import {
  apis,
  apiVersions,
  errorCodes,
  fetch,
  initProducerId,
  listOffsets,
  metadata,
  offsetCommit,
  offsetFetch,
} from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { SimRandom } from '@robustmq/sim';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { baseOffsets, batchOf, fetchFrom, produceTo, startKafka } from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { sampleOf } from './kafka-requests.ts';
import { valuesOf } from './kernel-fixture.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

let kafka: KafkaFixture;

beforeAll(async () => {
  kafka = await startKafka();
});

afterAll(async () => {
  expect(kafka.failures).toEqual([]);
  await kafka.stop();
});

it('kafka defect 16: every partition has a leader, also while its log is opened, or can not be', async () => {
  const own = await startKafka();
  const leaders = async (name: string): Promise<number[]> => {
    const { topics } = await own.client.send(metadata, 9, { topics: [{ name }] });
    const { partitions } = topics[0]!;
    expect(partitions.every(({ errorCode, leaderEpoch }) => errorCode === 0 && leaderEpoch > 0)).toBe(true);
    return partitions.map(({ leaderId }) => leaderId);
  };
  const { journal } = own.storage;
  const other = await KafkaClient.connect(own.kafka.address());
  journal.hold();
  expect(await leaders('opening')).toEqual([1, 1, 1, 1]);
  const first = produceTo(other, 'opening', batchOf(['x']));
  expect(await leaders('opening')).toEqual([1, 1, 1, 1]);
  journal.release();
  expect((await first).errorCode).toBe(0);
  journal.answerFenced = true;
  journal.disconnect(new Error('lost'));
  expect((await produceTo(other, 'opening', batchOf(['y']))).errorCode).not.toBe(0);
  expect(await leaders('opening')).toEqual([1, 1, 1, 1]);
  other.close();
  await own.stop();
});

it.each([
  ['Produce', 7],
  ['Fetch', 12],
  ['ListOffsets', 5],
  ['Metadata', 9],
  ['OffsetCommit', 8],
  ['OffsetFetch', 8],
  ['FindCoordinator', 4],
  ['JoinGroup', 6],
  ['SyncGroup', 4],
  ['Heartbeat', 4],
  ['LeaveGroup', 4],
  ['DescribeGroups', 5],
  ['ListGroups', 4],
  ['CreateTopics', 7],
  ['DeleteTopics', 6],
  ['InitProducerId', 3],
] as const)(
  'kafka defect 22: a client whose oldest version of %s is %i is served, in that and every newer one',
  async (name, oldest) => {
    const { apiKeys } = await kafka.client.send(apiVersions, 4, {});
    const row = apiKeys.find(({ apiKey }) => apis.get(apiKey)?.name === name);
    expect(row?.maxVersion).toBeGreaterThanOrEqual(oldest);
    const topic = `served-${name}`;
    const { id } = await kafka.kernel.topics.create(topic, 1);
    const { api, body } = sampleOf(name, topic, id);
    for (let version = oldest; version <= row!.maxVersion; version++) {
      const answer = await kafka.client.send(api, version, body(version) as never);
      // It was understood; that the sample names no member of a group, or a topic twice, is another matter.
      for (const code of errorCodesIn(answer)) expect(notServed, `v${version}`).not.toContain(code);
    }
  },
);

/** What a server says that does not know a version, or what is in it. */
const notServed: readonly number[] = [
  errorCodes.UNKNOWN_SERVER_ERROR,
  errorCodes.UNSUPPORTED_VERSION,
  errorCodes.INVALID_REQUEST,
  errorCodes.UNKNOWN_TOPIC_ID,
];

/** Every error code of an answer, wherever it is in it. */
function errorCodesIn(answer: unknown): number[] {
  if (answer === null || typeof answer !== 'object' || Buffer.isBuffer(answer)) return [];
  return Object.entries(answer).flatMap(([name, value]) =>
    name === 'errorCode' ? [value as number] : errorCodesIn(value),
  );
}

it('kafka defect 26: the last stable offset is the high watermark of the same moment', async () => {
  await kafka.kernel.topics.create('stable', 1);
  const other = await KafkaClient.connect(kafka.kafka.address());
  const writing = (async () => {
    for (let at = 0; at < 200; at++) await produceTo(other, 'stable', batchOf(['a', 'b']));
  })();
  const seen = new Set<number>();
  for (let last = 0; last < 400; ) {
    for (const isolationLevel of [0, 1]) {
      const { responses } = await kafka.client.send(fetch, 12, {
        maxWaitMs: 100,
        minBytes: 1,
        isolationLevel,
        topics: [
          { topic: 'stable', partitions: [{ partition: 0, fetchOffset: last, partitionMaxBytes: 1000 }] },
        ],
      });
      const { highWatermark, lastStableOffset } = responses[0]!.partitions[0]!;
      expect(lastStableOffset).toBe(highWatermark);
      last = highWatermark;
      seen.add(last);
    }
  }
  await writing;
  expect(seen.size).toBeGreaterThan(10);
  other.close();
});

/** One run of broker and listener, which can be cut off from its storage and its clients. */
class Life {
  readonly kernel: Kernel;
  readonly address: { host: string; port: number };
  readonly #stop: () => Promise<void>;
  readonly #clients: KafkaClient[] = [];

  private constructor(kernel: Kernel, address: { host: string; port: number }, stop: () => Promise<void>) {
    this.kernel = kernel;
    this.address = address;
    this.#stop = stop;
  }

  static async begin(storage: MemoryStorage): Promise<Life> {
    const kernel = await startKernel(storage);
    const adapter = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await adapter.start();
    return new Life(kernel, adapter.address(), () => adapter.stop());
  }

  async connect(): Promise<KafkaClient> {
    const client = await KafkaClient.connect(this.address);
    this.#clients.push(client);
    return client;
  }

  /** Nothing that is under way comes to its end. */
  die(storage: MemoryStorage): void {
    storage.journal.crash();
    for (const client of this.#clients) client.close();
    void this.#stop();
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#stop();
    await this.kernel.stop();
  }
}

/** An idempotent producer to one partition that sends a batch again until it is answered. */
class Producer {
  readonly partition: number;
  /** Offsets that were answered, by number. */
  readonly offsets: number[] = [];
  #id = -1;

  constructor(partition: number) {
    this.partition = partition;
  }

  get id(): number {
    return this.#id;
  }

  /** Sends numbers until it has `count` answers or the connection ends; what was not answered is the next to be sent. */
  async run(client: KafkaClient, count: number): Promise<void> {
    try {
      if (this.#id < 0) {
        const granted = await client.send(initProducerId, 4, {
          transactionalId: null,
          transactionTimeoutMs: 0,
        });
        this.#id = granted.producerId;
      }
      while (this.offsets.length < count) {
        const number = this.offsets.length;
        const batch = batchOf([`${this.#id}/${number}`], {
          producerId: this.#id,
          producerEpoch: 0,
          baseSequence: number,
        });
        const { errorCode, baseOffset } = await produceTo(client, 'ledger', batch, {
          partition: this.partition,
        });
        expect(errorCode).toBe(0);
        this.offsets.push(baseOffset);
      }
    } catch (error) {
      if (!(error as Error).message.includes('closed')) throw error;
    }
  }
}

describe('what is acknowledged', () => {
  it.each([1, 2, 3])(
    'kafka defect 24: is there once, at its offset, after five deaths, seed %i',
    async (seed) => {
      const random = new SimRandom(seed);
      const storage = await createMemoryStorage();
      let life = await Life.begin(storage);
      const topic = await life.kernel.topics.create('ledger', 2);
      const producers = [0, 1, 0, 1].map((partition) => new Producer(partition));
      for (let death = 0; death < 5; death++) {
        const { fuse } = storage.journal;
        fuse.blowAfter(random.u32() % 40);
        const clients = await Promise.all(producers.map(() => life.connect()));
        const running = producers.map((producer, at) => producer.run(clients[at]!, 10_000));
        await waitUntil(() => fuse.blown);
        life.die(storage);
        await Promise.all(running);
        life = await Life.begin(storage);
      }
      const count = Math.max(...producers.map(({ offsets }) => offsets.length)) + 5;
      await Promise.all(producers.map(async (producer) => producer.run(await life.connect(), count)));
      for (const [partition, id] of topic.shards.entries()) {
        const stored = await valuesOf(await life.kernel.openShard(id));
        const mine = producers.filter((producer) => producer.partition === partition);
        expect(stored).toHaveLength(mine.length * count);
        for (const { id: producerId, offsets } of mine) {
          const own = stored.filter((value) => value.includes(`:${producerId}/`));
          expect(own).toEqual(offsets.map((offset, number) => `${offset}:${producerId}/${number}`));
        }
      }
      await life.end();
    },
  );

  it('kafka defect 25: is read by everybody, and no position falls back, while groups and producers are many', async () => {
    const topic = 'healthy';
    await kafka.kernel.topics.create(topic, 2);
    const records = 150;
    const writer = async (partition: number): Promise<number[]> => {
      const client = await KafkaClient.connect(kafka.kafka.address());
      const offsets: number[] = [];
      for (let at = 0; at < records; at++) {
        const { errorCode, baseOffset } = await produceTo(client, topic, batchOf(['x']), { partition });
        expect(errorCode).toBe(0);
        offsets.push(baseOffset);
      }
      client.close();
      return offsets;
    };
    const reader = async (groupId: string, partition: number): Promise<number[]> => {
      const client = await KafkaClient.connect(kafka.kafka.address());
      const seen: number[] = [];
      for (let position = 0; position < records * 2; ) {
        const { errorCode, records: bytes } = await fetchFrom(client, topic, position, {
          partition,
          maxWaitMs: 15_000,
        });
        expect(errorCode).toBe(0);
        seen.push(...baseOffsets(bytes).filter((offset) => offset >= position));
        position = seen.at(-1)! + 1;
        const committed = { partitionIndex: partition, committedOffset: position, committedMetadata: '' };
        const topics = [{ name: topic, partitions: [committed] }];
        const answer = await client.send(offsetCommit, 8, { groupId, topics });
        expect(answer.topics[0]!.partitions[0]!.errorCode).toBe(0);
        const asked = [{ name: topic, partitionIndexes: [partition] }];
        const [found] = (await client.send(offsetFetch, 7, { groupId, topics: asked })).topics[0]!.partitions;
        expect(found).toMatchObject({ errorCode: 0, committedOffset: position });
        const partitions = [{ partitionIndex: partition, timestamp: -1 }];
        const ends = await client.send(listOffsets, 7, {
          replicaId: -1,
          topics: [{ name: topic, partitions }],
        });
        expect(ends.topics[0]!.partitions[0]!.offset).toBeGreaterThanOrEqual(position);
      }
      client.close();
      return seen;
    };
    const both = [0, 1];
    const reading = both.flatMap((partition) => ['g1', 'g2'].map((group) => reader(group, partition)));
    const written = await Promise.all([...both, ...both].map(writer));
    const all = Array.from({ length: records * 2 }, (_, offset) => offset);
    for (const seen of await Promise.all(reading)) expect(seen).toEqual(all);
    for (const partition of both) {
      const given = [...written[partition]!, ...written[partition + 2]!];
      expect(given.sort((a, b) => a - b)).toEqual(all);
    }
  }, 30_000);
});
