import type { Socket } from 'node:net';
import type { Fault } from '../fault.ts';
import type { Endpoint } from '../job.ts';
import { openSocket } from '../socket.ts';
import { connectFrame, disconnectFrame, subscribeFrame } from '../wire/mqtt-frames.ts';
import { MqttScanner } from '../wire/mqtt-scanner.ts';

export interface MqttLinkOptions {
  readonly endpoint: Endpoint;
  readonly fault: Fault;
  readonly clientId: string;
  readonly receiveBytes?: number;
  /** The session outlives the connection. */
  readonly keepsSession?: boolean;
  /** QoS 0 publishes go to `onPacket` as well. */
  readonly inspects?: boolean;
  /** The moment the server accepts the connection, before anything that follows in the same chunk. */
  readonly onAccepted?: () => void;
  /** Every packet that is neither a QoS 0 publish nor part of the handshake. */
  readonly onPacket?: (first: number, bytes: Buffer, at: number, end: number) => void;
  /** After every chunk that was scanned. */
  readonly onChunk?: () => void;
}

const connack = 0x20;
const suback = 0x90;

/** One MQTT connection: the handshake as promises, everything after it as plain calls. */
export class MqttLink {
  readonly #options: MqttLinkOptions;
  readonly #scanner: MqttScanner;
  #socket: Socket | null = null;
  #answer: ((code: number) => void) | null = null;

  private constructor(options: MqttLinkOptions) {
    this.#options = options;
    const handle = (first: number, bytes: Buffer, at: number, end: number) =>
      this.#packet(first, bytes, at, end);
    this.#scanner = new MqttScanner(handle, options.inspects);
  }

  /** Resolves when the server has accepted the connection. */
  static async open(options: MqttLinkOptions): Promise<MqttLink> {
    const link = new MqttLink(options);
    link.#socket = await openSocket({
      endpoint: options.endpoint,
      fault: options.fault,
      receiveBytes: options.receiveBytes ?? 64 * 1024,
      onChunk: (chunk) => {
        link.#scanner.push(chunk);
        options.onChunk?.();
      },
    });
    const code = await link.#ask(connectFrame(options.clientId, options.keepsSession));
    if (code !== 0) throw new Error(`the server refused the connection with code ${code}`);
    return link;
  }

  /** QoS 0 publishes received. */
  get published(): number {
    return this.#scanner.published;
  }

  get socket(): Socket {
    if (this.#socket === null) throw new Error('the connection is not open');
    return this.#socket;
  }

  async subscribe(filter: string, qos: 0 | 1): Promise<void> {
    const code = await this.#ask(subscribeFrame(1, filter, qos));
    if (code !== qos) throw new Error(`the server granted ${code} for a subscription at QoS ${qos}`);
  }

  /** Says goodbye and closes, so that the server need not find out. */
  leave(): void {
    // The server's end of the connection is then no fault.
    this.socket.removeAllListeners('close');
    this.socket.end(disconnectFrame);
  }

  close(): void {
    this.#socket?.destroy();
  }

  #ask(frame: Buffer): Promise<number> {
    const answered = new Promise<number>((resolve) => {
      this.#answer = resolve;
    });
    this.socket.write(frame);
    return this.#options.fault.race(answered);
  }

  #packet(first: number, bytes: Buffer, at: number, end: number): void {
    // Both answers end with the code that matters: the return code, or the one filter's granted QoS.
    if (first === connack) this.#options.onAccepted?.();
    if (first === connack || first === suback) this.#answer?.(bytes[end - 1] as number);
    else this.#options.onPacket?.(first, bytes, at, end);
  }
}
