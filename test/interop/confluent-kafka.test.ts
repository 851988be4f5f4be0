import { createRequire } from 'node:module';
import { ServerProcess, waitUntil } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/** What these tests use of the client, which has the shape of kafkajs. */
interface Client {
  /** Codecs among them: not every build of librdkafka has zstd. */
  readonly features: readonly string[];
  readonly KafkaJS: { readonly Kafka: new (config: object) => Kafka };
}

interface Kafka {
  producer(config: object): Producer;
  consumer(config: object): Consumer;
  admin(): Connected & { listTopics(): Promise<string[]>; createTopics(input: object): Promise<boolean> };
}

interface Connected {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
}

interface Producer extends Connected {
  send(input: object): Promise<readonly { readonly baseOffset?: string }[]>;
}

interface Message {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly offset: string;
}

interface Consumer extends Connected {
  subscribe(input: object): Promise<void>;
  run(input: { eachMessage(payload: { message: Message }): Promise<void> }): Promise<void>;
}

/** Its native part is built where it is installed: outside this project, and found through NODE_PATH. */
function load(): Client | null {
  try {
    return createRequire(import.meta.url)('@confluentinc/kafka-javascript') as Client;
  } catch {
    return null;
  }
}

const client = load();
const name = '@confluentinc/kafka-javascript';

describe.skipIf(client === null)(client === null ? `${name} (not installed)` : name, () => {
  let server: ServerProcess;
  let kafka: Kafka;

  beforeAll(async () => {
    server = await ServerProcess.start();
    kafka = new client!.KafkaJS.Kafka({ kafkaJS: { brokers: [server.address('kafka')] } });
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  async function produce(topic: string, values: readonly string[], config: object = {}): Promise<void> {
    const producer = kafka.producer({ kafkaJS: { idempotent: true, ...config } });
    await producer.connect();
    await producer.send({ topic, messages: values.map((value) => ({ key: 'k', value })) });
    await producer.disconnect();
  }

  /** Joins the group and reads until `count` messages came; what was read is committed when it leaves. */
  async function consume(groupId: string, topic: string, count: number): Promise<string[]> {
    const values: string[] = [];
    const consumer = kafka.consumer({
      kafkaJS: { groupId, fromBeginning: true, autoCommit: true, autoCommitInterval: 100 },
    });
    await consumer.connect();
    await consumer.subscribe({ topics: [topic] });
    await consumer.run({ eachMessage: async ({ message }) => void values.push(String(message.value)) });
    await waitUntil(() => values.length >= count, { timeoutMs: 30_000, what: `${count} messages` });
    await consumer.disconnect();
    return values;
  }

  it('creates topics', async () => {
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'made', numPartitions: 3 }] });
    expect(await admin.listTopics()).toContain('made');
    await admin.disconnect();
  });

  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    const missing = codec === 'zstd' && client?.features.includes('zstd') === false;
    it.skipIf(missing)(`produces idempotently and consumes, ${codec}`, async () => {
      const topic = `codec-${codec}`;
      const values = Array.from({ length: 50 }, (_, index) => `${codec} ${index} ${'x'.repeat(100)}`);
      await produce(topic, values, { compression: codec });
      expect(await consume(`group-${codec}`, topic, values.length)).toEqual(values);
    });
  }

  it('resumes a group where it committed', async () => {
    await produce('resumed', ['a', 'b', 'c']);
    expect(await consume('resuming', 'resumed', 3)).toEqual(['a', 'b', 'c']);
    await produce('resumed', ['d', 'e']);
    expect(await consume('resuming', 'resumed', 2)).toEqual(['d', 'e']);
  });

  it('loses nothing acknowledged over kill -9', async () => {
    const values: string[] = [];
    for (let round = 0; round < 3; round++) {
      const batch = Array.from({ length: 20 }, (_, index) => `${round}-${index}`);
      await produce('crash', batch);
      values.push(...batch);
      await server.kill();
      await server.start();
    }
    expect(await consume('after-crash', 'crash', values.length)).toEqual(values);
  });
});
