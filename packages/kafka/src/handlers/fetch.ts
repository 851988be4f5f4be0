import { encodeResponse, errorCodes, fetch, FetchRequestColumns, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber, ResponseInput } from '@robustmq/kafka-codec';
import { entryFlag } from '@robustmq/kernel';
import type { ReadLease, Shard } from '@robustmq/kernel';
import { batchLastOffset, nextBatch } from '@robustmq/record';
import type { Answer, KafkaContext, Peer, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { epochError, findTopic, missingTopic, shardOf } from '../partitions.ts';

type TopicAnswer = NonNullable<ResponseInput<typeof fetch>['responses']>[number];
type PartitionAnswer = NonNullable<TopicAnswer['partitions']>[number];

/** Bytes of one answer, whatever the client asks for: what a client that does not read it costs. */
const answerBytesMax = 16 * 1024 * 1024;
/** Bytes of the answers of all connections that are not taken, above which each gets one batch. */
const unsentBytesMax = 256 * 1024 * 1024;
/** A long poll waits at most this long. */
const waitMsMax = 5 * 60_000;
/**
 * A long poll that was woken and has too little looks again after this. Many small appends would otherwise cost a look
 * at all that has gathered each.
 */
const lookAgainMs = 5;

/** Epochs of a request that wants a session, and of one that does not. */
const openSession = 0;
const noSession = -1;

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
  const { apiVersion, correlationId, peer } = request;
  // No session is ever given out, so none can be continued; the client then asks for everything itself.
  if (columns.sessionEpoch !== openSession && columns.sessionEpoch !== noSession) {
    const errorCode = errorCodes.FETCH_SESSION_ID_NOT_FOUND;
    return encodeResponse(fetch, apiVersion, correlationId, { errorCode, responses: [] });
  }
  const { byId, maxWaitMs, minBytes } = columns;
  const rows = await rowsOf(context, columns);
  const deadline = context.clock.monotonic() + Math.min(Math.max(maxWaitMs, 0), waitMsMax);
  for (let looks = 1; ; looks++) {
    const maxBytes = answerRoom(context, columns.maxBytes);
    const leases: ReadLease[] = [];
    const collected = await collect(context, rows, { byId, maxBytes, leases });
    context.counters.unsentBytes -= collected.bytes;
    const left = deadline - context.clock.monotonic();
    if (collected.bytes >= minBytes || collected.ended || left <= 0 || rows.length === 0) {
      context.counters.fetchedBytes += collected.bytes;
      const pieces = encodeResponse(fetch, apiVersion, correlationId, { responses: collected.topics });
      return leases.length === 0 ? pieces : { pieces, sent: () => endAll(leases) };
    }
    endAll(leases);
    if (looks > 1) await pause(context, Math.min(lookAgainMs, left));
    await advance(context, rows, { peer, deadline });
    if (peer.closed) return null;
  }
}

function endAll(leases: readonly ReadLease[]): void {
  for (const lease of leases) lease.end();
}

/** What an answer may hold, by the client's wish and by what others have not taken yet. */
function answerRoom(context: KafkaContext, asked: number): number {
  const left = (context.options.unsentBytesMax ?? unsentBytesMax) - context.counters.unsentBytes;
  return Math.max(0, Math.min(asked, answerBytesMax, left));
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
  /** Waiting would not help: there is an error to tell, or no room for more. */
  readonly ended: boolean;
}

async function collect(
  context: KafkaContext,
  rows: readonly Row[],
  limits: { byId: boolean; maxBytes: number; leases: ReadLease[] },
): Promise<Collected> {
  const topics: { topic: string; topicId: string; partitions: PartitionAnswer[] }[] = [];
  let bytes = 0;
  let ended = false;
  for (const row of rows) {
    let last = topics.at(-1);
    if (last === undefined || (limits.byId ? last.topicId : last.topic) !== row.topic) {
      last = limits.byId
        ? { topic: '', topicId: row.topic, partitions: [] }
        : { topic: row.topic, topicId: zeroUuid, partitions: [] };
      topics.push(last);
    }
    const left = limits.maxBytes - bytes;
    const { answer, more } = await readRow(row, {
      room: Math.min(row.maxBytes, left),
      first: bytes === 0,
      leases: limits.leases,
    });
    if (answer.errorCode !== errorCodes.NONE || (more && left <= row.maxBytes)) ended = true;
    let rowBytes = 0;
    for (const piece of answer.records) rowBytes += piece.length;
    bytes += rowBytes;
    // Counted while it is collected, so that requests at the same time see it.
    context.counters.unsentBytes += rowBytes;
    last.partitions.push(answer);
  }
  return { topics, bytes, ended };
}

interface Read {
  readonly answer: PartitionAnswer & { errorCode: number; records: Buffer[] };
  /** There was no room for all that could be read. */
  readonly more: boolean;
}

interface RowLimits {
  readonly room: number;
  /** `room` may be exceeded, so that a large batch can be fetched at all. */
  readonly first: boolean;
  /** Takes the leases of what is read. */
  readonly leases: ReadLease[];
}

/** Reads one partition. */
async function readRow(row: Row, { room, first, leases }: RowLimits): Promise<Read> {
  const { shard } = row;
  const bounds = { highWatermark: -1, startOffset: -1 };
  if (typeof shard === 'number') return failure(row, shard, bounds);
  const records: Buffer[] = [];
  let more = false;
  try {
    const limit = shard.highWatermark;
    bounds.highWatermark = limit;
    bounds.startOffset = shard.startOffset;
    const wrongEpoch = epochError(shard, row.clientEpoch);
    if (wrongEpoch !== errorCodes.NONE) return failure(row, wrongEpoch, bounds);
    let { offset } = row;
    if (offset < bounds.startOffset || offset > limit)
      return failure(row, errorCodes.OFFSET_OUT_OF_RANGE, bounds);
    let left = room;
    while (offset < limit && !more) {
      const must = first && records.length === 0;
      more = left <= 0 && !must;
      if (more) break;
      const options = { maxBytes: Math.max(left, 1), limit, lent: true };
      const read = shard.readCached(offset, options) ?? (await shard.read(offset, options));
      if (read.lease !== undefined) leases.push(read.lease);
      for (const entry of read.entries) {
        if ((entry.flags & entryFlag.control) !== 0) continue;
        const from = entry.baseOffset < offset ? firstBatch(entry.payload, offset) : 0;
        const end = fitting(entry.payload, from, { room: left, must: first && records.length === 0 });
        if (end > from) records.push(entry.payload.subarray(from, end));
        left -= end - from;
        more = end < entry.payload.length;
        if (more) break;
      }
      offset = read.nextOffset;
    }
  } catch (error) {
    if (records.length === 0) return failure(row, errorNumber(error), bounds);
  }
  const { highWatermark, startOffset } = bounds;
  const answer = {
    partitionIndex: row.partition,
    errorCode: errorCodes.NONE,
    highWatermark,
    lastStableOffset: highWatermark,
    logStartOffset: startOffset,
    abortedTransactions: null,
    records,
  };
  return { answer, more };
}

/** Where the batch that holds `offset` begins in an entry that begins below it. */
function firstBatch(payload: Buffer, offset: number): number {
  let at = 0;
  for (let next = nextBatch(payload, at); next !== -1; next = nextBatch(payload, at)) {
    if (batchLastOffset(payload, at) >= offset) break;
    at = next;
  }
  return at;
}

/** Where the last whole batch from `from` on ends that `room` has space for; with `must`, the first at least. */
function fitting(payload: Buffer, from: number, { room, must }: { room: number; must: boolean }): number {
  if (payload.length - from <= room) return payload.length;
  let end = from;
  for (let next = nextBatch(payload, end); next !== -1; next = nextBatch(payload, end)) {
    if (next - from > room && !(must && end === from)) break;
    end = next;
  }
  return end;
}

function failure(
  row: Row,
  errorCode: ErrorNumber,
  { highWatermark, startOffset }: { highWatermark: number; startOffset: number },
): Read {
  const answer = {
    partitionIndex: row.partition,
    errorCode,
    highWatermark,
    lastStableOffset: highWatermark,
    logStartOffset: startOffset,
    abortedTransactions: null,
    records: [],
  };
  return { answer, more: false };
}

function pause(context: KafkaContext, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    context.clock.after(waitMs, resolve);
  });
}

/** Resolves when the high watermark of any row moves, the time is over, or nobody waits any more. */
function advance(
  context: KafkaContext,
  rows: readonly Row[],
  { peer, deadline }: { peer: Peer; deadline: number },
): Promise<void> {
  return new Promise((resolve) => {
    const ends: (() => void)[] = [];
    const done = (): void => {
      for (const end of ends) end();
      resolve();
    };
    const timer = context.clock.after(Math.max(0, deadline - context.clock.monotonic()), done);
    ends.push(() => timer.cancel(), peer.onClose(done));
    for (const row of rows) if (typeof row.shard !== 'number') ends.push(row.shard.onAdvance(done));
  });
}
