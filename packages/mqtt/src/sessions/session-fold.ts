import type { Offset, ShardId } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { FoldItem, FoldKind, FoldRecord } from '@robustmq/kernel';
import { floorsOf } from './session-floors.ts';
import {
  cursorItem,
  floorItem,
  headItem,
  inflightItem,
  subscriptionItem,
  willItem,
} from './session-items.ts';
import type { SessionKey } from './session-key.ts';
import { readKey } from './session-key.ts';
import type { SessionShard, SessionState } from './session-state.ts';
import { createSession, floorsApply } from './session-state.ts';
import {
  readCursor,
  readFloors,
  readHead,
  readInflight,
  readPrefix,
  readSubscription,
} from './session-value.ts';
import { waitingSessions } from './waiting-sessions.ts';
import { readWill } from './will-value.ts';

/** Sessions that `liveBytes` looks at: it only decides when compaction starts. */
const sampledMax = 256;

type ItemKey = Exclude<SessionKey, { kind: 'floors' | 'head' }>;

/**
 * The fold of `__sessions`: by client, with one record per item, so that an acknowledgement does not rewrite the
 * subscriptions (docs/semantics.md 5.4). The adapter changes the state first and appends the items of the change.
 */
export function sessionKind(shards = 16): FoldKind<SessionShard> {
  return {
    topic: '__sessions',
    shards,
    applyAt: 'caller',
    create: () => ({ sessions: new Map(), floors: new Map(), damaged: 0 }),
    apply,
    live,
    liveBytes,
    floors: floorsOf,
    waiting: waitingSessions,
  };
}

/** A record that can't be read is counted and left out, as a whole. */
function apply(state: SessionShard, record: FoldRecord): void {
  try {
    const key = readKey(record.key);
    if (key.kind === 'floors') applyFloors(state, record.value);
    else if (key.kind === 'head') applyHead(state, key.clientId, record.value);
    else applyItem(state, key, record.value);
  } catch (error) {
    if (!(error instanceof RobustError)) throw error;
    state.damaged++;
  }
}

function applyFloors(state: SessionShard, value: Buffer | null): void {
  const floors = value === null ? [] : readFloors(value);
  state.floors.clear();
  for (const [shard, offset] of floors) state.floors.set(shard, offset);
}

/** Another producer id is another session: nothing of the one before is left. */
function applyHead(state: SessionShard, clientId: string, value: Buffer | null): void {
  if (value === null) {
    state.sessions.delete(clientId);
    return;
  }
  const { epoch, exists, input } = readPrefix(value);
  if (!exists) {
    state.sessions.delete(clientId);
    return;
  }
  const head = readHead(input);
  let session = state.sessions.get(clientId);
  if (session?.producerId !== head.producerId) {
    state.sessions.delete(clientId);
    session = createSession({ ...head, clientId });
    state.sessions.set(clientId, session);
  }
  if (epoch < session.epoch) return;
  session.epoch = epoch;
  session.connected = head.connected;
  session.behind = head.behind;
  session.expirySeconds = head.expirySeconds;
  session.disconnectedAt = head.disconnectedAt;
  session.inboundShards.clear();
  for (const shard of head.inboundShards) session.inboundShards.add(shard);
}

/**
 * An item written under a lower epoch than the head comes from who had the session before, and is void, removals as
 * well: else a compaction pass that a takeover falls into would remove what the copy of the state has of later epochs.
 */
function applyItem(state: SessionShard, key: ItemKey, value: Buffer | null): void {
  const session = state.sessions.get(key.clientId);
  if (value === null) {
    if (session !== undefined) removeItem(session, key);
    return;
  }
  const { epoch, exists, input } = readPrefix(value);
  if (!exists) {
    if (session !== undefined && epoch >= session.epoch) removeItem(session, key);
    return;
  }
  switch (key.kind) {
    case 'will': {
      const will = readWill(input);
      if (isCurrent(session, epoch)) session.will = will;
      return;
    }
    case 'subscription': {
      const subscription = readSubscription(key.filter, input);
      if (isCurrent(session, epoch)) session.subscriptions.set(key.filter, subscription);
      return;
    }
    case 'cursor': {
      const offset = readCursor(input);
      if (isCurrent(session, epoch)) session.cursors.set(key.shard, offset);
      return;
    }
    case 'inflight': {
      const entry = readInflight(key.packetId, input);
      if (isCurrent(session, epoch)) session.inflight.set(key.packetId, entry);
    }
  }
}

function isCurrent(session: SessionState | undefined, epoch: number): session is SessionState {
  return session !== undefined && epoch >= session.epoch;
}

function removeItem(session: SessionState, key: ItemKey): void {
  switch (key.kind) {
    case 'will':
      session.will = null;
      return;
    case 'subscription':
      session.subscriptions.delete(key.filter);
      return;
    case 'cursor':
      session.cursors.delete(key.shard);
      return;
    case 'inflight':
      session.inflight.delete(key.packetId);
  }
}

/**
 * Copies the sessions that exist now, each as it is when its turn comes. The state goes on changing meanwhile; changes
 * from now on are appended behind the copy, and a crash may lose them, or cut the copy after any item. So nothing here
 * may pass what is not written yet: floors are those of now and come last; cursors follow what is in flight. Epochs are
 * those of now too: a later one would fence off the changes before it that follow the copy.
 */
function live(state: SessionShard): Iterable<FoldItem> {
  const floors = new Map(state.floors);
  const copied: (readonly [SessionState, number])[] = [];
  for (const session of state.sessions.values()) copied.push([session, session.epoch]);
  return copyOf(state, copied, floors);
}

function* copyOf(
  state: SessionShard,
  copied: readonly (readonly [SessionState, number])[],
  floors: ReadonlyMap<ShardId, Offset>,
): Iterable<FoldItem> {
  for (const [session, epoch] of copied) {
    if (state.sessions.get(session.clientId) === session) yield* itemsOf({ ...session, epoch });
  }
  if (floors.size > 0) yield floorItem(floors);
}

function itemsOf(session: SessionState): FoldItem[] {
  // Until its cursors are there as well, the floors must not speak for it.
  const items = [headItem(floorsApply(session) ? { ...session, behind: true } : session)];
  items.push(willItem(session));
  for (const subscription of session.subscriptions.values())
    items.push(subscriptionItem(session, subscription));
  for (const entry of session.inflight.values()) {
    if (!session.unrecorded.has(entry.packetId)) items.push(inflightItem(session, entry));
  }
  for (const shard of session.cursors.keys()) items.push(cursorItem(session, shard));
  if (floorsApply(session)) items.push(headItem(session));
  return items;
}

/** From the sizes of some sessions' parts, without a look at each part. */
function liveBytes(state: SessionShard): number {
  let sampled = 0;
  let bytes = 0;
  for (const session of state.sessions.values()) {
    if (sampled === sampledMax) break;
    sampled++;
    bytes += bytesOf(session);
  }
  const sessions = sampled === 0 ? 0 : (bytes / sampled) * state.sessions.size;
  return Math.ceil(sessions) + state.floors.size * 12;
}

function bytesOf(session: SessionState): number {
  const keyBytes = 16 + session.clientId.length;
  const { subscriptions, cursors, inflight, will } = session;
  const [first] = subscriptions.values();
  const subscriptionBytes = first === undefined ? 0 : 16 + first.filter.length + first.since.size * 12;
  const willBytes = will === null ? 0 : 32 + will.topic.length + will.payload.length;
  const items = 3 + subscriptions.size + cursors.size + inflight.size;
  return (
    items * keyBytes +
    80 +
    willBytes +
    subscriptions.size * subscriptionBytes +
    cursors.size * 14 +
    inflight.size * 24
  );
}
