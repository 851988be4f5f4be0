import { RobustError } from '@robustmq/core';
import { encodeResponse, errorCodes, produce, ProduceRequestCursor } from '@robustmq/kafka-codec';
import type { ErrorNumber, ResponseInput } from '@robustmq/kafka-codec';
import { LogBatch } from '@robustmq/kernel';
import type { BatchListener, Shard } from '@robustmq/kernel';
import {
  batchBaseSequence,
  batchCodec,
  batchHasAppendTime,
  batchIsControl,
  batchIsTransactional,
  batchMagic,
  batchMagicByte,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchRecordCount,
  codecs,
  recordBytesMin,
  stampAppendTime,
  validateBatch,
} from '@robustmq/record';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { findTopic, missingTopic, shardOf } from '../partitions.ts';

type TopicAnswer = NonNullable<ResponseInput<typeof produce>['responses']>[number];
type PartitionAnswer = NonNullable<TopicAnswer['partitionResponses']>[number] & {
  errorCode: number;
  baseOffset: number;
  logStartOffset: number;
  logAppendTimeMs: number;
};

/** Where all formats have the byte that tells them apart, and the bytes up to it. */
const magicBytes = 17;
/** No batch decompresses to more records: its output is at most 64 MiB. */
const recordsMax = Math.floor((64 * 1024 * 1024) / recordBytesMin);

/** One cursor serves all requests: a request is walked in one go. */
const cursor = new ProduceRequestCursor();

/** The answer under construction: one promise per request, however many partitions it has. */
class Pending {
  readonly #topics: { name: string; topicId: string; partitionResponses: PartitionAnswer[] }[] = [];
  #open = 1;
  #done: () => void = () => undefined;
  failed = false;

  get topics(): TopicAnswer[] {
    return this.#topics;
  }

  partition(topicIndex: number, name: string, topicId: string, index: number): PartitionAnswer {
    if (this.#topics.length === topicIndex) this.#topics.push({ name, topicId, partitionResponses: [] });
    const answer = { index, errorCode: 0, baseOffset: -1, logStartOffset: -1, logAppendTimeMs: -1 };
    this.#topics[topicIndex]!.partitionResponses.push(answer);
    return answer;
  }

  wait(): void {
    this.#open++;
  }

  settle(answer: PartitionAnswer | null, errorCode: ErrorNumber): void {
    if (answer !== null) answer.errorCode = errorCode;
    if (errorCode !== errorCodes.NONE) this.failed = true;
    if (--this.#open === 0) this.#done();
  }

  /** Resolves when every partition is settled; null when that is already so. */
  whenDone(): Promise<void> | null {
    this.#open--;
    if (this.#open === 0) return null;
    return new Promise((resolve) => {
      this.#done = resolve;
    });
  }
}

/** Appends one batch per partition, as the client encoded it; answers when all of them are committed. */
export function handleProduce(context: KafkaContext, request: Request): Answer | Promise<Answer> {
  const { apiVersion, frame, bodyStart } = request;
  cursor.open(apiVersion, frame, bodyStart);
  const { acks, transactionalId } = cursor;
  const refused = requestError(acks, transactionalId);
  const pending = new Pending();
  while (cursor.next()) {
    const named = { name: cursor.topicName, id: cursor.topicId, byId: cursor.byId };
    const answer = pending.partition(cursor.topicIndex, named.name, named.id, cursor.partitionIndex);
    pending.wait();
    if (refused !== errorCodes.NONE) {
      pending.settle(answer, refused);
      continue;
    }
    const topic = findTopic(context.kernel, named);
    if (topic === undefined) {
      pending.settle(answer, missingTopic(named));
      continue;
    }
    const { recordsStart, recordsLength } = cursor;
    const records = { frame, start: recordsStart, end: recordsStart + recordsLength, version: apiVersion };
    const shard = shardOf(context.kernel, topic, cursor.partitionIndex);
    if (shard instanceof Promise) {
      void shard.then((opened) => append(context, opened, records, answer, pending));
    } else append(context, shard, records, answer, pending);
  }
  const waiting = pending.whenDone();
  const finish = (): Answer => respond(request, acks, pending);
  return waiting === null ? finish() : waiting.then(finish);
}

interface Records {
  readonly frame: Buffer;
  readonly start: number;
  readonly end: number;
  readonly version: number;
}

function append(
  context: KafkaContext,
  shard: Shard | ErrorNumber,
  records: Records,
  answer: PartitionAnswer,
  pending: Pending,
): void {
  if (typeof shard === 'number') {
    pending.settle(answer, shard);
    return;
  }
  const problem = batchError(context, shard, records);
  if (problem !== errorCodes.NONE) {
    pending.settle(answer, problem);
    return;
  }
  const { start, end } = records;
  // A small batch must not keep the whole read buffer alive, nor be patched in a buffer that others share.
  const owned = end - start < 16 * 1024;
  const buffer = owned ? Buffer.from(records.frame.subarray(start, end)) : records.frame;
  const at = owned ? 0 : start;
  const to = owned ? end - start : end;
  if (shard.config.timestampType === 'append') {
    answer.logAppendTimeMs = context.clock.now();
    stampAppendTime(buffer, at, answer.logAppendTimeMs);
  }
  const count = batchRecordCount(buffer, at);
  const batch = new LogBatch(false).fill(buffer, at, to, count, batchMaxTimestamp(buffer, at));
  context.counters.producedBatches++;
  context.counters.producedBytes += to - at;
  const listener: BatchListener = {
    settled: (settled: LogBatch, error: RobustError | null) => {
      answer.baseOffset = error === null ? settled.baseOffset : -1;
      answer.logStartOffset = error === null ? shard.startOffset : -1;
      pending.settle(answer, error === null ? errorCodes.NONE : errorNumber(error));
    },
  };
  const verdict = shard.appendClient(batch, producerOf(buffer, at, count), listener);
  if (verdict.kind === 'committed') {
    answer.baseOffset = verdict.baseOffset;
    answer.logStartOffset = shard.startOffset;
    pending.settle(answer, errorCodes.NONE);
  } else if (verdict.kind === 'refuse') {
    const stale = verdict.code === 'PRODUCER_EPOCH_STALE';
    const limit = verdict.code === 'PRODUCER_LIMIT' ? errorCodes.POLICY_VIOLATION : null;
    const sequence = stale ? errorCodes.INVALID_PRODUCER_EPOCH : errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER;
    pending.settle(answer, limit ?? sequence);
  }
}

function producerOf(buffer: Buffer, at: number, count: number): Parameters<Shard['appendClient']>[1] {
  const producerId = batchProducerId(buffer, at);
  if (producerId < 0) return null;
  return {
    producerId,
    epoch: batchProducerEpoch(buffer, at),
    firstSequence: batchBaseSequence(buffer, at),
    count,
  };
}

function requestError(acks: number, transactionalId: string | null): ErrorNumber {
  if (acks !== 0 && acks !== 1 && acks !== -1) return errorCodes.INVALID_REQUIRED_ACKS;
  return transactionalId === null ? errorCodes.NONE : errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
}

/** Kafka's checks of one batch, from its header and checksum alone. */
function batchError(
  context: KafkaContext,
  shard: Shard,
  { frame, start, end, version }: Records,
): ErrorNumber {
  if (end <= start) return errorCodes.INVALID_RECORD;
  // A message of an older format may be shorter than a batch, and is sound.
  if (end - start >= magicBytes && batchMagicByte(frame, start) !== batchMagic)
    return errorCodes.INVALID_RECORD;
  if (end - start > shard.config.maxMessageBytes) return errorCodes.MESSAGE_TOO_LARGE;
  const problem = validateBatch(frame, start, end);
  switch (problem) {
    case null:
      break;
    case 'BATCH_TRUNCATED':
    case 'BATCH_LENGTH':
    case 'BATCH_CRC':
      return errorCodes.CORRUPT_MESSAGE;
    case 'BATCH_CODEC':
      return errorCodes.UNSUPPORTED_COMPRESSION_TYPE;
    default:
      return errorCodes.INVALID_RECORD;
  }
  if (batchIsControl(frame, start)) return errorCodes.INVALID_RECORD;
  if (batchIsTransactional(frame, start)) return errorCodes.INVALID_TXN_STATE;
  if (batchCodec(frame, start) === codecs.zstd && version < 7) return errorCodes.UNSUPPORTED_COMPRESSION_TYPE;
  if (producerInvalid(frame, start)) return errorCodes.INVALID_RECORD;
  // What is compressed is not looked at, so a count that no section can hold would only use up offsets.
  if (batchRecordCount(frame, start) > recordsMax) return errorCodes.INVALID_RECORD;
  // Only brokers stamp batches with the time of append.
  if (batchHasAppendTime(frame, start)) return errorCodes.INVALID_TIMESTAMP;
  const newest = context.clock.now() + shard.config.timestampAfterMaxMs;
  if (shard.config.timestampType === 'create' && batchMaxTimestamp(frame, start) > newest) {
    return errorCodes.INVALID_TIMESTAMP;
  }
  return context.kernel.appender.admitting ? errorCodes.NONE : errorCodes.KAFKA_STORAGE_ERROR;
}

/** With a producer id, epoch and sequence are there, too. */
function producerInvalid(frame: Buffer, start: number): boolean {
  if (batchProducerId(frame, start) < 0) return false;
  return batchBaseSequence(frame, start) < 0 || batchProducerEpoch(frame, start) < 0;
}

function respond(request: Request, acks: number, pending: Pending): Answer {
  if (acks !== 0) {
    return encodeResponse(produce, request.apiVersion, request.correlationId, { responses: pending.topics });
  }
  // Nobody waits for an answer; the only way to tell the client of an error is to close.
  if (pending.failed)
    throw new RobustError('OUTCOME_UNKNOWN', 'a produce request without acknowledgement failed');
  return null;
}
