import { RobustError } from '@robustmq/core';
import { decodeRequest, encodeResponse, errorCodes, listOffsets, zeroUuid } from '@robustmq/kafka-codec';
import type { RequestOf, ResponseInput } from '@robustmq/kafka-codec';
import { entryFlag } from '@robustmq/kernel';
import type { Shard } from '@robustmq/kernel';
import {
  batchBaseOffset,
  batchCodec,
  batchLastOffset,
  batchMaxTimestamp,
  codecs,
  decompressBatchAsync,
  nextBatch,
  readRecords,
  RecordTable,
} from '@robustmq/record';
import type { TimestampMatch } from '@robustmq/record';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { epochError, findTopic, missingTopic, shardOf } from '../partitions.ts';

type Asked = RequestOf<typeof listOffsets>['topics'][number]['partitions'][number];
type TopicAnswer = NonNullable<ResponseInput<typeof listOffsets>['topics']>[number];
type PartitionAnswer = NonNullable<TopicAnswer['partitions']>[number];

const latest = -1;
const earliest = -2;
const maxTimestamp = -3;
const earliestLocal = -4;
const latestTiered = -5;
/** The first version that knows a special timestamp. */
const sinceVersion = new Map([
  [latest, 0],
  [earliest, 0],
  [maxTimestamp, 7],
  [earliestLocal, 8],
  [latestTiered, 9],
]);
/** The first version whose answer has the leader epoch. */
const epochVersion = 4;
const readBytes = 1024 * 1024;

/** Offsets by time: the ends of the log, the youngest record, or the first record at or after a timestamp. */
export async function handleListOffsets(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(listOffsets, apiVersion, request.frame, request.bodyStart);
  const topics: TopicAnswer[] = [];
  for (const asked of body.topics) {
    const named = { name: asked.name, id: zeroUuid, byId: false };
    const topic = findTopic(context.kernel, named);
    const twice = repeated(asked.partitions);
    const partitions: PartitionAnswer[] = [];
    for (const partition of asked.partitions) {
      if (topic === undefined) partitions.push(refusal(partition, missingTopic(named)));
      else if (twice.has(partition.partitionIndex)) {
        partitions.push(refusal(partition, errorCodes.INVALID_REQUEST));
      } else {
        const shard = await shardOf(context.kernel, topic, partition.partitionIndex);
        partitions.push(
          typeof shard === 'number' ? refusal(partition, shard) : await answer(shard, partition, apiVersion),
        );
      }
    }
    topics.push({ name: asked.name, partitions });
  }
  return encodeResponse(listOffsets, apiVersion, correlationId, { topics });
}

/** Partitions that are asked for more than once: a look at a timestamp may read much of the log. */
function repeated(partitions: readonly Asked[]): Set<number> {
  const seen = new Set<number>();
  const twice = new Set<number>();
  for (const { partitionIndex } of partitions) (seen.has(partitionIndex) ? twice : seen).add(partitionIndex);
  return twice;
}

async function answer(shard: Shard, asked: Asked, apiVersion: number): Promise<PartitionAnswer> {
  const wrongEpoch = epochError(shard, asked.currentLeaderEpoch);
  if (wrongEpoch !== errorCodes.NONE) return refusal(asked, wrongEpoch);
  const { partitionIndex, timestamp } = asked;
  const none = { partitionIndex, errorCode: errorCodes.NONE, offset: -1, timestamp: -1 };
  const found = (offset: number, at: number): PartitionAnswer => ({
    ...none,
    offset,
    timestamp: at,
    ...(apiVersion >= epochVersion ? { leaderEpoch: shard.epoch } : undefined),
  });
  if ((sinceVersion.get(timestamp) ?? 0) > apiVersion) {
    return refusal(asked, errorCodes.UNSUPPORTED_VERSION);
  }
  try {
    if (timestamp === latest) return found(shard.highWatermark, -1);
    if (timestamp === earliest || timestamp === earliestLocal) return found(shard.startOffset, -1);
    // Nothing lies in another storage.
    if (timestamp === latestTiered) return none;
    const match = await (timestamp === maxTimestamp
      ? youngest(shard)
      : firstAt(shard, Math.max(timestamp, 0)));
    return match === null ? none : found(match.offset, match.timestamp);
  } catch (error) {
    return refusal(asked, errorNumber(error));
  }
}

/** The first record at or after `timestamp`; looked for from the entry that the index names. */
async function firstAt(shard: Shard, timestamp: number): Promise<TimestampMatch | null> {
  const from = await shard.seekTimestamp(timestamp);
  if (from === null) return null;
  return scan(shard, from, (batch) => (batch.newest >= timestamp ? firstIn(batch, timestamp) : null));
}

/** The first record with the highest timestamp. Of a batch with one that is not the highest nothing is decoded. */
async function youngest(shard: Shard): Promise<TimestampMatch | null> {
  let best: Batch | null = null;
  await scan(shard, shard.startOffset, (batch) => {
    if (best === null || batch.newest > best.newest) best = batch;
    return null;
  });
  return best === null ? null : firstIn(best, (best as Batch).newest);
}

interface Batch {
  readonly payload: Buffer;
  readonly at: number;
  readonly end: number;
  /** Records below it were deleted, or lie before where the search began. */
  readonly from: number;
  /** The highest timestamp, as the header has it. */
  readonly newest: number;
}

type Visit = (batch: Batch) => TimestampMatch | null | Promise<TimestampMatch | null>;

/** Shows batches from `from` on to `visit` until it finds something. */
async function scan(shard: Shard, from: number, visit: Visit): Promise<TimestampMatch | null> {
  const limit = shard.highWatermark;
  for (let offset = from; offset < limit; ) {
    const read = await shard.read(offset, { maxBytes: readBytes, limit });
    for (const { flags, payload } of read.entries) {
      if ((flags & entryFlag.control) !== 0) continue;
      for (let at = 0, end = nextBatch(payload, 0); end !== -1; at = end, end = nextBatch(payload, at)) {
        if (batchLastOffset(payload, at) < from) continue;
        const match = await visit({ payload, at, end, from, newest: batchMaxTimestamp(payload, at) });
        if (match !== null) return match;
      }
    }
    offset = read.nextOffset;
  }
  return null;
}

/**
 * The first record of a batch at or after `timestamp`. Of a batch that cannot be decoded it is the first record:
 * whoever reads from there misses nothing.
 */
async function firstIn({ payload, at, end, from }: Batch, timestamp: number): Promise<TimestampMatch | null> {
  const table = new RecordTable();
  try {
    const packed = batchCodec(payload, at) !== codecs.none;
    readRecords(table, payload, at, packed ? await decompressBatchAsync(payload, at, end) : undefined);
  } catch (error) {
    if (!(error instanceof RobustError)) throw error;
    return {
      offset: Math.max(batchBaseOffset(payload, at), from),
      timestamp: batchMaxTimestamp(payload, at),
    };
  }
  for (let row = 0; row < table.count; row++) {
    const found = { offset: table.offset(row), timestamp: table.timestamp(row) };
    if (found.offset >= from && found.timestamp >= timestamp) return found;
  }
  return null;
}

function refusal(asked: Asked, errorCode: number): PartitionAnswer {
  return { partitionIndex: asked.partitionIndex, errorCode };
}
