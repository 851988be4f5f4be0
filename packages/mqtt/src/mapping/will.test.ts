import type { Will } from '@robustmq/mqtt-codec';
import { MqHeaderReader } from '@robustmq/kernel';
import { HeaderCursor } from '@robustmq/record';
import { describe, expect, it } from 'vitest';
import { allHeadersOf, MappingFixture } from './mapping-fixture.ts';
import { epochToken, fillWill, willFault } from './will.ts';

const world = new MappingFixture();
const will: Will = { topic: 'a/b', payload: Buffer.from('gone'), qos: 1, retain: true, properties: {} };
const origin = { clientId: 'client', producerId: 77, sessionEpoch: 3, now: world.now };

/** What a broker stores of a will; the topic is that of `fill`'s default packet. */
function stored(changes: Partial<Will>) {
  world.fill({});
  fillWill({ ...will, ...changes }, world.message, origin);
  return world.stored();
}

describe('will to record', () => {
  it('value, guarantee, retain, publisher and time: as of a PUBLISH', () => {
    const batch = stored({});
    expect(batch.records.value(0)).toEqual(Buffer.from('gone'));
    expect(batch.records.timestamp(0)).toBe(world.now);
    world.outbound.read(batch, 0);
    expect(world.outbound).toMatchObject({ guarantee: 1, retain: true });
    expect(world.outbound.isFrom(Buffer.from('client'))).toBe(true);
    expect(world.message).toMatchObject({ guarantee: 1, retain: true });
  });

  it('session epoch: the token in mq, at every QoS', () => {
    for (const qos of [0, 1, 2] as const) {
      const { records } = stored({ qos });
      const mq = new MqHeaderReader();
      mq.find(records.headers(0, new HeaderCursor()), records.buffer);
      expect(mq).toMatchObject({ tokenProducer: 77, token: epochToken(3), tokenIsEpoch: true });
      expect(world.message).toMatchObject({ tokenProducer: 77, token: epochToken(3) });
    }
  });

  it('session epoch: never the token of a packet id', () => {
    for (const epoch of [0, 1, 65_535, 2 ** 31 - 1]) {
      expect(epochToken(epoch)).toBeGreaterThan(65_535);
      expect(epochToken(epoch)).toBeLessThan(2 ** 32);
    }
  });

  it('properties: the same headers as of a PUBLISH, the delay not among them', () => {
    const properties = {
      payloadFormat: 1,
      messageExpiry: 60,
      contentType: 'text/plain',
      responseTopic: 'r',
      correlationData: Buffer.of(0xff),
      userProperties: [
        ['a', '1'],
        ['type', '2'],
        ['a', '3'],
        ['raw;base64', '/w=='],
      ] as [string, string][],
    };
    const headers = allHeadersOf(stored({ properties: { ...properties, willDelay: 5 } }));
    expect(headers.slice(1)).toEqual(allHeadersOf(world.publish({ properties })).slice(1));
    expect(headers.map(([name]) => name)).toContain('mq-up:type');
  });

  it('all properties: come out unchanged for MQTT 5', () => {
    const properties = { payloadFormat: 1, messageExpiry: 60, contentType: 'c', responseTopic: 'r' };
    expect(world.deliver(stored({ properties }))).toMatchObject({ payload: Buffer.from('gone'), properties });
  });

  it('payload format 1 of a payload that is no UTF-8: refused with 0x99', () => {
    const bad = { ...will, payload: Buffer.of(0xff), properties: { payloadFormat: 1 } };
    expect(willFault(bad)).toEqual({ code: 'PAYLOAD_FORMAT', reasonCode: 0x99 });
    expect(willFault({ ...bad, properties: {} })).toBeNull();
    expect(willFault({ ...bad, payload: Buffer.from('ü') })).toBeNull();
  });
});
