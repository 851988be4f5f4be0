/*
 * Zig-zag variable-length integers: seven bits a byte, lowest first. Readers live in the decoder, where the
 * one-byte case is written out in place.
 */

/** Encoded bytes of an int32. */
export function varintBytes(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  if (zigzag < 0x80) return 1;
  if (zigzag < 0x4000) return 2;
  if (zigzag < 0x20_0000) return 3;
  return zigzag < 0x1000_0000 ? 4 : 5;
}

/** Writes an int32 at `at`; returns the position after it. */
export function writeVarint(buffer: Uint8Array, at: number, value: number): number {
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  // Two bytes hold every length and index up to 8191: no loop for those.
  if (zigzag >= 0x80 && zigzag < 0x4000) {
    buffer[at] = (zigzag & 0x7f) | 0x80;
    buffer[at + 1] = zigzag >>> 7;
    return at + 2;
  }
  while (zigzag >= 0x80) {
    buffer[at++] = (zigzag & 0x7f) | 0x80;
    zigzag >>>= 7;
  }
  buffer[at++] = zigzag;
  return at;
}

/** Largest magnitude of `varlong*`: twice it is still exact in a double. */
export const varlongMax = 2 ** 52 - 1;

/** Encoded bytes of an integer within +-`varlongMax`. */
export function varlongBytes(value: number): number {
  if (value === (value | 0)) return varintBytes(value);
  let zigzag = value < 0 ? -value * 2 - 1 : value * 2;
  let bytes = 1;
  while (zigzag >= 0x80) {
    zigzag = Math.floor(zigzag / 0x80);
    bytes++;
  }
  return bytes;
}

/** Writes an integer within +-`varlongMax` at `at`; returns the position after it. */
export function writeVarlong(buffer: Uint8Array, at: number, value: number): number {
  if (value === (value | 0)) return writeVarint(buffer, at, value);
  let zigzag = value < 0 ? -value * 2 - 1 : value * 2;
  while (zigzag >= 0x80) {
    buffer[at++] = (zigzag % 0x80) | 0x80;
    zigzag = Math.floor(zigzag / 0x80);
  }
  buffer[at++] = zigzag;
  return at;
}
