import { headerNames } from '@robustmq/kernel';

/*
 * Judges names of user properties and headers by their bytes, so that nearly all of them cross without ever being
 * strings. The rules are `propertyToHeader` and `headerToProperty`, which decide wherever these functions say false.
 */

const letterM = 0x6d;
const letterQ = 0x71;
const base64Suffix = Buffer.from(';base64');
const nullSuffix = Buffer.from(';null');
const knownNames = Object.values(headerNames);
/** By length: bits of the first letters (modulo 32) of the names with a meaning of their own. */
const suspects = new Uint32Array(1 + Math.max(...knownNames.map((name) => name.length)));
for (const name of knownNames) suspects[name.length]! |= 1 << (name.charCodeAt(0) & 31);

/** Whether a header of this name is shown under it if its value is safe text: true is certain. */
export function isShownAsIs(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start >= 2 && bytes[start] === letterM && bytes[start + 1] === letterQ) return false;
  const last = bytes[end - 1];
  if (last === 0x34) return !endsWith(bytes, start, end, base64Suffix);
  return last !== 0x6c || !endsWith(bytes, start, end, nullSuffix);
}

/** Whether a user property of this name is stored as a header byte for byte: true is certain, false is a suspicion. */
export function isStoredAsIs(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (length > 0 && length < suspects.length) {
    if ((suspects[length]! & (1 << (bytes[start]! & 31))) !== 0) return false;
  }
  return isShownAsIs(bytes, start, end);
}

function endsWith(bytes: Uint8Array, start: number, end: number, suffix: Uint8Array): boolean {
  const from = end - suffix.length;
  if (from < start) return false;
  for (let i = 0; i < suffix.length; i++) {
    if (bytes[from + i] !== suffix[i]) return false;
  }
  return true;
}
