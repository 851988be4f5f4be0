import type { Socket } from 'node:net';
import { assert } from '@robustmq/core';
import type { Answer, LateAnswer } from './adapter.ts';

/** Answers up to this are copied together; larger ones are worth a vector of buffers. */
const joinedBytesMax = 8 * 1024;
const slabBytes = 64 * 1024;

/**
 * Where small answers are encoded. One for all connections: what one of them gathers is with its socket before another
 * gathers. What the system has taken at once is written over by the next.
 */
const slab = { bytes: Buffer.allocUnsafeSlow(slabBytes), at: 0, isGathering: false };

/** Gathers the answers of one turn of a connection and hands them to its socket as one write. */
export class AnswerWriter {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** Where the last piece begins that is in the slab, -1 when there is none. */
  #from = -1;
  /** To be called when the socket has taken what is gathered. */
  #sent: (() => void)[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Bytes that the system has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength + this.#bytes;
  }

  add(answer: NonNullable<Answer>): void {
    if ('encodeInto' in answer) this.#encode(answer);
    else if ('sent' in answer) {
      this.#push(answer.pieces);
      this.#sent.push(() => answer.sent());
    } else this.#push(answer);
  }

  #encode(answer: LateAnswer): void {
    const end = answer.encodeInto(slab);
    if (end < 0) {
      this.#push(answer.encode());
      if (slab.at > slabBytes / 2) this.#renewSlab();
      return;
    }
    if (this.#from < 0) {
      assert(!slab.isGathering, 'one connection gathers answers at a time');
      slab.isGathering = true;
      this.#from = slab.at;
    }
    this.#bytes += end - slab.at;
    slab.at = end;
  }

  #push(pieces: readonly Buffer[]): void {
    this.#cut();
    for (const piece of pieces) {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
    }
  }

  /** Makes a piece of what was encoded into the slab. */
  #cut(): void {
    if (this.#from < 0) return;
    this.#pieces.push(slab.bytes.subarray(this.#from, slab.at));
    this.#from = -1;
    slab.isGathering = false;
  }

  #renewSlab(): void {
    this.#cut();
    slab.bytes = Buffer.allocUnsafeSlow(slabBytes);
    slab.at = 0;
  }

  flush(): void {
    if (this.#bytes === 0) return;
    const socket = this.#socket;
    const from = this.#from;
    this.#cut();
    const pieces = this.#pieces;
    const bytes = this.#bytes;
    this.#pieces = [];
    this.#bytes = 0;
    const whenTaken = this.#whenTaken();
    // What has to wait must not keep the whole slab.
    const waits = from >= 0 && socket.writableLength > 0;
    if (pieces.length === 1 && !waits) socket.write(pieces[0]!, whenTaken);
    else if (bytes <= joinedBytesMax) socket.write(Buffer.concat(pieces, bytes), whenTaken);
    else {
      socket.cork();
      const last = pieces.pop()!;
      for (const piece of pieces) socket.write(piece);
      socket.write(last, whenTaken);
      socket.uncork();
    }
    if (from >= 0 && socket.writableLength === 0) slab.at = from;
  }

  /** What a write calls when the system has all of it, and also when the connection ends before. */
  #whenTaken(): (() => void) | undefined {
    const sent = this.#sent;
    if (sent.length === 0) return undefined;
    this.#sent = [];
    return () => {
      for (const each of sent) each();
    };
  }
}
