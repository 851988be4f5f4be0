import type { StoredRecord } from '@robustmq/testkit';
import { waitUntil } from '@robustmq/testkit';
import type { IClientPublishOptions, MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Inbox, KafkaRecord } from './one-data-set-fixture.ts';
import { OneDataSet } from './one-data-set-fixture.ts';

/** The cells of docs/mapping.md from MQTT to what a Kafka consumer sees, through the running server. */
let world: OneDataSet;
/** A kafkajs group on the default topic, from before the first message. */
let reader: Inbox<KafkaRecord>;
let v5: MqttClient;
const clientId = 'küche';
let topics = 0;

beforeAll(async () => {
  world = await OneDataSet.start();
  reader = (await world.consumer('mqtt')).inbox;
  v5 = (await world.mqtt({ clientId })).client;
});

afterAll(async () => {
  await world.stop();
});

function newTopic(): string {
  return `to-kafka/${topics++}`;
}

/** Publishes with MQTT.js v5 and returns the record that kafkajs is given. */
async function crossed(payload: string | Buffer, options: IClientPublishOptions = {}): Promise<KafkaRecord> {
  const topic = newTopic();
  await v5.publishAsync(topic, payload, { qos: 1, ...options });
  const [record] = await reader.first(1, ({ key }) => String(key) === topic);
  return record!;
}

/** The header's values as text; kafkajs gives one value or a list. */
function header(record: KafkaRecord, name: string): string[] {
  const value = record.headers?.[name];
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

function flagsOf(record: KafkaRecord): number {
  return mqOf(record)[0]!;
}

/** The value of the header `mq`. */
function mqOf({ headers }: KafkaRecord | StoredRecord): Buffer {
  const all = Array.isArray(headers) ? (headers as StoredRecord['headers']) : Object.entries(headers ?? {});
  return all.find(([name]) => name === 'mq')![1] as Buffer;
}

/** Name and value of all headers but `mq`, as text, in order. */
function headersOf({ headers }: StoredRecord): [string, string | null][] {
  return headers.filter(([name]) => name !== 'mq').map(([name, value]) => [name, value?.toString() ?? null]);
}

describe('MQTT 5 to Kafka', () => {
  it('payload: the value, byte for byte', async () => {
    const payload = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    expect((await crossed(payload)).value).toEqual(payload);
  });

  it('large payload: the value', async () => {
    const payload = Buffer.alloc(900_000, 'abcdefg');
    expect(payload.equals((await crossed(payload)).value!)).toBe(true);
  });

  it('semantics 2.1: empty payload, with and without RETAIN: an empty value, never null', async () => {
    for (const retain of [false, true]) {
      expect((await crossed('', { retain })).value).toEqual(Buffer.alloc(0));
    }
  });

  it('topic name: the key in topic mqtt', async () => {
    for (const name of ['a', '/', '/a//b/', 'größe/🙂', 'mqtt', 'mqtt/x']) {
      await v5.publishAsync(name, 'v', { qos: 1 });
      const [record] = await reader.first(1, ({ key }) => String(key) === name);
      expect(record).toMatchObject({ topic: 'mqtt', key: Buffer.from(name) });
    }
  });

  it('time of arrival: the timestamp', async () => {
    const before = Date.now();
    const { timestamp } = await crossed('v');
    expect(Number(timestamp)).toBeGreaterThanOrEqual(before - 1000);
    expect(Number(timestamp)).toBeLessThanOrEqual(Date.now() + 1000);
  });

  it('QoS, RETAIN and payload format: flags of mq', async () => {
    for (const qos of [0, 1, 2] as const) expect(flagsOf(await crossed('v', { qos }))).toBe(qos);
    expect(flagsOf(await crossed('v', { retain: true }))).toBe(1 | 4);
    const format = (payloadFormatIndicator: boolean) => ({ properties: { payloadFormatIndicator } });
    expect(flagsOf(await crossed('grün', format(true)))).toBe(1 | 8);
    expect(flagsOf(await crossed(Buffer.of(0xff), format(false)))).toBe(1 | 64);
  });

  it('client id: the rest of mq', async () => {
    expect(
      mqOf(await crossed('v'))
        .subarray(1)
        .toString(),
    ).toBe(clientId);
  });

  it('payload format 1 of a payload that is no UTF-8: refused with 0x99, no record', async () => {
    const raw = await world.rawMqtt();
    const topic = newTopic();
    raw.publish({
      topic,
      qos: 1,
      packetId: 1,
      payload: Buffer.of(0xc3, 0x28),
      properties: { payloadFormat: 1 },
    });
    expect(await raw.next('puback')).toMatchObject({ packetId: 1, reasonCode: 0x99 });
    expect(await world.stored(topic)).toEqual([]);
  });

  it('packet id of a QoS 2 publish in a persistent session: the token in mq', async () => {
    const raw = await world.rawMqtt({ clientId: 'tokens', properties: { sessionExpiry: 60 } });
    const topics = [newTopic(), newTopic()];
    for (const [at, topic] of topics.entries()) {
      raw.publish({ topic, qos: 2, packetId: 500 + at });
      expect(await raw.next('pubrec')).toMatchObject({ packetId: 500 + at, reasonCode: 0 });
    }
    const mq = await Promise.all(topics.map(async (topic) => mqOf((await world.stored(topic))[0]!)));
    expect(mq.map((bytes) => bytes[0])).toEqual([2 | 16, 2 | 16]);
    expect(mq.map((bytes) => bytes.readUInt32BE(9))).toEqual([500, 501]);
    // One session, one producer id.
    expect(mq[0]!.readBigInt64BE(1)).toBe(mq[1]!.readBigInt64BE(1));
    expect(mq[0]!.subarray(13).toString()).toBe('tokens');
  });

  it('content type, response topic, correlation data: headers of these names', async () => {
    const record = await crossed('v', {
      properties: {
        contentType: 'text/plain; charset=utf-8',
        responseTopic: 'answers/1',
        correlationData: Buffer.of(0, 0xff, 1),
      },
    });
    expect(header(record, 'content-type')).toEqual(['text/plain; charset=utf-8']);
    expect(header(record, 'reply-to')).toEqual(['answers/1']);
    expect(record.headers!['correlation-id']).toEqual(Buffer.of(0, 0xff, 1));
  });

  it('response topic with a wildcard: a protocol error, no record', async () => {
    const raw = await world.rawMqtt();
    const topic = newTopic();
    raw.publish({ topic, qos: 1, packetId: 1, properties: { responseTopic: 'a/+' } });
    expect(await raw.next('disconnect')).toMatchObject({ reasonCode: 0x82 });
    await raw.whenClosed();
    expect(await world.stored(topic)).toEqual([]);
  });

  it('message expiry interval: expires-at, arrival plus interval in decimal', async () => {
    const record = await crossed('v', { properties: { messageExpiryInterval: 3600 } });
    expect(header(record, 'expires-at')).toEqual([String(Number(record.timestamp) + 3_600_000)]);
  });

  it('user properties: headers, order and repetitions kept, behind those with a place of their own', async () => {
    const raw = await world.rawMqtt();
    const topic = newTopic();
    raw.publish({
      topic,
      qos: 1,
      packetId: 1,
      properties: {
        userProperties: [
          ['b', '1'],
          ['a', ''],
          ['b', '2'],
          ['b', '1'],
          ['', 'nameless'],
        ],
        messageExpiry: 60,
        correlationData: Buffer.from('c'),
        responseTopic: 'r',
        contentType: 't',
      },
    });
    await raw.next('puback');
    const [record] = await world.stored(topic);
    expect(record!.headers.map(([name]) => name)).toEqual([
      ...['mq', 'content-type', 'reply-to', 'correlation-id', 'expires-at'],
      ...['b', 'a', 'b', 'b', ''],
    ]);
    expect(headersOf(record!).slice(4)).toEqual([
      ['b', '1'],
      ['a', ''],
      ['b', '2'],
      ['b', '1'],
      ['', 'nameless'],
    ]);
    const [shown] = await reader.first(1, ({ key }) => String(key) === topic);
    expect(header(shown!, 'b')).toEqual(['1', '2', '1']);
  });

  it('user properties with a name of ours: mq-up: before the name', async () => {
    const names = ['content-type', 'expires-at', 'type', 'mq', 'mq-key;base64', 'mqx'];
    const userProperties = Object.fromEntries(names.map((name) => [name, 'v']));
    const record = await crossed('v', { properties: { userProperties } });
    expect(names.flatMap((name) => header(record, `mq-up:${name}`))).toEqual(names.map(() => 'v'));
    expect(header(record, 'content-type')).toEqual([]);
  });

  it('user properties that show bytes or null: a binary or a null header; any other such suffix is a name', async () => {
    const raw = await world.rawMqtt();
    const topic = newTopic();
    const userProperties: [string, string][] = [
      ['x;base64', '/wA='],
      ['y;null', ''],
      ['x;base64', 'no base64'],
      ['y;null', 'something'],
    ];
    raw.publish({ topic, qos: 1, packetId: 1, properties: { userProperties } });
    await raw.next('puback');
    const [record] = await world.stored(topic);
    expect(record!.headers.slice(1)).toEqual([
      ['x', Buffer.of(0xff, 0)],
      ['y', null],
      ['mq-up:x;base64', Buffer.from('no base64')],
      ['mq-up:y;null', Buffer.from('something')],
    ]);
  });

  it('topic alias, DUP: nothing', async () => {
    const raw = await world.rawMqtt();
    const topic = newTopic();
    raw.publish({ topic, qos: 1, packetId: 1, payload: Buffer.from('1'), properties: { topicAlias: 3 } });
    raw.publish({
      topic: '',
      qos: 1,
      packetId: 2,
      dup: true,
      payload: Buffer.from('2'),
      properties: { topicAlias: 3 },
    });
    await raw.next('puback');
    await raw.next('puback');
    const records = await world.stored(topic);
    expect(records.map(({ value }) => String(value))).toEqual(['1', '2']);
    expect(records.map(({ headers }) => headers)).toEqual([records[0]!.headers, records[0]!.headers]);
  });

  it('will: all of this; the token is the epoch of its session, will delay says nothing', async () => {
    const topic = newTopic();
    const raw = await world.rawMqtt({
      clientId: 'mortal',
      properties: { sessionExpiry: 60 },
      will: {
        topic,
        payload: Buffer.from('gone'),
        qos: 2,
        retain: true,
        properties: { willDelay: 0, contentType: 'text/plain', userProperties: [['why', 'cut']] },
      },
    });
    raw.drop();
    await waitUntil(async () => (await world.stored(topic)).length > 0, { what: 'the will' });
    const [record] = await world.stored(topic);
    expect(String(record!.value)).toBe('gone');
    expect(headersOf(record!)).toEqual([
      ['content-type', 'text/plain'],
      ['why', 'cut'],
    ]);
    const mq = mqOf(record!);
    expect(mq[0]).toBe(2 | 4 | 16 | 32);
    expect(mq.readUInt32BE(9)).toBeGreaterThanOrEqual(0x8000_0000);
    expect(mq.subarray(13).toString()).toBe('mortal');
  });
});

describe('MQTT 3.1 and 3.1.1 to Kafka', () => {
  it('payload, topic name, QoS, RETAIN and client id, and no header but mq', async () => {
    const { client } = await world.mqtt({ protocolVersion: 4, clientId: 'old' });
    const topic = newTopic();
    await client.publishAsync(topic, 'v', { qos: 1, retain: true });
    const [record] = await reader.first(1, ({ key }) => String(key) === topic);
    expect(String(record!.value)).toBe('v');
    expect(Object.keys(record!.headers!)).toEqual(['mq']);
    expect(mqOf(record!)).toEqual(Buffer.concat([Buffer.of(1 | 4), Buffer.from('old')]));
  });

  it('the same of MQTT 3.1', async () => {
    const raw = await world.rawMqtt({ clientId: 'older' }, 3);
    const topic = newTopic();
    raw.publish({ topic, qos: 2, packetId: 9, payload: Buffer.from('v') });
    await raw.next('pubrec');
    const [record] = await world.stored(topic);
    expect(String(record!.value)).toBe('v');
    expect(record!.headers).toEqual([['mq', Buffer.concat([Buffer.of(2), Buffer.from('older')])]]);
  });

  it('packet id of a QoS 2 publish in a session that stays: the token', async () => {
    const raw = await world.rawMqtt({ clientId: 'kept', cleanStart: false }, 4);
    const topic = newTopic();
    raw.publish({ topic, qos: 2, packetId: 77 });
    await raw.next('pubrec');
    const mq = mqOf((await world.stored(topic))[0]!);
    expect([mq[0], mq.readUInt32BE(9), mq.subarray(13).toString()]).toEqual([2 | 16, 77, 'kept']);
  });
});
