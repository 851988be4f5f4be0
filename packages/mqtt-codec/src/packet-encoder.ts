import { encodeAck } from './ack-codec.ts';
import { encodeAuth } from './auth-codec.ts';
import { encodeConnack } from './connack-codec.ts';
import { encodeConnect } from './connect-codec.ts';
import { encodeDisconnect } from './disconnect-codec.ts';
import type {
  AckPacket,
  ConnackPacket,
  Packet,
  ProtocolVersion,
  SubackPacket,
  UnsubackPacket,
} from './packet.ts';
import type { AuthPacket, DisconnectPacket } from './packet.ts';
import { encodePublish } from './publish-writer.ts';
import { encodeSuback, encodeSubscribe, encodeUnsuback, encodeUnsubscribe } from './subscribe-codec.ts';

/** PINGREQ, the same in all versions. Not to be changed. */
export const pingreqBytes: Buffer = Buffer.from([0xc0, 0]);
/** PINGRESP, the same in all versions. Not to be changed. */
export const pingrespBytes: Buffer = Buffer.from([0xd0, 0]);

/** Encodes any packet. Short forms are used where MQTT 5 has them. Throws `MQTT_UNENCODABLE` on values that do not fit. */
export function encodePacket(version: ProtocolVersion, packet: Packet): Buffer {
  switch (packet.type) {
    case 'connect':
      return encodeConnect(packet);
    case 'connack':
      return encodeConnack(version, packet);
    case 'publish':
      return encodePublish(version, packet);
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return encodeAck(version, packet);
    case 'subscribe':
      return encodeSubscribe(version, packet);
    case 'suback':
      return encodeSuback(version, packet);
    case 'unsubscribe':
      return encodeUnsubscribe(version, packet);
    case 'unsuback':
      return encodeUnsuback(version, packet);
    case 'pingreq':
      return pingreqBytes;
    case 'pingresp':
      return pingrespBytes;
    case 'disconnect':
      return encodeDisconnect(version, packet);
    case 'auth':
      return encodeAuth(packet);
  }
}

/** Packets that may have a reason string and user properties. */
export type AnswerPacket =
  | ConnackPacket
  | AckPacket
  | SubackPacket
  | UnsubackPacket
  | DisconnectPacket
  | AuthPacket;

/**
 * Encodes an answer to a peer whose Maximum Packet Size is `maxBytes`: without user properties if it is too large, then
 * without reason string (MQTT-3.2.2-19, MQTT-3.2.2-20 and the like for the other packets). Null if it still does not fit
 * and so must not be sent.
 */
export function encodeWithin(
  version: ProtocolVersion,
  packet: AnswerPacket,
  maxBytes: number,
): Buffer | null {
  const whole = encodePacket(version, packet);
  if (whole.length <= maxBytes) return whole;
  const { userProperties, ...withReason } = packet.properties;
  if (userProperties !== undefined) {
    const shorter = encodePacket(version, { ...packet, properties: withReason } as Packet);
    if (shorter.length <= maxBytes) return shorter;
  }
  const { reasonString: _, ...bare } = withReason;
  const shortest = encodePacket(version, { ...packet, properties: bare } as Packet);
  return shortest.length <= maxBytes ? shortest : null;
}
