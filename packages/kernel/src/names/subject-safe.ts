/** Bytes of subject-safe text, at most: what a length field of 16 bits can say. */
export const safeTextBytesMax = 65_535;
/** Bytes of a subject or a filter, at most. */
export const subjectBytesMax = 4096;
/** Levels of a subject or a filter, at most. */
export const subjectLevelsMax = 128;

const slash = 0x2f;
const plus = 0x2b;
const hash = 0x23;

/** Bytes that a key may not have, or only as a part of good UTF-8; all others may stand anywhere. */
const kinds = { forbidden: 1, high: 2 } as const;
const kindOf = new Uint8Array(256).fill(kinds.high, 0x80);
kindOf.fill(kinds.forbidden, 0, 0x20);
for (const byte of [plus, hash, 0x7f]) kindOf[byte] = kinds.forbidden;

/**
 * Whether text may reach a subscriber as text: valid UTF-8 without U+0000-001F, U+007F-009F and non-characters, at
 * most 65,535 bytes. A string must have no unpaired surrogate. Source: docs/semantics.md 1.5.
 */
export function isSubjectSafe(text: Uint8Array | string): boolean {
  return typeof text === 'string'
    ? safeStringBytes(text) >= 0
    : isSafeRange(text, 0, text.length, safeTextBytesMax);
}

/** `isSubjectSafe` of `bytes[start, end)`, without a view. */
export function isSubjectSafeRange(bytes: Uint8Array, start: number, end: number): boolean {
  return isSafeRange(bytes, start, end, safeTextBytesMax);
}

/**
 * Whether `name` can be a subject: safe, not empty, without the wildcards `+` and `#`, at most 128 levels and 4,096
 * bytes.
 */
export function isSubjectName(name: string): boolean {
  if (name.length === 0 || name.length > subjectBytesMax) return false;
  const bytes = safeStringBytes(name);
  return bytes >= 0 && bytes <= subjectBytesMax && !hasWildcard(name) && levelsOf(name) <= subjectLevelsMax;
}

/** Whether `+` or `#` occurs anywhere. */
export function hasWildcard(text: string): boolean {
  return text.includes('+') || text.includes('#');
}

/** Levels of a name: one more than it has slashes. */
export function levelsOf(name: string): number {
  let levels = 1;
  for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) levels++;
  return levels;
}

/**
 * Whether the key `bytes[start, end)` can stand in a subject with the bytes and levels of `prefix` before it: safe, no
 * wildcard, within the limits. An empty key can. One pass where all is ASCII and the key is short, no allocation.
 */
export function isSubjectKey(
  bytes: Uint8Array,
  start: number,
  end: number,
  prefix: { readonly bytes: number; readonly levels: number },
): boolean {
  if (prefix.bytes + end - start > subjectBytesMax) return false;
  const seen = kindsIn(bytes, start, end);
  if ((seen & kinds.forbidden) !== 0) return false;
  const levelsMax = subjectLevelsMax - prefix.levels;
  // A short key has not so many, and need not be looked at for slashes.
  if (end - start >= levelsMax && slashesIn(bytes, start, end) >= levelsMax) return false;
  return (seen & kinds.high) === 0 || isSafeRange(bytes, start, end, subjectBytesMax);
}

/** The kinds of all bytes of a range together. Without a branch, four bytes a turn: 0.9 ns a byte. */
function kindsIn(bytes: Uint8Array, start: number, end: number): number {
  let seen = 0;
  let at = start | 0;
  const lastTurn = (end - 4) | 0;
  for (; at <= lastTurn; at = (at + 4) | 0) {
    seen |=
      (kindOf[bytes[at] as number] as number) |
      (kindOf[bytes[(at + 1) | 0] as number] as number) |
      (kindOf[bytes[(at + 2) | 0] as number] as number) |
      (kindOf[bytes[(at + 3) | 0] as number] as number);
  }
  for (; at < end; at = (at + 1) | 0) seen |= kindOf[bytes[at] as number] as number;
  return seen;
}

function slashesIn(bytes: Uint8Array, start: number, end: number): number {
  let slashes = 0;
  for (let at = start; at < end; at++) if (bytes[at] === slash) slashes++;
  return slashes;
}

/** UTF-8 length of a safe string, -1 when it is not safe. */
function safeStringBytes(text: string): number {
  if (text.length > safeTextBytesMax) return -1;
  let bytes = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) {
      if (unit < 0x20 || unit === 0x7f) return -1;
      bytes++;
    } else if (unit < 0x800) {
      if (unit < 0xa0) return -1;
      bytes += 2;
    } else if (unit >= 0xd800 && unit <= 0xdfff) {
      // A pair; its second half is looked at here, so a low surrogate that comes first has no partner.
      const low = text.charCodeAt(at + 1);
      if (unit > 0xdbff || !(low >= 0xdc00 && low <= 0xdfff)) return -1;
      if (isNonCharacter(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))) return -1;
      bytes += 4;
      at++;
    } else {
      if (isNonCharacter(unit)) return -1;
      bytes += 3;
    }
  }
  return bytes <= safeTextBytesMax ? bytes : -1;
}

function isSafeRange(bytes: Uint8Array, start: number, end: number, bytesMax: number): boolean {
  if (end - start > bytesMax) return false;
  let at = start;
  while (at < end) {
    const lead = bytes[at] as number;
    if (lead < 0x80) {
      if (lead < 0x20 || lead === 0x7f) return false;
      at++;
      continue;
    }
    const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    // 0x80-0xc1 begin nothing (or an overlong pair), above 0xf4 the code space ends.
    if (lead < 0xc2 || lead > 0xf4 || at + length > end) return false;
    let point = lead & (0x7f >> length);
    for (let next = at + 1; next < at + length; next++) {
      const byte = bytes[next] as number;
      if ((byte & 0xc0) !== 0x80) return false;
      point = (point << 6) | (byte & 0x3f);
    }
    if (!isSafePoint(point, length)) return false;
    at += length;
  }
  return true;
}

/** A decoded code point of two to four bytes: not overlong, in range, no surrogate, no control, no non-character. */
function isSafePoint(point: number, length: number): boolean {
  if (length === 2) return point >= 0xa0;
  if (length === 3) {
    return point >= 0x800 && (point < 0xd800 || point > 0xdfff) && !isNonCharacter(point);
  }
  return point >= 0x10000 && point <= 0x10ffff && !isNonCharacter(point);
}

function isNonCharacter(point: number): boolean {
  return (point & 0xfffe) === 0xfffe || (point >= 0xfdd0 && point <= 0xfdef);
}
