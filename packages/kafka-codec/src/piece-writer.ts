import { assert } from '@robustmq/core';
import { codecError } from './errors.ts';
import { maxInt64 } from './wire.ts';

/** Slices of records below this are copied; above, gathering them beats copying. */
export const gatherBytesMin = 4096;

/** Longer strings are for the engine to write. */
const loopCharsMax = 48;
const two32 = 0x1_0000_0000;
const none: readonly Buffer[] = [];

/**
 * Writes one length-prefixed message into a growing slab. Large records do not go through the slab: the slab is
 * cut there, and the message becomes a list of pieces for one gathered write.
 *
 * ```
 * slab     [length, header, fields][fields][fields]
 * pieces   [ slab 0, records, slab 1, records, slab 2 ]
 * ```
 */
export class PieceWriter {
  readonly #pieces: Buffer[] = [];
  #slab: Buffer;
  /** Where the piece that is being written starts in the slab. */
  #start: number;
  #at: number;
  /** Bytes of the pieces that are finished. */
  #finished = 0;
  #gathered = 0;

  /** Begins at `start` of a slab, with four bytes for the length. */
  constructor(slab: Buffer, start = 0) {
    this.#slab = slab;
    this.#start = start;
    this.#at = start + 4;
  }

  /** Makes room for `bytes` more and returns where they go. */
  #room(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#slab.length) return this.#grow(bytes);
    this.#at = at + bytes;
    return at;
  }

  #grow(bytes: number): number {
    const used = this.#at - this.#start;
    const slab = Buffer.allocUnsafe(Math.max(used + bytes, this.#slab.length * 2));
    this.#slab.copy(slab, 0, this.#start, this.#at);
    this.#slab = slab;
    this.#start = 0;
    this.#at = used + bytes;
    return used;
  }

  int8(value: number, path: string): void {
    if ((value << 24) >> 24 !== value) invalid(path, value);
    const at = this.#room(1);
    this.#slab[at] = value;
  }

  bool(value: boolean, path: string): void {
    if (typeof value !== 'boolean') invalid(path, value);
    const at = this.#room(1);
    this.#slab[at] = value ? 1 : 0;
  }

  int16(value: number, path: string): void {
    if ((value << 16) >> 16 !== value) invalid(path, value);
    this.#put16(value);
  }

  uint16(value: number, path: string): void {
    if ((value & 0xffff) !== value) invalid(path, value);
    this.#put16(value);
  }

  #put16(value: number): void {
    const at = this.#room(2);
    const slab = this.#slab;
    slab[at] = value >> 8;
    slab[at + 1] = value;
  }

  int32(value: number, path: string): void {
    if ((value | 0) !== value) invalid(path, value);
    this.#put32(value);
  }

  #put32(value: number): void {
    const at = this.#room(4);
    const slab = this.#slab;
    slab[at] = value >> 24;
    slab[at + 1] = value >> 16;
    slab[at + 2] = value >> 8;
    slab[at + 3] = value;
  }

  int64(value: number, path: string): void {
    if (!Number.isSafeInteger(value)) invalid(path, value);
    if (value === maxInt64) {
      this.#put32(0x7fffffff);
      this.#put32(-1);
      return;
    }
    const low = value >>> 0;
    this.#put32((value - low) / two32);
    this.#put32(low);
  }

  float64(value: number, path: string): void {
    if (typeof value !== 'number') invalid(path, value);
    const at = this.#room(8);
    this.#slab.writeDoubleBE(value, at);
  }

  uuid(value: string, path: string): void {
    if (typeof value !== 'string' || value.length !== 32) invalid(path, value);
    const at = this.#room(16);
    if (this.#slab.write(value, at, 16, 'hex') !== 16) invalid(path, value);
  }

  uvarint(value: number): void {
    let rest = value;
    let at = this.#room(uvarintBytes(value));
    for (; rest > 127; rest = Math.floor(rest / 128)) this.#slab[at++] = (rest % 128) | 128;
    this.#slab[at] = rest;
  }

  /** Classic string; null is length -1. */
  string(value: string | null, path: string): void {
    if (value === null) return this.#put16(-1);
    const length = textBytes(value, path);
    if (length > 0x7fff) invalid(path, `${length} bytes`);
    this.#put16(length);
    this.#text(value, length);
  }

  compactString(value: string | null, path: string): void {
    if (value === null) return this.uvarint(0);
    const length = textBytes(value, path);
    this.uvarint(length + 1);
    this.#text(value, length);
  }

  #text(value: string, length: number): void {
    const at = this.#room(length);
    const slab = this.#slab;
    // Names are short and ASCII, and a call into the engine takes longer than they do.
    if (length === value.length && length <= loopCharsMax) {
      for (let i = 0; i < length; i++) slab[at + i] = value.charCodeAt(i);
    } else slab.write(value, at, length, 'utf8');
  }

  bytes(value: Buffer | null, path: string): void {
    if (value === null) return this.#put32(-1);
    if (!Buffer.isBuffer(value)) invalid(path, typeof value);
    this.#put32(value.length);
    this.#copy(value);
  }

  compactBytes(value: Buffer | null, path: string): void {
    if (value === null) return this.uvarint(0);
    if (!Buffer.isBuffer(value)) invalid(path, typeof value);
    this.uvarint(value.length + 1);
    this.#copy(value);
  }

  #copy(value: Buffer): void {
    const at = this.#room(value.length);
    value.copy(this.#slab, at);
  }

  records(value: Buffer | readonly Buffer[] | null, path: string): void {
    if (value === null) return this.#put32(-1);
    this.#put32(recordsBytes(value, path));
    this.#gather(value);
  }

  compactRecords(value: Buffer | readonly Buffer[] | null, path: string): void {
    if (value === null) return this.uvarint(0);
    this.uvarint(recordsBytes(value, path) + 1);
    this.#gather(value);
  }

  #gather(value: Buffer | readonly Buffer[]): void {
    if (Buffer.isBuffer(value)) return this.#slice(value);
    for (const slice of value) this.#slice(slice);
  }

  #slice(slice: Buffer): void {
    if (slice.length < gatherBytesMin) return this.#copy(slice);
    this.#cut();
    this.#pieces.push(slice);
    this.#finished += slice.length;
    this.#gathered += slice.length;
  }

  #cut(): void {
    if (this.#at === this.#start) return;
    this.#pieces.push(this.#slab.subarray(this.#start, this.#at));
    this.#finished += this.#at - this.#start;
    this.#start = this.#at;
  }

  /** Element count of a classic array, -1 for null. */
  count(value: number): void {
    this.#put32(value);
  }

  /** Element count of a compact array, -1 for null. */
  compactCount(value: number): void {
    this.uvarint(value + 1);
  }

  /** Starts the contents of a tagged field, whose size goes in front; ends with `closeSized(mark)`. */
  openSized(): number {
    return this.#room(1) - this.#start;
  }

  closeSized(mark: number): void {
    const size = this.#at - this.#start - mark - 1;
    const extra = uvarintBytes(size) - 1;
    if (extra > 0) {
      this.#room(extra);
      const from = this.#start + mark + 1;
      this.#slab.copyWithin(from + extra, from, from + size);
    }
    const end = this.#at;
    this.#at = this.#start + mark;
    this.uvarint(size);
    this.#at = end;
  }

  /** Bytes that went through the slab so far. */
  get slabBytes(): number {
    return this.#finished - this.#gathered + this.#at - this.#start;
  }

  /** Ends the message: fills in its length and gives up its pieces. */
  finish(): Buffer[] {
    this.#cut();
    const head = this.#pieces[0];
    assert(head !== undefined && head.length >= 4, 'the first piece holds the length');
    head.writeInt32BE(this.#finished - 4, 0);
    return this.#pieces;
  }

  /**
   * Ends a message that lies whole in `slab`, where it began; returns the position behind it, -1 when it is somewhere
   * else as well.
   */
  finishWithin(slab: Buffer): number {
    if (this.#slab !== slab || this.#pieces.length > 0) return -1;
    slab.writeInt32BE(this.#at - this.#start - 4, this.#start);
    return this.#at;
  }

  /** A field that this version lacks holds a value that would be lost. */
  unsupported(path: string): never {
    throw codecError('KAFKA_CODEC_FIELD_UNSUPPORTED', `this version has no field ${path}`, { path });
  }

  notNull(path: string): never {
    throw codecError('KAFKA_CODEC_VALUE_INVALID', `${path} must have a value in this version`, { path });
  }
}

function invalid(path: string, value: unknown): never {
  throw codecError('KAFKA_CODEC_VALUE_INVALID', `${path} cannot hold the value`, { path, value });
}

function textBytes(value: string, path: string): number {
  return typeof value === 'string' ? Buffer.byteLength(value) : invalid(path, value);
}

function recordsBytes(value: Buffer | readonly Buffer[], path: string): number {
  let total = 0;
  const slices = Buffer.isBuffer(value) ? none : value;
  if (slices === none) total = (value as Buffer).length;
  else if (!Array.isArray(slices)) invalid(path, typeof value);
  for (const slice of slices) total += slice.length;
  if (total > 0x7fffffff) invalid(path, `${total} bytes`);
  return total;
}

function uvarintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 5;
}
