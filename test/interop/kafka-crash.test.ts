import { setTimeout as delay } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import type { Consumer, Producer } from 'kafkajs';
import { ServerProcess, waitUntil } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';

const writers = 8;
const kills = 3;
const topic = 'crash';
const groupId = 'crash-group';

/** One writer's numbers, sent one after the other under one key; a number counts when it is acknowledged. */
class Writer {
  readonly key: string;
  acknowledged = 0;
  failed = 0;

  constructor(key: string) {
    this.key = key;
  }

  async run(producer: Producer, stopped: () => boolean): Promise<void> {
    for (let number = 0; !stopped(); number++) {
      const value = String(number);
      for (;;) {
        try {
          await producer.send({ topic, acks: -1, messages: [{ key: this.key, value }] });
          this.acknowledged = number + 1;
          break;
        } catch {
          // Not known whether it was stored: the same number again.
          this.failed++;
          await delay(50);
        }
      }
    }
  }
}

describe('kill -9 under load', () => {
  it('loses nothing that was acknowledged, keeps the order of a key, and groups go on where they were', async () => {
    await using server = await ServerProcess.start();
    const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 30 };
    const brokers = [server.address('kafka')];
    const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING, retry, requestTimeout: 5000 });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic, numPartitions: 4 }] });
    await admin.disconnect();
    const producer = kafka.producer();
    await producer.connect();
    const seen = new Map<string, number[]>();
    const consumer = await follow(kafka, seen);

    let stopped = false;
    const all = Array.from({ length: writers }, (_, index) => new Writer(`writer-${index}`));
    const running = all.map((writer) => writer.run(producer, () => stopped));
    const total = (): number => all.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
    for (let kill = 0; kill < kills; kill++) {
      const before = total();
      await waitUntil(() => total() > before + 500);
      const exit = await server.kill();
      expect(exit.signal).toBe('SIGKILL');
      await server.start();
    }
    const before = total();
    await waitUntil(() => total() > before + 500);
    stopped = true;
    await Promise.all(running);
    await producer.disconnect();

    const complete = (): boolean =>
      all.every(({ key, acknowledged }) => (seen.get(key)?.at(-1) ?? -1) >= acknowledged - 1);
    await waitUntil(complete, { timeoutMs: 60_000 });
    await consumer.disconnect();
    for (const { key, acknowledged } of all) {
      expect(new Set(seen.get(key)).size).toBeGreaterThanOrEqual(acknowledged);
    }
    // What is stored, read once by somebody else: no number is missing, and none comes before a lower one.
    const stored = new Map<string, number[]>();
    const fresh = await follow(kafka, stored, 'crash-check');
    const atEnd = (): boolean =>
      all.every(({ key, acknowledged }) => (stored.get(key)?.at(-1) ?? -1) >= acknowledged - 1);
    await waitUntil(atEnd, { timeoutMs: 60_000 });
    await fresh.disconnect();
    for (const { key } of all) {
      const numbers = stored.get(key)!;
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
      expect([...new Set(numbers)]).toEqual(Array.from({ length: numbers.at(-1)! + 1 }, (_, index) => index));
    }
  }, 120_000);
});

async function follow(kafka: Kafka, into: Map<string, number[]>, group = groupId): Promise<Consumer> {
  const consumer = kafka.consumer({ groupId: group, maxWaitTimeInMs: 100, sessionTimeout: 6000 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommitInterval: 200,
    eachMessage: async ({ message }) => {
      const key = String(message.key);
      const numbers = into.get(key);
      if (numbers === undefined) into.set(key, [Number(String(message.value))]);
      else numbers.push(Number(String(message.value)));
    },
  });
  return consumer;
}
