import type { Offset, ShardId } from '@robustmq/core';

/** One record of a fold's shard; the buffers are views that are valid during the call. */
export interface FoldRecord {
  readonly key: Buffer;
  /** Null is a tombstone: the key is gone. */
  readonly value: Buffer | null;
  readonly offset: Offset;
  readonly timestamp: number;
}

/** A record to append. The bytes are copied at once. */
export interface FoldItem {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

/** Who reads a data shard's log again when it comes back; until then it stands at one place. */
export interface WaitingReader {
  /** Who it is, the same object at each look. */
  readonly identity: object;
  /** Another one once its filters may have changed. */
  readonly version: number;
  /** Where it reads on; undefined: where the first of its filters begins. */
  readonly cursor: Offset | undefined;
  /** What it looks for, each from an offset on; undefined: from the beginning of the log. */
  readonly filters: readonly { readonly filter: string; readonly since: Offset | undefined }[];
  /** Moves it to an offset: there is nothing for it below. Null when it does not wait any more. */
  moveTo(offset: Offset): FoldItem | null;
}

/**
 * What a package registers to keep state in an internal, compacted topic: a deterministic reducer and the way to
 * write its live state again. The kernel loads, applies, compacts and fences.
 */
export interface FoldKind<State> {
  /** Name of the internal topic; begins with `__`. */
  readonly topic: string;
  readonly shards: number;
  /**
   * `commit` (default): the kernel applies each record when it commits. `caller`: the registering code applies
   * changes itself before it appends their records, and the kernel applies only while it loads.
   */
  readonly applyAt?: 'commit' | 'caller';
  create(shardIndex: number): State;
  /** Deterministic: no clock, no randomness, no I/O. Unknown records are ignored. */
  apply(state: State, record: FoldRecord): void;
  /**
   * Every record that a rebuild of `state` needs, in an order that `apply` accepts. The state may change between two
   * of them; the records of changes after the call follow the last.
   */
  live(state: State): Iterable<FoldItem>;
  /** About how many bytes `live` yields. */
  liveBytes(state: State): number;
  /** Lowest offset per data shard that this state still has to read; retention stops there. */
  floors?(state: State): Iterable<readonly [ShardId, Offset]>;
  /** Everyone in this state who waits and has filters; which of them match the shard is for the kernel to say. */
  waiting?(state: State, shard: ShardId): Iterable<WaitingReader>;
}
