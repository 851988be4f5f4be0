import type { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { protocolError } from './error.ts';
import { type AckKind, type AckPacket, packetType, type ProtocolVersion } from './packet.ts';
import { place, type ReasonProperties } from './property.ts';
import { allowedReasonCodes } from './reason-code.ts';

const firstBytes: Readonly<Record<AckKind, number>> = {
  puback: packetType.puback << 4,
  pubrec: packetType.pubrec << 4,
  pubrel: (packetType.pubrel << 4) | 2, // MQTT-3.6.1-1
  pubcomp: packetType.pubcomp << 4,
};

/** By packet type, so that the reader names a kind without making a string. */
export const ackKinds: readonly (AckKind | undefined)[] = Array.from({ length: 16 }, (_, type) => {
  const kinds: readonly AckKind[] = ['puback', 'pubrec', 'pubrel', 'pubcomp'];
  return kinds[type - packetType.puback];
});

/** Whether PUBACK, PUBREC, PUBREL or PUBCOMP may carry a code (MQTT-3.4.2-1 and its siblings). */
export function checkAckReason(kind: AckKind, code: number): void {
  if (allowedReasonCodes[kind][code] === 0) throw protocolError(`${kind} has a code that is not allowed`);
}

/** The properties of an acknowledgement in the long form of MQTT 5, or null when there are none. */
export function readAckProperties(body: BodyReader): ReasonProperties | null {
  const empty = body.remaining === 1;
  const properties = body.properties(place.ack);
  body.finish();
  return empty ? null : properties;
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP; before MQTT 5 there is only the packet id. */
export function encodeAck(version: ProtocolVersion, packet: AckPacket): Buffer {
  const body = new BodyWriter().packetId(packet.packetId);
  if (version === 5) writeReason(body, packet.reasonCode, packet.properties);
  return body.packet(firstBytes[packet.type]);
}

/** A reason code and properties at the end of a packet, which MQTT 5 allows to leave out when they say nothing. */
export function writeReason(body: BodyWriter, code: number, properties: ReasonProperties): void {
  const bare = Object.keys(properties).length === 0;
  if (code !== 0 || !bare) body.u8(code);
  if (!bare) body.properties(properties);
}

/** Bytes that the short acknowledgements below may take. */
export const shortAckBytesMax = 5;

/** PUBACK straight into an output buffer: 4 bytes, or 5 with a reason code, which only MQTT 5 has. */
export function writePuback(target: Uint8Array, at: number, packetId: number, code = 0): number {
  return writeShortAck(target, at, 0x40, packetId, code);
}

/** PUBREC straight into an output buffer; as `writePuback`. */
export function writePubrec(target: Uint8Array, at: number, packetId: number, code = 0): number {
  return writeShortAck(target, at, 0x50, packetId, code);
}

/** PUBREL straight into an output buffer; as `writePuback`. */
export function writePubrel(target: Uint8Array, at: number, packetId: number, code = 0): number {
  return writeShortAck(target, at, 0x62, packetId, code);
}

/** PUBCOMP straight into an output buffer; as `writePuback`. */
export function writePubcomp(target: Uint8Array, at: number, packetId: number, code = 0): number {
  return writeShortAck(target, at, 0x70, packetId, code);
}

function writeShortAck(
  target: Uint8Array,
  at: number,
  first: number,
  packetId: number,
  code: number,
): number {
  target[at] = first;
  target[at + 2] = packetId >> 8;
  target[at + 3] = packetId & 0xff;
  if (code === 0) {
    target[at + 1] = 2;
    return at + 4;
  }
  target[at + 1] = 3;
  target[at + 4] = code;
  return at + 5;
}
