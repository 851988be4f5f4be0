import { encodePublishProperties } from '@robustmq/mqtt-codec';
import { describe, expect, it } from 'vitest';
import type { HeaderText, ProducedRecord } from './mapping-fixture.ts';
import { MappingFixture } from './mapping-fixture.ts';

const world = new MappingFixture();

/** The packet that an MQTT 5 subscriber gets of a record that another client produced to `topic`. */
function produced(record: ProducedRecord, topic = 'orders') {
  return world.deliver(world.produce(topic, [{ key: 'k', ...record }]));
}

function propertiesOf(...headers: HeaderText[]) {
  return produced({ headers }).properties;
}

function base64(bytes: Buffer | string): string {
  return Buffer.from(bytes).toString('base64');
}

describe('record to MQTT 5', () => {
  it('value: the payload, byte for byte', () => {
    const payload = Buffer.from([0, 0xff, 0x80]);
    expect(world.deliver(world.publish({ payload })).payload).toEqual(payload);
  });

  it('large value: the payload', () => {
    const payload = Buffer.alloc(300_000, 'x');
    // Not `toEqual`, which takes a second for this many bytes.
    expect(payload.equals(world.deliver(world.publish({ payload })).payload)).toBe(true);
  });

  it('zero-length value: an empty payload, RETAIN as it was', () => {
    const batch = world.publish({ retain: true });
    expect(world.deliver(batch, { retain: true })).toMatchObject({ payload: Buffer.alloc(0), retain: true });
    expect(world.outbound.retain).toBe(true);
  });

  it('key in the default topic: the topic name', () => {
    expect(world.deliver(world.publish({ topic: 'a/ü' })).topic).toBe('a/ü');
    expect(world.outbound.topic).toBe(world.message.subject.key);
  });

  it('key in a bound topic: the topic name below the topic', () => {
    expect(world.deliver(world.publish({ topic: 'plant/x' })).topic).toBe('plant/x');
  });

  it('null key in a bound topic: the topic as topic name', () => {
    expect(world.deliver(world.publish({ topic: 'plant' })).topic).toBe('plant');
  });

  it('guarantee in mq: the QoS that the granted one is compared with', () => {
    for (const qos of [0, 1, 2] as const) {
      world.outbound.read(world.publish({ qos }), 0);
      expect(world.outbound.guarantee).toBe(qos);
    }
  });

  it('retain bit in mq: RETAIN for who asked for it as published', () => {
    for (const retain of [true, false]) {
      world.outbound.read(world.publish({ retain }), 0);
      expect(world.outbound.retain).toBe(retain);
    }
  });

  it('publisher in mq: known for No Local', () => {
    world.outbound.read(world.publish({}, { clientId: 'me' }), 0);
    expect(world.outbound.isFrom(Buffer.from('me'))).toBe(true);
    for (const other of ['m', 'mee', 'mf', '']) expect(world.outbound.isFrom(Buffer.from(other))).toBe(false);
  });

  it('text bit in mq: payload format 1', () => {
    const batch = world.publish({ properties: { payloadFormat: 1 } });
    expect(world.deliver(batch).properties).toEqual({ payloadFormat: 1 });
  });

  it('bytes bit in mq: payload format 0, unaltered (MQTT-3.3.2-4)', () => {
    const batch = world.publish({ properties: { payloadFormat: 0 } });
    expect(world.deliver(batch).properties).toEqual({ payloadFormat: 0 });
  });

  it('timestamp, token and mq: not shown', () => {
    const batch = world.publish({ qos: 2 }, { token: { producerId: 1, packetId: 2 } });
    expect(world.deliver(batch, { qos: 2, packetId: 77 })).toMatchObject({ packetId: 77, properties: {} });
  });

  it('content-type: content type', () => {
    expect(propertiesOf(['content-type', 'a/b'])).toEqual({ contentType: 'a/b' });
    expect(propertiesOf(['content-type', ''])).toEqual({ contentType: '' });
  });

  it('reply-to: response topic', () => {
    expect(propertiesOf(['reply-to', 'r/1'])).toEqual({ responseTopic: 'r/1' });
  });

  it('correlation-id: correlation data, any bytes', () => {
    expect(propertiesOf(['correlation-id', Buffer.of(0xff, 0)])).toEqual({
      correlationData: Buffer.of(0xff, 0),
    });
  });

  it('content-encoding, message-id, type, app-id, user-id, priority: user properties of that name', () => {
    const names = ['content-encoding', 'message-id', 'type', 'app-id', 'user-id', 'priority'];
    expect(propertiesOf(...names.map((name): HeaderText => [name, 'v'])).userProperties).toEqual(
      names.map((name) => [name, 'v']),
    );
  });

  it('other headers: user properties in their order, repetitions kept', () => {
    const headers: [string, string][] = [
      ['b', '1'],
      ['a', ''],
      ['', 'nameless'],
      ['b', '2'],
      ['b', '1'],
      ['größe', '🙂'],
    ];
    expect(propertiesOf(...headers)).toEqual({ userProperties: headers });
  });

  it('headers between the ones with properties: order kept among the user properties', () => {
    const headers: HeaderText[] = [
      ['x', '1'],
      ['content-type', 'c'],
      ['y', '2'],
      ['correlation-id', 'd'],
      ['x', '3'],
    ];
    expect(propertiesOf(...headers)).toEqual({
      contentType: 'c',
      correlationData: Buffer.from('d'),
      userProperties: [
        ['x', '1'],
        ['y', '2'],
        ['x', '3'],
      ],
    });
  });

  it('mq-up: and a name: the user property of that name', () => {
    expect(propertiesOf(['mq-up:content-type', 'v'], ['mq-up:mq', 'w']).userProperties).toEqual([
      ['content-type', 'v'],
      ['mq', 'w'],
    ]);
  });

  it('subscription identifiers of the receiver: behind the properties of the record', () => {
    const properties = encodePublishProperties({ subscriptionIdentifiers: [1, 300] });
    expect(world.deliver(world.publish({}), { properties }).properties).toEqual({
      subscriptionIdentifiers: [1, 300],
    });
    const batch = world.publish({ properties: { contentType: 'c' } });
    expect(world.deliver(batch, { properties }).properties).toEqual({
      contentType: 'c',
      subscriptionIdentifiers: [1, 300],
    });
  });

  it('retained copy: the same packet as the record gave', () => {
    const batch = world.publish({
      topic: 'a/ü',
      qos: 1,
      retain: true,
      payload: Buffer.from('p'),
      properties: { payloadFormat: 1, contentType: 'c', userProperties: [['u', 'v']] },
    });
    const form = { qos: 1, retain: true, packetId: 4 } as const;
    const live = world.deliver(batch, form);
    expect(world.deliverRetained(batch, form)).toEqual(live);
    expect(world.outbound).toMatchObject({ guarantee: 1, retain: true });
    expect(world.outbound.isFrom(Buffer.from('client'))).toBe(true);
  });

  it('retained copy after a null value: RETAIN 1', () => {
    const batch = world.publish({ retain: true, payload: Buffer.from('p') });
    world.outbound.read(world.produce('orders', [{ key: 'k', value: null }]), 0);
    expect(world.deliverRetained(batch, { retain: true })).toMatchObject({ retain: true });
  });
});

describe('expires-at to MQTT 5', () => {
  const batch = world.publish({ properties: { messageExpiry: 60 } });

  it('the seconds that are left, rounded up', () => {
    for (const [waitedMs, left] of [
      [0, 60],
      [1, 60],
      [999, 60],
      [1000, 59],
      [59_001, 1],
      [59_999, 1],
    ] as const) {
      expect(world.deliver(batch, { now: world.now + waitedMs }).properties).toEqual({ messageExpiry: left });
      expect(world.outbound.expired(world.now + waitedMs)).toBe(false);
    }
  });

  it('nothing left: the message has expired', () => {
    world.outbound.read(batch, 0);
    expect(world.outbound.expired(world.now + 60_000)).toBe(true);
    expect(world.outbound.expiresAt).toBe(world.now + 60_000);
  });

  it('interval 0: expired at once', () => {
    world.outbound.read(world.publish({ properties: { messageExpiry: 0 } }), 0);
    expect(world.outbound.expired(world.now)).toBe(true);
  });

  it('none: never expires', () => {
    world.outbound.read(world.publish({}), 0);
    expect(world.outbound.expired(Number.MAX_SAFE_INTEGER)).toBe(false);
  });

  it('a template made earlier keeps its seconds, and a later one says what is left then', () => {
    world.outbound.read(batch, 0);
    const form = { qos: 0, retain: false, dup: false, packetId: 0, properties: null } as const;
    const early = world.outbound.template(5, { ...form, now: world.now });
    const bytes = Buffer.from(early.bytes);
    const later = world.outbound.template(5, { ...form, now: world.now + 30_000 });
    expect(later).not.toBe(early);
    expect(early.bytes).toEqual(bytes);
    expect(world.packet({}, 5).properties).toEqual({ messageExpiry: 60 });
  });

  it('of a record that another client made: counts as well', () => {
    const expiresAt = String(world.now + 5000);
    expect(propertiesOf(['expires-at', expiresAt])).toEqual({ messageExpiry: 5 });
  });

  it('further away than MQTT can say: the most it can say', () => {
    expect(propertiesOf(['expires-at', '9007199254740991'])).toEqual({ messageExpiry: 0xffffffff });
  });

  it('that is no time: a user property, and the next one counts', () => {
    const soon = String(world.now + 1000);
    const wrong = ['', '-1', '1.5', 'soon', '99999999999999999', '9999999999999999', '0'.repeat(17)];
    for (const value of wrong) {
      expect(propertiesOf(['expires-at', value], ['expires-at', soon])).toEqual({
        messageExpiry: 1,
        userProperties: [['expires-at', value]],
      });
    }
  });
});

describe('record to MQTT 3.1.1', () => {
  it('payload, topic name, QoS, RETAIN and packet id, and nothing else', () => {
    const properties = {
      payloadFormat: 1,
      messageExpiry: 60,
      contentType: 'c',
      userProperties: [['u', 'v']] as [string, string][],
    };
    const batch = world.publish({ topic: 'a/b', payload: Buffer.from('p'), properties });
    const form = {
      qos: 1,
      retain: true,
      dup: true,
      packetId: 258,
      properties: encodePublishProperties({ subscriptionIdentifiers: [1] }),
    } as const;
    for (const version of [3, 4] as const) {
      expect(world.deliver(batch, form, version)).toEqual({
        topic: 'a/b',
        payload: Buffer.from('p'),
        qos: 1,
        retain: true,
        dup: true,
        packetId: 258,
        properties: {},
      });
    }
  });

  it('expires-at: an expired message is known as such all the same', () => {
    const batch = world.publish({ properties: { messageExpiry: 1 } });
    world.deliver(batch, {}, 4);
    expect(world.outbound.expired(world.now + 1000)).toBe(true);
  });

  it('hidden key, binary and null headers: not shown', () => {
    const batch = world.produce('orders', [{ key: 'a/+', value: 'v', headers: [['x', null]] }]);
    expect(world.deliver(batch, {}, 4)).toMatchObject({ topic: 'orders', properties: {} });
  });
});

describe('Kafka record to MQTT 5', () => {
  it('key: the topic name below the topic, bound or not', () => {
    expect(produced({ key: 'a/b' }, 'orders').topic).toBe('orders/a/b');
    expect(produced({ key: 'a/b' }, 'plant').topic).toBe('plant/a/b');
  });

  it('key in the default topic: the topic name', () => {
    expect(produced({ key: 'a/b' }, 'mqtt').topic).toBe('a/b');
  });

  it('null key: the topic as topic name, no hidden key', () => {
    expect(produced({ key: null })).toMatchObject({ topic: 'orders', properties: {} });
  });

  it('empty key: the topic and an empty level', () => {
    expect(produced({ key: '' })).toMatchObject({ topic: 'orders/', properties: {} });
  });

  it('key that is no text, or holds a wildcard: the topic as topic name, the key in mq-key;base64', () => {
    for (const key of [Buffer.of(0xff, 0), Buffer.from('line\nfeed'), Buffer.from('a/+'), Buffer.from('#')]) {
      expect(produced({ key, headers: [['x', '1']] })).toMatchObject({
        topic: 'orders',
        properties: {
          userProperties: [
            ['x', '1'],
            ['mq-key;base64', base64(key)],
          ],
        },
      });
    }
  });

  it('unsafe keys of several records: each shows its own', () => {
    const batch = world.produce('orders', [{ key: '#1' }, { key: '#2' }, { key: 'ok' }]);
    const shown = [0, 1, 2].map((row) => world.deliver(batch, {}, 5, row).properties.userProperties);
    expect(shown).toEqual([[['mq-key;base64', base64('#1')]], [['mq-key;base64', base64('#2')]], undefined]);
  });

  it('key too long for a property: left out', () => {
    expect(produced({ key: Buffer.alloc(60_000, 'k') })).toMatchObject({ topic: 'orders', properties: {} });
  });

  it('null value: an empty payload with RETAIN 0', () => {
    const batch = world.produce('orders', [{ key: 'k', value: null }]);
    expect(world.deliver(batch, { retain: true })).toMatchObject({ payload: Buffer.alloc(0), retain: false });
    expect(world.deliver(batch, { retain: true, qos: 1 }, 4).retain).toBe(false);
    expect(world.outbound.retain).toBe(false);
  });

  it('null value after a record with one: its own, and the other way round', () => {
    const batch = world.produce('orders', [
      { key: 'k', value: 'v' },
      { key: 'k', value: null },
      { key: 'k', value: 'w' },
    ]);
    const payloads = [0, 1, 2].map((row) => world.deliver(batch, {}, 5, row).payload.length);
    expect(payloads).toEqual([1, 0, 1]);
  });

  it('null value with a trusted retain bit: RETAIN 0 all the same', () => {
    const record = { key: 'k', value: null, headers: [['mq', Buffer.of(0x05)]] as HeaderText[] };
    world.outbound.read(world.produce('orders', [record], true), 0);
    expect(world.outbound).toMatchObject({ guarantee: 1, retain: false });
  });

  it('semantics 2.4: any record: published at QoS 2, by nobody, without RETAIN', () => {
    produced({ headers: [['mq', Buffer.from([4, 0x6d])]] });
    expect(world.outbound).toMatchObject({ guarantee: 2, retain: false, payloadFormat: -1 });
    for (const id of ['m', '']) expect(world.outbound.isFrom(Buffer.from(id))).toBe(false);
  });

  it('header mq: neither trusted nor forwarded', () => {
    expect(propertiesOf(['mq', Buffer.of(0x0c)], ['x', '1'])).toEqual({ userProperties: [['x', '1']] });
    expect(propertiesOf(['mq', 'text'])).toEqual({});
  });

  it('header mq of a batch that a broker encoded: trusted, the first that is whole counts', () => {
    const headers: HeaderText[] = [
      ['mq', Buffer.alloc(0)],
      ['mq', Buffer.of(0x05)],
      ['mq', Buffer.of(0x02)],
    ];
    world.outbound.read(world.produce('orders', [{ key: 'k', headers }], true), 0);
    expect(world.outbound).toMatchObject({ guarantee: 1, retain: true });
  });

  it('binary value of a header: base64 under a name with ;base64', () => {
    expect(propertiesOf(['x', Buffer.of(0xff)], ['y', 'a\nb']).userProperties).toEqual([
      ['x;base64', base64(Buffer.of(0xff))],
      ['y;base64', base64('a\nb')],
    ]);
  });

  it('null value of a header: empty under a name with ;null', () => {
    expect(propertiesOf(['x', null], ['x', '']).userProperties).toEqual([
      ['x;null', ''],
      ['x', ''],
    ]);
  });

  it('name of a header that is no text: mq-name: and base64', () => {
    expect(propertiesOf([Buffer.of(0xff), 'v'], [Buffer.of(1), null]).userProperties).toEqual([
      [`mq-name:${base64(Buffer.of(0xff))}`, 'v'],
      [`mq-name:${base64(Buffer.of(1))};null`, ''],
    ]);
  });

  it('name that ends in a suffix of ours: the value as base64, so that it is not taken for one', () => {
    expect(propertiesOf(['x;base64', 'v'], ['y;null', 'w']).userProperties).toEqual([
      ['x;base64;base64', base64('v')],
      ['y;null;base64', base64('w')],
    ]);
  });

  it('header too long for a property: left out, the others stay', () => {
    const long = 'v'.repeat(65_536);
    expect(propertiesOf(['x', long], ['y', '1'])).toEqual({ userProperties: [['y', '1']] });
  });

  it('header as long as a property can be: shown', () => {
    const long = 'v'.repeat(65_535);
    expect(propertiesOf(['x', long])).toEqual({ userProperties: [['x', long]] });
  });

  it('content-type that is no text, or null: a user property', () => {
    expect(propertiesOf(['content-type', Buffer.of(0xff)], ['content-type', null])).toEqual({
      userProperties: [
        ['content-type;base64', base64(Buffer.of(0xff))],
        ['content-type;null', ''],
      ],
    });
  });

  it('reply-to with a wildcard, empty, no text, or null: a user property', () => {
    expect(
      propertiesOf(['reply-to', 'a/+'], ['reply-to', ''], ['reply-to', '\n'], ['reply-to', null]),
    ).toEqual({
      userProperties: [
        ['reply-to', 'a/+'],
        ['reply-to', ''],
        ['reply-to;base64', base64('\n')],
        ['reply-to;null', ''],
      ],
    });
  });

  it('correlation-id that is null: a user property; too long: left out', () => {
    expect(propertiesOf(['correlation-id', null])).toEqual({ userProperties: [['correlation-id;null', '']] });
    expect(propertiesOf(['correlation-id', 'x'.repeat(65_536)])).toEqual({});
  });

  it('duplicates of content-type, reply-to, correlation-id, expires-at: the first fit is the property, the rest user properties', () => {
    expect(
      propertiesOf(
        ['content-type', Buffer.of(0xff)],
        ['content-type', 'b'],
        ['content-type', 'c'],
        ['reply-to', '#'],
        ['reply-to', 'r'],
        ['reply-to', 's'],
        ['correlation-id', '1'],
        ['correlation-id', '2'],
        ['expires-at', String(world.now + 1000)],
        ['expires-at', String(world.now + 2000)],
      ),
    ).toEqual({
      messageExpiry: 1,
      contentType: 'b',
      responseTopic: 'r',
      correlationData: Buffer.from('1'),
      userProperties: [
        ['content-type;base64', base64(Buffer.of(0xff))],
        ['content-type', 'c'],
        ['reply-to', '#'],
        ['reply-to', 's'],
        ['correlation-id', '2'],
        ['expires-at', String(world.now + 2000)],
      ],
    });
  });

  it('a thousand headers: all of them', () => {
    const headers = Array.from({ length: 1000 }, (_, i): [string, string] => [`n${i}`, 'v'.repeat(100)]);
    expect(propertiesOf(...headers)).toEqual({ userProperties: headers });
  });
});

describe('outbound message', () => {
  it('records one after another: nothing of one shows in the next', () => {
    const batch = world.produce('orders', [
      {
        key: '+',
        headers: [
          ['content-type', 'c'],
          ['expires-at', String(world.now + 9000)],
          ['x', '1'],
        ],
      },
      { key: 'k', value: 'v' },
    ]);
    expect(world.deliver(batch).properties).toEqual({
      contentType: 'c',
      messageExpiry: 9,
      userProperties: [
        ['x', '1'],
        ['mq-key;base64', base64('+')],
      ],
    });
    expect(world.deliver(batch, {}, 5, 1).properties).toEqual({});
    expect(world.outbound.expired(Number.MAX_SAFE_INTEGER)).toBe(false);
  });

  it('templates: one per version, acknowledgement, RETAIN and receiver properties', () => {
    world.outbound.read(world.publish({ retain: true, payload: Buffer.from('p') }), 0);
    const ids = [1, 2].map((id) => encodePublishProperties({ subscriptionIdentifiers: [id] }));
    const seen = new Set<object>();
    for (const version of [4, 5] as const) {
      for (const qos of [0, 1] as const) {
        for (const retain of [false, true]) {
          for (const properties of [null, ...ids]) {
            const form = { qos, retain, dup: false, packetId: 1, properties, now: world.now };
            const template = world.outbound.template(version, form);
            expect(world.outbound.template(version, form)).toBe(template);
            seen.add(template);
          }
        }
      }
    }
    // MQTT 3.1.1 knows no receiver properties.
    expect(seen.size).toBe(4 + 12);
  });

  it('templates: MQTT 3.1 and 3.1.1 share one, QoS 1 and 2 share one', () => {
    world.outbound.read(world.publish({}), 0);
    const form = { qos: 1, retain: false, dup: false, packetId: 1, properties: null, now: 0 } as const;
    const template = world.outbound.template(3, form);
    expect(world.outbound.template(4, { ...form, qos: 2 })).toBe(template);
  });

  it('templates for receivers with properties of their own: a bounded number is kept', () => {
    world.outbound.read(world.publish({ payload: Buffer.alloc(400_000) }), 0);
    const form = { qos: 0, retain: false, dup: false, packetId: 0, now: 0 } as const;
    const kept = Array.from({ length: 5 }, (_, i) => {
      const own = { ...form, properties: encodePublishProperties({ subscriptionIdentifiers: [i + 1] }) };
      return world.outbound.template(5, own) === world.outbound.template(5, own);
    });
    expect(kept).toEqual([true, true, false, false, false]);
  });

  it('templates for many receivers with properties of their own: the first are kept', () => {
    world.outbound.read(world.publish({}), 0);
    const form = { qos: 0, retain: false, dup: false, packetId: 0, now: 0 } as const;
    const kept = Array.from({ length: 100 }, (_, i) => {
      const own = { ...form, properties: encodePublishProperties({ subscriptionIdentifiers: [i + 1] }) };
      return world.outbound.template(5, own) === world.outbound.template(5, own);
    });
    expect(kept.lastIndexOf(true)).toBe(63);
    expect(kept.indexOf(false)).toBe(64);
  });

  it('a template outlives the record it was made from', () => {
    const batch = world.publish({ payload: Buffer.from('first') });
    world.outbound.read(batch, 0);
    const form = { qos: 0, retain: false, dup: false, packetId: 0, properties: null, now: 0 } as const;
    const { bytes } = world.outbound.template(4, form);
    const before = Buffer.from(bytes);
    batch.records.buffer.fill(0);
    world.outbound.read(world.publish({ payload: Buffer.from('second') }), 0);
    expect(bytes).toEqual(before);
    expect(world.outbound.template(4, form).bytes).not.toEqual(before);
  });

  it('clear: lets go of the record', () => {
    const batch = world.publish({ payload: Buffer.from('p'), retain: true });
    world.outbound.read(batch, 0);
    world.outbound.clear();
    const { payload, headers, topic, hiddenKey } = world.outbound;
    expect([payload.length, headers.length, topic.length, hiddenKey]).toEqual([0, 0, 0, null]);
    expect(world.outbound.retain).toBe(false);
  });
});
