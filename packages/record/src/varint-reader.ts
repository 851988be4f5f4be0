import { malformed } from './errors.ts';

/** Most bytes of an encoded int32 and int64. */
const varintBytesMax = 5;
const varlongBytesMax = 10;

/**
 * Reads zig-zag integers: the position survives the call in `at`. Callers decode in place what nearly always has one
 * byte, and come here for the rest. Both methods stop at `end`.
 */
export class VarintReader {
  /** Position after the last integer read. */
  at = 0;

  /** An int32; throws `RECORD_MALFORMED` if it ends beyond `end`, has more than 5 bytes or more than 32 bits. */
  int32(buffer: Uint8Array, at: number, end: number): number {
    // Two bytes hold every length and index from 64 to 8191: no loop for those.
    if (at + 1 < end && (buffer[at] as number) >= 0x80) {
      const second = buffer[at + 1] as number;
      if (second < 0x80) {
        const both = ((buffer[at] as number) & 0x7f) | (second << 7);
        this.at = at + 2;
        return (both >>> 1) ^ -(both & 1);
      }
    }
    const limit = at + varintBytesMax;
    let zigzag = 0;
    let shift = 0;
    let position = at;
    while (position < end && position < limit) {
      const byte = buffer[position++] as number;
      if (shift === 28 && byte > 0x0f) break;
      zigzag |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.at = position;
        return (zigzag >>> 1) ^ -(zigzag & 1);
      }
      shift += 7;
    }
    throw malformed('a varint is too long or cut off', at);
  }

  /** An int64 that is a safe integer; throws `RECORD_MALFORMED` if it is not, or ends beyond `end`. */
  safeInt64(buffer: Uint8Array, at: number, end: number): number {
    const limit = at + varlongBytesMax;
    // The bits in three parts of 28, 28 and 14, so that no step leaves exact arithmetic.
    let low = 0;
    let middle = 0;
    let high = 0;
    let index = 0;
    let position = at;
    while (position < end && position < limit) {
      const byte = buffer[position++] as number;
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (7 * index);
      else if (index < 8) middle |= bits << (7 * (index - 4));
      else high |= bits << (7 * (index - 8));
      index++;
      if (byte >= 0x80) continue;
      const magnitude = high * 2 ** 55 + middle * 2 ** 27 + (low >>> 1);
      if (magnitude >= Number.MAX_SAFE_INTEGER) break;
      this.at = position;
      return (low & 1) === 0 ? magnitude : -magnitude - 1;
    }
    throw malformed('a varlong is too long, cut off or no safe integer', at);
  }
}
