import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { decodeResponse, encodeRequest, RequestReader, responseCorrelationId } from '@robustmq/kafka-codec';
import type { Api, RequestInput, ResponseOf } from '@robustmq/kafka-codec';

interface Waiting {
  readonly resolve: (frame: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** One connection to a Kafka listener, for tests: any request of any version, answers by correlation id. */
export class KafkaClient {
  readonly #socket: Socket;
  readonly #reader = new RequestReader({ maxRequestBytes: 128 * 1024 * 1024 });
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#reader.push(chunk, (frame) => this.#answered(frame)));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the connection was closed'));
      this.#waiting.clear();
    });
  }

  static connect(address: { host: string; port: number }): Promise<KafkaClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(address.port, address.host);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new KafkaClient(socket)));
    });
  }

  /** Sends a request; rejects when the server closes the connection instead of answering. */
  async send<A extends Api>(
    api: A,
    version: number,
    body: RequestInput<A>,
    clientId = 'testkit',
  ): Promise<ResponseOf<A>> {
    const correlationId = this.#next++;
    const frame = await new Promise<Buffer>((resolve, reject) => {
      this.#waiting.set(correlationId, { resolve, reject });
      for (const piece of encodeRequest(api, { version, correlationId, clientId }, body)) {
        this.#socket.write(piece);
      }
    });
    return decodeResponse(api, version, frame);
  }

  close(): void {
    this.#socket.destroy();
  }

  #answered(frame: Buffer): void {
    const copy = Buffer.from(frame);
    const id = responseCorrelationId(copy);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(copy);
  }
}
