import { RobustError } from '@robustmq/core';
import {
  encodeResponse,
  encodeResponseInto,
  errorCodes,
  ownedRequestBytesMin,
  produce,
  ProduceRequestCursor,
} from '@robustmq/kafka-codec';
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
import type { KafkaContext, LateAnswer, Request } from '../adapter.ts';
import { OpenCall } from '../produce-deadlines.ts';
import type { ProduceDeadlines } from '../produce-deadlines.ts';
import { later } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { findTopic, missingTopic, shardOf } from '../partitions.ts';

/** Where all formats have the byte that tells them apart, and the bytes up to it. */
const magicBytes = 17;
/** No batch decompresses to more records: its output is at most 64 MiB. */
const recordsMax = Math.floor((64 * 1024 * 1024) / recordBytesMin);

/** One cursor serves all requests: a request is walked in one go. */
const cursor = new ProduceRequestCursor();

/** A partition of a request: what its answer says, in the fields of the response, and who is told of its batch. */
class PartitionAppend implements BatchListener {
  readonly index: number;
  errorCode: ErrorNumber = errorCodes.NONE;
  baseOffset = -1;
  logStartOffset = -1;
  logAppendTimeMs = -1;
  readonly #call: ProduceCall;
  #shard: Shard | null = null;
  #open = true;

  constructor(call: ProduceCall, index: number) {
    this.#call = call;
    this.index = index;
  }

  /** False when the request was answered already: the client has been told that nobody knows. */
  goesTo(shard: Shard): boolean {
    this.#shard = shard;
    return !this.#call.answered;
  }

  settled(batch: LogBatch, error: RobustError | null): void {
    if (error === null) this.committed(batch.baseOffset);
    else this.fail(errorNumber(error));
  }

  committed(baseOffset: number): void {
    if (!this.#open) return;
    this.#open = false;
    this.baseOffset = baseOffset;
    this.logStartOffset = this.#shard!.startOffset;
    this.#call.release();
  }

  fail(errorCode: ErrorNumber): void {
    if (!this.#open) return;
    this.#open = false;
    this.errorCode = errorCode;
    this.#call.failed = true;
    this.#call.release();
  }
}

/**
 * A request and the answer under construction; given when every partition is settled, or when the client's timeout is
 * over: what was appended by then goes on, and those who can repeat it safely do so with the same sequence.
 */
class ProduceCall extends OpenCall implements LateAnswer {
  readonly dueAt: number;
  readonly #request: Request;
  readonly #acks: number;
  readonly #deadlines: ProduceDeadlines;
  #topics: { name: string; topicId: string; partitionResponses: PartitionAppend[] }[] = [];
  /** Where the last of them is in the request, which may name topics without a partition as well. */
  #topicIndex = -1;
  /** Partitions that are not settled, and one for the walk over the request. */
  #open = 1;
  failed = false;

  constructor(request: Request, asked: { acks: number; timeoutMs: number }, deadlines: ProduceDeadlines) {
    super();
    this.#request = request;
    this.#acks = asked.acks;
    this.#deadlines = deadlines;
    this.dueAt = deadlines.dueIn(asked.timeoutMs);
  }

  get answered(): boolean {
    return this.#open === 0;
  }

  /** The request was walked to its end: from now on it is answered when the last partition is, or at its deadline. */
  walked(): void {
    if (this.#open > 1 && this.#acks !== 0) this.#deadlines.add(this);
    this.release();
  }

  expire(): void {
    for (const { partitionResponses } of this.#topics)
      for (const partition of partitionResponses) partition.fail(errorCodes.REQUEST_TIMED_OUT);
  }

  partition(topicIndex: number, named: { name: string; id: string }, index: number): PartitionAppend {
    const partition = new PartitionAppend(this, index);
    if (topicIndex === this.#topicIndex) this.#topics.at(-1)!.partitionResponses.push(partition);
    else {
      const topic = { name: named.name, topicId: named.id, partitionResponses: [partition] };
      // Room for one where there is one: `push` to an empty list makes room for seventeen.
      if (this.#topics.length === 0) this.#topics = [topic];
      else this.#topics.push(topic);
      this.#topicIndex = topicIndex;
    }
    this.#open++;
    return partition;
  }

  release(): void {
    if (--this.#open > 0) return;
    this.#deadlines.remove(this);
    const request = this.#request;
    if (this.#acks !== 0) request.answer(this);
    else if (this.failed) {
      // Nobody waits for an answer; the only way to tell the client of an error is to close.
      request.refuse(new RobustError('OUTCOME_UNKNOWN', 'a produce request without acknowledgement failed'));
    } else request.answer(null);
  }

  encode(): Buffer[] {
    const { apiVersion, correlationId } = this.#request;
    return encodeResponse(produce, apiVersion, correlationId, this.#response);
  }

  encodeInto(target: { readonly bytes: Buffer; readonly at: number }): number {
    const { apiVersion, correlationId } = this.#request;
    return encodeResponseInto(produce, apiVersion, correlationId, this.#response, target);
  }

  get #response(): ResponseInput<typeof produce> {
    return { responses: this.#topics };
  }
}

/** Appends one batch per partition, as the client encoded it; answers when all of them are committed. */
export function handleProduce(context: KafkaContext, request: Request): typeof later {
  const { apiVersion, frame, bodyStart } = request;
  cursor.open(apiVersion, frame, bodyStart);
  const { acks, timeoutMs, transactionalId } = cursor;
  const refused = requestError(acks, transactionalId);
  const call = new ProduceCall(request, { acks, timeoutMs }, context.produceDeadlines);
  while (cursor.next()) {
    const named = { name: cursor.topicName, id: cursor.topicId, byId: cursor.byId };
    const partition = call.partition(cursor.topicIndex, named, cursor.partitionIndex);
    if (refused !== errorCodes.NONE) {
      partition.fail(refused);
      continue;
    }
    const topic = findTopic(context.kernel, named);
    if (topic === undefined) {
      partition.fail(missingTopic(named));
      continue;
    }
    const { recordsStart: start, recordsLength } = cursor;
    const end = start + recordsLength;
    const shard = shardOf(context.kernel, topic, cursor.partitionIndex);
    if (shard instanceof Promise) {
      const records = { frame: request.keep(), start, end, version: apiVersion };
      void shard.then((opened) => append(context, opened, records, partition));
    } else append(context, shard, { frame, start, end, version: apiVersion }, partition);
  }
  call.walked();
  return later;
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
  partition: PartitionAppend,
): void {
  if (typeof shard === 'number') {
    partition.fail(shard);
    return;
  }
  const problem = batchError(context, shard, records);
  if (problem !== errorCodes.NONE) {
    partition.fail(problem);
    return;
  }
  if (!partition.goesTo(shard)) return;
  const { start, end } = records;
  const { frame } = records;
  if (shard.config.timestampType === 'append') {
    partition.logAppendTimeMs = context.clock.now();
    stampAppendTime(frame, start, partition.logAppendTimeMs);
  }
  const count = batchRecordCount(frame, start);
  const batch = new LogBatch(false).fill(frame, start, end, count, batchMaxTimestamp(frame, start));
  // A small one may lie in memory that is read into again, and the log must not keep a whole request for its sake.
  batch.borrowed = end - start < ownedRequestBytesMin;
  context.counters.producedBatches++;
  context.counters.producedBytes += end - start;
  const verdict = shard.appendClient(batch, producerOf(frame, start, count), partition);
  if (verdict.kind === 'committed') partition.committed(verdict.baseOffset);
  else if (verdict.kind === 'refuse') {
    const stale = verdict.code === 'PRODUCER_EPOCH_STALE';
    const limit = verdict.code === 'PRODUCER_LIMIT' ? errorCodes.POLICY_VIOLATION : null;
    const sequence = stale ? errorCodes.INVALID_PRODUCER_EPOCH : errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER;
    partition.fail(limit ?? sequence);
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
