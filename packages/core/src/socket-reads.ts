import type { Socket } from 'node:net';

/** What sockets receive lies here until the next of them is read. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);

/** Where a socket made with Node's option `onread` has its buffer and its callback. */
interface Slots {
  readonly buffer: symbol;
  readonly callback: symbol;
}

/** Null: this Node has no such slots. Undefined: nobody has looked. */
let found: Slots | null | undefined;

/**
 * Calls `received` with what an accepted socket receives, at most 64 KiB at once, valid during the call only: all sockets are
 * read into the same memory. A 'data' event has a buffer of its own each time, which costs more than a small request
 * itself does (docs/performance.md). Node offers this as `onread` for sockets that connect, and offers nothing for those that
 * are accepted, so this sets what `onread` sets; where that is not found, it takes 'data' events.
 *
 * To be called at once when the socket is accepted. `pause` and `resume` of the socket work as ever.
 */
export function onReceived(socket: Socket, received: (bytes: Buffer) => void): void {
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

interface Handle {
  useUserBuffer?(buffer: Buffer): void;
}

function slotsOf(socket: Socket): Slots | null {
  const symbols = Object.getOwnPropertySymbols(socket);
  const [buffer, callback] = ['kBuffer', 'kBufferCb'].map((name) =>
    symbols.find(({ description }) => description === name),
  );
  return buffer === undefined || callback === undefined ? null : { buffer, callback };
}
