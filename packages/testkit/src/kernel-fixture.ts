import type { ShardId, TopicId } from '@robustmq/core';
import type {
  BatchListener,
  Guarantee,
  Kernel,
  LogBatch,
  SegmentRecord,
  SequenceVerdict,
  Shard,
  ShardRecord,
} from '@robustmq/kernel';
import { entryFlag, LogBatch as Batch, PublishMessage } from '@robustmq/kernel';
import {
  BatchEncoder,
  HeaderEncoder,
  nextBatch,
  readRecords,
  RecordInput,
  RecordTable,
} from '@robustmq/record';
import type { MemoryStorage } from './memory-kernel.ts';

/** What became of a batch: its offset, or the code of its error. */
export type BatchOutcome = number | string;

/** Waits for the outcome of a batch. */
export function outcomeOf(batch: LogBatch): Promise<BatchOutcome> {
  return new Promise((resolve) => batch.listen(listenerOf(resolve)));
}

function listenerOf(resolve: (outcome: BatchOutcome) => void): BatchListener {
  return { settled: (batch, error) => resolve(error === null ? batch.baseOffset : error.code) };
}

/** A batch as brokers encode them, of `values` with the key `key`. */
export function brokerBatch(values: readonly string[], { key = 'k', timestamp = 1000 } = {}): LogBatch {
  return encoded(new Batch(true), values, { key, timestamp });
}

export interface ClientBatchOptions {
  readonly key?: string;
  readonly timestamp?: number;
  readonly producerId?: number;
  readonly epoch?: number;
  readonly sequence?: number;
}

/** A batch as clients encode them. */
export function clientBatch(values: readonly string[], options: ClientBatchOptions = {}): LogBatch {
  const { key = 'k', timestamp = 1000, producerId = -1, epoch = 0, sequence = -1 } = options;
  return encoded(new Batch(false), values, {
    key,
    timestamp,
    producer: { producerId, producerEpoch: epoch, baseSequence: sequence },
  });
}

function encoded(
  batch: LogBatch,
  values: readonly string[],
  { key, timestamp, producer = {} }: { key: string; timestamp: number; producer?: object },
): LogBatch {
  const encoder = new BatchEncoder({ batchBytesMax: 2 ** 22 });
  const record = new RecordInput();
  record.timestamp = timestamp;
  for (const value of values) encoder.append(record.setKey(Buffer.from(key)).setValue(Buffer.from(value)));
  const buffer = encoder.finish(producer);
  return batch.fill(buffer, 0, buffer.length, values.length, timestamp);
}

/** Stages a broker's batch and waits for its outcome. */
export function append(shard: Shard, batch: LogBatch): Promise<BatchOutcome> {
  const outcome = outcomeOf(batch);
  shard.stage(batch);
  return outcome;
}

export interface ProducedBatch {
  readonly verdict: SequenceVerdict;
  readonly outcome: Promise<BatchOutcome>;
}

/** Appends `count` records of an idempotent producer. */
export function produce(
  shard: Shard,
  { producerId = 7, epoch = 0, sequence = 0, count = 1, timestamp = 1000, padding = '' },
): ProducedBatch {
  const values = Array.from(
    { length: count },
    (_, at) => `${producerId}/${epoch}/${sequence + at}${padding}`,
  );
  const batch = clientBatch(values, { producerId, epoch, sequence, timestamp });
  const producer = { producerId, epoch, firstSequence: sequence, count };
  let verdict: SequenceVerdict | undefined;
  const outcome = new Promise<BatchOutcome>((resolve) => {
    verdict = shard.appendClient(batch, producer, listenerOf(resolve));
    if (verdict.kind === 'committed') resolve(verdict.baseOffset);
    if (verdict.kind === 'refuse') resolve(verdict.code);
  });
  return { verdict: verdict!, outcome };
}

export interface PublishInput {
  readonly guarantee?: Guarantee;
  readonly retain?: boolean;
  readonly token?: { readonly producerId: number; readonly token: number };
  readonly timestamp?: number;
}

/** Publishes under a name; returns the batch the message went into, or why it was refused. */
export function publish(
  kernel: Kernel,
  name: string,
  text: string | Buffer,
  input: PublishInput = {},
): ReturnType<Kernel['publisher']['publish']> {
  const { guarantee = 1, retain = false, token } = input;
  const message = new PublishMessage();
  message.subject = kernel.subjects.forPublish(name);
  message.guarantee = guarantee;
  message.retain = retain;
  message.record.timestamp = input.timestamp ?? kernel.modules.clock.now();
  message.record.setValue(Buffer.from(text));
  if (token !== undefined) {
    message.tokenProducer = token.producerId;
    message.token = token.token;
  }
  message.record.setHeaders(new HeaderEncoder().add(Buffer.from('mq'), mqHeader(guarantee, retain, token)));
  return kernel.publisher.publish(message);
}

function mqHeader(guarantee: Guarantee, retain: boolean, token: PublishInput['token']): Buffer {
  const flags = guarantee | (retain ? 4 : 0) | (token === undefined ? 0 : 16);
  const out = Buffer.alloc(token === undefined ? 1 : 13);
  out[0] = flags;
  if (token !== undefined) {
    out.writeBigInt64BE(BigInt(token.producerId), 1);
    out.writeUInt32BE(token.token, 9);
  }
  return out;
}

/** Publishes and waits for the commit; the code of what went wrong otherwise. */
export async function publishThrough(
  kernel: Kernel,
  name: string,
  text: string | Buffer,
  input: PublishInput = {},
): Promise<BatchOutcome> {
  const batch = publish(kernel, name, text, input);
  return typeof batch === 'string' ? batch : outcomeOf(batch);
}

/** Every record that a shard can be read for, as `offset:value`. */
export async function valuesOf(shard: Shard): Promise<string[]> {
  const values: string[] = [];
  const table = new RecordTable();
  for (let offset = shard.startOffset; offset < shard.highWatermark; ) {
    const options = { maxBytes: 1 << 20, limit: shard.highWatermark, lost: () => undefined };
    const answer = await shard.read(offset, options);
    for (const entry of answer.entries) {
      if ((entry.flags & entryFlag.control) !== 0) continue;
      for (
        let at = 0, end = nextBatch(entry.payload, 0);
        end !== -1;
        at = end, end = nextBatch(entry.payload, at)
      ) {
        readRecords(table, entry.payload, at);
        for (let row = 0; row < table.count; row++) {
          if (table.offset(row) >= offset)
            values.push(`${table.offset(row)}:${table.value(row)?.toString()}`);
        }
      }
    }
    offset = answer.nextOffset;
  }
  return values;
}

/** The shard's record in the metadata. */
export function recordOf(storage: MemoryStorage, shard: ShardId): ShardRecord {
  return storage.metadata.image.shards.get(shard)!;
}

/** Its newest segment. */
export function lastSegment(storage: MemoryStorage, shard: ShardId): SegmentRecord {
  return recordOf(storage, shard).segments.at(-1)!;
}

/** Opens the only shard of a topic that is created here. */
export async function createShard(
  kernel: Kernel,
  name: string,
  config: Readonly<Record<string, string>> = {},
): Promise<Shard> {
  const topic = await kernel.topics.create(name, 1, new Map(Object.entries(config)));
  return kernel.openShard(topic.shards[0]!);
}

/** Opens the only shard of a topic again, as after a restart. */
export function reopenShard(kernel: Kernel, topic: TopicId): Promise<Shard> {
  return kernel.openShard(kernel.topics.byId(topic)!.shards[0]!);
}
