import { LogBatch } from '@robustmq/kernel';
import type { Kernel } from '@robustmq/kernel';
import { BatchEncoder, HeaderEncoder, RecordInput } from '@robustmq/record';
import { describe, expect, it } from 'vitest';
import type { Packet, PublishPacket } from '@robustmq/mqtt-codec';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const kept = (clientId: string) => ({ clientId, cleanStart: false, properties: { sessionExpiry: 600 } });
const will = { topic: 'will', payload: Buffer.from('gone'), qos: 1, retain: false, properties: {} } as const;

/** Entries in all shards of an internal topic. */
function entriesIn(broker: MqttBroker, topicName: string): number {
  const { image } = broker.storage.metadata;
  let entries = 0;
  for (const topic of image.topics.values()) {
    if (topic.name !== topicName) continue;
    for (const shard of topic.shards) {
      for (const { id } of image.shards.get(shard)!.segments) {
        entries += broker.storage.journal.entriesOf(id).length;
      }
    }
  }
  return entries;
}

/** Appends a record as a Kafka client does, with a header that only brokers may write. */
async function produce(kernel: Kernel, topic: string, key: string, value: string | null): Promise<void> {
  const shard = await kernel.openShard(kernel.topics.byName(topic)!.shards[0]!);
  const encoder = new BatchEncoder();
  const record = new RecordInput();
  record.setKey(Buffer.from(key)).setValue(value === null ? null : Buffer.from(value));
  // Retained, at least once.
  record.setHeaders(new HeaderEncoder().add(Buffer.from('mq'), Buffer.from([1 | 4])));
  encoder.append(record);
  const buffer = encoder.finish();
  const batch = new LogBatch(false).fill(buffer, 0, buffer.length, 1, 1);
  await new Promise<void>((resolve, reject) => {
    const settled = (_batch: LogBatch, error: Error | null) => (error === null ? resolve() : reject(error));
    shard.appendClient(batch, null, { settled });
  });
}

describe('semantics 5.1: a session is written if it has an expiry or a will', () => {
  it('otherwise it leaves nothing, whatever it did', async () => {
    await using broker = await MqttBroker.start();
    const { client, connack } = await broker.connectWith(5, { clientId: 'passing' });
    expect(connack.sessionPresent).toBe(false);
    await client.subscribe('a/#', 2);
    client.publish({ topic: 'a/b', qos: 2, packetId: 1 });
    client.publish({ topic: 'a/b', qos: 1, packetId: 2 });
    const types: string[] = [];
    await waitUntil(async () => {
      for (const packet of await client.settled()) types.push(packet.type);
      return types.length === 4;
    });
    expect(types.sort()).toEqual(['puback', 'publish', 'publish', 'pubrec']);
    client.ack('pubrel', 1);
    await client.next('pubcomp');
    await client.disconnect();
    expect(entriesIn(broker, '__sessions')).toBe(0);
  });

  it.each([
    ['an expiry', { properties: { sessionExpiry: 1 } }],
    ['a will', { will }],
    ['both', { will, properties: { sessionExpiry: 1 } }],
  ])('it is with %s', async (_what, input) => {
    await using broker = await MqttBroker.start();
    await broker.connect(5, { clientId: 'written', ...input });
    expect(entriesIn(broker, '__sessions')).toBeGreaterThan(0);
  });

  it('one with a will and no expiry ends with its connection all the same', async () => {
    await using broker = await MqttBroker.start();
    const watcher = await broker.connect(5, { clientId: 'watcher' });
    await watcher.subscribe('will', 1);
    const client = await broker.connect(5, { clientId: 'c', will });
    await client.subscribe('a', 1);
    client.drop();
    expect(await watcher.receiveTexts(1)).toEqual(['gone']);
    const { connack } = await broker.connectWith(5, { clientId: 'c', cleanStart: false });
    expect(connack.sessionPresent).toBe(false);
  });
});

describe('semantics 5.3: retained messages', () => {
  it('come before what is live, and nothing is missed or doubled between the two', async () => {
    await using broker = await MqttBroker.start();
    const publisher = await broker.connect(5, { clientId: 'p' });
    const rounds = 200;
    let joined = 0;
    const publishing = (async () => {
      for (let at = 0; at < rounds; at++) {
        await publisher.publishAcknowledged({ topic: 'state/a', retain: true, payload: String(at) });
      }
    })();
    // Subscribers that come while the state changes: each sees one state, then every later one.
    while (joined < 15) {
      const client = await broker.connect(5, { clientId: `s${joined++}` });
      await client.subscribe('state/+', 1, { retainAsPublished: false });
      const [first] = await client.receive(1);
      const from = Number(Buffer.from(first!.payload).toString());
      const rest = await client.receiveTexts(Math.min(5, rounds - 1 - from));
      expect(rest).toEqual(Array.from({ length: rest.length }, (_, at) => String(from + 1 + at)));
      client.drop();
    }
    await publishing;
    const late = await broker.connect(5, { clientId: 'late' });
    await late.subscribe('state/+', 1);
    const [last] = await late.receive(1);
    expect([Buffer.from(last!.payload).toString(), last!.retain]).toEqual([String(rounds - 1), true]);
    expect(await late.settled()).toEqual([]);
  });

  for (const how of ['restart', 'crash'] as const) {
    it(`are those of the log after a ${how}`, async () => {
      await using broker = await MqttBroker.start();
      const publisher = await broker.connect(5, { clientId: 'p' });
      for (const [topic, payload] of [
        ['r/a', '1'],
        ['r/b', '2'],
        ['r/a', '3'],
        ['r/c', '4'],
        ['r/b', ''],
      ] as const) {
        expect(await publisher.publishAcknowledged({ topic, payload, retain: true })).toBe(0);
      }
      await broker[how]();
      const client = await broker.connect(5, { clientId: 's' });
      await client.subscribe('r/#', 1);
      const messages = await client.receive(2);
      const seen = messages.map(({ topic, payload }) => `${topic}=${Buffer.from(payload).toString()}`);
      expect(seen.sort()).toEqual(['r/a=3', 'r/c=4']);
      expect(await client.settled()).toEqual([]);
    });
  }

  it('a copy counts only if its record is newer than what is known', async () => {
    await using broker = await MqttBroker.start();
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({ topic: 'r/a', payload: 'old', retain: true });
    await publisher.publishAcknowledged({ topic: 'r/a', payload: 'new', retain: true });
    const shard = broker.kernel.readyShard(broker.kernel.subjects.forPublish('r/a').shard)!;
    const known = shard.retained!.records.get('r/a')!;
    shard.retain({ ...known, value: Buffer.from('late copy'), sourceOffset: known.sourceOffset - 1 });
    expect(shard.retained!.records.get('r/a')!.value.toString()).toBe('new');
    await broker.crash();
    const again = await broker.kernel.openShard(shard.id);
    expect(again.retained!.records.get('r/a')!.value.toString()).toBe('new');
  });

  it('no record from a Kafka client changes them, whatever its headers say', async () => {
    await using broker = await MqttBroker.start();
    await broker.kernel.topics.create('bound', 1, new Map([['subject.bind', 'true']]));
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({ topic: 'bound/a', payload: 'kept', retain: true });
    await produce(broker.kernel, 'bound', 'a', 'forged');
    await produce(broker.kernel, 'bound', 'a', '');
    await produce(broker.kernel, 'bound', 'a', null);
    await produce(broker.kernel, 'bound', 'b', 'forged');
    for (const how of ['live', 'replayed'] as const) {
      if (how === 'replayed') await broker.crash();
      const client = await broker.connect(5, { clientId: how });
      await client.subscribe('bound/#', 1);
      expect(await client.receiveTexts(1)).toEqual(['kept']);
      expect(await client.settled()).toEqual([]);
      client.drop();
      await waitUntil(() => broker.adapter.counters.connections <= 1);
    }
  });

  describe('that a kept session is still owed when its connection breaks', () => {
    const window = { ...kept('s'), properties: { sessionExpiry: 600, receiveMaximum: 1 } };
    const texts = (packets: readonly Packet[]): string[] =>
      packets.flatMap((packet) =>
        packet.type === 'publish' ? [Buffer.from(packet.payload).toString()] : [],
      );

    /** A session that was sent one of three retained messages, and the text of that. */
    async function interrupted(
      broker: MqttBroker,
      qos: 0 | 1 | 2,
    ): Promise<{ client: MqttClient; publisher: MqttClient; first: PublishPacket }> {
      const publisher = await broker.connect(5, { clientId: 'p' });
      for (const name of ['1', '2', '3']) {
        await publisher.publishAcknowledged({ topic: `r/${name}`, payload: `old ${name}`, retain: true });
      }
      const client = await broker.connect(5, window);
      const options = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
      const subscriptions = [{ filter: 'r/#', qos, ...options }];
      client.send({ type: 'subscribe', packetId: 1, subscriptions, properties: {} });
      const both = [await client.nothingWithin(5000), await client.nothingWithin(5000)];
      const first = both.find((packet) => packet?.type === 'publish');
      if (first?.type !== 'publish') throw new Error('nothing retained came');
      return { client, publisher, first };
    }

    /** The next message of each name is this one: nothing of before is still to come. */
    async function comesToAnEnd(client: MqttClient, publisher: MqttClient): Promise<void> {
      for (const name of ['1', '2', '3']) {
        await publisher.publishAcknowledged({ topic: `r/${name}`, payload: 'end' });
      }
      expect(await client.receiveTexts(3)).toEqual(['end', 'end', 'end']);
    }

    it('one that was acknowledged does not come again', async () => {
      await using broker = await MqttBroker.start();
      const { client, publisher, first } = await interrupted(broker, 1);
      client.ack('puback', first.packetId);
      const second = await client.next('publish');
      client.drop();
      const back = await broker.connect(5, window);
      const rest = await back.receive(2);
      expect(rest.map(({ dup }) => dup)).toEqual([true, false]);
      expect(texts([first, ...rest]).sort()).toEqual(['old 1', 'old 2', 'old 3']);
      expect(texts([second])).toEqual(texts(rest.slice(0, 1)));
      await comesToAnEnd(back, publisher);
    });

    it('one that was replaced meanwhile comes once, as what replaced it', async () => {
      await using broker = await MqttBroker.start();
      const { client, publisher, first } = await interrupted(broker, 1);
      client.drop();
      for (const name of ['1', '2', '3']) {
        await publisher.publishAcknowledged({ topic: `r/${name}`, payload: `new ${name}`, retain: true });
      }
      const back = await broker.connect(5, window);
      expect((await back.receiveTexts(3)).sort()).toEqual(['new 1', 'new 2', 'new 3']);
      await comesToAnEnd(back, publisher);
      expect(texts([first])[0]).toMatch(/^old/);
    });
  });

  it('a kept session that dies while they are sent gets them when it comes back', async () => {
    await using broker = await MqttBroker.start();
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (const payload of ['1', '2', '3']) {
      await publisher.publishAcknowledged({ topic: `r/${payload}`, payload, retain: true });
    }
    const window = { ...kept('s'), properties: { sessionExpiry: 600, receiveMaximum: 1 } };
    const client = await broker.connect(5, window);
    const options = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    const subscriptions = [{ filter: 'r/#', qos: 1, ...options }] as const;
    client.send({ type: 'subscribe', packetId: 1, subscriptions: [...subscriptions], properties: {} });
    await waitUntil(async () => (await client.settled()).length > 0);
    await broker.crash();
    const back = await broker.connect(5, window);
    const messages = await back.receive(3);
    expect(messages.map(({ payload }) => Buffer.from(payload).toString()).sort()).toEqual(['1', '2', '3']);
    expect(messages.every(({ retain }) => retain)).toBe(true);
    expect(await back.settled()).toEqual([]);
  });
});
