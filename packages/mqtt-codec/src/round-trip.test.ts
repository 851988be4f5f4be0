import { RobustError } from '@robustmq/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PeerRole } from './fixed-header.ts';
import type { AckKind, Packet, ProtocolVersion, Qos } from './packet.ts';
import { PacketCollector } from './packet-collector.ts';
import { encodePacket } from './packet-encoder.ts';
import { PacketReader } from './packet-reader.ts';
import { place, propertyDefinitions } from './property.ts';
import { allowedReasonCodes } from './reason-code.ts';
import { isSafeText } from './text.ts';
import { validateTopicFilter, validateTopicName } from './topic.ts';

const safeText = fc.string({ unit: 'grapheme', maxLength: 20 }).filter(isSafeText);
const topicName = safeText.filter((text) => validateTopicName(text) === null);
const level = fc.oneof(fc.constant('+'), fc.constant(''), safeText);
const topicFilter = fc
  .tuple(fc.constantFrom('', '$share/group/'), fc.array(level, { minLength: 1, maxLength: 6 }), fc.boolean())
  .map(([share, levels, all]) => `${share}${levels.join('/')}${all ? '/#' : ''}`)
  .filter((filter) => validateTopicFilter(filter) === null);
const packetId = fc.integer({ min: 1, max: 65_535 });
const qos = fc.constantFrom<Qos>(0, 1, 2);
const u16 = fc.nat(65_535);
const u32 = fc.nat(0xffffffff);
const binary = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes));

function propertyValue(id: number, name: string, kind: string): fc.Arbitrary<unknown> {
  if (name === 'responseTopic') return topicName;
  if (id === 0x21 || id === 0x23) return fc.integer({ min: 1, max: 65_535 });
  if (id === 0x27) return fc.integer({ min: 1, max: 0xffffffff });
  switch (kind) {
    case 'flag':
      return fc.boolean();
    case 'u8':
      return fc.nat(1);
    case 'u16':
      return u16;
    case 'u32':
      return u32;
    case 'text':
      return safeText;
    case 'binary':
      return binary;
    case 'pair':
      return fc.array(fc.tuple(safeText, safeText), { minLength: 1, maxLength: 5 });
    default:
      return fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 1 });
  }
}

/** Any properties that may stand at a place; none before MQTT 5. */
function propertiesAt(version: ProtocolVersion, where: number): fc.Arbitrary<Record<string, never>> {
  if (version !== 5) return fc.constant({});
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const { id, name, kind, places } of propertyDefinitions) {
    if ((places & where) !== 0) fields[name] = propertyValue(id, name, kind);
  }
  return fc.record(fields, { requiredKeys: [] }).map((properties) => {
    if (properties['authenticationMethod'] === undefined) delete properties['authenticationData'];
    return { ...properties } as Record<string, never>;
  });
}

function codeOf(table: Uint8Array): fc.Arbitrary<number> {
  return fc.constantFrom(...Array.from(table.keys()).filter((code) => table[code] === 1));
}

function connectPacket(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const will = fc.record({
    topic: topicName,
    payload: binary,
    qos,
    retain: fc.boolean(),
    properties: propertiesAt(version, place.will),
  });
  return fc
    .record({
      type: fc.constant('connect' as const),
      version: fc.constant(version),
      cleanStart: fc.boolean(),
      keepAlive: u16,
      clientId: safeText,
      username: fc.option(safeText),
      password: fc.option(binary),
      will: fc.option(will),
      properties: propertiesAt(version, place.connect),
    })
    .map((packet) => (packet.username === null && version !== 5 ? { ...packet, password: null } : packet));
}

function publishPacket(version: ProtocolVersion, where: number): fc.Arbitrary<Packet> {
  return fc
    .record({
      type: fc.constant('publish' as const),
      qos,
      retain: fc.boolean(),
      dup: fc.boolean(),
      packetId,
      topic: topicName,
      payload: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      properties: propertiesAt(version, where),
    })
    .map((packet) => (packet.qos === 0 ? { ...packet, dup: false, packetId: 0 } : packet));
}

function ackPacket(version: ProtocolVersion, type: AckKind): fc.Arbitrary<Packet> {
  const reasonCode = version === 5 ? codeOf(allowedReasonCodes[type]) : fc.constant(0);
  return fc.record({
    type: fc.constant(type),
    packetId,
    reasonCode,
    properties: propertiesAt(version, place.ack),
  });
}

function clientPackets(version: ProtocolVersion): fc.Arbitrary<Packet>[] {
  const v5 = version === 5;
  const subscription = fc
    .record({
      filter: topicFilter,
      qos,
      noLocal: v5 ? fc.boolean() : fc.constant(false),
      retainAsPublished: v5 ? fc.boolean() : fc.constant(false),
      retainHandling: v5 ? fc.constantFrom<0 | 1 | 2>(0, 1, 2) : fc.constant<0>(0),
    })
    .map((item) => (item.filter.startsWith('$share/') ? { ...item, noLocal: false } : item));
  return [
    publishPacket(version, place.publishFromClient),
    fc.record({
      type: fc.constant('subscribe' as const),
      packetId,
      subscriptions: fc.array(subscription, { minLength: 1, maxLength: 5 }),
      properties: propertiesAt(version, place.subscribe),
    }),
    fc.record({
      type: fc.constant('unsubscribe' as const),
      packetId,
      filters: fc.array(topicFilter, { minLength: 1, maxLength: 5 }),
      properties: propertiesAt(version, place.unsubscribe),
    }),
    fc.constant({ type: 'pingreq' as const }),
    fc.record({
      type: fc.constant('disconnect' as const),
      reasonCode: v5 ? codeOf(allowedReasonCodes.disconnectFromClient) : fc.constant(0),
      properties: propertiesAt(version, place.disconnectFromClient),
    }),
    ...(v5 ? [authPacket(allowedReasonCodes.authFromClient)] : []),
  ];
}

function authPacket(codes: Uint8Array): fc.Arbitrary<Packet> {
  return fc.record({
    type: fc.constant('auth' as const),
    reasonCode: codeOf(codes),
    properties: propertiesAt(5, place.auth),
  });
}

function serverPackets(version: ProtocolVersion): fc.Arbitrary<Packet>[] {
  const v5 = version === 5;
  const answers = (type: 'suback' | 'unsuback', where: number) =>
    fc.record({
      type: fc.constant(type),
      packetId,
      reasonCodes: v5
        ? fc.array(codeOf(allowedReasonCodes[type]), { maxLength: 5 })
        : fc.constant<number[]>([]),
      properties: propertiesAt(version, where),
    });
  return [
    publishPacket(version, place.publishFromServer),
    fc
      .record({
        type: fc.constant('connack' as const),
        sessionPresent: version === 3 ? fc.constant(false) : fc.boolean(),
        reasonCode: v5 ? codeOf(allowedReasonCodes.connack) : fc.nat(5),
        properties: propertiesAt(version, place.connack),
      })
      .map((packet) => (packet.reasonCode === 0 ? packet : { ...packet, sessionPresent: false })),
    answers('suback', place.suback),
    answers('unsuback', place.unsuback),
    fc.constant({ type: 'pingresp' as const }),
    ...(v5
      ? [
          fc.record({
            type: fc.constant('disconnect' as const),
            reasonCode: codeOf(allowedReasonCodes.disconnectFromServer),
            properties: propertiesAt(5, place.disconnectFromServer),
          }),
          authPacket(allowedReasonCodes.authFromServer),
        ]
      : []),
  ];
}

const ackTypes = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const;

/** Any packets that one end may send after CONNECT. */
function packetsTo(role: PeerRole, version: ProtocolVersion): fc.Arbitrary<Packet[]> {
  const own = role === 'server' ? clientPackets(version) : serverPackets(version);
  return fc.array(fc.oneof(...own, ...ackTypes.map((type) => ackPacket(version, type))), {
    minLength: 1,
    maxLength: 6,
  });
}

function readAll(role: PeerRole, version: ProtocolVersion | 0, chunks: readonly Buffer[]): Packet[] {
  const reader = new PacketReader({ role, maxPacketBytes: 1 << 20 });
  if (version !== 0) reader.version = version;
  const collector = new PacketCollector();
  for (const chunk of chunks) reader.push(chunk, collector);
  return collector.packets;
}

/** The packets that were read, and how it ended. */
function outcome(role: PeerRole, version: ProtocolVersion | 0, chunks: readonly Buffer[]): unknown {
  const reader = new PacketReader({ role, maxPacketBytes: 5000 });
  if (version !== 0) reader.version = version;
  const collector = new PacketCollector();
  try {
    for (const chunk of chunks) reader.push(chunk, collector);
  } catch (error) {
    if (!(error instanceof RobustError)) throw error;
    return { packets: collector.packets, code: error.code, reasonCode: error.detail['reasonCode'] };
  }
  return { packets: collector.packets, held: reader.heldBytes };
}

function slices(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
}

const cuts = fc.array(fc.nat(), { maxLength: 6 });
const ends = (['server', 'client'] as const).flatMap((role) =>
  ([3, 4, 5] as const).map((version) => [role, version] as const),
);

describe.each(ends)('read by a %s of level %i', (role, version) => {
  it('is what was encoded, however it is cut', () => {
    fc.assert(
      fc.property(packetsTo(role, version), cuts, (packets, at) => {
        const bytes = Buffer.concat(packets.map((packet) => encodePacket(version, packet)));
        expect(readAll(role, version, slices(bytes, at))).toEqual(packets);
      }),
      { numRuns: 300 },
    );
  });

  it('is refused alike however it is cut, when a byte is changed', () => {
    fc.assert(
      fc.property(packetsTo(role, version), cuts, fc.nat(), fc.nat(255), (packets, at, where, value) => {
        const bytes = Buffer.concat(packets.map((packet) => encodePacket(version, packet)));
        bytes[where % bytes.length] = value;
        const whole = outcome(role, version, [bytes]);
        expect(outcome(role, version, slices(bytes, at))).toEqual(whole);
        expect(outcome(role, version, slices(bytes, Array.from(bytes.keys())))).toEqual(whole);
      }),
      { numRuns: 300 },
    );
  });

  it('never reads outside the chunk', () => {
    fc.assert(
      fc.property(packetsTo(role, version), fc.nat(), fc.nat(255), (packets, where, value) => {
        const bytes = Buffer.concat(packets.map((packet) => encodePacket(version, packet)));
        bytes[where % bytes.length] = value;
        const between = (filler: number) => {
          const wide = Buffer.alloc(bytes.length + 600, filler);
          bytes.copy(wide, 300);
          return wide.subarray(300, 300 + bytes.length);
        };
        expect(outcome(role, version, [between(0)])).toEqual(outcome(role, version, [between(0x61)]));
      }),
      { numRuns: 200 },
    );
  });

  it('throws nothing but RobustError on any bytes', () => {
    const first = fc.constantFrom(
      0x20,
      0x30,
      0x32,
      0x34,
      0x40,
      0x50,
      0x62,
      0x70,
      0x82,
      0x90,
      0xa2,
      0xb0,
      0xe0,
      0xf0,
    );
    fc.assert(
      fc.property(first, fc.uint8Array({ maxLength: 60 }), fc.boolean(), (type, body, framed) => {
        const bytes = framed ? Buffer.from([type, body.length, ...body]) : Buffer.from(body);
        outcome(role, version, [bytes]);
      }),
      { numRuns: 2000 },
    );
  });
});

describe.each([3, 4, 5] as const)('CONNECT of level %i', (version) => {
  it('is what was encoded, however it is cut', () => {
    fc.assert(
      fc.property(connectPacket(version), cuts, (packet, at) => {
        expect(readAll('server', 0, slices(encodePacket(version, packet), at))).toEqual([packet]);
      }),
      { numRuns: 300 },
    );
  });

  it('throws nothing but RobustError when bytes are changed or missing', () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    fc.assert(
      fc.property(
        connectPacket(version),
        fc.array(change, { maxLength: 4 }),
        fc.nat(20),
        (packet, changes, missing) => {
          const bytes = encodePacket(version, packet);
          for (const [where, value] of changes) bytes[where % bytes.length] = value;
          const shorter = bytes.subarray(0, Math.max(bytes.length - missing, 2));
          if (shorter.length < 130) shorter[1] = shorter.length - 2;
          outcome('server', 0, [shorter]);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

it('a CONNACK of 3.1 has no session present, whatever its unused byte says', () => {
  const packet = { type: 'connack', sessionPresent: false, reasonCode: 0, properties: {} };
  expect(readAll('client', 3, [Buffer.from('20020100', 'hex')])).toEqual([packet]);
});
