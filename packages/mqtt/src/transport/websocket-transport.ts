import type { Clock } from '@robustmq/core';
import type { RawData, WebSocket } from 'ws';
import { lingerMs } from './transport.ts';
import type { Transport, TransportListener } from './transport.ts';

/** A text message is refused with this close code (MQTT-6.0.0-1). */
const unsupportedData = 1003;

/** A client over WebSocket: binary messages whose borders mean nothing (MQTT-6.0.0-2). */
export class WebSocketTransport implements Transport {
  readonly remoteAddress: string;
  readonly #socket: WebSocket;
  readonly #clock: Clock;

  constructor(socket: WebSocket, remoteAddress: string, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.remoteAddress = remoteAddress;
  }

  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  listen(listener: TransportListener): void {
    const socket = this.#socket;
    let refused = false;
    socket.on('message', (data: RawData, isBinary: boolean) => {
      if (refused) return;
      if (isBinary) {
        listener.data(data as Buffer);
        return;
      }
      refused = true;
      this.#close(unsupportedData);
    });
    // The library counts what it holds back, so a written message tells when there is nothing left.
    this.#sent = () => {
      if (socket.bufferedAmount === 0) listener.drained();
    };
    socket.on('error', () => socket.terminate());
    socket.once('close', () => listener.lost());
  }

  #sent: () => void = () => undefined;

  write(parts: readonly Buffer[]): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    socket.send(bytes, { binary: true }, this.#sent);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#close(1000);
  }

  #close(code: number): void {
    const socket = this.#socket;
    socket.close(code);
    this.#clock.after(lingerMs, () => socket.terminate());
  }

  destroy(): void {
    this.#socket.terminate();
  }
}
