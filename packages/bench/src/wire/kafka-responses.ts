import { readInt64 } from '@robustmq/core';
import {
  batchBytesAt,
  batchChecksumHolds,
  batchHeaderBytes,
  lastOffsetDeltaOf,
  recordCountOf,
} from './record-batch.ts';

/** Each reader takes a frame's body (correlation id first) and expects exactly one topic and one partition. */

export interface ProduceResult {
  readonly error: number;
  readonly baseOffset: number;
}

export function readProduce(bytes: Buffer, from: number): ProduceResult {
  const partition = skipToPartition(bytes, from + 4);
  return { error: bytes.readInt16BE(partition + 4), baseOffset: readInt64(bytes, partition + 6) };
}

/** The offset that a ListOffsets asked for. */
export function readListOffsets(
  bytes: Buffer,
  from: number,
): { readonly error: number; readonly offset: number } {
  const partition = skipToPartition(bytes, from + 4);
  return { error: bytes.readInt16BE(partition + 4), offset: readInt64(bytes, partition + 14) };
}

export interface FetchResult {
  readonly error: number;
  readonly highWatermark: number;
  /** Records in the whole batches of the response. */
  readonly records: number;
  /** Bytes of those batches. */
  readonly batchBytes: number;
  /** The offset after the last whole batch; the offset asked for when there is none. */
  readonly nextOffset: number;
}

/** Is shown each whole batch; the bytes are valid during the call only. */
export interface BatchVisitor {
  (bytes: Buffer, at: number, end: number): void;
}

/**
 * Walks the batches by their headers. A last batch that is cut short is not counted: brokers may cut
 * at the byte limit. Throws when the offsets leave a gap, or a checksum that `verify` asks for fails.
 */
export function readFetch(
  bytes: Buffer,
  from: number,
  offset: number,
  verify: boolean,
  visit?: BatchVisitor,
): FetchResult {
  const partition = skipToPartition(bytes, from + 8);
  const error = bytes.readInt16BE(partition + 4);
  const highWatermark = readInt64(bytes, partition + 6);
  const aborted = bytes.readInt32BE(partition + 22);
  let at = partition + 26 + Math.max(0, aborted) * 16;
  const end = at + 4 + Math.max(0, bytes.readInt32BE(at));
  at += 4;
  const first = at;
  let records = 0;
  let nextOffset = offset;
  while (at + batchHeaderBytes <= end) {
    const length = batchBytesAt(bytes, at, end);
    if (length < batchHeaderBytes || at + length > end) break;
    const base = readInt64(bytes, at);
    // The first batch may begin before the offset asked for; after that there must be no gap.
    if (base > nextOffset || (at > first && base !== nextOffset)) {
      throw new Error(`fetched offset ${base} where ${nextOffset} was next`);
    }
    if (verify && !batchChecksumHolds(bytes, at, at + length)) {
      throw new Error(`the batch at offset ${base} fails its checksum`);
    }
    visit?.(bytes, at, at + length);
    records += recordCountOf(bytes, at);
    nextOffset = base + lastOffsetDeltaOf(bytes, at) + 1;
    at += length;
  }
  return { error, highWatermark, records, batchBytes: at - first, nextOffset };
}

/** Error of the one topic in a CreateTopics response. */
export function readCreateTopic(bytes: Buffer, from: number): number {
  const topic = from + 4 + 4 + 4;
  return bytes.readInt16BE(topic + 2 + bytes.readInt16BE(topic));
}

export interface TopicLeaders {
  readonly error: number;
  readonly partitions: number;
  /** Partitions that have a leader. */
  readonly led: number;
}

/** What a Metadata response says of its one topic. */
export function readLeaders(bytes: Buffer, from: number): TopicLeaders {
  let at = from + 8;
  const brokers = bytes.readInt32BE(at);
  at += 4;
  for (let i = 0; i < brokers; i++) {
    at = skipText(bytes, at + 4) + 4;
    at = skipText(bytes, at);
  }
  at = skipText(bytes, at) + 4 + 4;
  const error = bytes.readInt16BE(at);
  at = skipText(bytes, at + 2) + 1;
  const partitions = bytes.readInt32BE(at);
  at += 4;
  let led = 0;
  for (let i = 0; i < partitions; i++) {
    if (bytes.readInt16BE(at) === 0 && bytes.readInt32BE(at + 6) >= 0) led++;
    at += 10;
    at += 4 + 4 * bytes.readInt32BE(at);
    at += 4 + 4 * bytes.readInt32BE(at);
  }
  return { error, partitions, led };
}

/** From the array of topics to the first partition's index field. */
function skipToPartition(bytes: Buffer, topicsAt: number): number {
  if (bytes.readInt32BE(topicsAt) !== 1) throw new Error('expected one topic in the response');
  const partitions = skipText(bytes, topicsAt + 4);
  if (bytes.readInt32BE(partitions) !== 1) throw new Error('expected one partition in the response');
  return partitions + 4;
}

/** Past a string; null has length -1. */
function skipText(bytes: Buffer, at: number): number {
  return at + 2 + Math.max(0, bytes.readInt16BE(at));
}
