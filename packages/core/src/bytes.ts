import { RobustError } from './error.ts';

/** Raised by the byte reader and by codecs on input that is short or not of the expected form. */
export type BytesErrorCode = 'BYTES_TRUNCATED' | 'BYTES_MALFORMED';

/**
 * Growing big-endian writer for commands, internal records and everything off the hottest path.
 * Strings are UTF-8 with a u32 length; `null` bytes have length 0xffffffff.
 */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  #room(bytes: number): number {
    const at = this.#length;
    const need = at + bytes;
    if (need > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#length = need;
    return at;
  }

  u8(value: number): this {
    const at = this.#room(1);
    this.#buffer[at] = value;
    return this;
  }

  bool(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  u16(value: number): this {
    this.#buffer.writeUInt16BE(value, this.#room(2));
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeUInt32BE(value, at);
    return this;
  }

  i32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeInt32BE(value, at);
    return this;
  }

  /** A safe integer in 8 bytes, two's complement. */
  i64(value: number): this {
    const at = this.#room(8);
    writeInt64(this.#buffer, value, at);
    return this;
  }

  string(value: string): this {
    const bytes = Buffer.byteLength(value);
    this.u32(bytes);
    const at = this.#room(bytes);
    this.#buffer.write(value, at, 'utf8');
    return this;
  }

  bytes(value: Uint8Array | null): this {
    if (value === null) return this.u32(0xffffffff);
    return this.u32(value.length).raw(value);
  }

  raw(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#buffer.set(value, at);
    return this;
  }

  /** The bytes written so far; a view that the next write may overwrite or abandon. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** A copy that nobody else holds. */
  finish(): Buffer {
    return Buffer.from(this.view());
  }
}

/** The reader that mirrors `ByteWriter`; throws `BYTES_TRUNCATED` beyond the end. */
export class ByteReader {
  readonly #buffer: Buffer;
  #at: number;

  constructor(buffer: Uint8Array, at = 0) {
    this.#buffer = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    this.#at = at;
  }

  get position(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#buffer.length - this.#at;
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#buffer.length - at) {
      throw new RobustError<BytesErrorCode>('BYTES_TRUNCATED', 'the input ends early', {
        detail: { at, bytes, length: this.#buffer.length },
      });
    }
    this.#at = at + bytes;
    return at;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1));
  }

  bool(): boolean {
    return this.u8() !== 0;
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  i32(): number {
    return this.#buffer.readInt32BE(this.#take(4));
  }

  i64(): number {
    return readInt64(this.#buffer, this.#take(8));
  }

  string(): string {
    const bytes = this.u32();
    const at = this.#take(bytes);
    return this.#buffer.toString('utf8', at, at + bytes);
  }

  /** A view into the input, or null. */
  bytes(): Buffer | null {
    const length = this.u32();
    return length === 0xffffffff ? null : this.raw(length);
  }

  /** A view of the next `length` bytes of the input. */
  raw(length: number): Buffer {
    const at = this.#take(length);
    return this.#buffer.subarray(at, at + length);
  }

  /** An element count that the rest of the input can hold at `minElementBytes` each, checked before allocation. */
  count(minElementBytes: number): number {
    const count = this.u32();
    if (count * minElementBytes > this.remaining) {
      throw new RobustError<BytesErrorCode>('BYTES_MALFORMED', 'a count exceeds the input', {
        detail: { count },
      });
    }
    return count;
  }
}

const two32 = 0x1_0000_0000;

/** Reads a two's complement int64 that is a safe integer; throws `BYTES_MALFORMED` when it is not. */
export function readInt64(buffer: Buffer, at: number): number {
  const value = buffer.readInt32BE(at) * two32 + buffer.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(value)) {
    throw new RobustError<BytesErrorCode>('BYTES_MALFORMED', 'an int64 is no safe integer', {
      detail: { at },
    });
  }
  return value;
}

/** Writes a safe integer as two's complement int64. */
export function writeInt64(buffer: Buffer, value: number, at: number): void {
  const low = value >>> 0;
  buffer.writeInt32BE((value - low) / two32, at);
  buffer.writeUInt32BE(low, at + 4);
}

/**
 * A copy in memory of its own, for what is kept long: a slice keeps all that it was cut from, such as the chunk a
 * request came in, and a copy by `Buffer.from` keeps the 8 KiB of its pool.
 */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
