import type { Socket } from 'node:net';
import { repeatFrame } from './wire/mqtt-frames.ts';

/** Writes what differs from message to message into the frame that starts at `at`. */
export interface FramePatch {
  (bytes: Buffer, at: number, sequence: number): void;
}

/**
 * A window of frames laid end to end: the slot of message `n` is `n mod slots`, so any run of new
 * messages is one write, two at the turn. A slot is patched only after its last message has been
 * answered, and an answered message has left the socket, so pending writes are never overwritten.
 */
export class FrameRing {
  readonly #bytes: Buffer;
  readonly #frameBytes: number;
  readonly #slots: number;
  readonly #patch: FramePatch;

  constructor(frame: Uint8Array, slots: number, patch: FramePatch) {
    this.#bytes = repeatFrame(frame, slots);
    this.#frameBytes = frame.length;
    this.#slots = slots;
    this.#patch = patch;
  }

  /** Sends messages `from` up to but without `to`; the caller keeps at most `slots` unanswered. */
  send(socket: Socket, from: number, to: number): void {
    let next = from;
    while (next < to) {
      const slot = next % this.#slots;
      const run = Math.min(to - next, this.#slots - slot);
      for (let i = 0; i < run; i++) this.#patch(this.#bytes, (slot + i) * this.#frameBytes, next + i);
      socket.write(this.#bytes.subarray(slot * this.#frameBytes, (slot + run) * this.#frameBytes));
      next += run;
    }
  }
}
