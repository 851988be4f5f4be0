/** Called with each whole frame; `at` is the first byte after the length field. Valid during the call only. */
export interface KafkaFrameHandler {
  (bytes: Buffer, at: number, end: number): void;
}

/**
 * Cuts a byte stream into length-prefixed frames. A frame that lies in one chunk is not copied; one
 * that spans chunks is gathered in a buffer that is kept and grown to the largest frame seen.
 */
export class KafkaScanner {
  readonly #handle: KafkaFrameHandler;
  readonly #frameBytesMax: number;
  #carry: Buffer;
  #carried = 0;

  constructor(handle: KafkaFrameHandler, frameBytesMax = 8 * 1024 * 1024) {
    this.#handle = handle;
    this.#frameBytesMax = frameBytesMax;
    this.#carry = Buffer.allocUnsafe(64 * 1024);
  }

  push(chunk: Buffer): void {
    let at = 0;
    if (this.#carried > 0) {
      at = this.#gather(chunk);
      if (this.#carried > 0) return;
    }
    while (at + 4 <= chunk.length) {
      const end = at + 4 + this.#length(chunk, at);
      if (end > chunk.length) break;
      this.#handle(chunk, at + 4, end);
      at = end;
    }
    if (at < chunk.length) this.#keep(chunk, at);
  }

  #keep(chunk: Buffer, at: number): void {
    const rest = chunk.length - at;
    if (rest >= 4) this.#reserve(4 + this.#length(chunk, at));
    chunk.copy(this.#carry, 0, at);
    this.#carried = rest;
  }

  /** Takes what the carried frame still lacks; returns how much of the chunk that was. */
  #gather(chunk: Buffer): number {
    let used = 0;
    if (this.#carried < 4) {
      used = Math.min(4 - this.#carried, chunk.length);
      chunk.copy(this.#carry, this.#carried, 0, used);
      this.#carried += used;
      if (this.#carried < 4) return used;
    }
    const total = 4 + this.#length(this.#carry, 0);
    this.#reserve(total);
    const take = Math.min(total - this.#carried, chunk.length - used);
    chunk.copy(this.#carry, this.#carried, used, used + take);
    this.#carried += take;
    if (this.#carried === total) {
      this.#carried = 0;
      this.#handle(this.#carry, 4, total);
    }
    return used + take;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#carry.length) return;
    const grown = Buffer.allocUnsafe(bytes);
    this.#carry.copy(grown, 0, 0, this.#carried);
    this.#carry = grown;
  }

  #length(bytes: Buffer, at: number): number {
    const length = bytes.readInt32BE(at);
    if (length < 0 || length > this.#frameBytesMax) throw new Error(`a Kafka frame claims ${length} bytes`);
    return length;
  }
}
