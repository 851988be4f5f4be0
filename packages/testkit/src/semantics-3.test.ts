import { LogBatch } from '@robustmq/kernel';
import type { Packet } from '@robustmq/mqtt-codec';
import { BatchEncoder, RecordInput } from '@robustmq/record';
import { describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const kept = (clientId: string) => ({ clientId, cleanStart: false, properties: { sessionExpiry: 600 } });
const subscription = (filter: string, qos: 0 | 1 | 2) => ({
  filter,
  qos,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0 as const,
});

/** Publishes at QoS 1, each acknowledged before the next. */
async function publishAll(client: MqttClient, topic: string, texts: readonly string[]): Promise<void> {
  for (const payload of texts) expect(await client.publishAcknowledged({ topic, payload })).toBe(0);
}

function publishes(packets: readonly Packet[]): string[] {
  const texts: string[] = [];
  for (const packet of packets) {
    if (packet.type === 'publish') texts.push(Buffer.from(packet.payload).toString());
  }
  return texts;
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, at) => String(from + at));
}

/** Appends a record as a Kafka client does, and waits for its commit. */
async function produce(broker: MqttBroker, topic: string, key: string, value: string): Promise<void> {
  const { shards } = broker.kernel.topics.byName(topic)!;
  const shard = await broker.kernel.openShard(shards[0]!);
  const encoder = new BatchEncoder();
  const record = new RecordInput();
  encoder.append(record.setKey(Buffer.from(key)).setValue(Buffer.from(value)));
  const buffer = encoder.finish();
  const batch = new LogBatch(false).fill(buffer, 0, buffer.length, 1, 1);
  await new Promise<void>((resolve, reject) => {
    shard.appendClient(batch, null, {
      settled: (_batch, error) => (error === null ? resolve() : reject(error)),
    });
  });
}

describe('semantics 3.1: effective QoS 0', () => {
  it('goes out when it is appended, before the commit', async () => {
    await using broker = await MqttBroker.start();
    const subscriber = await broker.connect(5, { clientId: 's' });
    const publisher = await broker.connect(5, { clientId: 'p' });
    await subscriber.subscribe('live/#', 0);
    await publishAll(publisher, 'live/a', ['opens the shard']);
    await subscriber.receive(1);
    broker.storage.journal.hold();
    publisher.publish({ topic: 'live/a', payload: 'published at 0' });
    publisher.publish({ topic: 'live/a', qos: 1, packetId: 1, payload: 'granted 0' });
    expect(await subscriber.receiveTexts(2)).toEqual(['published at 0', 'granted 0']);
    expect(await publisher.settled()).toEqual([]);
    broker.storage.journal.release();
    await publisher.next('puback');
    expect(await subscriber.settled()).toEqual([]);
  });

  it('is never read by a cursor: who returns is not flooded with it', async () => {
    await using broker = await MqttBroker.start();
    const first = await broker.connect(5, kept('s'));
    expect(await first.subscribe(['granted0/#', 'granted1/#'], 0)).toEqual([0, 0]);
    expect(await first.subscribe('granted1/#', 1, { packetId: 2 })).toEqual([1]);
    first.drop();
    await waitUntil(() => broker.adapter.sessions.connected === 0);
    const publisher = await broker.connect(5, { clientId: 'p' });
    publisher.publish({ topic: 'granted1/a', payload: 'published at 0' });
    await publishAll(publisher, 'granted0/a', ['granted 0']);
    await publishAll(publisher, 'granted1/a', ['at least once']);
    const back = await broker.connect(5, kept('s'));
    expect(await back.receiveTexts(1)).toEqual(['at least once']);
    expect(await back.settled()).toEqual([]);
  });
});

it('semantics 3.2: effective QoS 1 and 2 go out after the commit', async () => {
  await using broker = await MqttBroker.start();
  const publisher = await broker.connect(5, { clientId: 'p' });
  const subscribers = [await broker.connect(5, { clientId: 's1' }), await broker.connect(5, kept('s2'))];
  for (const subscriber of subscribers) await subscriber.subscribe('durable', 2);
  broker.storage.journal.hold();
  publisher.publish({ topic: 'durable', qos: 1, packetId: 1, payload: '1' });
  publisher.publish({ topic: 'durable', qos: 2, packetId: 2, payload: '2' });
  expect(await publisher.settled()).toEqual([]);
  for (const subscriber of subscribers) expect(await subscriber.settled()).toEqual([]);
  broker.storage.journal.release();
  for (const subscriber of subscribers) expect(await subscriber.receiveTexts(2)).toEqual(['1', '2']);
});

describe('semantics 3.3: who misses something reads it from the log, once and in order', () => {
  it('after a full window, until it meets the live path', async () => {
    await using broker = await MqttBroker.start();
    const properties = { receiveMaximum: 3 };
    const subscriber = await broker.connect(5, { clientId: 's', properties });
    await subscriber.subscribe('order/+', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'order/a', numbers(0, 40));
    // Half of it is read while more comes.
    const first = await subscriber.receiveTexts(20);
    const [rest] = await Promise.all([
      subscriber.receiveTexts(60),
      publishAll(publisher, 'order/a', numbers(40, 80)),
    ]);
    expect([...first, ...rest]).toEqual(numbers(0, 80));
    await publishAll(publisher, 'order/a', ['live']);
    expect(await subscriber.receiveTexts(1)).toEqual(['live']);
    expect(publishes(await subscriber.settled())).toEqual([]);
    expect(broker.kernel.catchUp.waiting).toBe(0);
  });

  it('after a shard was lost and opened again', async () => {
    await using broker = await MqttBroker.start();
    const subscriber = await broker.connect(5, { clientId: 's' });
    await subscriber.subscribe('order/a', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'order/a', numbers(0, 5));
    // Stored, but the broker does not hear of it: the stream breaks first.
    broker.storage.journal.hold();
    publisher.publish({ topic: 'order/a', qos: 1, packetId: 9, payload: '5' });
    expect(await publisher.settled()).toEqual([]);
    broker.storage.journal.disconnect(new Error('the journal is gone'));
    broker.storage.journal.release();
    publisher.drop();
    const again = await broker.connect(5, { clientId: 'p2' });
    await publishAll(again, 'order/a', numbers(6, 10));
    expect(await subscriber.receiveTexts(10)).toEqual(numbers(0, 10));
    expect(publishes(await subscriber.settled())).toEqual([]);
  });

  it('after it was away', async () => {
    await using broker = await MqttBroker.start();
    const first = await broker.connect(5, kept('s'));
    await first.subscribe('order/#', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'order/a', numbers(0, 3));
    expect(await first.receiveTexts(3)).toEqual(numbers(0, 3));
    await first.disconnect();
    await publishAll(publisher, 'order/a', numbers(3, 50));
    const back = await broker.connect(5, kept('s'));
    const [texts] = await Promise.all([
      back.receiveTexts(97),
      publishAll(publisher, 'order/a', numbers(50, 100)),
    ]);
    expect(texts).toEqual(numbers(3, 100));
  });
});

describe('semantics 3.4: subscriptions begin and end at an offset', () => {
  it('SUBACK of a kept session waits for the commit, of another one for nothing', async () => {
    await using broker = await MqttBroker.start();
    const passing = await broker.connect(5, { clientId: 'passing' });
    const stays = await broker.connect(5, kept('stays'));
    broker.storage.journal.hold();
    expect(await passing.subscribe('a/#', 1)).toEqual([1]);
    stays.send({ type: 'subscribe', packetId: 1, subscriptions: [subscription('a/#', 1)], properties: {} });
    expect(await stays.nothingWithin(50)).toBeNull();
    broker.storage.journal.release();
    expect((await stays.next('suback')).reasonCodes).toEqual([1]);
  });

  it('mqtt defect 36: nothing from before it is delivered, everything from its beginning on is', async () => {
    await using broker = await MqttBroker.start();
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'begin/a', numbers(0, 5));
    const client = await broker.connect(5, kept('s'));
    await client.subscribe('begin/#', 1);
    client.drop();
    await publishAll(publisher, 'begin/a', numbers(5, 10));
    const back = await broker.connect(5, kept('s'));
    expect(await back.receiveTexts(5)).toEqual(numbers(5, 10));
    // Another filter begins later, and does not bring back what lies before it.
    await back.subscribe('begin/+', 1, { packetId: 3 });
    await publishAll(publisher, 'begin/a', ['10']);
    expect(await back.receiveTexts(1)).toEqual(['10']);
    expect(publishes(await back.settled())).toEqual([]);
  });

  it('SUBSCRIBE again keeps the beginning: what is still to be read comes, under the new options', async () => {
    await using broker = await MqttBroker.start();
    const session = { ...kept('s'), properties: { sessionExpiry: 600, receiveMaximum: 1 } };
    const client = await broker.connect(5, session);
    await client.subscribe('again/#', 1, { id: 1 });
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'again/a', numbers(0, 3));
    // The first fills the window; the others wait in the log.
    await client.next('publish');
    await client.subscribe('again/#', 1, { id: 2, packetId: 2 });
    await broker.crash();
    const back = await broker.connect(5, session);
    const messages = await back.receive(3);
    expect(publishes(messages)).toEqual(numbers(0, 3));
    const ids = messages.map(({ properties }) => properties.subscriptionIdentifiers);
    expect(ids.slice(1)).toEqual([[2], [2]]);
  });

  it('UNSUBSCRIBE acts at once, and what is in flight is finished', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('s'));
    await client.subscribe('end/a', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'end/a', ['in flight']);
    await client.next('publish');
    broker.storage.journal.hold();
    client.send({ type: 'unsubscribe', packetId: 2, filters: ['end/a'], properties: {} });
    // It counts before its own commit.
    await waitUntil(() => broker.kernel.router.filterCount === 0);
    broker.storage.journal.release();
    expect((await client.next('unsuback')).reasonCodes).toEqual([0]);
    await publishAll(publisher, 'end/a', ['too late']);
    expect(publishes(await client.settled())).toEqual([]);
    client.drop();
    const back = await broker.connect(5, kept('s'));
    const again = await back.next('publish');
    expect([Buffer.from(again.payload).toString(), again.dup]).toEqual(['in flight', true]);
    back.ack('puback', again.packetId);
    expect(publishes(await back.settled())).toEqual([]);
  });

  it('a shard that is created later is read from its start', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('s'));
    expect(await client.subscribe('later/#', 1)).toEqual([1]);
    await client.disconnect();
    await broker.kernel.topics.create('later', 1);
    await produce(broker, 'later', 'k', 'first');
    const back = await broker.connect(5, kept('s'));
    expect(await back.receiveTexts(1)).toEqual(['first']);
    await produce(broker, 'later', 'k', 'second');
    expect(await back.receiveTexts(1)).toEqual(['second']);
  });
});

describe('semantics 3.5: overlapping filters', () => {
  it('give one copy with all identifiers and the highest QoS, live and from the log', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('s'));
    await client.subscribe('over/#', 0, { id: 1 });
    await client.subscribe('over/+', 2, { id: 2, packetId: 2 });
    await client.subscribe('over/a', 1, { id: 3, packetId: 3 });
    const publisher = await broker.connect(5, { clientId: 'p' });
    const check = async (of: MqttClient): Promise<void> => {
      const [message] = await of.receive(1);
      expect(message!.qos).toBe(2);
      expect([...message!.properties.subscriptionIdentifiers!].sort()).toEqual([1, 2, 3]);
      expect(publishes(await of.settled())).toEqual([]);
    };
    publisher.publish({ topic: 'over/a', qos: 2, packetId: 1, payload: 'live' });
    await check(client);
    client.drop();
    publisher.publish({ topic: 'over/a', qos: 2, packetId: 2, payload: 'stored' });
    await publisher.next('pubrec');
    await publisher.next('pubrec');
    await check(await broker.connect(5, kept('s')));
  });

  it('No Local leaves a filter at QoS 0: a message of QoS 1 comes through it, once', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, { clientId: 'self' });
    const other = await broker.connect(5, { clientId: 'other' });
    await client.subscribe('own/a', 1, { id: 1, noLocal: true });
    await client.subscribe('own/#', 0, { id: 2, packetId: 2 });
    expect(await other.publishAcknowledged({ topic: 'own/a', payload: 'theirs' })).toBe(0);
    client.publish({ topic: 'own/a', qos: 1, packetId: 1, payload: 'mine' });
    const packets: Packet[] = [];
    await waitUntil(async () => {
      packets.push(...(await client.settled()));
      return packets.length >= 3;
    });
    const came = packets.filter((packet) => packet.type === 'publish');
    expect(publishes(came)).toEqual(['theirs', 'mine']);
    expect(came).toMatchObject([
      { qos: 1, properties: { subscriptionIdentifiers: [1, 2] } },
      { qos: 0, properties: { subscriptionIdentifiers: [2] } },
    ]);
  });

  it('No Local holds for what is retained as well', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, { clientId: 'self' });
    const other = await broker.connect(5, { clientId: 'other' });
    client.publish({ topic: 'own/a', qos: 1, packetId: 1, payload: 'mine', retain: true });
    await client.next('puback');
    expect(await other.publishAcknowledged({ topic: 'own/b', payload: 'theirs', retain: true })).toBe(0);
    await client.subscribe('own/#', 1, { noLocal: true });
    expect(publishes(await client.settled())).toEqual(['theirs']);
    await client.subscribe('own/a', 1, { packetId: 2 });
    expect(publishes(await client.settled())).toEqual(['mine']);
  });

  it('No Local leaves the filters that do not ask for it', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, { clientId: 'self' });
    await client.subscribe('own/#', 2, { id: 1, noLocal: true });
    await client.subscribe('own/shown', 1, { id: 2, packetId: 2 });
    client.publish({ topic: 'own/hidden', qos: 1, packetId: 1, payload: 'hidden' });
    client.publish({ topic: 'own/shown', qos: 1, packetId: 2, payload: 'shown' });
    const packets: Packet[] = [];
    await waitUntil(async () => {
      packets.push(...(await client.settled()));
      return packets.length >= 3;
    });
    expect(publishes(packets)).toEqual(['shown']);
    const message = packets.find((packet) => packet.type === 'publish');
    expect(message).toMatchObject({ qos: 1, properties: { subscriptionIdentifiers: [2] } });
  });
});

describe('semantics 3.6: what is stored', () => {
  it('capture=qos1: QoS 0 is routed and not stored, unless it is retained', async () => {
    await using broker = await MqttBroker.start();
    const config = new Map([
      ['subject.bind', 'true'],
      ['capture', 'qos1'],
    ]);
    const topic = await broker.kernel.topics.create('lean', 1, config);
    const client = await broker.connect(5, { clientId: 's' });
    await client.subscribe('lean/#', 1);
    const shard = await broker.kernel.openShard(topic.shards[0]!);
    client.publish({ topic: 'lean/a', payload: 'routed' });
    expect(await client.receiveTexts(1)).toEqual(['routed']);
    await client.settled();
    expect(shard.highWatermark).toBe(0);
    client.publish({ topic: 'lean/a', retain: true, payload: 'retained' });
    expect(await client.receiveTexts(1)).toEqual(['retained']);
    await waitUntil(() => shard.highWatermark === 1);
    client.publish({ topic: 'lean/a', qos: 1, packetId: 1, payload: 'stored' });
    await waitUntil(() => shard.highWatermark === 2);
    expect(broker.kernel.publisher.counters.uncaptured).toBe(1);
  });

  it('above the rate QoS 0 is routed, not stored, and counted; QoS 1 is stored', async () => {
    await using broker = await MqttBroker.start({ options: { captureBytesPerSecond: 1000 } });
    const subscriber = await broker.connect(5, { clientId: 's' });
    const publisher = await broker.connect(5, { clientId: 'p' });
    await subscriber.subscribe('rate', 1);
    for (let at = 0; at < 20; at++) publisher.publish({ topic: 'rate', payload: Buffer.alloc(400, 97) });
    await publishAll(publisher, 'rate', ['stored']);
    expect(await subscriber.receive(21)).toHaveLength(21);
    const shard = broker.kernel.readyShard(broker.kernel.subjects.forPublish('rate').shard)!;
    const { uncaptured } = broker.kernel.publisher.counters;
    // Two fit the rate; twice as many if the second changed meanwhile.
    expect(uncaptured).toBeGreaterThanOrEqual(16);
    expect(shard.highWatermark).toBe(21 - uncaptured);
  });
});

describe('semantics 3.7: a connection that does not read', () => {
  const limits = { unsentBytesMax: 64 * 1024, stalledMs: 400 };
  const payload = Buffer.alloc(64 * 1024, 98);

  it('leaves the live path, costs nobody else anything, is closed in the end, and finds its messages', async () => {
    await using broker = await MqttBroker.start({ limits });
    const slow = await broker.connect(5, kept('slow'));
    const quick = await broker.connect(5, { clientId: 'quick' });
    const publisher = await broker.connect(5, { clientId: 'p' });
    await slow.subscribe('bulk', 1);
    await quick.subscribe('bulk', 1);
    slow.stall();
    const count = 300;
    let received = 0;
    for (let at = 0; at < count; at++) {
      expect(await publisher.publishAcknowledged({ topic: 'bulk', payload })).toBe(0);
      received += (await quick.receive(1)).length;
    }
    expect(received).toBe(count);
    await waitUntil(() => broker.adapter.sessions.connected === 2);
    slow.drop();
    const back = await broker.connect(5, kept('slow'));
    expect(await back.receive(count)).toHaveLength(count);
    expect(publishes(await back.settled())).toEqual([]);
  }, 60_000);

  it('loses what is at QoS 0, counted', async () => {
    await using broker = await MqttBroker.start({ limits: { ...limits, stalledMs: 60_000 } });
    const slow = await broker.connect(5, { clientId: 'slow' });
    const publisher = await broker.connect(5, { clientId: 'p' });
    await slow.subscribe('bulk', 0);
    slow.stall();
    let published = 0;
    await waitUntil(async () => {
      for (let at = 0; at < 20; at++) publisher.publish({ topic: 'bulk', payload });
      published += 20;
      await publisher.settled();
      return broker.adapter.counters.droppedFull > 100;
    });
    await publisher.settled();
    slow.resume();
    const arrived = await slow.settled();
    expect(arrived).toHaveLength(published - broker.adapter.counters.droppedFull);
  }, 30_000);
});
