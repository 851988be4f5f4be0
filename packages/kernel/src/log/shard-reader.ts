import { RobustError } from '@robustmq/core';
import type { Offset, ShardId } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import type {
  BlockFilter,
  JournalClient,
  ReadAnswer,
  ReadRequest,
  StoredEntry,
} from '../ports/journal-client.ts';
import type { Metadata, SegmentRecord, ShardRecord } from '../ports/metadata.ts';

export interface ReadOptions {
  readonly maxBytes: number;
  /** Nothing at or above it is read: at most the high watermark. */
  readonly limit: Offset;
  readonly filter?: BlockFilter;
  /** The answer's lease is ended when its bytes are not needed any more. */
  readonly lent?: boolean;
  /** Reads what a segment still has below the log start as well: nobody gets it, but it made the state what it is. */
  readonly trimmed?: boolean;
  /** Stops at lost ranges with JOURNAL_DATA_LOST (false: steps over them, telling `lost`). */
  readonly lost?: (from: Offset, to: Offset) => void;
}

const headBytes = 1024 * 1024;
const unreadable = new Set(['JOURNAL_DATA_LOST', 'JOURNAL_SEGMENT_UNKNOWN']);
const nothing: ReadAnswer = { entries: [], nextOffset: 0 };

/**
 * Finds the segment of an offset in the metadata and reads it from a journal. An answer never crosses a segment;
 * its `nextOffset` is where to go on.
 */
export class ShardReader {
  readonly #shard: ShardId;
  readonly #metadata: Metadata;
  readonly #journal: JournalClient;

  constructor(shard: ShardId, metadata: Metadata, journal: JournalClient) {
    this.#shard = shard;
    this.#metadata = metadata;
    this.#journal = journal;
  }

  /** The answer when all of it is in memory, else null. Throws as `read`. */
  readCached(offset: Offset, options: ReadOptions): ReadAnswer | null {
    const request = this.#request(offset, options);
    if (!('segment' in request)) return request;
    try {
      return this.#journal.readCached(request);
    } catch (error) {
      return stepOver(error, request, options);
    }
  }

  /**
   * Entries from the one that holds `offset`; empty with `nextOffset` = `limit` at the end. Throws
   * OFFSET_OUT_OF_RANGE, JOURNAL_DATA_LOST.
   */
  async read(offset: Offset, options: ReadOptions): Promise<ReadAnswer> {
    const request = this.#request(offset, options);
    if (!('segment' in request)) return request;
    try {
      return this.#journal.readCached(request) ?? (await this.#journal.read(request));
    } catch (error) {
      return stepOver(error, request, options);
    }
  }

  /**
   * Control entries of a segment at an offset, at which there may be no record at all; none when they can't be read. A
   * read by offsets finds them only together with records.
   */
  async controls(segment: SegmentRecord, at: Offset): Promise<readonly StoredEntry[]> {
    const request = { shard: this.#shard, segment: segment.id, offset: at, limit: at, maxBytes: headBytes };
    try {
      const answer = this.#journal.readCached(request) ?? (await this.#journal.read(request));
      return answer.entries;
    } catch (error) {
      if (error instanceof RobustError && unreadable.has(error.code)) return [];
      throw error;
    }
  }

  /** First record at or above `offset` in the log whose timestamp is at least `timestamp`: where to start looking. */
  async seekTimestamp(timestamp: number): Promise<Offset | null> {
    const record = this.#record();
    for (const segment of record.segments) {
      if (segment.state === 'sealed' && segment.maxTimestamp < timestamp) continue;
      const offset = await this.#journal.seekTimestamp({
        shard: this.#shard,
        segment: segment.id,
        timestamp,
      });
      if (offset !== null) return Math.max(offset, record.startOffset);
    }
    return null;
  }

  #request(offset: Offset, options: ReadOptions): ReadRequest | ReadAnswer {
    const record = this.#record();
    const start = options.trimmed === true ? 0 : record.startOffset;
    if (offset < start || offset > options.limit) {
      throw new RobustError<KernelErrorCode>('OFFSET_OUT_OF_RANGE', 'the offset is not in the log', {
        detail: { shard: this.#shard, offset, start, limit: options.limit },
      });
    }
    if (offset === options.limit) return { ...nothing, nextOffset: offset };
    for (const hole of record.holes) {
      if (offset < hole.from || offset >= hole.to) continue;
      if (hole.kind === 'lost') {
        if (options.lost === undefined) throw dataLost(this.#shard, hole.from, hole.to);
        options.lost(Math.max(offset, hole.from), hole.to);
      }
      return { ...nothing, nextOffset: Math.min(hole.to, options.limit) };
    }
    const segment = segmentAt(record, offset);
    if (segment === null) {
      throw new RobustError<KernelErrorCode>('OFFSET_OUT_OF_RANGE', 'no segment holds the offset', {
        detail: { shard: this.#shard, offset },
      });
    }
    const end = segment.state === 'sealed' ? Math.min(segment.endOffset, options.limit) : options.limit;
    const request = {
      shard: this.#shard,
      segment: segment.id,
      offset,
      limit: end,
      maxBytes: options.maxBytes,
      lent: options.lent === true,
    };
    return options.filter === undefined ? request : { ...request, filter: options.filter };
  }

  #record(): ShardRecord {
    const record = this.#metadata.image.shards.get(this.#shard);
    if (record === undefined) {
      throw new RobustError<KernelErrorCode>('SHARD_NOT_FOUND', 'the shard is gone', {
        detail: { shard: this.#shard },
      });
    }
    return record;
  }
}

/** The segment whose range holds `offset`, by binary search; null when none does. */
export function segmentAt(record: ShardRecord, offset: Offset): SegmentRecord | null {
  let low = 0;
  let high = record.segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (record.segments[middle]!.baseOffset <= offset) low = middle;
    else high = middle - 1;
  }
  const segment = record.segments[low];
  if (segment === undefined || segment.baseOffset > offset) return null;
  return segment.state === 'sealed' && segment.endOffset <= offset ? null : segment;
}

/** Damage that the journal met while reading, and no recovery has recorded: passed like a recorded hole. */
function stepOver(error: unknown, request: ReadRequest, options: ReadOptions): ReadAnswer {
  if (!(error instanceof RobustError) || error.code !== 'JOURNAL_DATA_LOST') throw error;
  const { from, to } = error.detail;
  if (options.lost === undefined || typeof from !== 'number' || typeof to !== 'number') throw error;
  if (to <= request.offset) throw error;
  const end = Math.min(to, request.limit);
  options.lost(Math.max(from, request.offset), end);
  return { ...nothing, nextOffset: end };
}

function dataLost(shard: ShardId, from: Offset, to: Offset): RobustError<KernelErrorCode> {
  return new RobustError('JOURNAL_DATA_LOST', 'this range of the log is damaged and was given up', {
    detail: { shard, from, to },
  });
}
