import type { Socket } from 'node:net';
import type { Answer } from './adapter.ts';

/** Answers up to this are copied together; larger ones are worth a vector of buffers. */
const joinedBytesMax = 8 * 1024;

/** Gathers the answers of one turn of a connection and hands them to its socket as one write. */
export class AnswerWriter {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #bytes = 0;
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
    const lent = 'sent' in answer;
    for (const piece of lent ? answer.pieces : answer) {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
    }
    if (lent) this.#sent.push(() => answer.sent());
  }

  flush(): void {
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    const socket = this.#socket;
    const bytes = this.#bytes;
    this.#pieces = [];
    this.#bytes = 0;
    const whenTaken = this.#whenTaken();
    if (pieces.length === 1) socket.write(pieces[0]!, whenTaken);
    else if (bytes <= joinedBytesMax) socket.write(Buffer.concat(pieces, bytes), whenTaken);
    else {
      socket.cork();
      const last = pieces.pop()!;
      for (const piece of pieces) socket.write(piece);
      socket.write(last, whenTaken);
      socket.uncork();
    }
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
