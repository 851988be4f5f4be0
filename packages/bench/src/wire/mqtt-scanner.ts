/** What the scanner tells its owner; `at` and `end` bound the packet's body in `bytes`, valid during the call only. */
export interface MqttPacketHandler {
  (first: number, bytes: Buffer, at: number, end: number): void;
}

/** A payload of 512 KiB fits with its topic. */
const frameBytesMax = 1024 * 1024;
const noBytes = Buffer.alloc(0);

/**
 * Finds packet boundaries in a byte stream by their lengths alone, whatever way the stream is cut.
 * QoS 0 publishes are counted without a call unless `inspects` is set; every other packet goes to the
 * handler. Costs a few nanoseconds a frame, so the broker stays the bottleneck.
 */
export class MqttScanner {
  /** QoS 0 publishes seen so far. */
  published = 0;
  readonly #handle: MqttPacketHandler;
  readonly #inspects: boolean;
  /** Grows to the largest frame that was cut; most connections of an idle load never need one. */
  #carry: Buffer = noBytes;
  #carried = 0;

  constructor(handle: MqttPacketHandler, inspects = false) {
    this.#handle = handle;
    this.#inspects = inspects;
  }

  push(chunk: Buffer): void {
    const from = this.#carried === 0 ? 0 : this.#completeCarried(chunk);
    if (this.#carried > 0) return;
    const used = this.#scan(chunk, from, chunk.length);
    const rest = chunk.length - used;
    if (rest === 0) return;
    if (rest > frameBytesMax) throw new Error(`an MQTT frame exceeds ${frameBytesMax} bytes`);
    this.#reserve(rest);
    chunk.copy(this.#carry, 0, used);
    this.#carried = rest;
  }

  /** Adds bytes to the carried start of a frame until it is whole; returns how much of the chunk that took. */
  #completeCarried(chunk: Buffer): number {
    let used = 0;
    while (used < chunk.length) {
      const length = frameLength(this.#carry, 0, this.#carried);
      const want = length === 0 ? 1 : length - this.#carried;
      if (this.#carried + want > frameBytesMax)
        throw new Error(`an MQTT frame exceeds ${frameBytesMax} bytes`);
      const take = Math.min(want, chunk.length - used);
      this.#reserve(this.#carried + want);
      chunk.copy(this.#carry, this.#carried, used, used + take);
      this.#carried += take;
      used += take;
      if (frameLength(this.#carry, 0, this.#carried) === this.#carried) {
        this.#scan(this.#carry, 0, this.#carried);
        this.#carried = 0;
        break;
      }
    }
    return used;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#carry.length) return;
    const grown = Buffer.allocUnsafe(Math.min(frameBytesMax, Math.max(1024, bytes * 2)));
    this.#carry.copy(grown, 0, 0, this.#carried);
    this.#carry = grown;
  }

  /** Handles the whole frames in the range; returns the position of the first that is not whole. */
  #scan(bytes: Buffer, from: number, to: number): number {
    let at = from;
    let published = 0;
    while (at + 2 <= to) {
      const first = bytes[at] as number;
      const short = bytes[at + 1] as number;
      const length = short < 0x80 ? short + 2 : frameLength(bytes, at, to);
      if (length === 0 || at + length > to) break;
      const plain = (first & 0xf6) === 0x30;
      if (plain) published++;
      if (!plain || this.#inspects)
        this.#handle(first, bytes, at + (short < 0x80 ? 2 : headerLength(bytes, at)), at + length);
      at += length;
    }
    this.published += published;
    return at;
  }
}

/** Length of the frame that starts at `at`, or 0 while its length field is not whole. */
function frameLength(bytes: Uint8Array, at: number, to: number): number {
  let length = 0;
  for (let i = 1; i <= 4; i++) {
    if (at + i >= to) return 0;
    const byte = bytes[at + i] as number;
    length += (byte & 0x7f) * 2 ** (7 * (i - 1));
    if (byte < 0x80) return 1 + i + length;
  }
  throw new Error('an MQTT remaining length has more than 4 bytes');
}

function headerLength(bytes: Uint8Array, at: number): number {
  let length = 2;
  while ((bytes[at + length - 1] as number) >= 0x80) length++;
  return length;
}
