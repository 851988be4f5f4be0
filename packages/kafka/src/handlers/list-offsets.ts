import { decodeRequest, encodeResponse, errorCodes, listOffsets, zeroUuid } from '@robustmq/kafka-codec';
import type { RequestOf, ResponseInput } from '@robustmq/kafka-codec';
import { entryFlag } from '@robustmq/kernel';
import type { Shard } from '@robustmq/kernel';
import {
  batchCodec,
  batchMaxTimestamp,
  codecs,
  decompressBatchAsync,
  findOffsetByTimestamp,
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
    const partitions: PartitionAnswer[] = [];
    for (const partition of asked.partitions) {
      if (topic === undefined) partitions.push(refusal(partition, missingTopic(named)));
      else {
        const shard = await shardOf(context.kernel, topic, partition.partitionIndex);
        const withEpoch = apiVersion >= epochVersion;
        partitions.push(
          typeof shard === 'number' ? refusal(partition, shard) : await answer(shard, partition, withEpoch),
        );
      }
    }
    topics.push({ name: asked.name, partitions });
  }
  return encodeResponse(listOffsets, apiVersion, correlationId, { topics });
}

async function answer(shard: Shard, asked: Asked, withEpoch: boolean): Promise<PartitionAnswer> {
  const wrongEpoch = epochError(shard, asked.currentLeaderEpoch);
  if (wrongEpoch !== errorCodes.NONE) return refusal(asked, wrongEpoch);
  const found = (offset: number, timestamp: number): PartitionAnswer => ({
    partitionIndex: asked.partitionIndex,
    errorCode: errorCodes.NONE,
    offset,
    timestamp,
    ...(withEpoch ? { leaderEpoch: shard.epoch } : undefined),
  });
  try {
    if (asked.timestamp === latest) return found(shard.highWatermark, -1);
    if (asked.timestamp === earliest || asked.timestamp === earliestLocal)
      return found(shard.startOffset, -1);
    const match =
      asked.timestamp === maxTimestamp
        ? await youngest(shard)
        : await firstAt(shard, Math.max(asked.timestamp, 0));
    return match === null ? found(-1, -1) : found(match.offset, match.timestamp);
  } catch (error) {
    return refusal(asked, errorNumber(error));
  }
}

/** The first record at or after `timestamp`; looked for from the entry that the index names. */
async function firstAt(shard: Shard, timestamp: number): Promise<TimestampMatch | null> {
  const from = await shard.seekTimestamp(timestamp);
  if (from === null) return null;
  return scan(shard, from, (newest, table) =>
    newest >= timestamp ? findOffsetByTimestamp(table, timestamp) : null,
  );
}

async function youngest(shard: Shard): Promise<TimestampMatch | null> {
  let best: TimestampMatch | null = null;
  await scan(shard, shard.startOffset, (newest, table) => {
    if (best === null || newest > best.timestamp) best = findOffsetByTimestamp(table, newest);
    return null;
  });
  return best;
}

type Visit = (newest: number, table: RecordTable) => TimestampMatch | null;

async function scan(shard: Shard, from: number, visit: Visit): Promise<TimestampMatch | null> {
  const table = new RecordTable();
  const limit = shard.highWatermark;
  for (let offset = from; offset < limit; ) {
    const read = await shard.read(offset, { maxBytes: readBytes, limit });
    for (const entry of read.entries) {
      if ((entry.flags & entryFlag.control) !== 0) continue;
      const { payload } = entry;
      for (let at = 0, end = nextBatch(payload, 0); end !== -1; at = end, end = nextBatch(payload, at)) {
        const packed = batchCodec(payload, at) !== codecs.none;
        const section = packed ? await decompressBatchAsync(payload, at, end) : undefined;
        readRecords(table, payload, at, section);
        const match = visit(batchMaxTimestamp(payload, at), table);
        if (match !== null && match.offset >= from) return match;
      }
    }
    offset = read.nextOffset;
  }
  return null;
}

function refusal(asked: Asked, errorCode: number): PartitionAnswer {
  return { partitionIndex: asked.partitionIndex, errorCode };
}
