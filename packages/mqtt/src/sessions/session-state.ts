import type { Offset, ShardId } from '@robustmq/core';
import type { RetainedRecord } from '@robustmq/kernel';
import type { Qos, Will } from '@robustmq/mqtt-codec';

/** A will as it was sent; its delay is among its properties. */
export type StoredWill = Will;

/** One subscription of a session. */
export interface StoredSubscription {
  readonly filter: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** 0: none. */
  readonly subscriptionId: number;
  /** Per data shard, the offset from which it matches; a shard that is not named is read from its start. */
  readonly since: ReadonlyMap<ShardId, Offset>;
  /** Retained messages are still to be sent for it. */
  retainedDue: boolean;
  /** Those of them that were sent before the last connection broke; not written, so a crash begins anew. */
  retainedSent: readonly RetainedRecord[];
}

/** A QoS 1 or 2 message that was sent and is not acknowledged. */
export interface InflightEntry {
  readonly packetId: number;
  readonly shard: ShardId;
  readonly offset: Offset;
  readonly qos: 1 | 2;
  /** `released`: PUBREC came, PUBREL is next; the record is not read again. */
  readonly phase: 'publish' | 'released';
  /** Not null: a retained message, which is found again by its subject. */
  readonly retainedSubject: string | null;
  /** The RETAIN flag it was sent with. */
  readonly retain: boolean;
  readonly subscriptionIds: readonly number[];
}

/** The durable state of one session. Who changes it appends the items of the change (`session-items.ts`). */
export interface SessionState {
  readonly clientId: string;
  /** Producer id of what the session publishes; another one after Clean Start. */
  readonly producerId: number;
  /** Rises at every connect; below 2^31. */
  epoch: number;
  connected: boolean;
  /** Seconds; 0xffffffff: never. */
  expirySeconds: number;
  /** Ms since 1970; 0 while connected. */
  disconnectedAt: number;
  will: StoredWill | null;
  /** Connected, but its own cursors count instead of the floors of its shard. */
  behind: boolean;
  /** By filter. */
  readonly subscriptions: Map<string, StoredSubscription>;
  readonly cursors: Map<ShardId, Offset>;
  /** By packet id, in sending order; folded from a log, in sending order for each data shard. */
  readonly inflight: Map<number, InflightEntry>;
  /** Packet ids in flight whose items were not appended yet: no cursor and no floor has passed them. */
  readonly unrecorded: Set<number>;
  /** Data shards that its QoS 2 publishes went to. */
  readonly inboundShards: Set<ShardId>;
}

/** State of one shard of `__sessions`. */
export interface SessionShard {
  /** By client id. */
  readonly sessions: Map<string, SessionState>;
  /** Per data shard: every session that is connected and not behind has what lies below. */
  readonly floors: Map<ShardId, Offset>;
  /** Records that could not be read and were left out. */
  damaged: number;
}

/** A session without anything, before its first connect (epoch 0). */
export function createSession(from: {
  readonly clientId: string;
  readonly producerId: number;
  readonly expirySeconds: number;
}): SessionState {
  return {
    clientId: from.clientId,
    producerId: from.producerId,
    epoch: 0,
    connected: false,
    expirySeconds: from.expirySeconds,
    disconnectedAt: 0,
    will: null,
    behind: false,
    subscriptions: new Map(),
    cursors: new Map(),
    inflight: new Map(),
    unrecorded: new Set(),
    inboundShards: new Set(),
  };
}

/** Empties a session that is over: what still leads to it must not hold what it had. */
export function emptySession(session: SessionState): void {
  session.will = null;
  session.subscriptions.clear();
  session.cursors.clear();
  session.inflight.clear();
  session.unrecorded.clear();
  session.inboundShards.clear();
}

/** Whether the floors of its shard speak for the session, too. */
export function floorsApply(session: SessionState): boolean {
  return session.connected && !session.behind;
}

/**
 * Where a session reads on in a data shard as far as the log knows, in-flight messages aside; undefined if it says
 * nothing. For who resumes a session whose broker died: floors count only for sessions that look connected.
 */
export function effectiveCursor(
  state: SessionShard,
  session: SessionState,
  shard: ShardId,
): Offset | undefined {
  const own = session.cursors.get(shard);
  if (!floorsApply(session)) return own;
  const floor = state.floors.get(shard);
  if (own === undefined || floor === undefined) return own ?? floor;
  return Math.max(own, floor);
}
