import { assert } from '@robustmq/core';
import { frameBytesMax } from './frame.ts';
import { StagingBuffer } from './staging-buffer.ts';

/** Items that one frame holds at most; their table is then an eighth of it. */
const frameItemsMax = 32_768;

interface WaitingItem {
  parts: readonly Uint8Array[];
  bytes: number;
  crc: number;
}

/**
 * What was appended and is not on its way to the disk: one staging buffer that fills while the other is being written,
 * and behind it a queue of items by reference, in order.
 */
export class FrameQueue {
  #filling: StagingBuffer;
  #spare: StagingBuffer | null;
  #waiting: WaitingItem[] = [];
  #head = 0;
  #waitingBytes = 0;

  /** `gatherBytesMax`: what a frame of several items has at most. */
  constructor(gatherBytesMax: number) {
    this.#filling = new StagingBuffer(frameBytesMax, frameItemsMax, gatherBytesMax);
    this.#spare = new StagingBuffer(frameBytesMax, frameItemsMax, gatherBytesMax);
  }

  /** Whether a frame of its own would hold an item. */
  holds(bytes: number): boolean {
    return bytes <= this.#filling.itemBytesMax;
  }

  /** Bytes of items that no staging buffer had room for. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Bytes of items in the staging buffer. */
  get stagedBytes(): number {
    return this.#filling.itemBytes;
  }

  get empty(): boolean {
    return this.#filling.count === 0;
  }

  push(parts: readonly Uint8Array[], bytes: number, crc: number): void {
    if (this.#waitingBytes === 0 && this.#filling.fits(bytes)) this.#filling.add(parts, bytes, crc);
    else {
      this.#waiting.push({ parts, bytes, crc });
      this.#waitingBytes += bytes;
    }
  }

  /** Takes what is staged; the caller gives the buffer back when it is written. */
  take(): StagingBuffer {
    const taken = this.#filling;
    assert(this.#spare !== null, 'one frame at a time');
    this.#filling = this.#spare;
    this.#spare = null;
    return taken;
  }

  /** Stages what waits, as far as the buffer has room. */
  refill(): void {
    while (this.#head < this.#waiting.length) {
      const { parts, bytes, crc } = this.#waiting[this.#head]!;
      if (!this.#filling.fits(bytes)) break;
      this.#filling.add(parts, bytes, crc);
      this.#waitingBytes -= bytes;
      this.#head++;
    }
    if (this.#head === 0) return;
    this.#waiting = this.#waiting.slice(this.#head);
    this.#head = 0;
  }

  giveBack(buffer: StagingBuffer): void {
    buffer.reset();
    this.#spare = buffer;
  }
}
