import { hasCommand, runCommand, waitUntil } from '@robustmq/testkit';
import { CompressionTypes } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Inbox, MqttMessage } from './one-data-set-fixture.ts';
import { OneDataSet } from './one-data-set-fixture.ts';

/** One log behind both protocols: batches as they came, one offset for a record, one order for a subject. */
let world: OneDataSet;

/** An optional dependency: it needs Node 20.19.4, this project 20.19.0. */
// @ts-ignore: so it may not be there
const platformatic = await import('@platformatic/kafka').catch(() => null);
const kcat = hasCommand('kcat', ['-V']);
const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

beforeAll(async () => {
  world = await OneDataSet.start();
});

afterAll(async () => {
  await world.stop();
});

function payloadsOf({ items }: Inbox<MqttMessage>): string[] {
  return items.map(({ payload }) => payload.toString());
}

function numbered(count: number, text = ''): string[] {
  return Array.from({ length: count }, (_, number) => `${number}${text}`);
}

describe('compressed batches', () => {
  it.each(codecs)('%s: MQTT subscribers get every record with key and headers, in order', async (codec) => {
    const topic = `raw-${codec}`;
    const [v5, v4] = await Promise.all([
      world.subscriber(`${topic}/+`, { qos: 1 }),
      world.subscriber(`${topic}/#`, { qos: 2, protocolVersion: 4 }),
    ]);
    const values = numbered(200);
    const records = values.map((value) => ({
      key: `k${Number(value) % 3}`,
      value,
      headers: [['n', value] as const],
    }));
    await world.produce(topic, records, { codec });
    await Promise.all([v5.inbox.first(200), v4.inbox.first(200)]);
    expect(payloadsOf(v5.inbox)).toEqual(values);
    expect(payloadsOf(v4.inbox)).toEqual(values);
    expect(v5.inbox.items.map(({ topic: name }) => name)).toEqual(
      records.map(({ key }) => `${topic}/${key}`),
    );
    expect(v5.inbox.items.map(({ packet }) => packet.properties!.userProperties!['n'])).toEqual(values);
  });

  it.each(codecs)('%s: a large batch, which is decoded beside the event loop', async (codec) => {
    const topic = `large-${codec}`;
    const { inbox } = await world.subscriber(`${topic}/k`);
    const values = numbered(1500, ` ${'payload '.repeat(16)}`);
    await world.produce(
      topic,
      values.map((value) => ({ key: 'k', value })),
      { codec },
    );
    await inbox.first(1500);
    expect(payloadsOf(inbox)).toEqual(values);
  });

  it('that can not be decoded: skipped by MQTT, live and from the log, and kept for Kafka', async () => {
    const session = { clientId: 'patient', clean: false, properties: { sessionExpiryInterval: 600 } };
    const away = await world.subscriber('damaged/#', session);
    await away.client.endAsync();
    const { inbox } = await world.subscriber('damaged/#');
    for (const codec of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
      await world.produce('damaged', [{ key: 'k', value: `bad ${codec}` }], { codec, damaged: true });
      await world.produce('damaged', [{ key: 'k', value: `good ${codec}` }], { codec });
    }
    const expected = ['good gzip', 'good snappy', 'good lz4', 'good zstd'];
    await inbox.first(4);
    expect(payloadsOf(inbox)).toEqual(expected);
    const back = await world.mqtt(session);
    await back.inbox.first(4);
    expect(payloadsOf(back.inbox)).toEqual(expected);
    const admin = world.kafka.admin();
    await admin.connect();
    const [first] = (await admin.fetchTopicOffsets('damaged')).filter(({ partition }) => partition === 0);
    expect(first).toMatchObject({ low: '0', high: '8' });
    await admin.disconnect();
  });

  it('gzip of kafkajs', async () => {
    const { inbox } = await world.subscriber('js-gzip/#');
    const producer = world.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const messages = numbered(50).map((value) => ({ key: 'k', value }));
    await producer.send({ topic: 'js-gzip', compression: CompressionTypes.GZIP, messages });
    await producer.disconnect();
    await inbox.first(50);
    expect(payloadsOf(inbox)).toEqual(numbered(50));
  });

  for (const compression of ['snappy', 'lz4', 'zstd'] as const) {
    const usable = platformatic?.compressionsAlgorithms[compression].available === true;
    const why = usable ? '' : platformatic === null ? ' (not installed)' : ' (not in this version of Node)';
    it.skipIf(!usable)(`${compression} of @platformatic/kafka${why}`, async () => {
      const { Producer, stringSerializers } = platformatic!;
      const topic = `platformatic-${compression}`;
      const { inbox } = await world.subscriber(`${topic}/#`);
      const producer = new Producer({
        clientId: 'test',
        bootstrapBrokers: [world.server.address('kafka')],
        serializers: stringSerializers,
        autocreateTopics: true,
        idempotent: true,
      });
      const messages = numbered(50).map((value) => ({ topic, key: 'k', value }));
      await producer.send({ messages, compression });
      await producer.close();
      await inbox.first(50);
      expect(payloadsOf(inbox)).toEqual(numbered(50));
    });
  }

  it.skipIf(!kcat)(`every codec of kcat${kcat ? '' : ' (not installed)'}`, async () => {
    for (const codec of codecs) {
      const topic = `kcat-${codec}`;
      const { inbox } = await world.subscriber(`${topic}/#`);
      // Long enough for librdkafka to find compressing worth it.
      const values = numbered(50, ' the same again and again and again and again');
      const input = values.map((value) => `k:${value}\n`).join('');
      const args = ['-b', world.server.address('kafka'), '-P', '-t', topic, '-K:', '-z', codec];
      expect(await runCommand('kcat', args, { input })).toMatchObject({ code: 0 });
      await inbox.first(50);
      expect(payloadsOf(inbox), codec).toEqual(values);
    }
  });
});

describe('idempotent batches', () => {
  it('reach MQTT once, also when they are sent again, compressed or not', async () => {
    for (const codec of ['none', 'zstd'] as const) {
      const topic = `idempotent-${codec}`;
      const { inbox } = await world.subscriber(`${topic}/#`, { qos: 2 });
      const producerId = await world.log.producerId();
      const batch = (from: number) =>
        ['a', 'b', 'c'].map((value) => ({ key: 'k', value: `${value}${from}` }));
      const send = (baseSequence: number): Promise<number> =>
        world.produce(topic, batch(baseSequence), { codec, producerId, baseSequence });
      expect([await send(0), await send(3), await send(3), await send(0), await send(6)]).toEqual([
        0, 3, 3, 0, 6,
      ]);
      await inbox.first(9);
      const expected = [0, 3, 6].flatMap((from) => batch(from).map(({ value }) => value));
      expect(payloadsOf(inbox)).toEqual(expected);
      const stored = await world.log.read(topic);
      expect(stored.map(({ value }) => String(value))).toEqual(expected);
    }
  });

  it('a sequence that leaves some out is refused and reaches nobody', async () => {
    const producerId = await world.log.producerId();
    await world.produce('gap', [{ key: 'k', value: '0' }], { producerId, baseSequence: 0 });
    const refused = world.produce('gap', [{ key: 'k', value: '5' }], { producerId, baseSequence: 5 });
    await expect(refused).rejects.toThrow('45');
    expect(await world.log.read('gap')).toHaveLength(1);
  });
});

describe('one offset and one order', () => {
  it('is the same for every reader, whoever wrote', async () => {
    const config = { 'subject.bind': 'true' };
    await world.admin('POST', '/topics', { name: 'shared', shards: 1, config });
    const { inbox: mqtt } = await world.subscriber('shared/#');
    const { client } = await world.mqtt();
    const producer = world.kafka.producer();
    await producer.connect();
    for (let round = 0; round < 10; round++) {
      await Promise.all([
        client.publishAsync('shared/mqtt', `mqtt ${round}`, { qos: 1 }),
        producer.send({
          topic: 'shared',
          compression: round % 2 === 0 ? CompressionTypes.GZIP : CompressionTypes.None,
          messages: [
            { key: 'kafka', value: `kafka ${round}.0` },
            { key: 'kafka', value: `kafka ${round}.1` },
          ],
        }),
      ]);
    }
    await producer.disconnect();
    const stored = await world.log.read('shared');
    expect(stored.map(({ offset }) => offset)).toEqual(Array.from({ length: 30 }, (_, offset) => offset));
    const [one, two] = await Promise.all([world.consumer('shared'), world.consumer('shared')]);
    const expected = stored.map(({ offset, value }) => `${offset}: ${String(value)}`);
    for (const { inbox } of [one, two]) {
      const records = await inbox.first(30);
      expect(records.map(({ offset, value }) => `${offset}: ${String(value)}`)).toEqual(expected);
    }
    await mqtt.first(30);
    // One shard: MQTT subscribers see the order of the offsets.
    expect(payloadsOf(mqtt)).toEqual(stored.map(({ value }) => String(value)));
  });

  it('holds per subject over many shards, from both sides', async () => {
    const { inbox: mqtt } = await world.subscriber('fleet/#', { qos: 2 });
    const { inbox: kafka } = await world.consumer('mqtt');
    const subjects = Array.from({ length: 8 }, (_, index) => `fleet/${index}`);
    const clients = await Promise.all(subjects.map(() => world.mqtt()));
    await Promise.all(
      subjects.map(async (subject, index) => {
        const { client } = clients[index]!;
        const sent = numbered(50).map((value) =>
          client.publishAsync(subject, value, { qos: index % 2 === 0 ? 1 : 2 }),
        );
        await Promise.all(sent);
      }),
    );
    await mqtt.first(400);
    await kafka.first(400, ({ key }) => String(key).startsWith('fleet/'));
    for (const subject of subjects) {
      const live = mqtt.items.filter(({ topic }) => topic === subject).map(({ payload }) => String(payload));
      const records = kafka.items.filter(({ key }) => String(key) === subject);
      expect(live).toEqual(numbered(50));
      expect(records.map(({ value }) => String(value))).toEqual(numbered(50));
      // One subject of one publishing protocol lies in one partition, where Java's clients would put it, too.
      expect(new Set(records.map(({ partition }) => partition)).size).toBe(1);
    }
  });

  it('a key lies in the same partition, published by MQTT or produced by kafkajs', async () => {
    const config = { 'subject.bind': 'true' };
    await world.admin('POST', '/topics', { name: 'placed', shards: 7, config });
    const { client } = await world.mqtt();
    const producer = world.kafka.producer();
    await producer.connect();
    const keys = Array.from({ length: 20 }, (_, index) => `device/${index}`);
    for (const key of keys) await client.publishAsync(`placed/${key}`, 'mqtt', { qos: 1 });
    await producer.send({ topic: 'placed', messages: keys.map((key) => ({ key, value: 'kafka' })) });
    await producer.disconnect();
    const stored = await world.log.read('placed');
    for (const key of keys) {
      const places = stored.filter((record) => String(record.key) === key);
      expect(places.map(({ value }) => String(value)).sort()).toEqual(['kafka', 'mqtt']);
      expect(places[0]!.partition).toBe(places[1]!.partition);
    }
  });

  it('timestamps are those of the Kafka client, and of arrival for MQTT; ListOffsets finds both', async () => {
    const config = { 'subject.bind': 'true' };
    await world.admin('POST', '/topics', { name: 'timed', shards: 1, config });
    await world.produce('timed', [
      { key: 'a', value: 'old', timestamp: 1_700_000_000_000 },
      { key: 'a', value: 'newer', timestamp: 1_700_000_000_500 },
    ]);
    const { client } = await world.mqtt();
    await client.publishAsync('timed/a', 'now', { qos: 1 });
    const [old, newer, now] = await world.log.read('timed');
    expect([old!.timestamp, newer!.timestamp]).toEqual([1_700_000_000_000, 1_700_000_000_500]);
    const admin = world.kafka.admin();
    await admin.connect();
    for (const [timestamp, offset] of [
      [1_700_000_000_000, '0'],
      [1_700_000_000_001, '1'],
      [now!.timestamp, '2'],
    ] as const) {
      const [found] = await admin.fetchTopicOffsetsByTimestamp('timed', timestamp);
      expect(found).toMatchObject({ partition: 0, offset });
    }
    await admin.disconnect();
  });
});

describe('MQTT QoS 0', () => {
  it('is in the log as everything is, and reaches Kafka consumers', async () => {
    const { inbox } = await world.consumer('mqtt');
    const { client } = await world.mqtt();
    for (const value of numbered(100)) client.publish('fast/1', value, { qos: 0 });
    const records = await inbox.first(100, ({ key }) => String(key) === 'fast/1');
    expect(records.map(({ value }) => String(value))).toEqual(numbered(100));
  });

  it('with capture=qos1 is routed and not stored, unless it is retained', async () => {
    const config = { 'subject.bind': 'true', capture: 'qos1' };
    await world.admin('POST', '/topics', { name: 'routed', config });
    const { inbox } = await world.subscriber('routed/#', { qos: 0 });
    const { client } = await world.mqtt();
    await client.publishAsync('routed/a', 'not stored', { qos: 0 });
    await client.publishAsync('routed/a', 'retained', { qos: 0, retain: true });
    await client.publishAsync('routed/a', 'stored', { qos: 1 });
    await inbox.first(3);
    expect(payloadsOf(inbox)).toEqual(['not stored', 'retained', 'stored']);
    const stored = await world.log.read('routed');
    expect(stored.map(({ value }) => String(value))).toEqual(['retained', 'stored']);
  });
});

describe('an MQTT session that was offline', () => {
  it('gets what Kafka produced meanwhile from the log, every codec, in order, and nothing of QoS 0', async () => {
    const session = { clientId: 'sleeper', clean: false, properties: { sessionExpiryInterval: 600 } };
    const before = await world.subscriber('away/#', { ...session, qos: 2 });
    await world.produce('away', [{ key: 'a', value: 'live' }]);
    await before.inbox.first(1);
    await before.client.endAsync();
    for (const codec of codecs) {
      const records = numbered(100, codec).map((value) => ({
        key: 'a',
        value,
        headers: [['n', value] as const],
      }));
      await world.produce('away', records, { codec });
    }
    const { client } = await world.mqtt();
    await client.publishAsync('away/b', 'at most once', { qos: 0 });
    await client.publishAsync('away/b', 'at least once', { qos: 1 });

    const after = await world.mqtt(session);
    const came = await after.inbox.first(501);
    const produced = came.filter(({ topic }) => topic === 'away/a');
    const expected = codecs.flatMap((codec) => numbered(100, codec));
    expect(produced.map(({ payload }) => String(payload))).toEqual(expected);
    expect(produced.map(({ packet }) => packet.properties!.userProperties!['n'])).toEqual(expected);
    expect(produced.every(({ packet }) => packet.qos === 2 && !packet.dup)).toBe(true);
    const published = came.filter(({ topic }) => topic === 'away/b');
    expect(published.map(({ payload }) => String(payload))).toEqual(['at least once']);
  });

  it('of MQTT 3.1.1 the same', async () => {
    const session = { clientId: 'old-sleeper', clean: false, protocolVersion: 4 as const };
    const before = await world.subscriber('gone/#', { ...session, qos: 1 });
    await before.client.endAsync();
    await world.produce(
      'gone',
      numbered(20).map((value) => ({ key: 'a', value })),
      { codec: 'lz4' },
    );
    const after = await world.mqtt(session);
    await after.inbox.first(20);
    expect(payloadsOf(after.inbox)).toEqual(numbered(20));
  });
});

describe('retained state', () => {
  it('is not changed by Kafka records, whatever their headers say', async () => {
    const { client } = await world.mqtt();
    await client.publishAsync('state/a', 'retained', { qos: 1, retain: true });
    const [record] = (await world.log.read('mqtt')).filter(({ key }) => String(key) === 'state/a');
    const { partition } = record!;
    const header = record!.headers.find(([name]) => name === 'mq')!;
    const forged = [['mq', header[1]] as const];
    const { inbox: live } = await world.subscriber('state/a');
    await live.first(1);
    await world.produce('mqtt', [{ key: 'state/a', value: 'forged', headers: forged }], { partition });
    await world.produce('mqtt', [{ key: 'state/a', value: '', headers: forged }], { partition });
    await world.produce('mqtt', [{ key: 'state/a', value: null }], { partition });
    await live.first(4);
    expect(live.items.map(({ payload, packet }) => [String(payload), packet.retain])).toEqual([
      ['retained', true],
      ['forged', false],
      ['', false],
      ['', false],
    ]);
    const late = await world.subscriber('state/#');
    const [still] = await late.inbox.first(1);
    expect([String(still!.payload), still!.packet.retain]).toEqual(['retained', true]);
    // An MQTT client can.
    await client.publishAsync('state/a', '', { qos: 1, retain: true });
    const { client: last, inbox: none } = await world.mqtt();
    await last.subscribeAsync('state/#', { qos: 1 });
    await client.publishAsync('state/b', 'live', { qos: 1 });
    await none.first(1);
    expect(payloadsOf(none)).toEqual(['live']);
    await waitUntil(() => late.inbox.items.some(({ payload }) => payload.length === 0));
  });
});
