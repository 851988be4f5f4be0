import type { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { codecError, malformed, protocolError } from './error.ts';
import type { ConnectPacket, ProtocolVersion, Qos, Will } from './packet.ts';
import { noProperties } from './property-codec.ts';
import { place } from './property.ts';
import { scanTopicName, topicNameError } from './topic.ts';

/** Longest client id and user name in bytes. */
export const identityBytesMax = 256;
/** Longest password; large enough for a token. */
export const passwordBytesMax = 16_384;

const flag = { cleanStart: 0x02, will: 0x04, willRetain: 0x20, password: 0x40, username: 0x80 } as const;

/**
 * Reads protocol name and level. A level that is not spoken here is `MQTT_UNSUPPORTED_VERSION` with
 * `detail.protocolLevel` (MQTT-3.1.2-2); `encodeUnsupportedVersion` makes the answer.
 */
export function readProtocolVersion(body: BodyReader): ProtocolVersion {
  const name = body.text('the protocol name');
  // MQTT-3.1.2-1
  if (name !== 'MQTT' && name !== 'MQIsdp') throw malformed('CONNECT has an unknown protocol name');
  const level = body.u8();
  if (name === 'MQIsdp' ? level !== 3 : level !== 4 && level !== 5) {
    throw codecError('MQTT_UNSUPPORTED_VERSION', 'the protocol level is not supported', {
      protocolLevel: level,
    });
  }
  return level as ProtocolVersion;
}

/** Reads CONNECT from its flags on. */
export function decodeConnect(body: BodyReader, version: ProtocolVersion): ConnectPacket {
  const flags = body.u8();
  checkFlags(flags, version);
  const keepAlive = body.u16();
  const properties = version === 5 ? body.properties(place.connect) : noProperties;
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw protocolError('CONNECT has authentication data without a method');
  }
  const clientId = readIdentity(body, 'the client id', 'MQTT_CLIENT_ID_INVALID');
  const will = (flags & flag.will) === 0 ? null : readWill(body, version, flags);
  // In MQTT 3.1 the remaining length wins over the flags: what they announce may be missing.
  const present = (bit: number) => (flags & bit) !== 0 && (version !== 3 || body.remaining > 0);
  const username = present(flag.username)
    ? readIdentity(body, 'the user name', 'MQTT_CREDENTIALS_INVALID')
    : null;
  const password = present(flag.password) ? body.binary() : null;
  if (password !== null && password.length > passwordBytesMax) {
    throw codecError('MQTT_CREDENTIALS_INVALID', 'the password is too long', { bytes: password.length });
  }
  body.finish();
  const cleanStart = (flags & flag.cleanStart) !== 0;
  return { type: 'connect', version, cleanStart, keepAlive, clientId, username, password, will, properties };
}

function checkFlags(flags: number, version: ProtocolVersion): void {
  // MQTT-3.1.2-3; MQTT 3.1 does not oblige a client to clear the bit.
  if ((flags & 1) !== 0 && version !== 3) throw malformed('CONNECT has its reserved flag set');
  const willQos = (flags >> 3) & 3;
  if ((flags & flag.will) === 0) {
    // MQTT-3.1.2-11, MQTT-3.1.2-13; MQTT 3.1 ignores these bits.
    if (version !== 3 && (willQos !== 0 || (flags & flag.willRetain) !== 0)) {
      throw malformed('CONNECT has will flags without a will');
    }
  } else if (willQos === 3) {
    throw malformed('the will has QoS 3'); // MQTT-3.1.2-12
  }
  // 3.1.1 section 3.1.2.9; MQTT 5 allows it.
  if (version !== 5 && (flags & (flag.username | flag.password)) === flag.password) {
    throw malformed('CONNECT has a password without a user name');
  }
}

function readIdentity(
  body: BodyReader,
  field: string,
  code: 'MQTT_CLIENT_ID_INVALID' | 'MQTT_CREDENTIALS_INVALID',
): string {
  const before = body.remaining;
  const text = body.text(field);
  const bytes = before - body.remaining - 2;
  if (bytes > identityBytesMax) throw codecError(code, `${field} is too long`, { bytes });
  return text;
}

function readWill(body: BodyReader, version: ProtocolVersion, flags: number): Will {
  const properties = version === 5 ? body.properties(place.will) : noProperties;
  const topicBytes = body.binary();
  const scan = scanTopicName(topicBytes, 0, topicBytes.length);
  if (scan < 0) throw topicNameError(scan, 'the will topic');
  return {
    topic: topicBytes.toString(),
    payload: body.binary(),
    qos: ((flags >> 3) & 3) as Qos,
    retain: (flags & flag.willRetain) !== 0,
    properties,
  };
}

/** CONNECT of a client, in the version that the packet names. */
export function encodeConnect(packet: ConnectPacket): Buffer {
  const { version, will, username, password } = packet;
  let flags = packet.cleanStart ? flag.cleanStart : 0;
  if (will !== null) flags |= flag.will | (will.qos << 3) | (will.retain ? flag.willRetain : 0);
  if (username !== null) flags |= flag.username;
  if (password !== null) flags |= flag.password;
  const body = new BodyWriter()
    .text(version === 3 ? 'MQIsdp' : 'MQTT')
    .u8(version)
    .u8(flags)
    .u16(packet.keepAlive);
  if (version === 5) body.properties(packet.properties);
  body.text(packet.clientId);
  if (will !== null) {
    if (version === 5) body.properties(will.properties);
    body.text(will.topic).binary(will.payload);
  }
  if (username !== null) body.text(username);
  if (password !== null) body.binary(password);
  return body.packet(0x10);
}
