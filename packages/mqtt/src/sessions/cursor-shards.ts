import type { ShardId } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import type { SessionState } from './session-state.ts';

/** Filters that need a cursor: granted more than QoS 0. */
export function cursorFiltersOf(state: SessionState): string[] {
  const filters: string[] = [];
  for (const [filter, stored] of state.subscriptions) if (stored.qos > 0) filters.push(filter);
  return filters;
}

/** The data shards that these filters can match now. */
export function cursorShardsOf(state: SessionState, kernel: Kernel): Set<ShardId> {
  const shards = new Set<ShardId>();
  for (const filter of cursorFiltersOf(state)) {
    for (const topic of kernel.subscriptions.topicsOf(filter)) {
      for (const shard of topic.shards) shards.add(shard);
    }
  }
  return shards;
}
