import { text, uuid } from './wire.ts';

const slots = 256;
/** Topic names have at most 249 bytes; what is longer is not worth a slot. */
const cachedBytesMax = 255;

interface Slot {
  readonly bytes: Buffer;
  readonly value: string;
}

/**
 * Turns the bytes of topic names and ids into strings without making the same string again and again: a connection
 * names the same few topics in every request. Each of a fixed number of slots holds the last name that hashed to it.
 */
export class NameCache {
  readonly #names: (Slot | undefined)[] = [];
  readonly #ids: (Slot | undefined)[] = [];

  /** The UTF-8 text of `length` bytes. */
  name(b: Buffer, at: number, length: number): string {
    if (length > cachedBytesMax) return text(b, at, length);
    const index = slotOf(b, at, length);
    const known = this.#names[index];
    if (known !== undefined && holds(known, b, at, length)) return known.value;
    const value = text(b, at, length);
    this.#names[index] = { bytes: Buffer.from(b.subarray(at, at + length)), value };
    return value;
  }

  /** The 32 hexadecimal digits of a uuid. */
  id(b: Buffer, at: number): string {
    const index = slotOf(b, at, 16);
    const known = this.#ids[index];
    if (known !== undefined && holds(known, b, at, 16)) return known.value;
    const value = uuid(b, at);
    this.#ids[index] = { bytes: Buffer.from(b.subarray(at, at + 16)), value };
    return value;
  }
}

function slotOf(b: Buffer, at: number, length: number): number {
  let hash = length;
  for (let i = at; i < at + length; i++) hash = (Math.imul(hash, 31) + (b[i] as number)) | 0;
  return (hash ^ (hash >>> 15)) & (slots - 1);
}

function holds(slot: Slot, b: Buffer, at: number, length: number): boolean {
  const { bytes } = slot;
  if (bytes.length !== length) return false;
  for (let i = 0; i < length; i++) if (bytes[i] !== b[at + i]) return false;
  return true;
}
