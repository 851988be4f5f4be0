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
  /** Sessions that the floors speak for, and how many of them have a cursor of their own, by data shard. */
  let following = 0;
  const ownCursors = new Map<ShardId, number>();
  for (const session of state.sessions.values()) {
    for (const { shard, offset, phase, retainedSubject } of session.inflight.values()) {
      if (phase === 'publish' && retainedSubject === null) lower(lowest, shard, offset);
    }
    if (!readsLogs(session)) continue;
    lowerToCursors(lowest, state, session);
    if (!floorsApply(session)) continue;
    following++;
    for (const shard of session.cursors.keys()) ownCursors.set(shard, (ownCursors.get(shard) ?? 0) + 1);
  }
  for (const [shard, floor] of state.floors) {
    if ((ownCursors.get(shard) ?? 0) < following) lower(lowest, shard, floor);
  }
  return lowest;
}

function readsLogs(session: SessionState): boolean {
  for (const subscription of session.subscriptions.values()) if (subscription.qos > 0) return true;
  return false;
}

function lowerToCursors(lowest: Map<ShardId, Offset>, state: SessionShard, session: SessionState): void {
  for (const shard of session.cursors.keys()) lower(lowest, shard, effectiveCursor(state, session, shard)!);
  for (const subscription of session.subscriptions.values()) {
    if (subscription.qos === 0) continue;
    for (const [shard, since] of subscription.since) {
      if (effectiveCursor(state, session, shard) === undefined) lower(lowest, shard, since);
    }
  }
}

function lower(lowest: Map<ShardId, Offset>, shard: ShardId, offset: Offset): void {
  const before = lowest.get(shard);
  if (before === undefined || offset < before) lowest.set(shard, offset);
}
