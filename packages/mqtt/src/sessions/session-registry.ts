import { RobustError } from '@robustmq/core';
import type { Offset, ShardId } from '@robustmq/core';
import type { Fold, FoldItem, FoldShard, KernelErrorCode } from '@robustmq/kernel';
import type { ConnectPacket } from '@robustmq/mqtt-codec';
import type { MqttContext } from '../adapter.ts';
import { BroadSessions } from './broad-sessions.ts';
import { ClientTurns } from './client-turns.ts';
import { cursorShardsOf } from './cursor-shards.ts';
import { CursorSweeps } from './cursor-sweeps.ts';
import { OfflineTimer } from './offline-timer.ts';
import { sessionKind } from './session-fold.ts';
import { cursorItem, deletedItem, headItem, willItem } from './session-items.ts';
import { SessionLog } from './session-log.ts';
import type { SessionShard, SessionState } from './session-state.ts';
import { createSession, effectiveCursor, emptySession } from './session-state.ts';
import type { SessionConnection } from './session.ts';
import { Session } from './session.ts';
import { WillPublisher } from './will-publisher.ts';

/** Session expiry that never comes. */
export const neverExpires = 0xffff_ffff;

/** What a connection asks for. */
export interface SessionRequest {
  readonly clientId: string;
  readonly cleanStart: boolean;
  /** Seconds; 0: the session ends with the connection. */
  readonly expirySeconds: number;
  readonly will: ConnectPacket['will'];
  /** Whether the connection is still there; asked after each wait. */
  alive(): boolean;
}

/**
 * All sessions: those with a connection as objects, the others as pieces of the `__sessions` fold. A session that has no
 * expiry and no will is never written (docs/semantics.md 5.1).
 */
export class SessionRegistry {
  readonly #context: MqttContext;
  readonly #live = new Map<string, Session>();
  readonly #turns = new ClientTurns();
  readonly #offline = new Map<string, OfflineTimer>();
  readonly #wills: WillPublisher;
  /** Kept sessions with a leading wildcard. */
  readonly broad: BroadSessions;
  readonly #sweeps: CursorSweeps;
  /** When sessions without a connection lost it, by the clock that does not jump; set when first asked for. */
  readonly #awaySince = new WeakMap<SessionState, number>();
  #fold!: Fold<SessionShard>;
  #stopping = false;

  constructor(context: MqttContext) {
    this.#context = context;
    this.#wills = new WillPublisher(context);
    this.broad = new BroadSessions(context.limits.broadSessionsMax, context.counters);
    this.#sweeps = new CursorSweeps(context, () => this.#live.values());
  }

  /** Sessions with a connection. */
  get connected(): number {
    return this.#live.size;
  }

  /** Sessions that wait for their client. */
  get offline(): number {
    return this.#offline.size;
  }

  /** Whether a session that is kept may not be made for this client: it has none, and there are as many as may be. */
  full(clientId: string): boolean {
    if (this.#fold.of(clientId).state.sessions.has(clientId)) return false;
    let kept = 0;
    for (const shard of this.#fold.shards) kept += shard.state.sessions.size;
    return kept >= this.#context.limits.sessionsMax;
  }

  /** Loads the fold; sessions whose connections died with the last process are disconnected now. */
  async start(): Promise<void> {
    this.#fold = await this.#context.kernel.folds.open(sessionKind(), {
      replaced: (shard, before) => this.#replaced(shard, before),
    });
    await Promise.all(this.#fold.shards.map((shard) => this.#recover(shard)));
    this.#sweeps.start(this.#fold);
  }

  /** Sessions keep what they need to be resumed; wills wait for the next start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wills.stop();
    this.#sweeps.stop();
    for (const session of [...this.#live.values()]) this.close(session, { will: true });
    await this.#turns.whenIdle();
  }

  /** The session of a client, made or resumed, with this connection; null when the connection went away meanwhile. */
  open(
    request: SessionRequest,
    connection: SessionConnection,
  ): Promise<{ session: Session; present: boolean } | null> {
    return this.#turns.run(request.clientId, () => this.#open(request, connection));
  }

  /** The connection of a session is gone. `will`: without a proper end, so that the will is due. */
  close(session: Session, how: { will: boolean; expirySeconds?: number }): void {
    const { state, log } = session;
    if (session.ended || this.#live.get(state.clientId) !== session) return;
    this.#live.delete(state.clientId);
    const items: FoldItem[] = log === null ? [] : session.cursorItems();
    const { connection } = session;
    session.detach();
    state.connected = false;
    state.disconnectedAt = this.#context.clock.now();
    this.#awaySince.set(state, this.#context.clock.monotonic());
    if (how.expirySeconds !== undefined) state.expirySeconds = how.expirySeconds;
    if (log === null) return;
    if (!how.will && state.will !== null) {
      state.will = null;
      items.push(willItem(state));
    }
    log.record(headItem(state), ...items);
    log.flush();
    if (this.#stopping) return;
    // Who resumes the session asks its shards for open exchanges: they must know of all that was published before.
    const settled = connection.publishesSettled();
    if (settled !== null) void this.#turns.run(state.clientId, () => settled);
    this.#schedule(state, 0);
  }

  /** Records of a shard were not routed from `from` on. */
  fellBehind(shard: ShardId, from: Offset): void {
    for (const session of this.#live.values()) {
      // One that is being resumed reads on from its own cursor, which lies below.
      if (session.resuming || !session.cursorShards().has(shard)) continue;
      session.fallBehind(shard, from);
      session.wake();
    }
  }

  /** The session has a backlog: its own cursors have to be written while that lasts. */
  lagging(session: Session): void {
    this.#sweeps.lagging(session);
  }

  /** A message of so many bytes, name and payload, went to a kept session: floors are due sooner where much is sent. */
  sent(bytes: number): void {
    this.#sweeps.sent(bytes);
  }

  async #open(
    request: SessionRequest,
    connection: SessionConnection,
  ): Promise<{ session: Session; present: boolean } | null> {
    const { clientId } = request;
    const prior = this.#live.get(clientId);
    if (prior !== undefined) {
      this.#context.counters.takeovers++;
      const before = prior.connection;
      before.takenOver();
      // A connection that was still opening does not know its session.
      this.close(prior, { will: true });
      // What it published and has no outcome yet must not be taken a second time.
      if (prior.log !== null) await before.publishesSettled();
    }
    const shard = this.#fold.of(clientId);
    let stored = shard.state.sessions.get(clientId);
    if (stored !== undefined) {
      this.#cancelOffline(clientId);
      // Being taken over is the loss of a connection, and a will without delay is due at once (docs/semantics.md 5.2).
      const takenOver = prior !== undefined;
      if (request.cleanStart || stored.expirySeconds === 0) {
        await this.#end(shard, stored, { will: request.cleanStart || takenOver });
        stored = undefined;
      } else if (takenOver && (stored.will?.properties.willDelay ?? 0) === 0) {
        await this.#publishWill(shard, stored);
      }
    }
    if (!request.alive()) {
      if (stored !== undefined && !stored.connected) this.#schedule(stored, 0);
      return null;
    }
    return this.#begin(request, connection, { shard, stored });
  }

  async #begin(
    request: SessionRequest,
    connection: SessionConnection,
    from: { shard: FoldShard<SessionShard>; stored: SessionState | undefined },
  ): Promise<{ session: Session; present: boolean } | null> {
    const { clientId, expirySeconds, will } = request;
    const { shard, stored } = from;
    const logged = stored !== undefined || expirySeconds > 0 || will !== null;
    const state =
      stored ??
      createSession({
        clientId,
        producerId: logged ? await this.#context.kernel.producerIds.next() : 0,
        expirySeconds,
      });
    this.#cancelOffline(clientId);
    state.epoch = logged ? state.epoch + 1 : state.epoch;
    state.connected = true;
    state.disconnectedAt = 0;
    state.expirySeconds = expirySeconds;
    state.will = will;
    // Until it has caught up its own cursors count.
    state.behind = stored !== undefined;
    let session: Session | null = null;
    const log = logged
      ? new SessionLog(shard, {
          committed: (change) => session?.committed(change),
          failed: (error) => session?.connection.failed(error),
        })
      : null;
    session = new Session(state, connection, log, this.#context);
    session.resuming = stored !== undefined;
    this.#live.set(clientId, session);
    if (log !== null) {
      if (stored === undefined) shard.state.sessions.set(clientId, state);
      try {
        await log.commit(headItem(state), willItem(state));
      } catch (error) {
        this.close(session, { will: true });
        throw error;
      }
    }
    if (!request.alive()) {
      this.close(session, { will: true });
      return null;
    }
    return { session, present: stored !== undefined };
  }

  /** Ends a session for good: its will first, then everything of it in one record. */
  async #end(shard: FoldShard<SessionShard>, state: SessionState, how: { will: boolean }): Promise<void> {
    const will = how.will ? state.will : null;
    if (will !== null) await this.#published(state);
    shard.state.sessions.delete(state.clientId);
    this.broad.remove(state.clientId);
    await shard.append([deletedItem(state.clientId)]);
    if (will !== null) this.#wills.release(state, will.topic);
    emptySession(state);
  }

  /** Publishes the will of a session that goes on, and notes that it was. */
  async #publishWill(shard: FoldShard<SessionShard>, state: SessionState): Promise<void> {
    const { will } = state;
    if (will === null) return;
    await this.#published(state);
    state.will = null;
    await shard.append([willItem(state)]);
    this.#wills.release(state, will.topic);
  }

  /** Throws when the adapter stops first: the will then waits in the log for the next start. */
  async #published(state: SessionState): Promise<void> {
    if (await this.#wills.publish(state)) return;
    throw new RobustError<KernelErrorCode>('KERNEL_STOPPING', 'the broker is stopping', { retriable: true });
  }

  /** Sets the next deadline of a session without a connection; `graceMs` is the least time its will waits. */
  #schedule(state: SessionState, graceMs: number): void {
    const due = this.#dueIn(state, graceMs);
    const timer = new OfflineTimer(state.clientId, (clientId) => this.#due(clientId));
    this.#cancelOffline(state.clientId);
    this.#offline.set(state.clientId, timer);
    this.#context.counters.sessionsWaiting = this.#offline.size;
    if (due === null) return;
    if (due <= 0) timer.expire();
    else this.#context.timers.schedule(timer, due);
  }

  /** Ms until the will is due or the session ends, whichever comes first; null: never. */
  #dueIn(state: SessionState, graceMs: number): number | null {
    const gone = this.#goneMs(state);
    const endsIn = state.expirySeconds === neverExpires ? null : state.expirySeconds * 1000 - gone;
    if (state.will === null) return endsIn;
    const delayMs = (state.will.properties.willDelay ?? 0) * 1000;
    const willIn = Math.max(delayMs - gone, graceMs);
    if (endsIn === null) return willIn;
    return Math.max(Math.min(willIn, endsIn), graceMs);
  }

  /**
   * Ms since the session lost its connection. What lies before this process is known from the wall clock only, which
   * may have jumped: it is never negative.
   */
  #goneMs(state: SessionState): number {
    const { clock } = this.#context;
    let since = this.#awaySince.get(state);
    if (since === undefined) {
      since = clock.monotonic() - Math.max(0, clock.now() - state.disconnectedAt);
      this.#awaySince.set(state, since);
    }
    return clock.monotonic() - since;
  }

  #due(clientId: string): void {
    this.#offline.delete(clientId);
    this.#context.counters.sessionsWaiting = this.#offline.size;
    this.#turns
      .run(clientId, () => this.#expire(clientId))
      .catch((error: Error) => {
        if (this.#stopping) return;
        this.#context.logger.error({ error, client: clientId }, 'a session could not be ended');
      });
  }

  async #expire(clientId: string): Promise<void> {
    const shard = this.#fold.of(clientId);
    const state = shard.state.sessions.get(clientId);
    if (state === undefined || state.connected || this.#stopping) return;
    const gone = this.#goneMs(state);
    if (state.expirySeconds !== neverExpires && gone >= state.expirySeconds * 1000) {
      if (state.expirySeconds > 0) this.#context.counters.sessionsExpired++;
      await this.#end(shard, state, { will: true });
      return;
    }
    const { will } = state;
    if (will !== null && gone >= (will.properties.willDelay ?? 0) * 1000) {
      await this.#publishWill(shard, state);
    }
    this.#schedule(state, 0);
  }

  #cancelOffline(clientId: string): void {
    const timer = this.#offline.get(clientId);
    if (timer === undefined) return;
    this.#context.timers.cancel(timer);
    this.#offline.delete(clientId);
    this.#context.counters.sessionsWaiting = this.#offline.size;
  }

  /** What its sessions have in flight is unknown: their clients come again, and find what the log says of them. */
  #replaced(shard: FoldShard<SessionShard>, before: FoldShard<SessionShard>): void {
    if (this.#stopping) return;
    const error = new RobustError<KernelErrorCode>('OUTCOME_UNKNOWN', 'the shard of the session was lost', {
      retriable: true,
    });
    for (const session of [...this.#live.values()]) {
      if (session.log?.shard !== before) continue;
      session.connection.failed(error);
      this.close(session, { will: true });
    }
    for (const clientId of before.state.sessions.keys()) this.broad.remove(clientId);
    this.#recover(shard).catch((failed: Error) =>
      this.#context.logger.error({ error: failed, shard: shard.index }, 'sessions could not be recovered'),
    );
  }

  /** Fixes the cursors of sessions that were connected when the last process ended, and sets all deadlines. */
  async #recover(shard: FoldShard<SessionShard>): Promise<void> {
    const { clock, limits, kernel, logger } = this.#context;
    const items: FoldItem[] = [];
    if (shard.state.damaged > 0) {
      logger.warn(
        { records: shard.state.damaged, shard: shard.index },
        'records of sessions can not be read',
      );
    }
    for (const state of shard.state.sessions.values()) {
      this.broad.update(state);
      if (state.connected) {
        for (const data of cursorShardsOf(state, kernel)) {
          const cursor = effectiveCursor(shard.state, state, data);
          if (cursor === undefined || cursor === state.cursors.get(data)) continue;
          state.cursors.set(data, cursor);
          items.push(cursorItem(state, data));
        }
        state.connected = false;
        state.behind = false;
        state.disconnectedAt = clock.now();
        items.push(headItem(state));
      }
      this.#schedule(state, limits.willRecoveryGraceMs);
    }
    if (items.length > 0) await shard.append(items);
  }
}
