import type { Socket } from 'node:net';
import { ownCopy } from './bytes.ts';

/** What sockets receive lies here until the next of them is read. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);
/** A socket that is paused is read until it has so much, as Node's streams do it. */
const heldBytesMax = 16 * 1024;
/** A chunk counts at least this much: a byte at a time would be an object for each. */
const chunkBytesMin = 512;

/** Where a socket made with Node's option `onread` has its buffer and its callback. */
interface Slots {
  readonly buffer: symbol;
  readonly callback: symbol;
}

/** Null: this Node has no such slots. Undefined: nobody has looked. */
let found: Slots | null | undefined;

/**
 * What an accepted socket receives, at most 64 KiB at once, each valid during the call only: all sockets are read into the
 * same memory. A 'data' event has a buffer of its own each time, which costs more than a small request itself does
 * (docs/performance.md). To be made at once when the socket is accepted.
 *
 * A paused one is read on until some KiB wait: the end of a connection that nobody reads from would not be seen.
 */
export class SocketReads {
  readonly #socket: Socket;
  readonly #received: (bytes: Buffer) => void;
  #paused = false;
  /** The system was told to keep what comes. */
  #stopped = false;
  /** What came while it was paused. */
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(socket: Socket, received: (bytes: Buffer) => void) {
    this.#socket = socket;
    this.#received = received;
    readInto(socket, (bytes) => this.#take(bytes));
  }

  pause(): void {
    this.#paused = true;
  }

  /** What waits is handed over after this turn's work, and before anything that comes later. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    process.nextTick(this.#handOver);
  }

  #take(bytes: Buffer): void {
    if (!this.#paused && this.#held.length === 0) {
      this.#received(bytes);
      return;
    }
    this.#held.push(ownCopy(bytes));
    this.#heldBytes += Math.max(bytes.length, chunkBytesMin);
    if (this.#heldBytes < heldBytesMax) return;
    this.#stopped = true;
    this.#socket.pause();
  }

  readonly #handOver = (): void => {
    while (!this.#paused && this.#held.length > 0 && !this.#socket.destroyed) {
      const bytes = this.#held.shift()!;
      this.#heldBytes -= Math.max(bytes.length, chunkBytesMin);
      this.#received(bytes);
    }
    if (this.#paused || !this.#stopped) return;
    this.#stopped = false;
    this.#socket.resume();
  };
}

interface Handle {
  useUserBuffer?(buffer: Buffer): void;
}

/**
 * Node reads into memory of the caller for sockets that connect (`onread`), and offers nothing for those that are
 * accepted. So this sets what `onread` sets; where that is not found, it takes 'data' events.
 */
function readInto(socket: Socket, received: (bytes: Buffer) => void): void {
  if (found === undefined) found = slotsOf(socket);
  const { _handle: handle } = socket as unknown as { _handle?: Handle | null };
  if (found === null || typeof handle?.useUserBuffer !== 'function') {
    socket.on('data', received);
    return;
  }
  const inside = socket as unknown as Record<symbol, unknown>;
  inside[found.buffer] = shared;
  inside[found.callback] = (bytes: number) => received(shared.subarray(0, bytes));
  handle.useUserBuffer(shared);
}

function slotsOf(socket: Socket): Slots | null {
  const symbols = Object.getOwnPropertySymbols(socket);
  const [buffer, callback] = ['kBuffer', 'kBufferCb'].map((name) =>
    symbols.find(({ description }) => description === name),
  );
  return buffer === undefined || callback === undefined ? null : { buffer, callback };
}
