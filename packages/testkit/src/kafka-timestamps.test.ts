import { silentLogger, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import { errorCodes, produce } from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { batchHasAppendTime, batchMaxTimestamp } from '@robustmq/record';
import { SimClock } from '@robustmq/sim';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { clientBatch } from './kernel-fixture.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

const hour = 3600 * 1000;

let clock: SimClock;
let kernel: Kernel;
let kafka: KafkaAdapter;
let client: KafkaClient;

beforeEach(async () => {
  clock = new SimClock();
  kernel = await startKernel(await createMemoryStorage(), { modules: { clock } });
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
    { kernel, clock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  client = await KafkaClient.connect(kafka.address());
});

afterEach(async () => {
  client.close();
  await kafka.stop();
  await kernel.stop();
});

/** Produces one record to the only partition of a topic with this configuration. */
async function produced(config: Record<string, string>, timestamp: number) {
  const topic = await kernel.topics.create('t', 1, new Map(Object.entries(config)));
  const batch = clientBatch(['x'], { timestamp });
  const answer = await client.send(produce, 9, {
    acks: -1,
    timeoutMs: 1000,
    topicData: [{ name: 't', partitionData: [{ index: 0, records: batch.buffer }] }],
  });
  const shard = await kernel.openShard(topic.shards[0]!);
  const read = await shard.read(0, { maxBytes: 1000, limit: shard.highWatermark });
  const stored = read.entries.find(({ count }) => count > 0)?.payload ?? null;
  return { ...answer.responses[0]!.partitionResponses[0]!, stored };
}

it('message.timestamp.type=CreateTime: the timestamp is the one of the producer', async () => {
  const { errorCode, logAppendTimeMs, stored } = await produced({}, 4711);
  expect([errorCode, logAppendTimeMs]).toEqual([errorCodes.NONE, -1]);
  expect([batchHasAppendTime(stored!, 0), batchMaxTimestamp(stored!, 0)]).toEqual([false, 4711]);
});

it('message.timestamp.type=LogAppendTime: it is the one of the append, and the answer says so', async () => {
  const config = { 'message.timestamp.type': 'LogAppendTime' };
  const { errorCode, logAppendTimeMs, stored } = await produced(config, clock.now() + 100 * hour);
  expect([errorCode, logAppendTimeMs]).toEqual([errorCodes.NONE, clock.now()]);
  expect([batchHasAppendTime(stored!, 0), batchMaxTimestamp(stored!, 0)]).toEqual([true, clock.now()]);
});

it.each([
  [{}, 1 * hour, errorCodes.NONE],
  [{}, 1 * hour + 1, errorCodes.INVALID_TIMESTAMP],
  [{ 'message.timestamp.after.max.ms': '0' }, 0, errorCodes.NONE],
  [{ 'message.timestamp.after.max.ms': '0' }, 1, errorCodes.INVALID_TIMESTAMP],
])('message.timestamp.after.max.ms: %j, %d ms ahead of the broker', async (config, ahead, expected) => {
  expect((await produced(config, clock.now() + ahead)).errorCode).toBe(expected);
});
