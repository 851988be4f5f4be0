import type { Offset, ShardId } from '@robustmq/core';
import type { SessionShard, SessionState } from './session-state.ts';
import { effectiveCursor, floorsApply } from './session-state.ts';

/**
 * Lowest offset per data shard that some session of the shard still has to read: from its cursor on, before it has one
 * from where its filters match, and messages in flight whose record would be read again. A session whose filters are
 * all at QoS 0 reads no log.
 */
export function floorsOf(state: SessionShard): Map<ShardId, Offset> {
  const lowest = new Map<ShardId, Offset>();
  let anyFollows = false;
  for (const session of state.sessions.values()) {
    if (lowerToCursors(lowest, state, session) && floorsApply(session)) anyFollows = true;
    for (const { shard, offset, phase, retainedSubject } of session.inflight.values()) {
      if (phase === 'publish' && retainedSubject === null) lower(lowest, shard, offset);
    }
  }
  if (anyFollows) for (const [shard, floor] of state.floors) lower(lowest, shard, floor);
  return lowest;
}

/** Returns whether the session reads logs at all. */
function lowerToCursors(lowest: Map<ShardId, Offset>, state: SessionShard, session: SessionState): boolean {
  let reads = false;
  for (const subscription of session.subscriptions.values()) {
    if (subscription.qos === 0) continue;
    reads = true;
    for (const [shard, since] of subscription.since) {
      if (effectiveCursor(state, session, shard) === undefined) lower(lowest, shard, since);
    }
  }
  if (reads) {
    for (const shard of session.cursors.keys()) lower(lowest, shard, effectiveCursor(state, session, shard)!);
  }
  return reads;
}

function lower(lowest: Map<ShardId, Offset>, shard: ShardId, offset: Offset): void {
  const before = lowest.get(shard);
  if (before === undefined || offset < before) lowest.set(shard, offset);
}
