import type { Socket } from 'node:net';
import type { Clock, Timer } from '@robustmq/core';
import type { RawData, WebSocket } from 'ws';
import { lingerMs } from './transport.ts';
import type { Transport, TransportListener } from './transport.ts';

/** A text message is refused with this close code (MQTT-6.0.0-1). */
const unsupportedData = 1003;
/** Above this many unsent bytes a ping has no answer: its sender does not read. RFC 6455 5.5.3 asks for the last one only. */
const pongBytesMax = 16 * 1024;

export interface WebSocketLimits {
  /** Bytes of a message that is not complete, before the client is accepted. */
  readonly strangerBytesMax: number;
  /** A message that is not complete after so long ends its connection. */
  readonly partialMs: number;
}

export interface WebSocketModules {
  readonly clock: Clock;
  readonly limits: WebSocketLimits;
  /** Called when a message did not come to its end in time. */
  overdue(): void;
}

/** A client over WebSocket: binary messages whose borders mean nothing (MQTT-6.0.0-2). */
export class WebSocketTransport implements Transport {
  readonly remoteAddress: string;
  readonly #socket: WebSocket;
  readonly #modules: WebSocketModules;
  #trusted = false;
  #paused = false;
  /** Bytes that came since the last complete message. */
  #partialBytes = 0;
  /** Set while bytes have come that completed nothing. */
  #partial: Timer | null = null;

  constructor(socket: WebSocket, below: Socket, modules: WebSocketModules) {
    this.#socket = socket;
    this.#modules = modules;
    this.remoteAddress = below.remoteAddress ?? '';
    // The library shows messages only; what is kept of one that never ends can be seen below it.
    below.on('data', (chunk: Buffer) => this.#received(chunk.length));
  }

  get closed(): boolean {
    return this.#socket.readyState !== this.#socket.OPEN;
  }

  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  listen(listener: TransportListener): void {
    const socket = this.#socket;
    let refused = false;
    socket.on('message', (data: RawData, isBinary: boolean) => {
      this.#completed();
      if (refused) return;
      if (isBinary) {
        listener.data(data as Buffer);
        return;
      }
      refused = true;
      this.#close(unsupportedData);
    });
    socket.on('ping', (data) => {
      this.#completed();
      if (socket.readyState === socket.OPEN && socket.bufferedAmount <= pongBytesMax) socket.pong(data);
    });
    socket.on('pong', () => this.#completed());
    // The library counts what it holds back, so a written message tells when there is nothing left.
    this.#sent = () => {
      if (socket.bufferedAmount === 0) listener.drained();
    };
    socket.on('error', () => socket.terminate());
    socket.once('close', () => {
      this.#completed();
      listener.lost();
    });
  }

  #sent: () => void = () => undefined;

  write(parts: readonly Buffer[]): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    socket.send(bytes, { binary: true }, this.#sent);
  }

  trust(): void {
    this.#trusted = true;
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  end(): void {
    this.#close(1000);
  }

  /** The library has seen these bytes; if they completed something, `#completed` was called meanwhile. */
  #received(bytes: number): void {
    this.#partialBytes += bytes;
    if (!this.#trusted && this.#partialBytes > this.#modules.limits.strangerBytesMax) {
      this.#socket.terminate();
      return;
    }
    if (this.#partial === null && this.#partialBytes > bytes) this.#watch();
  }

  #watch(): void {
    const { clock, limits, overdue } = this.#modules;
    this.#partial = clock.after(limits.partialMs, () => {
      this.#partial = null;
      // We do not read: what is missing may lie there.
      if (this.#paused) this.#watch();
      else {
        overdue();
        this.#socket.terminate();
      }
    });
  }

  #completed(): void {
    this.#partialBytes = 0;
    this.#partial?.cancel();
    this.#partial = null;
  }

  #close(code: number): void {
    const socket = this.#socket;
    socket.close(code);
    this.#modules.clock.after(lingerMs, () => socket.terminate());
  }

  destroy(): void {
    this.#socket.terminate();
  }
}
