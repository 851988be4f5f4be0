import type { PublishProperties } from '@robustmq/mqtt-codec';
import { isSafeText, validateTopicName } from '@robustmq/mqtt-codec';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HeaderText } from './mapping-fixture.ts';
import { headersOf, MappingFixture } from './mapping-fixture.ts';
import { trickyName, trickyValue } from './tricky-text-fixture.ts';

const world = new MappingFixture();
const text = fc.string({ unit: 'grapheme', maxLength: 20 }).filter(isSafeText);
const topic = fc
  .oneof(
    fc.constantFrom('a', 'plant', 'plant/x', 'orders/1', 'mqtt/x'),
    fc.array(text, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/')),
  )
  .filter((name) => validateTopicName(name) === null && !name.startsWith('$'));
const bytes = fc.uint8Array({ maxLength: 40 }).map((values) => Buffer.from(values));

/** Any properties that a client may send with a PUBLISH, topic alias aside, that do not expire at once. */
const properties: fc.Arbitrary<PublishProperties> = fc.record(
  {
    payloadFormat: fc.constant(1),
    messageExpiry: fc.integer({ min: 1, max: 0xffffffff }),
    contentType: text,
    responseTopic: topic,
    correlationData: bytes,
    userProperties: fc.array(fc.tuple(trickyName, trickyValue), { minLength: 1, maxLength: 8 }),
  },
  { requiredKeys: [] },
);
const message = fc.record({
  topic,
  properties,
  qos: fc.constantFrom(0, 1, 2),
  retain: fc.boolean(),
  text,
});

describe('round trips', () => {
  it('MQTT 5 to record to MQTT 5: every topic, payload, QoS, RETAIN and property comes out unchanged', () => {
    fc.assert(
      fc.property(message, ({ topic: name, properties: sent, qos, retain, text: payload }) => {
        const packet = { topic: name, qos, retain, payload: Buffer.from(payload), properties: sent };
        const received = world.deliver(world.publish(packet), { qos, retain });
        expect(received).toMatchObject({ topic: name, qos, retain, payload: Buffer.from(payload) });
        expect(received.properties).toEqual({ ...sent });
        expect(world.outbound).toMatchObject({ guarantee: qos, retain });
      }),
      { numRuns: 1000 },
    );
  });

  it('MQTT 5 to record to MQTT 3.1.1: all but the properties', () => {
    fc.assert(
      fc.property(message, ({ topic: name, properties: sent, qos, retain, text: payload }) => {
        const packet = { topic: name, qos, retain, payload: Buffer.from(payload), properties: sent };
        const received = world.deliver(world.publish(packet), { qos, retain }, 4);
        expect(received).toMatchObject({ topic: name, qos, retain, payload: Buffer.from(payload) });
        expect(received.properties).toEqual({});
      }),
      { numRuns: 300 },
    );
  });

  it('Kafka to MQTT 5 and back: a header comes back as it was, or as the user property that was shown', () => {
    const header: fc.Arbitrary<HeaderText> = fc.tuple(
      fc.oneof(trickyName, bytes),
      fc.oneof(trickyValue, bytes, fc.constant(null)),
    );
    fc.assert(
      fc.property(fc.array(header, { maxLength: 8 }), (headers) => {
        const first = world.deliver(world.produce('orders', [{ key: 'k', headers }]));
        const again = world.deliver(world.publish({ topic: 'a', properties: first.properties }));
        expect(again.properties).toEqual(first.properties);
      }),
      { numRuns: 1000 },
    );
  });

  it('Kafka to MQTT 5 and back: headers that are none of ours come back byte for byte, null and binary ones too', () => {
    const own = (name: Buffer): boolean => name.toString('latin1').startsWith('mq');
    const name = fc
      .oneof(
        text.map((value) => Buffer.from(value)),
        bytes,
      )
      .filter((value) => !own(value));
    const header = fc.tuple(name, fc.oneof(bytes, fc.constant(null)));
    fc.assert(
      fc.property(fc.array(header, { maxLength: 8 }), (headers) => {
        const shown = world.deliver(world.produce('orders', [{ key: 'k', headers }]));
        const back = world.publish({ topic: 'a', properties: shown.properties });
        const asText = headers.map(([key, value]) => [key.toString(), value?.toString() ?? null]);
        expect(headersOf(back)).toEqual(asText);
      }),
      { numRuns: 1000 },
    );
  });

  it('Kafka to MQTT 5: what is sent is always a packet that a client takes', () => {
    const record = fc.record({
      key: fc.option(bytes),
      value: fc.option(bytes),
      headers: fc.array(fc.tuple(bytes, fc.option(bytes)), { maxLength: 6 }),
    });
    fc.assert(
      fc.property(record, (produced) => {
        // The collector's reader throws on text that is not safe.
        const received = world.deliver(world.produce('orders', [produced]), { qos: 1, retain: true });
        expect(received.payload.length).toBe(produced.value?.length ?? 0);
        expect(received.retain).toBe(produced.value !== null);
      }),
      { numRuns: 1000 },
    );
  });
});
