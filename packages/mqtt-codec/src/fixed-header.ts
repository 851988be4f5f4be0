import type { RobustError } from '@robustmq/core';
import { malformed, type MqttCodecErrorCode, protocolError } from './error.ts';
import { packetType, type ProtocolVersion } from './packet.ts';

/** Which end of the connection a reader is. */
export type PeerRole = 'server' | 'client';

/** Answers of `headerFaults`. */
export const noFault = 0;
const reservedFlags = 1;
const wrongPlace = 2;

const { connect, connack, publish, pubrel, subscribe, suback, unsubscribe, unsuback } = packetType;
const { pingreq, pingresp, disconnect, auth } = packetType;

/** Packets that only a client sends, and those that only a server sends (DISCONNECT: before MQTT 5 only a client). */
const clientOnly: readonly number[] = [connect, subscribe, unsubscribe, pingreq];
const serverOnly: readonly number[] = [connack, suback, unsuback, pingresp];

const versions = [0, 3, 4, 5] as const;
const tables = new Map<string, Uint8Array>();
for (const role of ['server', 'client'] as const) {
  for (const version of versions) tables.set(`${role}${version}`, buildTable(role, version));
}

/**
 * For each value of a packet's first byte what is wrong with it, so that a packet is refused by one lookup before its
 * length is even read. Version 0 is a server before CONNECT, which admits nothing else (MQTT-3.1.0-1).
 */
export function headerFaults(role: PeerRole, version: ProtocolVersion | 0): Uint8Array {
  return tables.get(`${role}${version}`)!;
}

/** The error for an answer other than `noFault`. */
export function headerFault(fault: number, first: number): RobustError<MqttCodecErrorCode> {
  const type = first >> 4;
  return fault === reservedFlags
    ? malformed(`packet type ${type} has reserved flags set`)
    : protocolError(`packet type ${type} may not come here`);
}

function buildTable(role: PeerRole, version: ProtocolVersion | 0): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, first) => {
    if (!belongs(first >> 4, role, version)) return wrongPlace;
    return flagsAllowed(first >> 4, first & 15, version) ? noFault : reservedFlags;
  });
}

function belongs(type: number, role: PeerRole, version: ProtocolVersion | 0): boolean {
  if (type === 0) return false;
  if (version === 0) return role === 'server' && type === connect;
  if (type === connect) return false;
  if (type === auth) return version === 5;
  if (type === disconnect) return role === 'server' || version === 5;
  return !(role === 'server' ? serverOnly : clientOnly).includes(type);
}

/** MQTT-2.1.3-1. MQTT 3.1 also has DUP on packets that a client may repeat. */
function flagsAllowed(type: number, flags: number, version: ProtocolVersion | 0): boolean {
  if (type === publish) {
    // MQTT-3.3.1-4 and MQTT-3.3.1-2
    const qos = (flags >> 1) & 3;
    return qos < 3 && (qos > 0 || (flags & 8) === 0);
  }
  if (type === pubrel || type === subscribe || type === unsubscribe) {
    return flags === 2 || (version === 3 && flags === 10);
  }
  return flags === 0;
}
