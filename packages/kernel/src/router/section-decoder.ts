import { RobustError } from '@robustmq/core';
import type { Clock } from '@robustmq/core';
import { batchHeaderBytes, decompressBatch, decompressBatchAsync } from '@robustmq/record';

/** Below this, compressed and uncompressed, a batch is decoded on the event loop. */
const inlineBytesMax = 64 * 1024;
const defaultBytesMax = 64 * 1024 * 1024;
const defaultBytesPerSecond = 64 * 1024 * 1024;
/** How often and after what pause a decoder that has no room is asked again. */
const busyRetries = 100;
const busyPauseMs = 50;

export interface SectionDecoderOptions {
  /** Output of one batch, at most. Default 64 MiB. */
  readonly bytesMax?: number;
  /** Output per second in the long run, over all batches. Default 64 MiB. */
  readonly bytesPerSecond?: number;
}

/**
 * Decompresses client batches for one tenant's subscriptions: small ones at once, the others one after another off the
 * event loop, so that order is kept by waiting for the promise. What it puts out is paid from a budget that fills by the
 * second; over it every batch waits. Source: docs/semantics.md 2.5.
 */
export class SectionDecoder {
  readonly #clock: Clock;
  readonly #bytesMax: number;
  readonly #bytesPerSecond: number;
  /** Bytes that may be put out now; below zero after a batch that was larger. */
  #budget: number;
  #filledAt: number;
  #last: Promise<unknown> = Promise.resolve();
  #queued = 0;
  #decodedBytes = 0;
  #waits = 0;

  constructor(clock: Clock, options: SectionDecoderOptions = {}) {
    this.#clock = clock;
    this.#bytesMax = options.bytesMax ?? defaultBytesMax;
    this.#bytesPerSecond = options.bytesPerSecond ?? defaultBytesPerSecond;
    this.#budget = this.#bytesPerSecond;
    this.#filledAt = clock.monotonic();
  }

  /** Bytes put out so far. */
  get decodedBytes(): number {
    return this.#decodedBytes;
  }

  /** Times that a batch waited for the budget. */
  get waits(): number {
    return this.#waits;
  }

  /**
   * The uncompressed records section of the batch in `buffer[start, end)`, now or later; the buffer does not change until
   * then. Throws or rejects as `decompressBatch`.
   */
  decode(buffer: Buffer, start: number, end: number): Buffer | Promise<Buffer> {
    this.#fill();
    if (this.#queued === 0 && this.#budget > 0 && end - start <= batchHeaderBytes + inlineBytesMax) {
      const section = this.#inline(buffer, start, end);
      if (section !== null) return section;
    }
    this.#queued++;
    const turn = this.#last.then(() => this.#elsewhere(buffer, start, end));
    this.#last = turn.then(
      () => this.#queued--,
      () => this.#queued--,
    );
    return turn;
  }

  /** Null when the batch turns out too large for the event loop, or its codec works on another thread only. */
  #inline(buffer: Buffer, start: number, end: number): Buffer | null {
    try {
      const maxBytes = Math.min(inlineBytesMax, this.#bytesMax);
      const section = decompressBatch(buffer, start, end, { maxBytes });
      this.#spend(section.length);
      return section;
    } catch (error) {
      this.#spend(end - start);
      const code = error instanceof RobustError ? error.code : '';
      if (code === 'BATCH_TOO_LARGE_UNCOMPRESSED' || code === 'BATCH_CODEC_NOT_LOADED') return null;
      throw error;
    }
  }

  async #elsewhere(buffer: Buffer, start: number, end: number): Promise<Buffer> {
    await this.#affordable();
    for (let retry = 0; ; retry++) {
      try {
        const section = await decompressBatchAsync(buffer, start, end, { maxBytes: this.#bytesMax });
        this.#spend(section.length);
        return section;
      } catch (error) {
        if (error instanceof RobustError && error.retriable && retry < busyRetries) {
          await this.#pause(busyPauseMs);
          continue;
        }
        // A batch that only says that it is too large has cost nothing: a few bytes must not stop the tenant for a second.
        const output = error instanceof RobustError ? error.detail['outputBytes'] : 0;
        this.#spend(Math.max(end - start, typeof output === 'number' ? output : 0));
        throw error;
      }
    }
  }

  /** A debt is waited for, never more than the batch that made it costs. */
  async #affordable(): Promise<void> {
    this.#fill();
    if (this.#budget > 0) return;
    this.#waits++;
    while (this.#budget <= 0) {
      await this.#pause(Math.max(1, Math.ceil((-this.#budget * 1000) / this.#bytesPerSecond)));
      this.#fill();
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(ms, resolve);
    });
  }

  #fill(): void {
    const now = this.#clock.monotonic();
    const filled = this.#budget + ((now - this.#filledAt) * this.#bytesPerSecond) / 1000;
    this.#budget = Math.min(filled, this.#bytesPerSecond);
    this.#filledAt = now;
  }

  #spend(bytes: number): void {
    this.#budget -= bytes;
    this.#decodedBytes += bytes;
  }
}
