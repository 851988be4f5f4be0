import type { Offset, ShardId } from '@robustmq/core';
import type { FoldItem } from '@robustmq/kernel';
import { writeKey } from './session-key.ts';
import type { InflightEntry, SessionState, StoredSubscription } from './session-state.ts';
import {
  beginValue,
  floorsValue,
  removedValue,
  writeCursor,
  writeHead,
  writeInflight,
  writeSubscription,
} from './session-value.ts';
import { writeWill } from './will-value.ts';

/** The session itself; the first item of a session, and the one that raises its epoch. */
export function headItem(session: SessionState): FoldItem {
  const out = beginValue(session.epoch, 25 + session.inboundShards.size * 4);
  writeHead(out, session);
  return { key: writeKey({ kind: 'head', clientId: session.clientId }), value: out.view() };
}

/** The will that the session has now, or that it has none. */
export function willItem(session: SessionState): FoldItem {
  const { clientId, epoch, will } = session;
  const key = writeKey({ kind: 'will', clientId });
  if (will === null) return { key, value: removedValue(epoch) };
  const out = beginValue(epoch, 64 + will.topic.length + will.payload.length);
  writeWill(out, will);
  return { key, value: out.view() };
}

/** A new or changed subscription. */
export function subscriptionItem(session: SessionState, subscription: StoredSubscription): FoldItem {
  const out = beginValue(session.epoch, 9 + subscription.since.size * 12);
  writeSubscription(out, subscription);
  const { filter } = subscription;
  return { key: writeKey({ kind: 'subscription', clientId: session.clientId, filter }), value: out.view() };
}

/** The session has no subscription with this filter any more. */
export function unsubscribedItem(session: SessionState, filter: string): FoldItem {
  const key = writeKey({ kind: 'subscription', clientId: session.clientId, filter });
  return { key, value: removedValue(session.epoch) };
}

/** The cursor that the session has now on a data shard, or that it has none. */
export function cursorItem(session: SessionState, shard: ShardId): FoldItem {
  const key = writeKey({ kind: 'cursor', clientId: session.clientId, shard });
  const offset = session.cursors.get(shard);
  if (offset === undefined) return { key, value: removedValue(session.epoch) };
  const out = beginValue(session.epoch, 8);
  writeCursor(out, offset);
  return { key, value: out.view() };
}

/** A message that is in flight, or changed its phase; new ones are appended in sending order. */
export function inflightItem(session: SessionState, entry: InflightEntry): FoldItem {
  const out = beginValue(session.epoch, 17 + entry.subscriptionIds.length * 4);
  writeInflight(out, entry);
  const { packetId } = entry;
  return { key: writeKey({ kind: 'inflight', clientId: session.clientId, packetId }), value: out.view() };
}

/** Nothing is in flight with this packet id any more. */
export function acknowledgedItem(session: SessionState, packetId: number): FoldItem {
  const key = writeKey({ kind: 'inflight', clientId: session.clientId, packetId });
  return { key, value: removedValue(session.epoch) };
}

/** The session is gone, with everything of it. */
export function deletedItem(clientId: string): FoldItem {
  return { key: writeKey({ kind: 'head', clientId }), value: null };
}

/** All floors of a shard of `__sessions`: they replace those before. */
export function floorItem(floors: ReadonlyMap<ShardId, Offset>): FoldItem {
  return { key: writeKey({ kind: 'floors' }), value: floorsValue(floors) };
}
