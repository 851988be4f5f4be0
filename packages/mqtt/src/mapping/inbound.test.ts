import { MqHeaderReader } from '@robustmq/kernel';
import type { DeliveryBatch } from '@robustmq/kernel';
import { HeaderCursor } from '@robustmq/record';
import { describe, expect, it } from 'vitest';
import { allHeadersOf, headersOf, MappingFixture } from './mapping-fixture.ts';

const world = new MappingFixture();

/** The header `mq` of the first record. */
function mqOf(batch: DeliveryBatch) {
  const reader = new MqHeaderReader();
  const { records } = batch;
  expect(reader.find(records.headers(0, new HeaderCursor()), records.buffer)).toBe(true);
  const clientId = records.buffer.toString('utf8', reader.clientIdStart, reader.clientIdEnd);
  const { guarantee, retain, textPayload, bytesPayload, tokenProducer, token, tokenIsEpoch } = reader;
  return { guarantee, retain, textPayload, bytesPayload, tokenProducer, token, tokenIsEpoch, clientId };
}

describe('MQTT 5 to record', () => {
  it('payload: the value, byte for byte', () => {
    const payload = Buffer.from([0, 1, 0xff, 0x80]);
    expect(world.publish({ payload }).records.value(0)).toEqual(payload);
  });

  it('empty payload: a zero-length value, not null', () => {
    expect(world.publish({}).records.value(0)).toEqual(Buffer.alloc(0));
  });

  it('empty payload with RETAIN: a zero-length value, not null', () => {
    expect(world.publish({ retain: true }).records.value(0)).toEqual(Buffer.alloc(0));
  });

  it('topic name: the key in the default topic', () => {
    const batch = world.publish({ topic: 'a/ü/c' });
    expect(batch.records.key(0)).toEqual(Buffer.from('a/ü/c'));
  });

  it('topic name below a bound topic: the key without the topic', () => {
    expect(world.publish({ topic: 'plant/x/y' }).records.key(0)).toEqual(Buffer.from('x/y'));
  });

  it('topic name of a bound topic itself: a null key', () => {
    expect(world.publish({ topic: 'plant' }).records.key(0)).toBeNull();
  });

  it('topic name below an unbound topic: the whole name, in the default topic', () => {
    expect(world.publish({ topic: 'orders/1' }).records.key(0)).toEqual(Buffer.from('orders/1'));
  });

  it('time of arrival: the timestamp', () => {
    expect(world.publish({}).records.timestamp(0)).toBe(world.now);
  });

  it('QoS: the guarantee in mq', () => {
    for (const qos of [0, 1, 2] as const) {
      expect(mqOf(world.publish({ qos })).guarantee).toBe(qos);
      expect(world.message.guarantee).toBe(qos);
    }
  });

  it('RETAIN: the retain bit in mq', () => {
    for (const retain of [false, true]) {
      expect(mqOf(world.publish({ retain })).retain).toBe(retain);
      expect(world.message.retain).toBe(retain);
    }
  });

  it('DUP: nothing', () => {
    const first = world.publish({ qos: 1, payload: Buffer.from('x') });
    const again = world.publish({ qos: 1, payload: Buffer.from('x'), dup: true });
    expect(again.records.buffer).toEqual(first.records.buffer);
  });

  it('client id: the publisher in mq', () => {
    expect(mqOf(world.publish({}, { clientId: 'küche' })).clientId).toBe('küche');
  });

  it('packet id of QoS 2: the token in mq, with the session', () => {
    const token = { producerId: 2 ** 40, packetId: 513 };
    expect(mqOf(world.publish({ qos: 2, packetId: 513 }, { token }))).toEqual({
      guarantee: 2,
      retain: false,
      textPayload: false,
      bytesPayload: false,
      tokenProducer: 2 ** 40,
      token: 513,
      tokenIsEpoch: false,
      clientId: 'client',
    });
    expect(world.message).toMatchObject({ tokenProducer: 2 ** 40, token: 513 });
  });

  it('QoS 0 and 1: no token', () => {
    world.publish({ qos: 2 }, { token: { producerId: 7, packetId: 1 } });
    expect(mqOf(world.publish({ qos: 1 }))).toMatchObject({ tokenProducer: -1, token: 0 });
    expect(world.message).toMatchObject({ tokenProducer: -1, token: 0 });
  });

  it('payload format 1: the text bit in mq', () => {
    const text = world.publish({ payload: Buffer.from('grün'), properties: { payloadFormat: 1 } });
    expect(mqOf(text).textPayload).toBe(true);
    expect(headersOf(text)).toEqual([]);
  });

  it('payload format 0: the bytes bit in mq', () => {
    const zero = world.publish({ payload: Buffer.of(0xff), properties: { payloadFormat: 0 } });
    expect(mqOf(zero)).toMatchObject({ textPayload: false, bytesPayload: true });
    expect(headersOf(zero)).toEqual([]);
    expect(mqOf(world.publish({ payload: Buffer.of(0xff) })).bytesPayload).toBe(false);
  });

  it('payload format 1 of a payload that is no UTF-8: refused with 0x99', () => {
    const packet = { payload: Buffer.of(0xc3, 0x28), properties: { payloadFormat: 1 } };
    expect(world.fill(packet)).toEqual({ code: 'PAYLOAD_FORMAT', reasonCode: 0x99 });
  });

  it('content type: the header content-type', () => {
    const batch = world.publish({ properties: { contentType: 'text/plain; charset=utf-8' } });
    expect(headersOf(batch)).toEqual([['content-type', 'text/plain; charset=utf-8']]);
  });

  it('response topic: the header reply-to', () => {
    expect(headersOf(world.publish({ properties: { responseTopic: 'r/1' } }))).toEqual([['reply-to', 'r/1']]);
  });

  it('response topic with a wildcard: a protocol error (MQTT-3.3.2-14)', () => {
    for (const responseTopic of ['r/+', '#', '']) {
      expect(() => world.fill({ properties: { responseTopic } })).toThrowError(
        expect.objectContaining({ detail: expect.objectContaining({ reasonCode: 0x82 }) }),
      );
    }
  });

  it('correlation data: the header correlation-id, byte for byte', () => {
    const correlationData = Buffer.from([0, 0xff, 0x0a]);
    const batch = world.publish({ properties: { correlationData } });
    expect(allHeadersOf(batch).slice(1)).toEqual([['correlation-id', correlationData]]);
  });

  it('semantics 2.2: message expiry is the header expires-at, ms in ASCII decimal', () => {
    for (const messageExpiry of [0, 1, 0xffffffff]) {
      const batch = world.publish({ properties: { messageExpiry } });
      expect(headersOf(batch)).toEqual([['expires-at', String(world.now + messageExpiry * 1000)]]);
    }
  });

  it('topic alias: nothing', () => {
    const batch = world.publish({ properties: { topicAlias: 3 } });
    expect(batch.records.buffer).toEqual(world.publish({}).records.buffer);
  });

  it('user properties: headers in their order, repetitions kept', () => {
    const userProperties: [string, string][] = [
      ['b', '1'],
      ['a', ''],
      ['b', '2'],
      ['', 'nameless'],
      ['größe', '🙂'],
      ['b', '1'],
    ];
    expect(headersOf(world.publish({ properties: { userProperties } }))).toEqual(userProperties);
  });

  it('user property with a name of ours: stored as mq-up: and the name', () => {
    const names = [
      'content-type',
      'content-encoding',
      'reply-to',
      'correlation-id',
      'message-id',
      'type',
    ].concat(['app-id', 'user-id', 'priority', 'expires-at', 'mq', 'mq-key', 'mqtt-version', 'mq-up:x']);
    const userProperties = names.map((name): [string, string] => [name, 'v']);
    const stored = headersOf(world.publish({ properties: { userProperties } }));
    expect(stored).toEqual(names.map((name) => [`mq-up:${name}`, 'v']));
  });

  it('user property with a suffix: the bytes or the null that it stands for', () => {
    const userProperties: [string, string][] = [
      ['raw;base64', '/w=='],
      ['gone;null', ''],
    ];
    const batch = world.publish({ properties: { userProperties } });
    expect(allHeadersOf(batch).slice(1)).toEqual([
      ['raw', Buffer.of(0xff)],
      ['gone', null],
    ]);
  });

  it('user property with a suffix that stands for nothing: stored as mq-up: and the name', () => {
    const userProperties: [string, string][] = [
      ['raw;base64', 'no base64!'],
      ['text;base64', Buffer.from('text').toString('base64')],
      ['gone;null', 'not empty'],
    ];
    const batch = world.publish({ properties: { userProperties } });
    expect(headersOf(batch)).toEqual(userProperties.map(([name, value]) => [`mq-up:${name}`, value]));
  });

  it('all at once: mq, content-type, reply-to, correlation-id, expires-at, then user properties', () => {
    const properties = {
      payloadFormat: 1,
      messageExpiry: 60,
      contentType: 'c',
      responseTopic: 'r',
      correlationData: Buffer.from('d'),
      userProperties: [['u', 'v']] as [string, string][],
      topicAlias: 9,
    };
    expect(allHeadersOf(world.publish({ properties })).map(([name]) => name)).toEqual([
      'mq',
      'content-type',
      'reply-to',
      'correlation-id',
      'expires-at',
      'u',
    ]);
  });

  it('one connection: each message gets its own headers, whatever came before it', () => {
    const forms = [0, 1, 2].flatMap((qos) =>
      [false, true].map((retain) => ({ qos: qos as 0 | 1 | 2, retain })),
    );
    for (const before of forms) {
      for (const form of forms) {
        world.publish({ ...before, properties: { contentType: 'c'.repeat(before.qos * 20_000) } });
        expect(mqOf(world.publish(form))).toMatchObject({ guarantee: form.qos, retain: form.retain });
        const token = { producerId: 1, packetId: 5 };
        expect(mqOf(world.publish({ ...form, qos: 2 }, { token }))).toMatchObject({ token: 5 });
        expect(headersOf(world.publish({ properties: { contentType: 'd' } }))).toEqual([
          ['content-type', 'd'],
        ]);
      }
    }
  });

  it('one client id: one hash, so that records without a key stay in one shard', () => {
    world.fill({ topic: 'plant' }, { clientId: 'c' });
    const { publisherHash } = world.message;
    world.fill({ topic: 'plant', qos: 1, properties: { contentType: 'x' } }, { clientId: 'c' });
    expect(world.message.publisherHash).toBe(publisherHash);
    world.fill({ topic: 'plant' }, { clientId: 'd' });
    expect(world.message.publisherHash).not.toBe(publisherHash);
    expect(publisherHash).toBeGreaterThanOrEqual(0);
  });
});

describe('MQTT 3.1.1 to record', () => {
  for (const version of [3, 4] as const) {
    it(`version ${version}: value, key and mq, as from MQTT 5 without properties`, () => {
      const packet = { topic: 'a/b', payload: Buffer.from('p'), qos: 1, retain: true } as const;
      const batch = world.publish(packet, { version });
      expect(batch.records.buffer).toEqual(world.publish(packet).records.buffer);
      expect(mqOf(batch)).toMatchObject({ guarantee: 1, retain: true, textPayload: false });
    });
  }

  it('empty payload: a zero-length value, not null', () => {
    expect(world.publish({}, { version: 4 }).records.value(0)).toEqual(Buffer.alloc(0));
  });

  it('packet id of QoS 2: the token in mq', () => {
    const token = { producerId: 5, packetId: 9 };
    expect(mqOf(world.publish({ qos: 2 }, { version: 4, token }))).toMatchObject({
      tokenProducer: 5,
      token: 9,
    });
  });
});
