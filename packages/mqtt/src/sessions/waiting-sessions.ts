import type { Offset, ShardId } from '@robustmq/core';
import type { FoldItem, WaitingReader } from '@robustmq/kernel';
import { cursorItem } from './session-items.ts';
import type { SessionShard, SessionState } from './session-state.ts';

/** The sessions without a connection that read a data shard's log when they are resumed: those with a filter above QoS 0. */
export function* waitingSessions(state: SessionShard, shard: ShardId): Iterable<WaitingReader> {
  for (const session of state.sessions.values()) {
    if (session.connected) continue;
    const filters: WaitingReader['filters'][number][] = [];
    for (const { filter, qos, since } of session.subscriptions.values())
      if (qos > 0) filters.push({ filter, since: since.get(shard) });
    if (filters.length > 0) yield new WaitingSession(state, session, shard, filters);
  }
}

class WaitingSession implements WaitingReader {
  readonly identity: SessionState;
  readonly version: number;
  readonly cursor: Offset | undefined;
  readonly filters: WaitingReader['filters'];
  readonly #state: SessionShard;
  readonly #shard: ShardId;

  constructor(state: SessionShard, session: SessionState, shard: ShardId, filters: WaitingReader['filters']) {
    this.identity = session;
    this.version = session.epoch;
    this.cursor = session.cursors.get(shard);
    this.filters = filters;
    this.#state = state;
    this.#shard = shard;
  }

  moveTo(offset: Offset): FoldItem | null {
    const session = this.identity;
    const waits = !session.connected && session.epoch === this.version;
    if (!waits || this.#state.sessions.get(session.clientId) !== session) return null;
    session.cursors.set(this.#shard, offset);
    return cursorItem(session, this.#shard);
  }
}
