import type { Socket } from 'node:net';
import type { Clock } from '@robustmq/core';
import { lingerMs } from './transport.ts';
import type { Transport, TransportListener } from './transport.ts';

const nothing = Buffer.alloc(0);
/** A peer that is silent for so long is asked by the system whether it is there; one that is gone is noticed soon after. */
const probeAfterMs = 60_000;

/** A client over TCP. */
export class TcpTransport implements Transport {
  readonly remoteAddress: string;
  readonly #socket: Socket;
  readonly #clock: Clock;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.remoteAddress = socket.remoteAddress ?? '';
    socket.setNoDelay(true);
    socket.setKeepAlive(true, probeAfterMs);
  }

  get closed(): boolean {
    return this.#socket.destroyed;
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  #written: () => void = () => undefined;

  listen(listener: TransportListener): void {
    const socket = this.#socket;
    this.#written = () => {
      if (socket.writableLength === 0 && !socket.destroyed) listener.drained();
    };
    socket.on('data', (chunk) => listener.data(chunk));
    socket.on('drain', () => listener.drained());
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.destroy());
    socket.once('close', () => listener.lost());
  }

  write(parts: readonly Buffer[]): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    if (parts.length === 1) socket.write(parts[0]!);
    else {
      socket.cork();
      for (const part of parts) socket.write(part);
      socket.uncork();
    }
    // The socket tells of its draining only where it held more than its own mark.
    if (socket.writableLength > 0 && !socket.writableNeedDrain) socket.write(nothing, this.#written);
  }

  trust(): void {
    // The reader of packets bounds what is kept of this stream.
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    socket.end(() => socket.destroy());
    this.#clock.after(lingerMs, () => socket.destroy());
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
