import { codecError } from './error.ts';
import type { ProtocolVersion, PublishPacket, Qos } from './packet.ts';
import { propertiesSize, writeProperties } from './property-codec.ts';
import type { PublishProperties } from './property.ts';
import { textBytesMax } from './text.ts';
import { checkRemainingLength, varintSize, writeVarint } from './varint.ts';

/** What a PUBLISH to be written consists of. Keep one and fill it again: it costs the hot path no object. */
export interface PublishFrame {
  version: ProtocolVersion;
  qos: Qos;
  retain: boolean;
  dup: boolean;
  /** Ignored at QoS 0. */
  packetId: number;
  /** Empty if a topic alias stands for it. */
  topic: Uint8Array;
  payload: Uint8Array;
  /** From `encodePublishProperties`, null for none; ignored before MQTT 5. */
  properties: Uint8Array | null;
  /** More of the same, for what differs by receiver: subscription identifiers, topic alias, remaining expiry. */
  receiverProperties: Uint8Array | null;
}

/** Encodes properties of a PUBLISH without the length in front, so that parts can be joined. */
export function encodePublishProperties(properties: PublishProperties): Buffer {
  const target = Buffer.allocUnsafe(propertiesSize(properties));
  writeProperties(target, 0, properties);
  return target;
}

function frameProperties(frame: PublishFrame): number {
  return (frame.properties?.length ?? 0) + (frame.receiverProperties?.length ?? 0);
}

/** Bytes between the remaining length and the payload. */
function variableHeader(frame: PublishFrame): number {
  if (frame.topic.length > textBytesMax)
    throw codecError('MQTT_UNENCODABLE', 'a topic is longer than 65535 bytes');
  const size = 2 + frame.topic.length + (frame.qos > 0 ? 2 : 0);
  if (frame.version !== 5) return size;
  const properties = frameProperties(frame);
  return size + varintSize(properties) + properties;
}

/** Bytes of the whole packet, as they count against Maximum Packet Size. Throws `MQTT_UNENCODABLE` above 256 MiB. */
export function publishSize(frame: PublishFrame): number {
  const remaining = variableHeader(frame) + frame.payload.length;
  checkRemainingLength(remaining);
  return 1 + varintSize(remaining) + remaining;
}

/** Bytes in front of the payload. */
export function publishHeadSize(frame: PublishFrame): number {
  return publishSize(frame) - frame.payload.length;
}

/** Where the packet id stands, from the start of the packet; only at QoS 1 and 2. */
export function packetIdPosition(frame: PublishFrame): number {
  return 1 + varintSize(variableHeader(frame) + frame.payload.length) + 2 + frame.topic.length;
}

/** The first byte of a PUBLISH. */
export function publishFirstByte(qos: Qos, retain: boolean, dup: boolean): number {
  return 0x30 | (qos << 1) | (retain ? 1 : 0) | (dup ? 8 : 0);
}

/**
 * Writes everything in front of the payload at `at` and returns the position behind it; the caller made sure of
 * `publishHeadSize` bytes. For large payloads, which are gathered instead of copied.
 */
export function writePublishHead(target: Buffer, at: number, frame: PublishFrame): number {
  const { version, qos, topic, packetId } = frame;
  target[at] = publishFirstByte(qos, frame.retain, frame.dup);
  let position = writeVarint(target, at + 1, variableHeader(frame) + frame.payload.length);
  target[position] = topic.length >> 8;
  target[position + 1] = topic.length & 0xff;
  target.set(topic, position + 2);
  position += 2 + topic.length;
  if (qos > 0) {
    target[position] = packetId >> 8;
    target[position + 1] = packetId & 0xff;
    position += 2;
  }
  if (version !== 5) return position;
  position = writeVarint(target, position, frameProperties(frame));
  if (frame.properties !== null) {
    target.set(frame.properties, position);
    position += frame.properties.length;
  }
  if (frame.receiverProperties !== null) {
    target.set(frame.receiverProperties, position);
    position += frame.receiverProperties.length;
  }
  return position;
}

/** Writes the whole packet, `publishSize` bytes, and returns the position behind it. */
export function writePublish(target: Buffer, at: number, frame: PublishFrame): number {
  const position = writePublishHead(target, at, frame);
  target.set(frame.payload, position);
  return position + frame.payload.length;
}

/** A PUBLISH encoded once for all receivers of one version and of QoS 0, or of QoS 1 and 2. Never changed. */
export interface PublishTemplate {
  readonly bytes: Buffer;
  /** Where the packet id stands; -1 at QoS 0, where the bytes can be sent as they are. */
  readonly packetIdAt: number;
}

/** Encodes `frame` once; its packet id, DUP and RETAIN are only what `writeTemplate` replaces. */
export function createPublishTemplate(frame: PublishFrame): PublishTemplate {
  const bytes = Buffer.allocUnsafe(publishSize(frame));
  writePublish(bytes, 0, frame);
  return { bytes, packetIdAt: frame.qos === 0 ? -1 : packetIdPosition(frame) };
}

/**
 * Copies a template of QoS 1 or 2 into an output buffer with the receiver's first byte (`publishFirstByte`) and packet id;
 * returns the position behind it. One copy and four stores.
 */
export function writeTemplate(
  target: Buffer,
  at: number,
  template: PublishTemplate,
  receiver: { firstByte: number; packetId: number },
): number {
  const { bytes, packetIdAt } = template;
  target.set(bytes, at);
  target[at] = receiver.firstByte;
  if (packetIdAt >= 0) patchPacketId(target, at + packetIdAt, receiver.packetId);
  return at + bytes.length;
}

/** Stores a packet id. */
export function patchPacketId(target: Uint8Array, at: number, packetId: number): void {
  target[at] = packetId >> 8;
  target[at + 1] = packetId & 0xff;
}

/** A PUBLISH from a value; for clients and tests. */
export function encodePublish(version: ProtocolVersion, packet: Omit<PublishPacket, 'type'>): Buffer {
  const frame: PublishFrame = {
    ...packet,
    version,
    topic: Buffer.from(packet.topic),
    properties: encodePublishProperties(packet.properties),
    receiverProperties: null,
  };
  const target = Buffer.allocUnsafe(publishSize(frame));
  writePublish(target, 0, frame);
  return target;
}
