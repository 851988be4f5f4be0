import { Kafka, logLevel } from 'kafkajs';
import type { Consumer } from 'kafkajs';
import { drained, pause, repeat } from './workload.ts';
import type { LoadContext, Workload } from './workload.ts';

const subject = 'soak-numbers';
const sizes = [
  { name: 'retention.bytes', value: '4194304' },
  { name: 'segment.bytes', value: '1048576' },
];

function kafkaOf({ server }: LoadContext): Kafka {
  const brokers = [server.address('kafka')];
  return new Kafka({ clientId: 'soak', brokers, logLevel: logLevel.NOTHING, retry: { retries: 10 } });
}

async function createTopic(kafka: Kafka, topic: string, numPartitions: number): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions, configEntries: sizes }] });
  await admin.disconnect();
}

/** By partition the offset after the last one that a group was given. */
type Ends = Map<number, number>;

/** Members of one group; what they have read goes to the ledger under the group's name. */
async function join(context: LoadContext, kafka: Kafka, groupId: string, ends: Ends): Promise<Consumer> {
  context.expect(groupId);
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, sessionTimeout: 10_000 });
  await consumer.connect();
  await consumer.subscribe({ topic: subject, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message, partition }) => {
      // A group may read from an earlier offset again; one number at two offsets is what no idempotent producer writes.
      const offset = Number(message.offset);
      const end = ends.get(partition) ?? 0;
      ends.set(partition, Math.max(end, offset + 1));
      const number = Number(String(message.value).split(' ', 1)[0]);
      context.ledger.give(groupId, subject, number, offset < end);
      context.progress(groupId);
    },
  });
  return consumer;
}

/** An idempotent producer, and a group that is rebalanced again and again. */
const producing: Workload = async (context) => {
  const { ledger, signal } = context;
  const kafka = kafkaOf(context);
  await createTopic(kafka, subject, 3);
  const group = 'kafka-group';
  ledger.read(group, subject, { once: true });
  const ends: Ends = new Map();
  const member = await join(context, kafka, group, ends);
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  let number = 0;
  const produce = repeat('kafka-producer', context, async () => {
    const batch = Array.from({ length: 20 }, () => number++);
    const messages = batch.map((each) => ({ key: `${each % 7}`, value: `${each} ${'y'.repeat(200)}` }));
    await producer.send({ topic: subject, messages });
    for (const each of batch) ledger.acknowledge(subject, each);
    await pause(100, signal);
  });
  const rebalance = repeat('kafka-second-member', context, async () => {
    const second = await join(context, kafka, group, ends);
    await pause(8000, signal);
    await second.disconnect();
    await pause(4000, signal);
  });
  await Promise.all([produce, rebalance]);
  await drained(context, group);
  await Promise.all([producer.disconnect(), member.disconnect()]);
};

/** Topics are made, filled beyond their retention, trimmed, read and deleted; so are the groups that read them. */
const churning: Workload = async (context) => {
  const kafka = kafkaOf(context);
  const admin = kafka.admin();
  await admin.connect();
  const producer = kafka.producer();
  await producer.connect();
  let round = 0;
  await repeat('kafka-churn', context, async () => {
    const topic = `churn-${round++ % 20}`;
    const groupId = `churn-group-${round % 20}`;
    await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries: sizes }] });
    const value = 'z'.repeat(10_000);
    for (let part = 0; part < 10; part++) {
      const messages = Array.from({ length: 20 }, (_, key) => ({ key: `${key}`, value }));
      await producer.send({ topic, messages });
    }
    // kafkajs knows the leaders of a topic only after it was asked for its offsets.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
    await readSome(kafka, topic, groupId);
    await admin.deleteGroups([groupId]);
    await admin.deleteTopics({ topics: [topic] });
    await pause(1000, context.signal);
  });
  await Promise.all([producer.disconnect(), admin.disconnect()]);
};

/** A group of its own reads one message and leaves. */
async function readSome(kafka: Kafka, topic: string, groupId: string): Promise<void> {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('a new group was given nothing')), 25_000);
    const eachMessage = async (): Promise<void> => {
      clearTimeout(late);
      resolve();
    };
    consumer.run({ eachMessage }).catch(reject);
  }).finally(() => consumer.disconnect());
}

/** Everything that kafkajs does. */
export const kafkaWorkloads: readonly Workload[] = [producing, churning];
