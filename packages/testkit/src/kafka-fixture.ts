import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { openGates, silentLogger, systemClock, systemRandom } from '@robustmq/core';
import type { Gates, Logger } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter, KafkaOptions } from '@robustmq/kafka';
import { encodeRequest, fetch, produce, RequestReader } from '@robustmq/kafka-codec';
import type { Api, RequestInput } from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { BatchEncoder, computeBatchCrc, nextBatch, RecordInput } from '@robustmq/record';
import { KafkaClient } from './kafka-client.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

/** A Kafka listener over storage in memory, for tests of one file. */
export interface KafkaFixture {
  readonly storage: MemoryStorage;
  readonly kernel: Kernel;
  readonly kafka: KafkaAdapter;
  readonly client: KafkaClient;
  /** Requests that failed for a reason that is not the client's, as the adapter logged them. */
  readonly failures: unknown[];
  stop(): Promise<void>;
}

export async function startKafka(
  options: Partial<KafkaOptions> = {},
  gates: Gates = openGates,
): Promise<KafkaFixture> {
  const storage = await createMemoryStorage();
  const kernel = await startKernel(storage);
  const failures: unknown[] = [];
  const logger: Logger = { ...silentLogger, error: (fields) => void failures.push(fields) };
  const kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1, ...options },
    { kernel, clock: systemClock, random: systemRandom, logger, gates },
  );
  await kafka.start();
  const client = await KafkaClient.connect(kafka.address());
  const stop = async (): Promise<void> => {
    client.close();
    await kafka.stop();
    await kernel.stop();
  };
  return { storage, kernel, kafka, client, failures, stop };
}

/** A socket to a Kafka listener that sends whatever bytes it is given. */
export class RawKafka {
  readonly socket: Socket;
  readonly frames: Buffer[] = [];
  closed = false;
  #wake: () => void = () => undefined;
  readonly #reader = new RequestReader({ maxRequestBytes: 256 * 1024 * 1024 });

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#reader.push(chunk, (frame) => void this.frames.push(Buffer.from(frame)));
      this.#wake();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  static async connect(kafka: KafkaAdapter): Promise<RawKafka> {
    const { host, port } = kafka.address();
    const socket = connect(port, host);
    await once(socket, 'connect');
    return new RawKafka(socket);
  }

  send(bytes: Buffer): this {
    if (!this.socket.destroyed) this.socket.write(bytes);
    return this;
  }

  /** The next answer; null when the connection is closed instead, undefined when neither happens in time. */
  async answer(timeoutMs = 15_000): Promise<Buffer | null | undefined> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, timeoutMs);
    while (this.frames.length === 0 && !this.closed && !late) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
    return this.frames.shift() ?? (this.closed ? null : undefined);
  }

  whenClosed(): Promise<void> {
    return waitUntil(() => this.closed);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Sends bytes on a new connection; whether it is answered, closed, or neither in time. */
export async function outcomeOf(
  kafka: KafkaAdapter,
  bytes: Buffer,
  timeoutMs = 15_000,
): Promise<'answered' | 'closed' | 'waits'> {
  const raw = await RawKafka.connect(kafka);
  raw.send(bytes);
  const answer = await raw.answer(timeoutMs);
  raw.close();
  if (answer === undefined) return 'waits';
  return answer === null ? 'closed' : 'answered';
}

/** The bytes of a request, its length in front. */
export function requestBytes<A extends Api>(
  api: A,
  version: number,
  body: RequestInput<A>,
  correlationId = 1,
): Buffer {
  return Buffer.concat(encodeRequest(api, { version, correlationId, clientId: 'raw' }, body));
}

/** A frame around `body`, which says `length` bytes. */
export function framed(body: Buffer, length = body.length): Buffer {
  const head = Buffer.alloc(4);
  head.writeInt32BE(length);
  return Buffer.concat([head, body]);
}

export interface BatchSpec {
  readonly timestamps?: readonly number[];
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  readonly attributes?: number;
}

/** One batch with a record per value. */
export function batchOf(values: readonly string[], spec: BatchSpec = {}): Buffer {
  const encoder = new BatchEncoder({ batchBytesMax: 64 * 1024 * 1024 });
  const input = new RecordInput();
  values.forEach((value, index) => {
    input.timestamp = spec.timestamps?.[index] ?? Date.now();
    input.setKey(null).setValue(Buffer.from(value));
    encoder.append(input);
  });
  const { producerId = -1, producerEpoch = -1, baseSequence = -1, attributes = 0 } = spec;
  return encoder.finish({ producerId, producerEpoch, baseSequence, attributes });
}

/** A copy of `batch` after `change`, its checksum right again. */
export function altered(batch: Buffer, change: (batch: Buffer) => void): Buffer {
  const copy = Buffer.from(batch);
  change(copy);
  copy.writeUInt32BE(computeBatchCrc(copy, 0, copy.length), 17);
  return copy;
}

/** The errors and offsets of producing one batch per partition. */
export async function produceTo(
  client: KafkaClient,
  topic: string,
  records: Buffer | null,
  { version = 9, partition = 0, acks = -1 } = {},
): Promise<{ errorCode: number; baseOffset: number }> {
  const answer = await client.send(produce, version, {
    acks,
    timeoutMs: 30_000,
    topicData: [{ name: topic, partitionData: [{ index: partition, records }] }],
  });
  const { errorCode, baseOffset } = answer.responses[0]!.partitionResponses[0]!;
  return { errorCode, baseOffset };
}

export interface FetchSpec {
  readonly partition?: number;
  readonly maxWaitMs?: number;
  readonly minBytes?: number;
  readonly maxBytes?: number;
  readonly partitionMaxBytes?: number;
  readonly version?: number;
}

export interface Fetched {
  readonly errorCode: number;
  readonly highWatermark: number;
  readonly logStartOffset: number;
  readonly records: Buffer | null;
}

/** What a fetch of one partition gets. */
export async function fetchFrom(
  client: KafkaClient,
  topic: string,
  fetchOffset: number,
  spec: FetchSpec = {},
): Promise<Fetched> {
  const { partition = 0, maxWaitMs = 0, minBytes = 1, maxBytes = 1 << 26, version = 11 } = spec;
  const { partitionMaxBytes = 1 << 20 } = spec;
  const answer = await client.send(fetch, version, {
    maxWaitMs,
    minBytes,
    maxBytes,
    topics: [{ topic, partitions: [{ partition, fetchOffset, partitionMaxBytes }] }],
  });
  return answer.responses[0]!.partitions[0]!;
}

/** Base offsets of the batches in what a fetch got. */
export function baseOffsets(records: Buffer | null): number[] {
  const found: number[] = [];
  if (records === null) return found;
  for (let at = 0, next = nextBatch(records, 0); next !== -1; at = next, next = nextBatch(records, at)) {
    found.push(Number(records.readBigInt64BE(at)));
  }
  return found;
}
