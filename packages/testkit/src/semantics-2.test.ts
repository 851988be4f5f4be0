import { crc32c, silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import { errorCodes, findCoordinator, initProducerId, produce } from '@robustmq/kafka-codec';
import { LogBatch, PublishMessage } from '@robustmq/kernel';
import { BatchEncoder, codecs, HeaderEncoder, RecordInput } from '@robustmq/record';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { MqttBroker } from './mqtt-broker.ts';

let broker: MqttBroker;
let kafka: KafkaAdapter;
let client: KafkaClient;

beforeAll(async () => {
  broker = await MqttBroker.start();
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
    { kernel: broker.kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  client = await KafkaClient.connect(kafka.address());
});

afterAll(async () => {
  client.close();
  await kafka.stop();
  await broker[Symbol.asyncDispose]();
});

/** A batch of one record with these bits of the attributes set; its checksum is made to fit. */
function batchWith(attributes: number): Buffer {
  const encoder = new BatchEncoder();
  const record = new RecordInput();
  record.timestamp = Date.now();
  encoder.append(record.setKey(Buffer.from('k')).setValue(Buffer.from('v')));
  const producer = { producerId: 5, producerEpoch: 0, baseSequence: 0 };
  return encoder.finish(attributes === 0 ? producer : { ...producer, attributes });
}

/** The error code of a produce to the first partition of a topic. */
async function produced(
  name: string,
  records: Buffer,
  transactionalId: string | null = null,
): Promise<number | undefined> {
  const topicData = [{ name, partitionData: [{ index: 0, records }] }];
  const answer = await client.send(produce, 9, { transactionalId, acks: -1, timeoutMs: 1000, topicData });
  return answer.responses[0]?.partitionResponses[0]?.errorCode;
}

describe('semantics 2.3: sizes', () => {
  it('a batch that a broker fills is closed at 256 KiB, one larger record has a batch of its own', () => {
    const { publisher, subjects } = broker.kernel;
    const message = new PublishMessage();
    message.subject = subjects.forPublish('sizes/a');
    message.guarantee = 1;
    const batches = new Set<LogBatch>();
    const add = (bytes: number): LogBatch => {
      message.record.setValue(Buffer.alloc(bytes));
      const batch = publisher.publish(message);
      if (typeof batch === 'string') throw new Error(batch);
      batches.add(batch);
      return batch;
    };
    for (let count = 0; count < 60; count++) add(10_000);
    const large = add(400_000);
    const after = add(1);
    publisher.flush();
    const sizes = [...batches].map((batch) => batch.bytes);
    expect(batches.size).toBeGreaterThan(3);
    expect(large.bytes).toBeGreaterThan(400_000);
    expect([large.count, after === large]).toEqual([1, false]);
    expect(sizes.filter((bytes) => bytes > 256 * 1024)).toEqual([large.bytes]);
  });

  it('the largest packet that is announced has room in the default topic', async () => {
    const { client: device, connack } = await broker.connectWith(5, { clientId: 'large' });
    const { maximumPacketSize } = connack.properties;
    const { maxMessageBytes } = broker.kernel.topics.configOf(broker.kernel.topics.defaultTopic);
    expect(maximumPacketSize).toBeGreaterThan(1_000_000);
    // Names of ours take more room in a record than in a packet.
    const userProperties = Array.from({ length: 64 }, (_, at): [string, string] => [
      `mq${at}`,
      'v'.repeat(100),
    ]);
    let properties = 0;
    for (const [name, value] of userProperties) properties += 1 + 2 + name.length + 2 + value.length;
    const code = await device.publishAcknowledged({
      topic: 't',
      // Fixed header 4, topic 3, packet id 2, length of the properties 2.
      payload: Buffer.alloc(maximumPacketSize! - 11 - properties),
      properties: { userProperties },
    });
    expect(code).toBe(0);
    expect(maximumPacketSize).toBeLessThan(maxMessageBytes);
  });

  it('bounds on user properties bind senders: 0x97 above 64; a record with more reaches its receivers whole', async () => {
    const reader = await broker.connect(5, { clientId: 'reader' });
    await reader.subscribe('many/#', 1);
    const sender = await broker.connect(5, { clientId: 'sender' });
    const properties = (count: number) => ({
      userProperties: Array.from({ length: count }, (_, at): [string, string] => [`name-${at}`, `${at}`]),
    });
    expect(await sender.publishAcknowledged({ topic: 'many/a', properties: properties(64) })).toBe(0);
    expect((await reader.receive(1))[0]!.properties.userProperties).toHaveLength(64);
    sender.publish({ topic: 'many/a', qos: 1, packetId: 2, properties: properties(65) });
    expect((await sender.next('disconnect')).reasonCode).toBe(0x97);
    await broker.kernel.topics.create('many', 1);
    await reader.subscribe('many/#', 1, 2);
    const encoder = new BatchEncoder();
    const headers = new HeaderEncoder();
    for (const [name, value] of properties(1000).userProperties) {
      headers.add(Buffer.from(name), Buffer.from(value));
    }
    const record = new RecordInput();
    encoder.append(record.setKey(Buffer.from('k')).setValue(Buffer.from('v')).setHeaders(headers));
    expect(await produced('many', encoder.finish())).toBe(0);
    const [message] = await reader.receive(1);
    expect(message!.properties).toEqual(properties(1000));
  });

  it('regression: a default topic that takes small messages only kept every client out', async () => {
    const defaultTopicConfig = new Map([['max.message.bytes', '1024']]);
    await using small = await MqttBroker.start({ defaultTopicConfig });
    const device = await small.connect(5, { clientId: 'device' });
    expect(await device.subscribe('a/#', 1)).toEqual([1]);
    expect(await device.publishAcknowledged({ topic: 'b', payload: 'fits' })).toBe(0);
    expect(await device.publishAcknowledged({ topic: 'b', payload: Buffer.alloc(2000) })).toBe(0x97);
  });
});

describe('semantics 2.5: a client batch that can not be decoded', () => {
  it('is skipped by sessions, told once, and fetched as it was produced', async () => {
    const topic = await broker.kernel.topics.create('odd', 1);
    const subscriber = await broker.connect(5, { clientId: 'odd' });
    await subscriber.subscribe('odd/#', 1);
    const plain = batchWith(0);
    // It says that its records are compressed; the checksum is right.
    const odd = batchWith(codecs.gzip);
    const before = broker.kernel.dispatcher.undecodable;
    expect(await produced('odd', odd)).toBe(errorCodes.NONE);
    const unnumbered = Buffer.from(plain);
    unnumbered.writeBigInt64BE(-1n, 43);
    unnumbered.writeInt32BE(-1, 53);
    unnumbered.writeUInt32BE(crc32c(unnumbered.subarray(21)), 17);
    expect(await produced('odd', unnumbered)).toBe(errorCodes.NONE);
    expect((await subscriber.receive(1)).map(({ topic: name }) => name)).toEqual(['odd/k']);
    expect(await subscriber.settled()).toEqual([]);
    expect(broker.kernel.dispatcher.undecodable - before).toBe(1);
    const shard = await broker.kernel.openShard(topic.shards[0]!);
    const { entries } = await shard.read(0, { maxBytes: 1 << 20, limit: 1 });
    const stored = entries.find(({ count }) => count > 0)!.payload;
    // All but what the log assigns: base offset and epoch.
    expect(stored.subarray(16, odd.length).equals(odd.subarray(16))).toBe(true);
  });
});

describe('semantics 2.6: no transactions', () => {
  it('a transactional id and the coordinator of one are not authorized', async () => {
    await broker.kernel.topics.create('plain', 1);
    const refused = errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    expect(refused).toBe(53);
    expect(await produced('plain', batchWith(0), 'tx')).toBe(refused);
    const id = await client.send(initProducerId, 4, { transactionalId: 'tx', transactionTimeoutMs: 1000 });
    expect(id.errorCode).toBe(refused);
    const coordinator = await client.send(findCoordinator, 3, { key: 'tx', keyType: 1 });
    expect(coordinator.errorCode).toBe(refused);
  });

  it.each([
    ['transactional', 0x10, 48],
    ['control', 0x20, 87],
    ['transactional control', 0x30, 87],
  ])('a %s batch is refused, in the default topic as in any other', async (_name, attributes, code) => {
    for (const topic of ['plain', 'mqtt']) {
      expect(await produced(topic, batchWith(attributes)), topic).toBe(code);
    }
    expect(await produced('plain', batchWith(0))).toBe(errorCodes.NONE);
  });
});

describe('semantics 2.7: a topic is its id', () => {
  it('a topic that is made again has no retained messages and no records of the one before', async () => {
    const { topics } = broker.kernel;
    const config = new Map([['subject.bind', 'true']]);
    const old = await topics.create('again', 2, config);
    const device = await broker.connect(5, { clientId: 'device' });
    expect(await device.publishAcknowledged({ topic: 'again/a', payload: 'old', retain: true })).toBe(0);
    await topics.delete(old);
    const made = await topics.create('again', 2, config);
    expect(made.id).not.toBe(old.id);
    const watcher = await broker.connect(5, { clientId: 'watcher' });
    expect(await watcher.subscribe('again/#', 1)).toEqual([1]);
    expect(await watcher.settled()).toEqual([]);
    expect(await device.publishAcknowledged({ topic: 'again/a', payload: 'new' })).toBe(0);
    expect(await watcher.receiveTexts(1)).toEqual(['new']);
    const shards = await Promise.all(made.shards.map((id) => broker.kernel.openShard(id)));
    expect(shards.map((shard) => shard.highWatermark).sort()).toEqual([0, 1]);
  });

  it('a kept session reads nothing of the topic that was deleted', async () => {
    const { topics } = broker.kernel;
    const old = await topics.create('renewed', 1);
    const kept = { clientId: 'kept', cleanStart: false, properties: { sessionExpiry: 60 } };
    const first = await broker.connect(5, kept);
    await first.subscribe('renewed/#', 1);
    first.drop();
    expect(await produced('renewed', batchWith(0))).toBe(0);
    await topics.delete(old);
    await topics.create('renewed', 1);
    expect(await produced('renewed', batchWith(0))).toBe(0);
    const back = await broker.connect(5, kept);
    expect((await back.receive(1)).map(({ topic }) => topic)).toEqual(['renewed/k']);
    expect(await back.settled()).toEqual([]);
  });
});
