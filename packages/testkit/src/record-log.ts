import {
  fetch as fetchApi,
  initProducerId,
  listOffsets,
  metadata as metadataApi,
  produce as produceApi,
} from '@robustmq/kafka-codec';
import type { CodecName } from '@robustmq/record';
import {
  BatchEncoder,
  batchHeaderBytes,
  codecs,
  compressBatch,
  HeaderCursor,
  HeaderEncoder,
  loadZstd,
  nextBatch,
  readBatchFields,
  readRecords,
  RecordInput,
  RecordTable,
  writeBatchHeader,
} from '@robustmq/record';
import { KafkaClient } from './kafka-client.ts';
import { waitUntil } from './wait-until.ts';

const fetchBytes = 8 * 1024 * 1024;
const timeoutMs = 10_000;

type Bytes = Buffer | string;

/** A record as a test writes it: text stands for its UTF-8 bytes, what is left out is null or empty. */
export interface NewRecord {
  readonly key?: Bytes | null;
  readonly value?: Bytes | null;
  /** In order; names may repeat. */
  readonly headers?: readonly (readonly [name: Bytes, value: Bytes | null])[];
  /** Milliseconds since 1970. Default: now. */
  readonly timestamp?: number;
}

/** A record as it is stored. */
export interface StoredRecord {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Names as Latin-1, so that any bytes show. */
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[];
}

export interface ProduceOptions {
  readonly partition?: number;
  readonly codec?: CodecName;
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  /** The records are not what the codec makes; header and checksum are right. */
  readonly damaged?: boolean;
}

/**
 * Whole batches in, every record out, over a raw Kafka connection: says what clients can not (any bytes, any codec,
 * chosen sequences) and shows what they hide (order and repetition of headers, offsets of every partition).
 */
export class RecordLog {
  readonly #client: KafkaClient;

  private constructor(client: KafkaClient) {
    this.#client = client;
  }

  static async connect(port: number): Promise<RecordLog> {
    await loadZstd();
    return new RecordLog(await KafkaClient.connect({ host: '127.0.0.1', port }));
  }

  /** Produces one batch with acks=all; a topic that is not there is created. Rejects when it is refused. */
  async produce(topic: string, records: readonly NewRecord[], options: ProduceOptions = {}): Promise<number> {
    await this.partitions(topic);
    const batch = encodeBatch(records, options);
    const answer = await this.#client.send(produceApi, 9, {
      acks: -1,
      timeoutMs,
      topicData: [{ name: topic, partitionData: [{ index: options.partition ?? 0, records: batch }] }],
    });
    const { errorCode, baseOffset } = answer.responses[0]!.partitionResponses[0]!;
    if (errorCode !== 0) throw new Error(`produce to ${topic} was answered with ${errorCode}`);
    return baseOffset;
  }

  /** A producer id, epoch 0. */
  async producerId(): Promise<number> {
    const answer = await this.#client.send(initProducerId, 4, {
      transactionalId: null,
      transactionTimeoutMs: 0,
    });
    return answer.producerId;
  }

  /** Number of partitions; creates the topic when it is not there. */
  async partitions(topic: string): Promise<number> {
    let count = 0;
    const ask = async (): Promise<boolean> => {
      const answer = await this.#client.send(metadataApi, 9, {
        topics: [{ name: topic }],
        allowAutoTopicCreation: true,
      });
      const [found] = answer.topics;
      count = found?.errorCode === 0 ? found.partitions.length : 0;
      return count > 0;
    };
    await waitUntil(ask, { what: `metadata of topic ${topic}` });
    return count;
  }

  /** Every record of every partition, by partition and offset. */
  async read(topic: string): Promise<StoredRecord[]> {
    const count = await this.partitions(topic);
    const records: StoredRecord[] = [];
    for (let partition = 0; partition < count; partition++) {
      const end = await this.#endOffset(topic, partition);
      for (let offset = await this.#startOffset(topic, partition); offset < end; ) {
        const more = await this.#fetch(topic, partition, offset);
        records.push(...more);
        offset = more.at(-1)!.offset + 1;
      }
    }
    return records;
  }

  close(): void {
    this.#client.close();
  }

  #startOffset(topic: string, partition: number): Promise<number> {
    return this.#listOffset(topic, partition, -2);
  }

  #endOffset(topic: string, partition: number): Promise<number> {
    return this.#listOffset(topic, partition, -1);
  }

  async #listOffset(topic: string, partitionIndex: number, timestamp: number): Promise<number> {
    const answer = await this.#client.send(listOffsets, 5, {
      replicaId: -1,
      topics: [{ name: topic, partitions: [{ partitionIndex, timestamp }] }],
    });
    const { errorCode, offset } = answer.topics[0]!.partitions[0]!;
    if (errorCode !== 0) throw new Error(`offsets of ${topic}/${partitionIndex}: error ${errorCode}`);
    return offset;
  }

  /** At least one record from `offset` on. */
  async #fetch(topic: string, partition: number, offset: number): Promise<StoredRecord[]> {
    const answer = await this.#client.send(fetchApi, 11, {
      maxWaitMs: 1000,
      minBytes: 1,
      maxBytes: fetchBytes,
      topics: [{ topic, partitions: [{ partition, fetchOffset: offset, partitionMaxBytes: fetchBytes }] }],
    });
    const { errorCode, records } = answer.responses[0]!.partitions[0]!;
    if (errorCode !== 0) throw new Error(`fetch of ${topic}/${partition} at ${offset}: error ${errorCode}`);
    const decoded = decodeBatches(records ?? Buffer.alloc(0), partition).filter(
      (record) => record.offset >= offset,
    );
    if (decoded.length === 0) throw new Error(`${topic}/${partition} has nothing at ${offset}`);
    return decoded;
  }
}

function encodeBatch(records: readonly NewRecord[], options: ProduceOptions): Buffer {
  const encoder = new BatchEncoder();
  const headerEncoder = new HeaderEncoder();
  const input = new RecordInput();
  for (const { key = null, value = null, headers = [], timestamp = Date.now() } of records) {
    headerEncoder.reset();
    for (const [name, content] of headers)
      headerEncoder.add(bytesOf(name), content === null ? null : bytesOf(content));
    input.timestamp = timestamp;
    input.setKey(key === null ? null : bytesOf(key)).setValue(value === null ? null : bytesOf(value));
    if (!encoder.append(input.setHeaders(headerEncoder))) throw new Error('these records need two batches');
  }
  const { producerId = -1, producerEpoch = producerId < 0 ? -1 : 0, baseSequence = -1 } = options;
  const batch = encoder.finish({ producerId, producerEpoch, baseSequence });
  const compressed = compressBatch(codecs[options.codec ?? 'none'], batch);
  if (options.damaged === true) {
    compressed.fill(0xff, batchHeaderBytes);
    writeBatchHeader(compressed, 0, compressed.length, readBatchFields(compressed, 0));
  }
  return compressed;
}

function decodeBatches(buffer: Buffer, partition: number): StoredRecord[] {
  const table = new RecordTable();
  const records: StoredRecord[] = [];
  for (let at = 0, end = nextBatch(buffer, at); end !== -1; at = end, end = nextBatch(buffer, at)) {
    readRecords(table, buffer, at);
    for (let row = 0; row < table.count; row++) records.push(recordAt(table, row, partition));
  }
  return records;
}

function recordAt(table: RecordTable, row: number, partition: number): StoredRecord {
  const { buffer } = table;
  const cut = (start: number, end: number): Buffer | null =>
    start < 0 ? null : Buffer.from(buffer.subarray(start, end));
  const headers: [string, Buffer | null][] = [];
  const cursor = new HeaderCursor().open(
    buffer,
    table.headersStart[row]!,
    table.headersEnd[row]!,
    table.headerCount[row]!,
  );
  while (cursor.next()) {
    headers.push([
      buffer.toString('latin1', cursor.nameStart, cursor.nameEnd),
      cut(cursor.valueStart, cursor.valueEnd),
    ]);
  }
  return {
    partition,
    offset: table.offset(row),
    timestamp: table.timestamp(row),
    key: cut(table.keyStart[row]!, table.keyEnd[row]!),
    value: cut(table.valueStart[row]!, table.valueEnd[row]!),
    headers,
  };
}

function bytesOf(bytes: Bytes): Buffer {
  return typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
}
