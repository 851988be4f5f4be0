import { codecError } from './errors.ts';
import { int32 } from './wire.ts';

/** Requests of this size and more own their memory; smaller ones may be views of the chunk they came in. */
export const ownedRequestBytesMin = 16 * 1024;

const firstStepBytes = 128 * 1024;
const secondStepBytes = 1024 * 1024;

/**
 * Cuts a stream of bytes into frames, each an int32 length and a body. It works for responses as well.
 *
 * Memory follows what was received, never what was declared: a large body starts with 128 KiB, which holds the usual
 * batch of 64 KiB and its request, goes on with 1 MiB and then doubles, so that a peer that sends a length and no body
 * gets nothing for it, while an ordinary batch of up to 1 MiB is moved once.
 */
export class RequestReader {
  /** Longest body accepted from now on; small before authentication, raised after it. */
  maxRequestBytes: number;
  /** The length of the frame that is being received, or -1 while its own four bytes are incomplete. */
  #declared = -1;
  #prefix = 0;
  #prefixBytes = 0;
  #body: Buffer | null = null;
  #received = 0;
  #stopped = false;

  constructor(options: { readonly maxRequestBytes: number }) {
    this.maxRequestBytes = options.maxRequestBytes;
  }

  /** Bytes held for a frame that is not complete. */
  get bufferedBytes(): number {
    return this.#body?.length ?? 0;
  }

  /** Bytes that have come for a frame that is not complete. */
  get receivedBytes(): number {
    return this.#body === null ? 0 : this.#received;
  }

  /** Whether a frame has begun and is not complete. */
  get midFrame(): boolean {
    return this.#declared >= 0 || this.#prefixBytes > 0;
  }

  /** Ignores all further input; may be called from within `onRequest` when the connection is to be closed. */
  stop(): void {
    this.#stopped = true;
    this.#body = null;
  }

  /**
   * Takes the next bytes and calls `onRequest` for every frame that they complete, without its length. A frame
   * below `ownedRequestBytesMin` may be a view of `chunk`: what is kept of it beyond the call must be copied. A
   * larger one has a buffer of its own.
   *
   * @throws `KAFKA_CODEC_FRAME_LENGTH` for a length that is negative or above `maxRequestBytes`; the stream cannot
   * be followed any further
   */
  push(chunk: Buffer, onRequest: (frame: Buffer) => void): void {
    const end = chunk.length;
    let at = 0;
    while (at < end && !this.#stopped) {
      if (this.#declared < 0) {
        at = this.#length(chunk, at);
        const length = this.#declared;
        if (length < 0) return;
        if (length < ownedRequestBytesMin && length <= end - at) {
          this.#declared = -1;
          onRequest(chunk.subarray(at, at + length));
          at += length;
          continue;
        }
      }
      const take = Math.min(this.#declared - this.#received, end - at);
      if (take > 0) this.#collect(chunk, at, take);
      at += take;
      if (this.#received === this.#declared && this.#body !== null) onRequest(this.#complete(this.#body));
    }
  }

  /** Reads as much of a length as there is; returns the position behind it. */
  #length(chunk: Buffer, at: number): number {
    let i = at;
    if (this.#prefixBytes === 0 && chunk.length - at >= 4) {
      this.#declared = this.#checked(int32(chunk, at));
      return at + 4;
    }
    while (this.#prefixBytes < 4 && i < chunk.length) {
      this.#prefix = (this.#prefix << 8) | (chunk[i++] as number);
      this.#prefixBytes++;
    }
    if (this.#prefixBytes === 4) {
      this.#declared = this.#checked(this.#prefix);
      this.#prefix = 0;
      this.#prefixBytes = 0;
    }
    return i;
  }

  #checked(length: number): number {
    if (length >= 0 && length <= this.maxRequestBytes) return length;
    this.stop();
    throw codecError('KAFKA_CODEC_FRAME_LENGTH', 'a frame has an unacceptable length', {
      length,
      maxRequestBytes: this.maxRequestBytes,
    });
  }

  #collect(chunk: Buffer, at: number, take: number): void {
    const need = this.#received + take;
    let body = this.#body;
    if (body === null || need > body.length) {
      const step = body === null ? firstStepBytes : Math.max(secondStepBytes, this.#received * 2);
      const grown = Buffer.allocUnsafeSlow(Math.min(this.#declared, Math.max(need, step)));
      body?.copy(grown, 0, 0, this.#received);
      body = grown;
      this.#body = grown;
    }
    chunk.copy(body, this.#received, at, at + take);
    this.#received = need;
  }

  #complete(body: Buffer): Buffer {
    this.#body = null;
    this.#received = 0;
    this.#declared = -1;
    return body;
  }
}
