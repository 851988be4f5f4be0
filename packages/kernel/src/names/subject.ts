import type { ShardId } from '@robustmq/core';
import type { TopicRecord } from '../ports/metadata.ts';
import type { Match } from '../router/match.ts';

/**
 * A hierarchical name as one broker interns it: where a publish under it goes, and who wants it. One lookup per
 * message finds all of this (docs/ARCHITECTURE.md, 'One publish').
 */
export interface Subject {
  readonly name: string;
  readonly topic: TopicRecord;
  readonly key: Buffer | null;
  /** Shard of a keyed publish; with a null key the publisher decides (-1). */
  readonly shard: ShardId;
  /** Cached by the router; valid while `matchEpoch` is the router's epoch. */
  match: Match;
  matchEpoch: number;
}
