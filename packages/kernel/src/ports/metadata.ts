import type { Epoch, JournalUuid, NodeId, Offset, SegmentId, ShardId, TopicId } from '@robustmq/core';

/** Storage and routing policy of a topic. Keys and defaults: `topic-config.ts`. Values are as set, not defaulted. */
export type TopicConfigValues = ReadonlyMap<string, string>;

/** A topic. Immutable: a change replaces the object. */
export interface TopicRecord {
  readonly id: TopicId;
  readonly tenant: string;
  readonly name: string;
  /** Internal topics (names that begin with `__`) belong to the system and no adapter can address them. */
  readonly internal: boolean;
  readonly config: TopicConfigValues;
  /** Shards in index order. */
  readonly shards: readonly ShardId[];
  readonly createdRevision: number;
}

export type SegmentState = 'open' | 'sealed';

/** A segment of a shard. A segment has one writer epoch and one immutable write set. */
export interface SegmentRecord {
  readonly id: SegmentId;
  /** Position in the shard's list of segments ever created, from 0. */
  readonly seq: number;
  readonly baseOffset: Offset;
  readonly writerEpoch: Epoch;
  readonly writeSet: readonly JournalUuid[];
  readonly state: SegmentState;
  /** Sealed only: the last entry id (-1: empty), the offset after the last record, the highest timestamp, bytes. */
  readonly endEntry: number;
  readonly endOffset: Offset;
  readonly maxTimestamp: number;
  readonly bytes: number;
  readonly chainCrc: number;
}

/** Offsets `[from, to)` that are lost for good or were never used; readers step over them. */
export interface Hole {
  readonly from: Offset;
  readonly to: Offset;
  /** `lost`: acknowledged data is gone (reads answer JOURNAL_DATA_LOST); `skipped`: never acknowledged as durable. */
  readonly kind: 'lost' | 'skipped';
}

/** A shard. Immutable: a change replaces the object. */
export interface ShardRecord {
  readonly id: ShardId;
  readonly topic: TopicId;
  readonly index: number;
  readonly owner: NodeId;
  readonly ownerEpoch: Epoch;
  /** Log start: no read below it. */
  readonly startOffset: Offset;
  /** In order of base offset; at most the last one is open (I3). */
  readonly segments: readonly SegmentRecord[];
  readonly holes: readonly Hole[];
  /** Shards whose acknowledgement can precede durability use offsets below this only. */
  readonly offsetLimit: Offset;
  /** A fold shard with a `lost` hole refuses service until this is true. */
  readonly lossAccepted: boolean;
}

export interface JournalRecord {
  readonly nodeId: NodeId;
  readonly uuid: JournalUuid;
  readonly bootCounter: number;
  readonly state: 'up' | 'down' | 'draining' | 'lost';
}

export interface BrokerRecord {
  readonly nodeId: NodeId;
  readonly incarnation: number;
  /** Advertised addresses by listener name, `host:port`. */
  readonly addresses: ReadonlyMap<string, string>;
}

/** A consistent view at one revision. Readers never change it and never keep its maps over an await. */
export interface MetadataImage {
  readonly revision: number;
  readonly clusterId: string;
  readonly topics: ReadonlyMap<TopicId, TopicRecord>;
  /** `tenant` + NUL + name -> topic; `topicKey` makes the key. */
  readonly topicsByName: ReadonlyMap<string, TopicRecord>;
  readonly shards: ReadonlyMap<ShardId, ShardRecord>;
  readonly journals: ReadonlyMap<JournalUuid, JournalRecord>;
  readonly brokers: ReadonlyMap<NodeId, BrokerRecord>;
}

export function topicKey(tenant: string, name: string): string {
  return `${tenant}\u0000${name}`;
}

/** What a seal records of the segment that ends. */
export interface SealedSegment {
  readonly segment: SegmentId;
  readonly endEntry: number;
  readonly endOffset: Offset;
  readonly maxTimestamp: number;
  readonly bytes: number;
  readonly chainCrc: number;
}

/** A segment that compaction wrote: sealed from its first moment, over exactly the range of those it replaces. */
export type CompactedSegment = Omit<SegmentRecord, 'id' | 'seq' | 'state'> & { readonly id: SegmentId };

/**
 * Every change of metadata is one of these. A command is applied once and deterministically; `MetadataResult`
 * answers it. A command whose outcome is unknown may be sent again: conditions on epoch, state and id make the
 * second try harmless. Refusals are `RobustError<KernelErrorCode>`.
 */
export type MetadataCommand =
  | {
      readonly kind: 'createTopic';
      readonly tenant: string;
      readonly name: string;
      readonly id: TopicId;
      readonly shards: number;
      readonly internal: boolean;
      readonly config: TopicConfigValues;
    }
  | { readonly kind: 'deleteTopic'; readonly topic: TopicId }
  | { readonly kind: 'addShards'; readonly topic: TopicId; readonly shards: number }
  /** A null value removes the key. */
  | {
      readonly kind: 'configureTopic';
      readonly topic: TopicId;
      readonly changes: ReadonlyMap<string, string | null>;
    }
  | { readonly kind: 'registerJournal'; readonly journal: Omit<JournalRecord, 'state'> }
  /** Registers a broker's start; in one process it also becomes the owner of all shards, every epoch raised by one. */
  | {
      readonly kind: 'startBroker';
      readonly broker: NodeId;
      readonly addresses: ReadonlyMap<string, string>;
      readonly takeAll: boolean;
    }
  /**
   * Seals the open segment (null: there is none) and opens the next one, whose base is the sealed end or, where a
   * hole follows it, the hole's end. Refused with SHARD_FENCED when `epoch` is not the owner's, with
   * METADATA_CONFLICT when `sealed` is not the open segment. `open: false` only seals.
   */
  | {
      readonly kind: 'rollSegment';
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly sealed: SealedSegment | null;
      readonly hole: Hole | null;
      readonly open: boolean;
    }
  /** Raises the log start; segments wholly below it leave the list (journals sweep them). Lower is a no-op. */
  | { readonly kind: 'trimShard'; readonly shard: ShardId; readonly startOffset: Offset }
  /** Replaces sealed segments (a contiguous run) by others over exactly the same offset range. */
  | {
      readonly kind: 'swapSegments';
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly removed: readonly SegmentId[];
      readonly added: readonly CompactedSegment[];
    }
  /** Allocates `count` segment ids that no other command will use. */
  | { readonly kind: 'allocateSegments'; readonly count: number }
  | {
      readonly kind: 'raiseOffsetLimit';
      readonly shard: ShardId;
      readonly epoch: Epoch;
      readonly limit: Offset;
    }
  /** A block of 1,000 producer ids. */
  | { readonly kind: 'allocateProducerIds' }
  | { readonly kind: 'acceptLoss'; readonly shard: ShardId };

/** The answer to a command: what it made, at which revision. Fields that do not apply are absent. */
export interface MetadataResult {
  readonly revision: number;
  readonly topic?: TopicRecord;
  readonly shard?: ShardRecord;
  /** First id of an allocated block. */
  readonly firstId?: number;
}

/** What changed at one revision. */
export type MetadataChange =
  | { readonly kind: 'topic'; readonly topic: TopicRecord }
  | { readonly kind: 'topicDeleted'; readonly topic: TopicRecord }
  | { readonly kind: 'shard'; readonly shard: ShardRecord }
  | { readonly kind: 'shardDeleted'; readonly shard: ShardId }
  | { readonly kind: 'journal'; readonly journal: JournalRecord }
  | { readonly kind: 'broker'; readonly broker: BrokerRecord };

export interface MetadataUpdate {
  readonly revision: number;
  readonly changes: readonly MetadataChange[];
}

/**
 * The replicated metadata, as a node sees it: an image that a watch keeps current by revision. Implementations:
 * `meta` in process; a remote one over a stream.
 */
export interface Metadata {
  /** The newest image this node has applied; a new object per revision is not promised. */
  readonly image: MetadataImage;
  /**
   * Proposes all commands in order and resolves when they are committed and `image` shows them. A refused command
   * rejects in its own place: the result array holds an error object there and the others still apply.
   */
  propose(commands: readonly MetadataCommand[]): Promise<(MetadataResult | Error)[]>;
  /**
   * Calls `listener` for every update after the current revision, in order, after the image shows it. Returns a
   * function that ends the watch.
   */
  watch(listener: (update: MetadataUpdate) => void): () => void;
}
