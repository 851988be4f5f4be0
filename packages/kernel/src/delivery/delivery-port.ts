import type { Epoch, Offset, ShardId } from '@robustmq/core';
import type { RecordTable } from '@robustmq/record';
import type { Subject } from '../names/subject.ts';
import type { Match } from '../router/match.ts';

/**
 * A decoded batch on its way to sessions. One object is used again for every batch: it and its `records` are valid
 * only during the call. What a session keeps, it copies: the bytes behind `records` may be others' after the call.
 */
export interface DeliveryBatch {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  /** Offset of a row is `records.offset(row)`; -1 for the whole batch when it was not stored. */
  readonly baseOffset: Offset;
  /** Whether a broker encoded it: only then the `mq` header of its records is trusted; else they count as exactly once. */
  readonly brokerEncoded: boolean;
  readonly records: RecordTable;
  /** Per row; null where a record has no subject. */
  readonly subjects: readonly (Subject | null)[];
  /** Per row; `noMatch` where nobody wants it. */
  readonly matches: readonly Match[];
}

/**
 * How an adapter takes records for its sessions. Called in log order per shard, a batch at a time; not at all where nothing
 * of a batch goes to anybody.
 */
export interface DeliveryPort {
  /** At-most-once: the owner has appended (or only routed) the batch. */
  appended(batch: DeliveryBatch): void;
  /** The batch is committed. */
  committed(batch: DeliveryBatch): void;
  /** Records from `from` were not routed: sessions that may want them read from there through `CatchUp`. */
  gap(shard: ShardId, from: Offset): void;
}

/** A session's cursor while it is behind the live path of one shard (docs/semantics.md 3.3). */
export interface CatchUpReader {
  /** The object its subscriptions name. */
  readonly subscriber: object;
  /** Filters of its subscriptions, which let it skip blocks. */
  readonly filters: readonly string[];
  /** The next offset it needs; the scan moves it. */
  next: Offset;
  /** Takes a record that matches; false: no room, the scan leaves this reader at this offset. */
  take(batch: DeliveryBatch, row: number, match: Match): boolean;
  /** It has met the live path: the next committed frame of the shard begins at `next`. */
  caughtUp(): void;
  /** Records in `[from, to)` are gone: damaged, or trimmed before they were read. */
  skipped(from: Offset, to: Offset, why: 'lost' | 'truncated'): void;
}
