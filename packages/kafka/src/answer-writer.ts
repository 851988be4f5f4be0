import type { Socket } from 'node:net';

/** Answers up to this are copied together; larger ones are worth a vector of buffers. */
const joinedBytesMax = 8 * 1024;

/** Gathers the answers of one turn of a connection and hands them to its socket as one write. */
export class AnswerWriter {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Bytes that the system has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength + this.#bytes;
  }

  add(answer: readonly Buffer[]): void {
    for (const piece of answer) {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
    }
  }

  flush(): void {
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    const socket = this.#socket;
    const bytes = this.#bytes;
    this.#pieces = [];
    this.#bytes = 0;
    if (pieces.length === 1) socket.write(pieces[0]!);
    else if (bytes <= joinedBytesMax) socket.write(Buffer.concat(pieces, bytes));
    else {
      socket.cork();
      for (const piece of pieces) socket.write(piece);
      socket.uncork();
    }
  }
}
