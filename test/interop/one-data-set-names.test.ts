import { ConfigResourceTypes } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Inbox, MqttMessage } from './one-data-set-fixture.ts';
import { OneDataSet } from './one-data-set-fixture.ts';

/** Which names meet which topics: docs/mapping.md, Names, through the running server. */
let world: OneDataSet;

beforeAll(async () => {
  world = await OneDataSet.start();
});

afterAll(async () => {
  await world.stop();
});

/** Topic names that came, sorted. */
function namesOf({ items }: Inbox<MqttMessage>): string[] {
  return items.map(({ topic }) => topic).sort();
}

/** Publishes each name at QoS 1, with the name as payload. */
async function publish(...names: string[]): Promise<void> {
  const { client } = await world.mqtt();
  for (const name of names) await client.publishAsync(name, name, { qos: 1 });
  await client.endAsync();
}

/** Keys of the topic's records, null among them. */
async function keysOf(topic: string): Promise<(string | null)[]> {
  return (await world.log.read(topic)).map(({ key }) => key?.toString() ?? null);
}

/**
 * Waits until everything that was committed before has passed the subscriber: a message of its own, by name, comes last
 * only from the same shard, so one goes through each shard of the topic.
 */
async function settled(
  topic: string,
  { client, inbox }: Awaited<ReturnType<OneDataSet['mqtt']>>,
): Promise<void> {
  const marker = `settled-${topic}-${inbox.items.length}`;
  await client.subscribeAsync(`${topic}/${marker}`, { qos: 1 });
  const partitions = await world.log.partitions(topic);
  for (let partition = 0; partition < partitions; partition++) {
    await world.produce(topic, [{ key: marker, value: '' }], { partition });
  }
  await inbox.first(partitions, (message) => message.topic === `${topic}/${marker}`);
  await client.unsubscribeAsync(`${topic}/${marker}`);
  const left = inbox.items.filter((message) => message.topic !== `${topic}/${marker}`);
  inbox.items.splice(0, inbox.items.length, ...left);
}

describe('the default topic', () => {
  it('has the key as topic name, produced or published', async () => {
    const { inbox } = await world.subscriber('plain/#');
    await world.produce('mqtt', [{ key: 'plain/from-kafka', value: 'v' }]);
    await publish('plain/from-mqtt');
    await inbox.first(2);
    expect(namesOf(inbox)).toEqual(['plain/from-kafka', 'plain/from-mqtt']);
  });

  it('semantics 1.1: has no topic name for a null or empty key, one with $ in front, and one that is none', async () => {
    const connected = await world.subscriber('#');
    const exact = await world.subscriber('$hidden/a');
    const records = [null, '', '$hidden/a', 'a/+', '#', Buffer.of(0xff), 'line\nfeed'].map((key) => ({
      key,
    }));
    await world.produce('mqtt', [...records, { key: 'shown' }]);
    await connected.inbox.first(1);
    expect(namesOf(connected.inbox)).toEqual(['shown']);
    expect(exact.inbox.items).toEqual([]);
    // Kafka readers have all of them.
    expect((await keysOf('mqtt')).filter((key) => key === null || key === '$hidden/a')).toEqual([
      null,
      '$hidden/a',
    ]);
  });

  it('semantics 1.2: mqtt/x and x stay apart', async () => {
    const long = await world.subscriber('mqtt/apart');
    const short = await world.subscriber('apart');
    await publish('mqtt/apart', 'apart');
    expect(String((await long.inbox.first(1))[0]!.payload)).toBe('mqtt/apart');
    expect(String((await short.inbox.first(1))[0]!.payload)).toBe('apart');
    expect([long.inbox.items.length, short.inbox.items.length]).toEqual([1, 1]);
  });
});

describe('a bound topic', () => {
  it('bound by CreateTopics: takes publishes of its names, in both directions', async () => {
    const admin = world.kafka.admin();
    await admin.connect();
    const configEntries = [{ name: 'subject.bind', value: 'true' }];
    await admin.createTopics({ topics: [{ topic: 'plant', numPartitions: 2, configEntries }] });
    await admin.disconnect();
    await roundTrip('plant');
  });

  it('bound by IncrementalAlterConfigs while it is empty', async () => {
    const admin = world.kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'altered', numPartitions: 2 }] });
    await publish('altered/before');
    const configEntries = [{ name: 'subject.bind', value: 'true' }];
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: 'altered', configEntries }],
    });
    await admin.disconnect();
    await roundTrip('altered');
    // Not taken over: it went to the default topic before.
    expect(await keysOf('altered')).not.toContain('before');
    expect(await keysOf('mqtt')).toContain('altered/before');
  });

  it('bound by the admin API', async () => {
    const [status, topic] = await world.admin('POST', '/topics', {
      name: 'managed',
      shards: 3,
      config: { 'subject.bind': 'true' },
    });
    expect([status, topic]).toMatchObject([201, { name: 'managed', bound: true }]);
    await roundTrip('managed');
  });

  it('semantics 1.3: can not be bound once it has records', async () => {
    await world.produce('late', [{ key: 'k', value: 'v' }]);
    const [status] = await world.admin('PATCH', '/topics/late', { config: { 'subject.bind': 'true' } });
    expect(status).toBeGreaterThanOrEqual(400);
    await publish('late/x');
    expect(await keysOf('late')).toEqual(['k']);
    expect(await keysOf('mqtt')).toContain('late/x');
  });

  it('matches every filter by the rules of MQTT', async () => {
    await world.admin('POST', '/topics', { name: 'tree', config: { 'subject.bind': 'true' } });
    const filters = ['#', '+/a/b', 'tree/+/b', 'tree/#', 'tree', 'tree/+'];
    const readers = await Promise.all(filters.map((filter) => world.subscriber(filter)));
    await world.produce('tree', [{ key: 'a/b' }, { key: null }, { key: '' }]);
    const expected = [
      ['tree', 'tree/', 'tree/a/b'],
      ['tree/a/b'],
      ['tree/a/b'],
      ['tree', 'tree/', 'tree/a/b'],
      ['tree'],
      ['tree/'],
    ];
    for (const [at, { inbox }] of readers.entries()) {
      await inbox.first(expected[at]!.length);
      expect(namesOf(inbox), filters[at]).toEqual(expected[at]);
    }
  });

  it('semantics 1.6: refuses more partitions and compaction', async () => {
    await world.admin('POST', '/topics', { name: 'fixed', config: { 'subject.bind': 'true' } });
    const admin = world.kafka.admin({ retry: { retries: 0 } });
    await admin.connect();
    const grown = admin.createPartitions({ topicPartitions: [{ topic: 'fixed', count: 9 }] });
    await expect(grown).rejects.toMatchObject({ code: 37 });
    await admin.disconnect();
    const [status] = await world.admin('PATCH', '/topics/fixed', { config: { 'cleanup.policy': 'compact' } });
    expect(status).toBeGreaterThanOrEqual(400);
  });

  /** Publishes and produces below the topic and reads both on both sides. */
  async function roundTrip(topic: string): Promise<void> {
    const { inbox } = await world.subscriber(`${topic}/#`);
    await publish(`${topic}/a/b`, topic, `${topic}/`);
    await world.produce(topic, [{ key: 'c', value: 'produced' }]);
    await inbox.first(4);
    expect(namesOf(inbox)).toEqual([topic, `${topic}/`, `${topic}/a/b`, `${topic}/c`]);
    expect((await keysOf(topic)).sort()).toEqual(['', 'a/b', 'c', null]);
    const published = await keysOf('mqtt');
    expect(published.filter((key) => key?.startsWith(`${topic}/a`))).toEqual([]);
    const { inbox: records } = await world.consumer(topic);
    await records.first(4);
    const values = records.items.map(({ value }) => String(value)).sort();
    expect(values).toEqual([topic, `${topic}/`, `${topic}/a/b`, 'produced'].sort());
  }
});

describe('an unbound topic', () => {
  it('semantics 1.3: takes nothing away from devices when a Kafka consumer creates it', async () => {
    const { inbox } = await world.subscriber('sensors/#');
    const { inbox: everything } = await world.subscriber('#');
    await publish('sensors/1');
    const { consumer, inbox: records } = await world.consumer('sensors');
    await publish('sensors/2');
    await inbox.first(2);
    await everything.first(1, ({ topic }) => topic === 'sensors/2');
    expect(namesOf(inbox)).toEqual(['sensors/1', 'sensors/2']);
    expect(await keysOf('mqtt')).toEqual(expect.arrayContaining(['sensors/1', 'sensors/2']));
    expect(await keysOf('sensors')).toEqual([]);
    // And what is produced to it reaches them as well.
    await world.produce('sensors', [{ key: '3', value: 'v' }]);
    await inbox.first(3);
    await records.first(1);
    expect(namesOf(inbox)).toEqual(['sensors/1', 'sensors/2', 'sensors/3']);
    expect(records.items.map(({ key }) => String(key))).toEqual(['3']);
    await consumer.disconnect();
  });

  it('semantics 1.4: is reached by its literal first level only, whether it was there before the subscription or not', async () => {
    const [literal, deep, all, anyFirst, later] = await Promise.all(
      ['orders/#', 'orders/+/b', '#', '+/a/b', 'not-yet/+'].map((filter) => world.subscriber(filter)),
    );
    await world.produce('orders', [{ key: 'a/b' }, { key: null }, { key: 'a' }]);
    await world.produce('not-yet', [{ key: 'x' }]);
    await literal!.inbox.first(3);
    await deep!.inbox.first(1);
    await later!.inbox.first(1);
    await settled('orders', all!);
    await settled('orders', anyFirst!);
    expect(namesOf(literal!.inbox).filter((name) => !name.includes('settled'))).toEqual([
      'orders',
      'orders/a',
      'orders/a/b',
    ]);
    expect(namesOf(deep!.inbox)).toEqual(['orders/a/b']);
    expect(namesOf(later!.inbox)).toEqual(['not-yet/x']);
    expect(namesOf(all!.inbox).filter((name) => name.startsWith('orders'))).toEqual([]);
    expect(namesOf(anyFirst!.inbox)).toEqual([]);
  });

  it('semantics 1.4: with subject.wildcard: of every filter, and publishes still go to the default topic', async () => {
    const all = await world.subscriber('+/wild');
    const [status] = await world.admin('POST', '/topics', {
      name: 'open',
      config: { 'subject.wildcard': 'true' },
    });
    expect(status).toBe(201);
    await world.produce('open', [{ key: 'wild', value: 'v' }]);
    await all.inbox.first(1);
    await publish('open/wild');
    await all.inbox.first(2);
    expect(namesOf(all.inbox)).toEqual(['open/wild', 'open/wild']);
    expect(await keysOf('open')).toEqual(['wild']);
    expect(await keysOf('mqtt')).toContain('open/wild');
  });

  it('subject.wildcard set later counts from then on', async () => {
    const all = await world.subscriber('+/turned');
    await world.produce('turn', [{ key: 'turned', value: 'before' }]);
    await settled('turn', all);
    expect(namesOf(all.inbox)).toEqual([]);
    const [status] = await world.admin('PATCH', '/topics/turn', { config: { 'subject.wildcard': 'true' } });
    expect(status).toBe(200);
    await world.produce('turn', [{ key: 'turned', value: 'after' }]);
    const [message] = await all.inbox.first(1);
    expect(String(message!.payload)).toBe('after');
  });
});

describe('semantics 1.7: internal topics', () => {
  it('are reached by no protocol', async () => {
    const admin = world.kafka.admin();
    await admin.connect();
    expect(await admin.listTopics()).not.toContain('__sessions');
    await admin.disconnect();
    const { client, inbox } = await world.subscriber('__sessions/#');
    await client.publishAsync('__sessions/a', 'v', { qos: 1 });
    await inbox.first(1);
    expect(await keysOf('mqtt')).toContain('__sessions/a');
  });

  it('publishes to $... are refused', async () => {
    const { client } = await world.mqtt();
    await expect(client.publishAsync('$SYS/a', 'v', { qos: 1 })).rejects.toMatchObject({ code: 0x90 });
  });
});
