import { codecError } from './error.ts';

/** Largest value of a variable byte integer, and so the largest remaining length. */
export const varintMax = 268_435_455;

/** Bytes that a variable byte integer takes. */
export function varintSize(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4;
}

/** Writes a variable byte integer in its shortest form (MQTT-1.5.5-1) and returns the position behind it. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let position = at;
  while (rest > 127) {
    target[position++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}

/**
 * Reads a variable byte integer. Returns -1 when it ends beyond `end`, -2 when it is not the shortest form or longer
 * than four bytes; how many bytes it took is `varintSize(value)`.
 */
export function readVarint(bytes: Uint8Array, at: number, end: number): number {
  let value = 0;
  for (let index = 0; index < 4; index++) {
    if (at + index >= end) return -1;
    const byte = bytes[at + index]!;
    value |= (byte & 127) << (7 * index);
    if (byte < 128) return byte === 0 && index > 0 ? -2 : value;
  }
  return -2;
}

/** Refuses what no remaining length can express. */
export function checkRemainingLength(bytes: number): void {
  if (bytes > varintMax) throw codecError('MQTT_UNENCODABLE', 'a packet is too large', { bytes });
}
