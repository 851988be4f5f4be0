import { assert, crc32c } from '@robustmq/core';
import type { FrameHeader } from './frame.ts';
import { encodeFrameHeader, frameBytes, frameHeaderBytes, pageBytes, tableEntryBytes } from './frame.ts';

/** What a frame says besides its content. */
export type FrameStamp = Pick<
  FrameHeader,
  'kind' | 'uuid' | 'salt' | 'generation' | 'sequence' | 'previousCrc' | 'checkpoint' | 'complete'
>;

/**
 * One frame being gathered. Items are copied behind room for the longest table; sealing writes the header and the
 * table right in front of them, so the frame is contiguous and nothing is copied twice.
 *
 * `add` is the hot path of every append: one memory copy and two array stores. Watched by the bench `wal-append`.
 */
export class StagingBuffer {
  readonly #buffer: Buffer;
  readonly #itemsAt: number;
  readonly #frameBytesMax: number;
  readonly #gatherBytesMax: number;
  readonly #lengths: Uint32Array;
  readonly #crcs: Uint32Array;
  #count = 0;
  #itemBytes = 0;
  #headerCrc = 0;

  /** Frames of several items stay within `gatherBytesMax`; one item alone may fill `frameBytesMax`. */
  constructor(frameBytesMax: number, itemsMax: number, gatherBytesMax = frameBytesMax) {
    this.#itemsAt = frameHeaderBytes + itemsMax * tableEntryBytes;
    this.#buffer = Buffer.allocUnsafeSlow(this.#itemsAt + frameBytesMax);
    this.#frameBytesMax = frameBytesMax;
    this.#gatherBytesMax = gatherBytesMax;
    this.#lengths = new Uint32Array(itemsMax);
    this.#crcs = new Uint32Array(itemsMax);
  }

  /** The longest item that fits when nothing else is in the frame. */
  get itemBytesMax(): number {
    return this.#frameBytesMax - frameHeaderBytes - tableEntryBytes;
  }

  get count(): number {
    return this.#count;
  }

  get itemBytes(): number {
    return this.#itemBytes;
  }

  /** Bytes of the frame when sealed now. */
  get frameBytes(): number {
    return frameBytes(this.#count * tableEntryBytes + this.#itemBytes);
  }

  /** CRC of the header that `seal` wrote. */
  get headerCrc(): number {
    return this.#headerCrc;
  }

  fits(bytes: number): boolean {
    const body = (this.#count + 1) * tableEntryBytes + this.#itemBytes + bytes;
    const bytesMax = this.#count === 0 ? this.#frameBytesMax : this.#gatherBytesMax;
    return this.#count < this.#lengths.length && frameHeaderBytes + body <= bytesMax;
  }

  /** `bytes` is the sum of the parts' lengths, and `fits(bytes)` holds. */
  add(parts: readonly Uint8Array[], bytes: number, crc: number): void {
    let at = this.#itemsAt + this.#itemBytes;
    for (let part = 0; part < parts.length; part++) {
      const data = parts[part]!;
      this.#buffer.set(data, at);
      at += data.length;
    }
    this.#lengths[this.#count] = bytes;
    this.#crcs[this.#count] = crc;
    this.#count++;
    this.#itemBytes += bytes;
  }

  /** The frame, a view that is valid until `reset`. */
  seal(stamp: FrameStamp): Buffer {
    const buffer = this.#buffer;
    const tableAt = this.#itemsAt - this.#count * tableEntryBytes;
    const start = tableAt - frameHeaderBytes;
    for (let item = 0; item < this.#count; item++) {
      buffer.writeUInt32BE(this.#lengths[item]!, tableAt + item * tableEntryBytes);
      buffer.writeUInt32BE(this.#crcs[item]!, tableAt + item * tableEntryBytes + 4);
    }
    const end = start + this.frameBytes;
    assert((end - start) % pageBytes === 0 && end <= buffer.length, 'a frame is whole pages in its buffer');
    buffer.fill(0, this.#itemsAt + this.#itemBytes, end);
    this.#headerCrc = encodeFrameHeader(buffer, start, {
      ...stamp,
      bodyBytes: this.#count * tableEntryBytes + this.#itemBytes,
      items: this.#count,
      tableCrc: crc32c(buffer.subarray(tableAt, this.#itemsAt)),
    });
    return buffer.subarray(start, end);
  }

  reset(): void {
    this.#count = 0;
    this.#itemBytes = 0;
  }
}
