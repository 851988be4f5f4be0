import type { MqttClient as RawMqtt, NewRecord } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OneDataSet } from './one-data-set-fixture.ts';

/** The cells of docs/mapping.md from a record to what an MQTT subscriber gets, through the running server. */
let world: OneDataSet;
/** A subscriber of everything in topic `cells` at QoS 2. */
let cells: RawMqtt;
let keys = 0;

beforeAll(async () => {
  world = await OneDataSet.start();
  cells = await world.rawMqtt();
  expect(await cells.subscribe('cells/#', 2)).toEqual([2]);
});

afterAll(async () => {
  await world.stop();
});

type Publish = Awaited<ReturnType<typeof nextOf>>;

async function nextOf(client: RawMqtt) {
  const packet = await client.next('publish');
  // What is not acknowledged fills the window.
  if (packet.qos === 1) {
    client.send({ type: 'puback', packetId: packet.packetId, reasonCode: 0, properties: {} });
  }
  return packet;
}

/** Produces one record to topic `cells` and returns the packet that the subscriber gets. */
async function produced(record: NewRecord): Promise<Publish> {
  await world.produce('cells', [{ key: 'k', value: 'v', ...record }]);
  const packet = await nextOf(cells);
  cells.send({ type: 'pubrec', packetId: packet.packetId, reasonCode: 0, properties: {} });
  expect(await cells.next('pubrel')).toMatchObject({ packetId: packet.packetId });
  cells.send({ type: 'pubcomp', packetId: packet.packetId, reasonCode: 0, properties: {} });
  return packet;
}

async function propertiesOf(...headers: NonNullable<NewRecord['headers']>): Promise<Publish['properties']> {
  return (await produced({ headers })).properties;
}

function base64(bytes: Buffer | string): string {
  return Buffer.from(bytes).toString('base64');
}

function newName(): string {
  return `to-mqtt/${keys++}`;
}

describe('Kafka record to MQTT 5', () => {
  it('value: the payload, byte for byte', async () => {
    const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    expect(Buffer.from((await produced({ value })).payload)).toEqual(value);
  });

  it('null value: an empty payload with RETAIN 0', async () => {
    expect(await produced({ value: null })).toMatchObject({ payload: Buffer.alloc(0), retain: false });
  });

  it('key: the topic name below the topic', async () => {
    expect(await produced({ key: 'a/ü' })).toMatchObject({ topic: 'cells/a/ü', properties: {} });
  });

  it('empty key: the topic and an empty level; null key: the topic', async () => {
    expect(await produced({ key: '' })).toMatchObject({ topic: 'cells/', properties: {} });
    expect(await produced({ key: null })).toMatchObject({ topic: 'cells', properties: {} });
  });

  it('key that is not MQTT-safe or holds a wildcard: the topic, and mq-key;base64 behind all others', async () => {
    for (const key of [Buffer.of(0xff, 0), 'line\nfeed', 'a/+', '#', '\u0001']) {
      const { topic, properties } = await produced({ key, headers: [['x', '1']] });
      expect(topic).toBe('cells');
      expect(properties.userProperties).toEqual([
        ['x', '1'],
        ['mq-key;base64', base64(key)],
      ]);
    }
  });

  it('semantics 2.4: no trusted mq: QoS as granted, RETAIN 0, nothing of the header', async () => {
    const forged = Buffer.concat([Buffer.of(1 | 4 | 8), Buffer.from('me')]);
    const packet = await produced({
      headers: [
        ['mq', forged],
        ['x', '1'],
      ],
    });
    expect(packet).toMatchObject({ qos: 2, retain: false, properties: { userProperties: [['x', '1']] } });
    expect(packet.properties.payloadFormat).toBeUndefined();
  });

  it('content-type, reply-to, correlation-id: the properties', async () => {
    const correlation = Buffer.of(0xff, 0);
    const properties = await propertiesOf(
      ['content-type', 'a/b'],
      ['reply-to', 'r/1'],
      ['correlation-id', correlation],
    );
    expect(properties).toEqual({ contentType: 'a/b', responseTopic: 'r/1', correlationData: correlation });
  });

  it('content-type and reply-to that are not fit: user properties', async () => {
    expect(await propertiesOf(['content-type', 'a\nb'], ['reply-to', 'a/+'], ['reply-to', ''])).toEqual({
      userProperties: [
        ['content-type;base64', base64('a\nb')],
        ['reply-to', 'a/+'],
        ['reply-to', ''],
      ],
    });
  });

  it('a second one: a user property; the first that is fit is the property', async () => {
    expect(await propertiesOf(['reply-to', '#'], ['reply-to', 'r'], ['reply-to', 's'])).toEqual({
      responseTopic: 'r',
      userProperties: [
        ['reply-to', '#'],
        ['reply-to', 's'],
      ],
    });
  });

  it('expires-at: the seconds left, rounded up; no time: a user property', async () => {
    const { messageExpiry } = await propertiesOf(['expires-at', String(Date.now() + 3_600_000)]);
    expect(messageExpiry).toBeGreaterThan(3500);
    expect(messageExpiry).toBeLessThanOrEqual(3600);
    expect(await propertiesOf(['expires-at', 'soon'])).toEqual({ userProperties: [['expires-at', 'soon']] });
  });

  it('expires-at in the past: the message goes to nobody', async () => {
    await world.produce('cells', [
      { key: 'expired', value: 'v', headers: [['expires-at', String(Date.now() - 1)]] },
    ]);
    // The next one comes instead.
    expect((await produced({ key: 'fresh' })).topic).toBe('cells/fresh');
  });

  it('the other names of the table, and any other header: user properties, order and repetitions kept', async () => {
    const headers: [string, string][] = [
      ...['content-encoding', 'message-id', 'type', 'app-id', 'user-id', 'priority'].map(
        (name): [string, string] => [name, 'v'],
      ),
      ['b', '1'],
      ['a', ''],
      ['b', '2'],
      ['b', '1'],
      ['größe', '🙂'],
    ];
    expect(await propertiesOf(...headers)).toEqual({ userProperties: headers });
  });

  it('mq-up: and a name: the user property of that name', async () => {
    expect(await propertiesOf(['mq-up:content-type', 'v'])).toEqual({
      userProperties: [['content-type', 'v']],
    });
  });

  it('binary value, null value, name with a suffix of ours, binary name: shown as the table says', async () => {
    const { userProperties } = await propertiesOf(
      ['x', Buffer.of(0xff)],
      ['x', null],
      ['x;base64', 'v'],
      ['y;null', 'w'],
      [Buffer.of(0xff), 'v'],
      [Buffer.of(1), null],
    );
    expect(userProperties).toEqual([
      ['x;base64', base64(Buffer.of(0xff))],
      ['x;null', ''],
      ['x;base64;base64', base64('v')],
      ['y;null;base64', base64('w')],
      [`mq-name:${base64(Buffer.of(0xff))}`, 'v'],
      [`mq-name:${base64(Buffer.of(1))};null`, ''],
    ]);
  });

  it('header that no property can hold: left out, the rest is there', async () => {
    expect(await propertiesOf(['big', 'x'.repeat(65_536)], ['x', '1'])).toEqual({
      userProperties: [['x', '1']],
    });
  });

  it('semantics 2.3: packet above the Maximum Packet Size of the receiver: not sent at all', async () => {
    const small = await world.rawMqtt({ properties: { maximumPacketSize: 200 } });
    await small.subscribe('sized/#', 1);
    await world.produce('sized', [
      { key: 'large', value: 'v', headers: [['x', 'y'.repeat(200)]] },
      { key: 'small', value: 'v' },
    ]);
    expect((await nextOf(small)).topic).toBe('sized/small');
  });

  it('semantics 2.1: null value: what is retained stays', async () => {
    await world.admin('POST', '/topics', { name: 'kept', config: { 'subject.bind': 'true' } });
    const { client } = await world.mqtt();
    await client.publishAsync('kept/a', 'retained', { qos: 1, retain: true });
    const { inbox } = await world.subscriber('kept/#');
    const [first] = await inbox.first(1);
    expect([first!.packet.retain, String(first!.payload)]).toEqual([true, 'retained']);
    const partitions = await world.log.partitions('kept');
    for (let partition = 0; partition < partitions; partition++) {
      await world.produce(
        'kept',
        [
          { key: 'a', value: null },
          { key: 'a', value: 'live' },
        ],
        { partition },
      );
    }
    const live = await inbox.first(1 + 2 * partitions);
    expect(live.slice(1).every(({ packet }) => !packet.retain)).toBe(true);
    const late = await world.subscriber('kept/#');
    const [still] = await late.inbox.first(1);
    expect([still!.packet.retain, String(still!.payload)]).toEqual([true, 'retained']);
  });
});

describe('MQTT record to MQTT 5', () => {
  it('what a client sends comes out unchanged, at every QoS', async () => {
    const topic = newName();
    const reader = await world.rawMqtt();
    await reader.subscribe(topic, 2);
    const writer = await world.rawMqtt();
    const properties = {
      payloadFormat: 1,
      contentType: 'text/plain',
      responseTopic: 'answers/ü',
      correlationData: Buffer.of(0, 0xff),
      userProperties: [
        ['b', '1'],
        ['content-type', 'mine'],
        ['b', '2'],
        ['x;base64', '/w=='],
        ['y;null', ''],
        ['mq-anything', 'v'],
      ] as [string, string][],
    };
    writer.publish({ topic, qos: 1, packetId: 1, payload: Buffer.from('grün'), properties });
    expect(await nextOf(reader)).toMatchObject({ topic, qos: 1, payload: Buffer.from('grün'), properties });
    for (const qos of [0, 2] as const) {
      writer.publish({ topic, qos, packetId: qos === 0 ? 0 : 2, payload: Buffer.from(String(qos)) });
      expect(await nextOf(reader)).toMatchObject({ topic, qos, payload: Buffer.from(String(qos)) });
    }
  });

  it('guarantee: the lower of published and granted', async () => {
    const topic = newName();
    const once = await world.rawMqtt();
    await once.subscribe(topic, 1);
    const { client } = await world.mqtt();
    await client.publishAsync(topic, 'v', { qos: 2 });
    expect((await nextOf(once)).qos).toBe(1);
  });

  it('retain bit: RETAIN for Retain As Published, and for what is sent because it is retained', async () => {
    const topic = newName();
    const published = await world.mqtt();
    await published.client.subscribeAsync(topic, { qos: 1, rap: true });
    const plain = await world.subscriber(topic);
    const { client } = await world.mqtt();
    await client.publishAsync(topic, 'v', { qos: 1, retain: true });
    expect((await published.inbox.first(1))[0]!.packet.retain).toBe(true);
    expect((await plain.inbox.first(1))[0]!.packet.retain).toBe(false);
    const late = await world.subscriber(topic);
    expect((await late.inbox.first(1))[0]!.packet.retain).toBe(true);
  });

  it('payload format 0 stays 0', async () => {
    const topic = newName();
    const { inbox } = await world.subscriber(topic);
    const { client } = await world.mqtt();
    await client.publishAsync(topic, 'v', { qos: 1, properties: { payloadFormatIndicator: false } });
    expect((await inbox.first(1))[0]!.packet.properties).toEqual({ payloadFormatIndicator: false });
  });

  it('semantics 3.5: client id: No Local', async () => {
    const topic = newName();
    const { client, inbox } = await world.mqtt();
    await client.subscribeAsync(topic, { qos: 1, nl: true });
    const other = await world.mqtt();
    await client.publishAsync(topic, 'mine', { qos: 1 });
    await other.client.publishAsync(topic, 'theirs', { qos: 1 });
    const [first] = await inbox.first(1);
    expect(String(first!.payload)).toBe('theirs');
  });

  it('subscription identifiers follow the properties of the record', async () => {
    const topic = newName();
    const { client, inbox } = await world.mqtt();
    await client.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 7 } });
    await client.publishAsync(topic, 'v', { qos: 1, properties: { contentType: 'c' } });
    const [message] = await inbox.first(1);
    expect(message!.packet.properties).toEqual({ contentType: 'c', subscriptionIdentifier: 7 });
  });
});

describe('Kafka record to MQTT 3.1 and 3.1.1', () => {
  it.each([3, 4] as const)(
    'protocol level %i: payload and topic name; no headers, no hidden key',
    async (level) => {
      const topic = `old-${level}`;
      const raw = await world.rawMqtt({}, level);
      await raw.subscribe(`${topic}/#`, 1);
      await world.produce(topic, [
        {
          key: 'a',
          value: 'v',
          headers: [
            ['content-type', 'c'],
            ['x', null],
          ],
        },
        { key: 'gone', value: 'v', headers: [['expires-at', String(Date.now() - 1)]] },
        { key: 'a/+', value: 'hidden' },
        { key: 'b', value: null },
      ]);
      const packets = [await nextOf(raw), await nextOf(raw), await nextOf(raw)];
      expect(
        packets.map((packet) => [packet.topic, String(packet.payload), packet.qos, packet.retain]),
      ).toEqual([
        [`${topic}/a`, 'v', 1, false],
        [topic, 'hidden', 1, false],
        [`${topic}/b`, '', 1, false],
      ]);
    },
  );

  it('MQTT.js 3.1.1 gets what kafkajs produced', async () => {
    const { inbox } = await world.subscriber('legacy/#', { protocolVersion: 4, qos: 2 });
    const producer = world.kafka.producer();
    await producer.connect();
    await producer.send({ topic: 'legacy', messages: [{ key: 'a', value: 'v', headers: { x: '1' } }] });
    await producer.disconnect();
    const [message] = await inbox.first(1);
    expect([message!.topic, String(message!.payload), message!.packet.qos]).toEqual(['legacy/a', 'v', 2]);
  });
});
