import { encodeResponse, errorCodes, fetch, FetchRequestColumns, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber, ResponseInput } from '@robustmq/kafka-codec';
import { entryFlag } from '@robustmq/kernel';
import type { Shard } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { epochError, findTopic, missingTopic, shardOf } from '../partitions.ts';

type TopicAnswer = NonNullable<ResponseInput<typeof fetch>['responses']>[number];
type PartitionAnswer = NonNullable<TopicAnswer['partitions']>[number];

/** Bytes of one answer, whatever the client asks for. */
const answerBytesMax = 55 * 1024 * 1024;
/** A long poll waits at most this long. */
const waitMsMax = 5 * 60_000;

interface Row {
  readonly topic: string;
  readonly partition: number;
  readonly shard: Shard | ErrorNumber;
  readonly offset: number;
  readonly maxBytes: number;
  readonly clientEpoch: number;
}

/**
 * Returns stored batches as they are, gathered into the response without copying; waits for `minBytes` or the time
 * that the client gives. Never above the high watermark; at least one batch whatever the limits.
 */
export async function handleFetch(context: KafkaContext, request: Request): Promise<Answer> {
  const columns = new FetchRequestColumns();
  columns.decode(request.apiVersion, request.frame, request.bodyStart);
  const { byId, maxWaitMs, minBytes } = columns;
  const maxBytes = Math.min(columns.maxBytes, answerBytesMax);
  const rows = await rowsOf(context, columns);
  const deadline = context.clock.monotonic() + Math.min(Math.max(maxWaitMs, 0), waitMsMax);
  for (;;) {
    const { topics, bytes, error } = await collect(context, rows, { byId, maxBytes });
    const left = deadline - context.clock.monotonic();
    if (bytes >= minBytes || error || left <= 0 || rows.length === 0) {
      context.counters.fetchedBytes += bytes;
      return encodeResponse(fetch, request.apiVersion, request.correlationId, { responses: topics });
    }
    await advance(context, rows, left);
  }
}

async function rowsOf(context: KafkaContext, columns: FetchRequestColumns): Promise<Row[]> {
  const rows: Row[] = [];
  for (let row = 0; row < columns.partitionCount; row++) {
    const topicName = columns.topics[columns.topicOf[row]!]!;
    const named = { name: topicName, id: topicName, byId: columns.byId };
    const topic = findTopic(context.kernel, named);
    const partition = columns.partition[row]!;
    const shard = topic === undefined ? missingTopic(named) : await shardOf(context.kernel, topic, partition);
    rows.push({
      topic: topicName,
      partition,
      shard,
      offset: columns.fetchOffset[row]!,
      maxBytes: columns.partitionMaxBytes[row]!,
      clientEpoch: columns.currentLeaderEpoch[row]!,
    });
  }
  return rows;
}

interface Collected {
  readonly topics: TopicAnswer[];
  readonly bytes: number;
  readonly error: boolean;
}

async function collect(
  context: KafkaContext,
  rows: readonly Row[],
  limits: { byId: boolean; maxBytes: number },
): Promise<Collected> {
  const topics: { topic: string; topicId: string; partitions: PartitionAnswer[] }[] = [];
  let bytes = 0;
  let error = false;
  for (const row of rows) {
    let last = topics.at(-1);
    if (last === undefined || (limits.byId ? last.topicId : last.topic) !== row.topic) {
      last = limits.byId
        ? { topic: '', topicId: row.topic, partitions: [] }
        : { topic: row.topic, topicId: zeroUuid, partitions: [] };
      topics.push(last);
    }
    const room = Math.min(row.maxBytes, limits.maxBytes - bytes);
    const answer = await readRow(row, room, bytes === 0);
    if (answer.errorCode !== errorCodes.NONE) error = true;
    for (const piece of answer.records) bytes += piece.length;
    last.partitions.push(answer);
  }
  return { topics, bytes, error };
}

type Read = PartitionAnswer & { errorCode: number; records: Buffer[] };

/** Reads one partition; `first` may exceed `room` so that a large batch can be fetched at all. */
async function readRow(row: Row, room: number, first: boolean): Promise<Read> {
  const { shard } = row;
  if (typeof shard === 'number') return failure(row, shard);
  const wrongEpoch = epochError(shard, row.clientEpoch);
  if (wrongEpoch !== errorCodes.NONE) return failure(row, wrongEpoch);
  const highWatermark = shard.highWatermark;
  const records: Buffer[] = [];
  try {
    let { offset } = row;
    if (offset < shard.startOffset || offset > highWatermark)
      return failure(row, errorCodes.OFFSET_OUT_OF_RANGE);
    let left = room;
    while (offset < highWatermark && (left > 0 || (first && records.length === 0))) {
      const options = { maxBytes: Math.max(left, 1), limit: highWatermark };
      const read = shard.readCached(offset, options) ?? (await shard.read(offset, options));
      for (const entry of read.entries) {
        if ((entry.flags & entryFlag.control) !== 0) continue;
        if (entry.payload.length > left && !(first && records.length === 0)) {
          left = 0;
          break;
        }
        records.push(entry.payload);
        left -= entry.payload.length;
      }
      offset = read.nextOffset;
    }
  } catch (error) {
    if (records.length === 0) return failure(row, errorNumber(error));
  }
  return {
    partitionIndex: row.partition,
    errorCode: errorCodes.NONE,
    highWatermark,
    lastStableOffset: highWatermark,
    logStartOffset: shard.startOffset,
    abortedTransactions: null,
    records,
  };
}

function failure(row: Row, errorCode: ErrorNumber): Read {
  const known = typeof row.shard === 'number' ? null : row.shard;
  return {
    partitionIndex: row.partition,
    errorCode,
    highWatermark: known?.highWatermark ?? -1,
    lastStableOffset: known?.highWatermark ?? -1,
    logStartOffset: known?.startOffset ?? -1,
    abortedTransactions: null,
    records: [],
  };
}

/** Resolves when the high watermark of any row moves, or the time is over. */
function advance(context: KafkaContext, rows: readonly Row[], waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const ends: (() => void)[] = [];
    const done = (): void => {
      for (const end of ends) end();
      resolve();
    };
    const timer = context.clock.after(waitMs, done);
    ends.push(() => timer.cancel());
    for (const row of rows) if (typeof row.shard !== 'number') ends.push(row.shard.onAdvance(done));
  });
}
