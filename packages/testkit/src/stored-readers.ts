import { batchHeaderBytes } from '@robustmq/record';
import { KafkaClient } from './kafka-client.ts';
import { fetchFrom } from './kafka-fixture.ts';
import { MqttClient } from './mqtt-client.ts';
import { RecordLog } from './record-log.ts';

const sessionExpiry = 3600;
/** Published before the answers are awaited: less than the server's Receive Maximum. */
const publishedAtOnce = 500;

/** Reads one more piece of what is stored, and says how long that took. */
export interface StoredReader {
  readonly name: string;
  /** Ms until the piece was there; rejects when it is not what was stored. */
  read(): Promise<number>;
  close(): void;
}

/** Fetches one record after the other of a topic, over and over, in an order in which no cache of blocks helps. */
export class StoredFetches implements StoredReader {
  readonly name = 'fetch';
  readonly #client: KafkaClient;
  readonly #topic: string;
  readonly #records: number;
  #next = 0;

  private constructor(client: KafkaClient, { topic, records }: { topic: string; records: number }) {
    this.#client = client;
    this.#topic = topic;
    this.#records = records;
  }

  /** Stores `records` of `bytes` in one partition of a topic that is there. */
  static async store(
    port: number,
    stored: { readonly topic: string; readonly records: number; readonly bytes: number },
  ): Promise<StoredFetches> {
    const log = await RecordLog.connect(port);
    for (let at = 0; at < stored.records; at++) {
      await log.produce(stored.topic, [{ value: Buffer.alloc(stored.bytes, at) }], { partition: 0 });
    }
    log.close();
    return new StoredFetches(await KafkaClient.connect({ host: '127.0.0.1', port }), stored);
  }

  async read(): Promise<number> {
    const offset = this.#next++ % this.#records;
    const since = performance.now();
    const { errorCode, records } = await fetchFrom(this.#client, this.#topic, offset, {
      partitionMaxBytes: 1,
    });
    const ms = performance.now() - since;
    const bytes = records ?? Buffer.alloc(0);
    if (errorCode !== 0 || bytes.length < batchHeaderBytes || Number(bytes.readBigInt64BE(0)) !== offset) {
      throw new Error(`a fetch of offset ${offset} got error ${errorCode} and ${bytes.length} bytes`);
    }
    return ms;
  }

  close(): void {
    this.#client.close();
  }
}

/**
 * A kept session of MQTT that takes its backlog one message after the other (Receive Maximum 1): each comes when the one
 * before was acknowledged, at QoS 1.
 */
export class BacklogReader implements StoredReader {
  readonly name = 'backlog';
  readonly #client: MqttClient;
  readonly #clientId: string;
  #packetId: number;
  /** Number of the message that came last, which is not acknowledged yet. */
  last: number;

  private constructor(client: MqttClient, clientId: string, first: { packetId: number; number: number }) {
    this.#client = client;
    this.#clientId = clientId;
    this.#packetId = first.packetId;
    this.last = first.number;
  }

  /** Subscribes, stores `messages` while the session is away, and comes back. */
  static async store(
    port: number,
    {
      clientId,
      topic,
      messages,
      bytes,
    }: { clientId: string; topic: string; messages: number; bytes: number },
  ): Promise<BacklogReader> {
    const kept = { clientId, cleanStart: false, properties: { sessionExpiry } };
    const { client } = await MqttClient.connect(port, 5, kept);
    await client.subscribe(topic, 1);
    client.drop();
    const { client: publisher } = await MqttClient.connect(port, 5, { clientId: `${clientId}-publisher` });
    for (let from = 0; from < messages; from += publishedAtOnce) {
      const count = Math.min(publishedAtOnce, messages - from);
      for (let at = 0; at < count; at++) {
        const payload = Buffer.alloc(bytes);
        payload.writeUInt32BE(from + at);
        publisher.publish({ topic, qos: 1, packetId: at + 1, payload });
      }
      for (let at = 0; at < count; at++) await publisher.next('puback');
    }
    publisher.drop();
    return BacklogReader.resume(port, clientId);
  }

  /** Comes back to the session; resolves with the first message that it is given. */
  static async resume(port: number, clientId: string): Promise<BacklogReader> {
    const { client, connack } = await MqttClient.connect(port, 5, {
      clientId,
      cleanStart: false,
      properties: { sessionExpiry, receiveMaximum: 1 },
    });
    if (!connack.sessionPresent) throw new Error(`the session of ${clientId} is gone`);
    const { packetId, payload } = await client.next('publish');
    return new BacklogReader(client, clientId, { packetId, number: numberOf(payload) });
  }

  async read(): Promise<number> {
    const since = performance.now();
    this.#client.ack('puback', this.#packetId);
    const { packetId, payload } = await this.#client.next('publish');
    const ms = performance.now() - since;
    const number = numberOf(payload);
    if (number !== this.last + 1) throw new Error(`${this.#clientId} got ${number} after ${this.last}`);
    this.#packetId = packetId;
    this.last = number;
    return ms;
  }

  close(): void {
    this.#client.drop();
  }
}

function numberOf(payload: Uint8Array): number {
  return Buffer.from(payload).readUInt32BE(0);
}
