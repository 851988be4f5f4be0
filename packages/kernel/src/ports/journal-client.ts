import type { Epoch, JournalUuid, NodeId, Offset, SegmentId, ShardId } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';

/** How soon an entry's acknowledgement may precede its durability. */
export type Durability =
  | { readonly kind: 'always' }
  /** Acknowledged from memory; on disk after `ms` or 1 MiB. */
  | { readonly kind: 'interval'; readonly ms: number }
  /** Never on disk. */
  | { readonly kind: 'memory' };

/** One entry on its way to a journal: the 64-byte header, then its batches; nobody changes the bytes afterwards. */
export interface AppendEntry {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly entryId: number;
  readonly epoch: Epoch;
  /** The entry's bytes: the first part begins with the whole header, and no batch lies in two. */
  readonly parts: readonly Buffer[];
  /** Sum of the parts' lengths. */
  readonly bytes: number;
  readonly durability: Durability;
}

/** Cumulative: every entry of the segment up to these ids is in the journal's memory, respectively on its disk. */
export interface AppendAck {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly receivedUpTo: number;
  readonly durableUpTo: number;
}

/** The journal refused an entry and everything of its segment behind it. */
export interface AppendRefusal {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly entryId: number;
  readonly code: Extract<
    KernelErrorCode,
    'JOURNAL_FENCED' | 'JOURNAL_GAP' | 'JOURNAL_DIVERGED' | 'JOURNAL_SEGMENT_UNKNOWN' | 'STORAGE_FULL'
  >;
  readonly epoch: Epoch;
}

/** Called in batches, never from inside `send`. */
export interface AppendListener {
  acks(acks: readonly AppendAck[]): void;
  refused(refusals: readonly AppendRefusal[]): void;
  /** Whether the journal has room for new data: admission is decided before an offset is assigned. */
  admission(open: boolean): void;
  /** The journal takes what comes, but holds so much in memory that sources should pause until it says false. */
  pressure(pressed: boolean): void;
  /** The stream is gone; what was not acknowledged is unknown. */
  closed(error: Error | null): void;
}

/** One per broker and journal. */
export interface AppendStream {
  /** Sends all entries of one event-loop turn. Order within a segment is the order of `entryId`. */
  send(entries: readonly AppendEntry[]): void;
  close(): void;
}

export interface FenceRequest {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly epoch: Epoch;
}

/** What a journal has of a segment after it durably refused every lower epoch. */
export interface FenceAnswer {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  /** `ok`: it holds every entry it ever acknowledged up to `endEntry`; `lost`: it held more, up to `lostTo`. */
  readonly status: 'ok' | 'lost' | 'fenced';
  /** Last entry id, -1 when empty. */
  readonly endEntry: number;
  readonly endOffset: Offset;
  readonly maxTimestamp: number;
  readonly bytes: number;
  readonly chainCrc: number;
  /** With `lost`: the first offset that is certainly not lost (the next segment starts at or above it). */
  readonly lostTo: Offset;
  /** Highest epoch the journal has seen for the shard. */
  readonly epoch: Epoch;
}

/**
 * What a filtered reader looks for, as alternatives: a block may be skipped when, for every alternative, one of its
 * tokens is certainly absent (docs/semantics.md 7). Tokens are made by `names/tokens.ts`.
 */
export type BlockFilter = readonly Uint32Array[];

export interface ReadRequest {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  /** The answer starts with the entry that holds this offset, or the next one behind it. */
  readonly offset: Offset;
  /**
   * No record at or above this offset is returned: the high watermark or the sealed end. Control entries that stand at
   * it are, also where it is `offset` itself.
   */
  readonly limit: Offset;
  /** At least one entry is returned if there is one; after that entries are added while they fit. */
  readonly maxBytes: number;
  readonly filter?: BlockFilter;
  /** The caller is done with the bytes of the answer soon, and ends its lease then. Default: they are the caller's. */
  readonly lent?: boolean;
}

/** Bytes that stay as they are until `end` is called, once; then they may be used for others. */
export interface ReadLease {
  end(): void;
}

/** A stored entry: `payload` is its batches as they lie in memory or in a verified block. */
export interface StoredEntry {
  readonly baseOffset: Offset;
  /** Records by offset: `baseOffset + count` is the next entry's base in a dense log. 0 for control entries. */
  readonly count: number;
  readonly flags: number;
  readonly payload: Buffer;
}

export interface ReadAnswer {
  readonly entries: readonly StoredEntry[];
  /** Everything below it in the request's range is covered: returned, skipped by the filter, or compacted away. */
  readonly nextOffset: Offset;
  /** With `lent`: to be ended, if there is one. One that is forgotten costs memory that is not used again. */
  readonly lease?: ReadLease;
}

export interface TimestampRequest {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly timestamp: number;
}

/**
 * One journal node, as brokers see it. Every call is a batch. Rejections are `RobustError<KernelErrorCode>`.
 * Implementations: `journal` in process; a remote one over streams. The suite of `@robustmq/kernel/conformance`
 * runs on each.
 */
export interface JournalClient {
  readonly nodeId: NodeId;
  /** The incarnation that every request through this client is meant for. */
  readonly uuid: JournalUuid;
  openAppendStream(listener: AppendListener): AppendStream;
  /** Raises the shards' fences durably before it answers. */
  fence(requests: readonly FenceRequest[]): Promise<FenceAnswer[]>;
  /**
   * Synchronous when all is in memory, so that a tail read costs no promise; null when it has to go to disk.
   */
  readCached(request: ReadRequest): ReadAnswer | null;
  /** `JOURNAL_DATA_LOST` when bytes of the range are damaged; `JOURNAL_SEGMENT_UNKNOWN` when it is gone. */
  read(request: ReadRequest): Promise<ReadAnswer>;
  /**
   * The offset of an entry at or before the first record whose timestamp is >= the request's, null when no record of
   * the segment is that young.
   */
  seekTimestamp(request: TimestampRequest): Promise<Offset | null>;
  /** Opaque state of the owner's fold beside the segment, with the offset it covers up to; replaces the last one. */
  saveCheckpoint(shard: ShardId, coveredTo: Offset, state: Uint8Array): Promise<void>;
  loadCheckpoint(shard: ShardId): Promise<{ coveredTo: Offset; state: Buffer } | null>;
  /**
   * Writes a compacted segment whole: resolves when its file, with footer, is durable. The metadata command that
   * swaps it in comes after.
   */
  writeSegment(request: WriteSegmentRequest): Promise<void>;
  /** Bytes per shard on this journal's disk. */
  usage(): {
    readonly shards: ReadonlyMap<ShardId, number>;
    readonly freeBytes: number;
    readonly totalBytes: number;
  };
}

export interface WriteSegmentRequest {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly epoch: Epoch;
  readonly entries: AsyncIterable<AppendEntry> | Iterable<AppendEntry>;
}
