import { copyBytes } from './copy-bytes.ts';
import { varintBytes, writeVarint } from './varint.ts';

const nothing = new Uint8Array(0);

/**
 * Builds the header block of a record in a reused buffer: `reset`, any number of `add`, then hand
 * `buffer[0, length)` and `count` to a `RecordInput` before the next `reset`. Order and duplicates are kept.
 */
export class HeaderEncoder {
  /** Changes when it grows: read it after the last `add`. */
  buffer: Buffer;
  length = 0;
  count = 0;

  constructor(initialBytes = 256) {
    this.buffer = Buffer.allocUnsafe(initialBytes);
  }

  reset(): this {
    this.length = 0;
    this.count = 0;
    return this;
  }

  /** Appends a header; no allocation unless the buffer grows. */
  add(name: Uint8Array, value: Uint8Array | null): this {
    return value === null
      ? this.addRange(name, nothing, -1, -1)
      : this.addRange(name, value, 0, value.length);
  }

  /** Appends a header whose value is `value[start, end)`; `start` -1 writes null. */
  addRange(name: Uint8Array, value: Uint8Array, start: number, end: number): this {
    const valueBytes = start < 0 ? -1 : end - start;
    const room = varintBytes(name.length) + name.length + varintBytes(valueBytes) + Math.max(valueBytes, 0);
    this.#reserve(room);
    let at = writeVarint(this.buffer, this.length, name.length);
    at = copyBytes(this.buffer, at, name, 0, name.length);
    at = writeVarint(this.buffer, at, valueBytes);
    if (valueBytes > 0) at = copyBytes(this.buffer, at, value, start, end);
    this.length = at;
    this.count++;
    return this;
  }

  /** Appends a header given as text (UTF-8). */
  addText(name: string, value: string | Uint8Array | null): this {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    return this.add(Buffer.from(name), bytes);
  }

  #reserve(bytes: number): void {
    const need = this.length + bytes;
    if (need <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(need, this.buffer.length * 2));
    this.buffer.copy(grown, 0, 0, this.length);
    this.buffer = grown;
  }
}
