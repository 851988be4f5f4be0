import { malformed } from './error.ts';

/** Longest string or binary field: its length is two bytes. */
export const textBytesMax = 65_535;

/**
 * Whether bytes are text that may travel: well-formed UTF-8 (no overlong forms, no surrogates: MQTT-1.5.4-1) without
 * U+0000 (MQTT-1.5.4-2), control characters U+0001-001F and U+007F-009F, and non-characters. The last two are policy: a
 * receiver may refuse them, and common clients drop the connection on them. Returns 0 for ASCII, 1 for other good text
 * and -1 for bad text. One table-free pass over ASCII; the rest is in `scanWide`.
 */
export function scanText(bytes: Uint8Array, start: number, end: number): -1 | 0 | 1 {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < 0x20 || byte === 0x7f) return -1;
    if (byte > 0x7f) return scanWide(bytes, at, end) ? 1 : -1;
  }
  return 0;
}

function scanWide(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const byte = bytes[at]!;
    if (byte < 0x80) {
      if (byte < 0x20 || byte === 0x7f) return false;
      at++;
      continue;
    }
    const length = byte < 0xc2 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf5 ? 4 : 0;
    if (length === 0 || at + length > end) return false;
    let point = byte & (0xff >> (length + 1));
    for (let next = at + 1; next < at + length; next++) {
      const tail = bytes[next]!;
      if ((tail & 0xc0) !== 0x80) return false;
      point = (point << 6) | (tail & 0x3f);
    }
    if (!isSafeWidePoint(point, length)) return false;
    at += length;
  }
  return true;
}

/** `point` was encoded in `length` bytes, so it is at least 0x80. */
function isSafeWidePoint(point: number, length: number): boolean {
  if (length === 2) return point > 0x9f;
  if (length === 3) {
    if (point < 0x800 || (point >= 0xd800 && point <= 0xdfff)) return false;
    return (point < 0xfdd0 || point > 0xfdef) && point < 0xfffe;
  }
  return point >= 0x10000 && point <= 0x10ffff && (point & 0xfffe) !== 0xfffe;
}

/**
 * MQTT-safe text: what this platform accepts from an MQTT client and what it may send to one. At most 65,535 bytes of
 * UTF-8 without control characters and non-characters. A string must have no lone surrogate.
 */
export function isSafeText(text: Uint8Array | string): boolean {
  if (typeof text !== 'string') return text.length <= textBytesMax && scanText(text, 0, text.length) >= 0;
  if (text.length > textBytesMax) return false;
  let bytes = 0;
  for (let at = 0; at < text.length; at++) {
    const point = text.codePointAt(at)!;
    if (point < 0x20 || point === 0x7f) return false;
    const length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (length > 1 && !isSafeWidePoint(point, length)) return false;
    bytes += length;
    if (length === 4) at++;
  }
  return bytes <= textBytesMax;
}

/** Decodes bytes that `scanText` has accepted; its answer picks the cheaper decoder. */
export function decodeText(bytes: Buffer, start: number, end: number, kind: 0 | 1): string {
  return kind === 0 ? bytes.toString('latin1', start, end) : bytes.toString('utf8', start, end);
}

/** Checks and decodes in one go; throws `MQTT_MALFORMED`. */
export function readText(bytes: Buffer, start: number, end: number, field: string): string {
  const kind = scanText(bytes, start, end);
  if (kind < 0) throw malformed(`${field} is no MQTT-safe text`);
  return decodeText(bytes, start, end, kind as 0 | 1);
}
