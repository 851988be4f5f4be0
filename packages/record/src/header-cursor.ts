import { malformed } from './errors.ts';
import { VarintReader } from './varint-reader.ts';

/**
 * Walks the headers of one record without allocating: `open`, then `next` until it is false, or `find`. The ranges
 * are positions in the opened buffer. On a block that a `RecordTable` has read it never throws.
 */
export class HeaderCursor {
  nameStart = 0;
  nameEnd = 0;
  /** -1 if the value is null. */
  valueStart = -1;
  valueEnd = -1;
  readonly #reader = new VarintReader();
  #buffer: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #left = 0;

  /** Stands before the first of the `count` headers encoded in `buffer[start, end)`. */
  open(buffer: Uint8Array, start: number, end: number, count: number): this {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
    this.#left = count;
    return this;
  }

  /** Moves to the next header; false after the last. Throws `RECORD_MALFORMED` on a broken block. */
  next(): boolean {
    if (this.#left <= 0) return false;
    const nameBytes = this.#length();
    if (nameBytes < 0 || nameBytes > this.#end - this.#at)
      throw malformed('a header name is cut off', this.#at);
    this.nameStart = this.#at;
    this.nameEnd = this.#at + nameBytes;
    this.#at = this.nameEnd;
    const valueBytes = this.#length();
    if (valueBytes < -1 || valueBytes > this.#end - this.#at) {
      throw malformed('a header value is cut off', this.#at);
    }
    this.valueStart = valueBytes < 0 ? -1 : this.#at;
    this.valueEnd = valueBytes < 0 ? -1 : this.#at + valueBytes;
    if (valueBytes > 0) this.#at = this.valueEnd;
    this.#left--;
    return true;
  }

  /** Moves to the next header with this name, starting after the current one; false if there is none. */
  find(name: Uint8Array): boolean {
    while (this.next()) {
      if (this.nameIs(name)) return true;
    }
    return false;
  }

  /** Compares the current header's name byte by byte. */
  nameIs(name: Uint8Array): boolean {
    const start = this.nameStart;
    if (this.nameEnd - start !== name.length) return false;
    const buffer = this.#buffer;
    for (let i = 0; i < name.length; i++) {
      if (buffer[start + i] !== name[i]) return false;
    }
    return true;
  }

  #length(): number {
    const at = this.#at;
    if (at < this.#end) {
      const byte = this.#buffer[at] as number;
      if (byte < 0x80) {
        this.#at = at + 1;
        return (byte >>> 1) ^ -(byte & 1);
      }
    }
    const length = this.#reader.int32(this.#buffer, at, this.#end);
    this.#at = this.#reader.at;
    return length;
  }
}
