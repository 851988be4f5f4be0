import type { Offset, ShardId } from '@robustmq/core';
import type { FoldItem } from '@robustmq/kernel';
import { sessionKind } from './session-fold.ts';
import type { InflightEntry, SessionShard, SessionState, StoredSubscription } from './session-state.ts';
import { createSession } from './session-state.ts';

const kind = sessionKind();

/** A data shard's id. */
export function shard(id: number): ShardId {
  return id as ShardId;
}

/** Per data shard an offset, from an object literal. */
export function offsets(from: Record<number, Offset>): Map<ShardId, Offset> {
  return new Map(Object.entries(from).map(([id, offset]) => [shard(Number(id)), offset]));
}

/** A connected session in epoch 3, with what the test adds. */
export function sessionOf(changes: Partial<SessionState> = {}): SessionState {
  const made = createSession({ clientId: 'c1', producerId: 77, expirySeconds: 3600 });
  return { ...made, epoch: 3, connected: true, ...changes };
}

/** A QoS 1 subscription that begins at offset 10 of shard 7. */
export function subscriptionOf(changes: Partial<StoredSubscription> = {}): StoredSubscription {
  return {
    filter: 'a/#',
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionId: 0,
    since: offsets({ 7: 10 }),
    retainedDue: false,
    retainedSent: [],
    ...changes,
  };
}

/** A QoS 1 message in flight at shard 7, its offset the packet id. */
export function inflightOf(packetId: number, changes: Partial<InflightEntry> = {}): InflightEntry {
  return {
    packetId,
    shard: shard(7),
    offset: packetId,
    qos: 1,
    phase: 'publish',
    retainedSubject: null,
    retain: false,
    subscriptionIds: [],
    ...changes,
  };
}

/** Applies one item; the record's bytes are overwritten afterwards, as those of a real read are. */
export function applyItem(state: SessionShard, item: FoldItem): void {
  const key = Buffer.from(item.key);
  const value = item.value === null ? null : Buffer.from(item.value);
  kind.apply(state, { key, value, offset: 0, timestamp: 0 });
  key.fill(0xee);
  value?.fill(0xee);
}

/** The state that a log of these items makes. */
export function folded(items: Iterable<FoldItem>): SessionShard {
  const state = kind.create(0);
  for (const item of items) applyItem(state, item);
  return state;
}

/**
 * The state as the log may know it, as plain values. No order counts but that of the messages of one data shard in
 * flight: a QoS 2 message is written with those before it in its shard only.
 */
export function plain(state: SessionShard): unknown {
  const sessions = [...state.sessions.values()].map((session) => ({
    ...session,
    subscriptions: sorted(session.subscriptions),
    cursors: sorted(session.cursors),
    inflight: [...session.inflight.values()]
      .filter((entry) => !session.unrecorded.has(entry.packetId))
      .sort((a, b) => a.shard - b.shard),
    inboundShards: [...session.inboundShards].sort((a, b) => a - b),
    unrecorded: null,
  }));
  sessions.sort((a, b) => (a.clientId < b.clientId ? -1 : 1));
  return { sessions, floors: sorted(state.floors), damaged: state.damaged };
}

function sorted<Key extends string | number, Value>(map: ReadonlyMap<Key, Value>): [Key, Value][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
