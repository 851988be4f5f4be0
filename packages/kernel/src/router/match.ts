import type { Offset, ShardId } from '@robustmq/core';

/** Delivery guarantee: at most once, at least once, exactly once. */
export type Guarantee = 0 | 1 | 2;

/** One filter of one subscriber. The kernel reads these fields; `options` belongs to the adapter. */
export interface Subscription {
  readonly filter: string;
  /** The adapter's own object for the receiving session. */
  readonly subscriber: object;
  readonly guarantee: Guarantee;
  readonly options: unknown;
  /** Matches records of a shard from this offset only; a shard that is not listed is matched from its start. */
  readonly since: ReadonlyMap<ShardId, Offset>;
  /**
   * Shards that had appends in flight when the subscription began, with the first offset appended since: there even
   * at-most-once deliveries come with the commit, until the shard is quiet for a moment, so that nothing is missed
   * and nothing overtakes. Usually null.
   */
  bridging: Map<ShardId, Offset> | null;
}

/** Every subscription whose filter matches a subject. Shared between records until the subscriptions change. */
export interface Match {
  readonly subscriptions: readonly Subscription[];
  /** Highest guarantee among them, -1 when there are none. */
  readonly guaranteeMax: Guarantee | -1;
  /** Lowest guarantee among them, 3 when there are none. */
  readonly guaranteeMin: Guarantee | 3;
  /** What the adapter derived from this match; dropped with it. */
  plan: unknown;
}

/** The match of a subject that nobody wants. */
export const noMatch: Match = { subscriptions: [], guaranteeMax: -1, guaranteeMin: 3, plan: null };

/** Whether a subscription of the match may still be bridging. */
export function isBridging(match: Match): boolean {
  for (const subscription of match.subscriptions) if (subscription.bridging !== null) return true;
  return false;
}
