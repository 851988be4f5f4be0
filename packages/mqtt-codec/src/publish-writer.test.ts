import { describe, expect, it } from 'vitest';
import { shortAckBytesMax, writePuback, writePubcomp, writePubrec, writePubrel } from './ack-codec.ts';
import type { ProtocolVersion, PublishPacket, Qos } from './packet.ts';
import { PacketCollector } from './packet-collector.ts';
import { encodePacket } from './packet-encoder.ts';
import { PacketReader } from './packet-reader.ts';
import {
  createPublishTemplate,
  encodePublishProperties,
  type PublishFrame,
  packetIdPosition,
  patchPacketId,
  publishFirstByte,
  publishHeadSize,
  publishSize,
  writePublish,
  writePublishHead,
  writeTemplate,
} from './publish-writer.ts';

function frame(version: ProtocolVersion, qos: Qos, payloadBytes: number): PublishFrame {
  return {
    version,
    qos,
    retain: true,
    dup: false,
    packetId: 0x1234,
    topic: Buffer.from('a/b'),
    payload: Buffer.alloc(payloadBytes, 7),
    properties: encodePublishProperties({ contentType: 'text', userProperties: [['k', 'v']] }),
    receiverProperties: encodePublishProperties({ subscriptionIdentifiers: [5, 200] }),
  };
}

function decode(version: ProtocolVersion, bytes: Buffer): PublishPacket {
  const reader = new PacketReader({ role: 'client', maxPacketBytes: 1 << 24 });
  reader.version = version;
  const collector = new PacketCollector();
  reader.push(bytes, collector);
  expect(collector.packets).toHaveLength(1);
  return collector.packets[0] as PublishPacket;
}

const versions = [3, 4, 5] as const;
const levels = [0, 1, 2] as const;
const cases = versions.flatMap((version) =>
  levels.flatMap((qos) => [0, 100, 127, 128, 20_000, 3_000_000].map((size) => [version, qos, size] as const)),
);

describe.each(cases)('a PUBLISH of level %i at QoS %i with %i bytes', (version, qos, size) => {
  const packet = frame(version, qos, size);
  const expected: PublishPacket = {
    type: 'publish',
    qos,
    retain: true,
    dup: false,
    packetId: qos === 0 ? 0 : 0x1234,
    topic: 'a/b',
    payload: Buffer.alloc(size, 7),
    properties:
      version === 5
        ? { contentType: 'text', userProperties: [['k', 'v']], subscriptionIdentifiers: [5, 200] }
        : {},
  };

  it('fills exactly its size and can be read', () => {
    const target = Buffer.alloc(publishSize(packet) + 10, 0xee);
    expect(writePublish(target, 5, packet)).toBe(target.length - 5);
    expect(target.subarray(0, 5)).toEqual(Buffer.alloc(5, 0xee));
    expect(target.subarray(-5)).toEqual(Buffer.alloc(5, 0xee));
    const bytes = target.subarray(5, -5);
    const decoded = decode(version, bytes);
    expect(Buffer.compare(decoded.payload, expected.payload)).toBe(0);
    expect({ ...decoded, payload: null }).toEqual({ ...expected, payload: null });
    if (qos > 0) expect(bytes.readUInt16BE(packetIdPosition(packet))).toBe(0x1234);
  });

  it('has the same head alone', () => {
    const whole = Buffer.alloc(publishSize(packet));
    writePublish(whole, 0, packet);
    const head = Buffer.alloc(publishHeadSize(packet));
    expect(writePublishHead(head, 0, packet)).toBe(head.length);
    expect(head.equals(whole.subarray(0, head.length))).toBe(true);
  });

  it('is made from a template with another packet id and first byte', () => {
    const template = createPublishTemplate(packet);
    const copy = Buffer.from(template.bytes);
    const target = Buffer.alloc(template.bytes.length + 3);
    const firstByte = publishFirstByte(qos, false, qos > 0);
    expect(writeTemplate(target, 3, template, { firstByte, packetId: 0xfffe })).toBe(target.length);
    const decoded = decode(version, target.subarray(3));
    const changed = { ...expected, retain: false, dup: qos > 0, packetId: qos > 0 ? 0xfffe : 0 };
    expect({ ...decoded, payload: null }).toEqual({ ...changed, payload: null });
    expect(template.bytes.equals(copy)).toBe(true);
    expect(template.packetIdAt === -1).toBe(qos === 0);
  });
});

it('refuses a topic whose length has no room', () => {
  expect(() => publishSize({ ...frame(4, 0, 0), topic: Buffer.alloc(65_536) })).toThrow(
    expect.objectContaining({ code: 'MQTT_UNENCODABLE' }),
  );
});

it('patches packet ids in place', () => {
  const bytes = Buffer.alloc(4);
  patchPacketId(bytes, 1, 65_535);
  expect(bytes.toString('hex')).toBe('00ffff00');
});

describe('short acknowledgements', () => {
  const writers = { puback: writePuback, pubrec: writePubrec, pubrel: writePubrel, pubcomp: writePubcomp };

  it.each(Object.entries(writers))('of %s equal the encoder', (name, write) => {
    const type = name as keyof typeof writers;
    for (const code of [0, 0x92]) {
      const expected = encodePacket(5, { type, packetId: 0x0fff, reasonCode: code, properties: {} });
      const target = Buffer.alloc(shortAckBytesMax + 2, 0xee);
      const end = write(target, 1, 0x0fff, code);
      expect(target.subarray(1, end).equals(expected)).toBe(true);
      expect(target[end]).toBe(0xee);
    }
  });
});
