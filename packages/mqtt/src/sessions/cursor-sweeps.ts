import type { Offset, ShardId, Timer } from '@robustmq/core';
import type { Fold } from '@robustmq/kernel';
import type { MqttContext } from '../adapter.ts';
import { floorItem, headItem } from './session-items.ts';
import type { SessionShard } from './session-state.ts';
import type { Session } from './session.ts';

const laggingMs = 250;
/** Where many are behind, their cursors take no more than this share of the time, */
const laggingShare = 1 / 32;
/** but are written at least this often, ms. */
const laggingMsMax = 2500;
const floorMs = 10_000;
/** They are due sooner once so much went to kept sessions: with what goes out until the next look, no more comes again. */
const floorBytes = 64 * 1024 * 1024;
const nowhere: ReadonlyMap<ShardId, Offset> = new Map();

/**
 * Writes where connected sessions stand: one floor per shard of `__sessions` for all that keep up, and own cursors for
 * those with a backlog (docs/storage.md 4.4). A backlog that is gone at the next look costs nothing.
 */
export class CursorSweeps {
  readonly #context: MqttContext;
  readonly #live: () => Iterable<Session>;
  readonly #lagging = new Set<Session>();
  #fold: Fold<SessionShard> | null = null;
  #timer: Timer | null = null;
  #floorAt = 0;
  #bytesSinceFloors = 0;

  constructor(context: MqttContext, live: () => Iterable<Session>) {
    this.#context = context;
    this.#live = live;
  }

  start(fold: Fold<SessionShard>): void {
    this.#fold = fold;
    this.#floorAt = this.#context.clock.monotonic() + floorMs;
    this.#next();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#lagging.clear();
  }

  lagging(session: Session): void {
    this.#lagging.add(session);
  }

  /** Something of `bytes` went to a kept session. Called for each message: an addition. */
  sent(bytes: number): void {
    this.#bytesSinceFloors += bytes;
  }

  #next(spentMs = 0): void {
    const { clock } = this.#context;
    const pauseMs = Math.min(Math.max(laggingMs, spentMs / laggingShare), laggingMsMax);
    this.#timer = clock.after(pauseMs, () => {
      const start = clock.monotonic();
      this.sweep();
      this.#next(clock.monotonic() - start);
    });
  }

  sweep(): void {
    for (const session of this.#lagging) {
      this.#own(session);
      // Ahead of a floor that would speak for it.
      session.log?.flush();
    }
    const now = this.#context.clock.monotonic();
    if (now < this.#floorAt && this.#bytesSinceFloors < floorBytes) return;
    this.#floorAt = now + floorMs;
    this.#bytesSinceFloors = 0;
    this.writeFloors();
  }

  /** One record per shard of `__sessions` whose sessions have moved. */
  writeFloors(): void {
    const fold = this.#fold;
    if (fold === null) return;
    const { dispatcher } = this.#context.kernel;
    const floors = new Map<(typeof fold.shards)[number], Map<ShardId, Offset>>();
    for (const session of this.#live()) {
      if (session.log === null || session.state.behind) continue;
      const { shard } = session.log;
      let of = floors.get(shard);
      if (of === undefined) {
        of = new Map();
        floors.set(shard, of);
      }
      for (const data of session.cursorShards()) {
        const routedTo = dispatcher.routedTo(data);
        if (routedTo === undefined) continue;
        const floor = session.floorOf(data, routedTo);
        if (floor < (of.get(data) ?? Infinity)) of.set(data, floor);
      }
    }
    for (const shard of fold.shards) {
      const of = floors.get(shard) ?? nowhere;
      const { floors: known } = shard.state;
      if (!moved(known, of)) continue;
      // What nobody follows any more has no floor: it would hold back retention and speak for sessions to come.
      known.clear();
      for (const [data, floor] of of) known.set(data, floor);
      shard.appendThen([floorItem(known)], null);
    }
  }

  #own(session: Session): void {
    const { log, state } = session;
    if (session.ended || log === null) {
      this.#lagging.delete(session);
      return;
    }
    if (session.behind) {
      const items = session.cursorItems();
      if (!state.behind) {
        state.behind = true;
        log.record(headItem(state), ...items);
      } else if (items.length > 0) log.record(...items);
      return;
    }
    this.#lagging.delete(session);
    if (!state.behind) return;
    const items = session.cursorItems();
    state.behind = false;
    // The cursors first: from the head on the floors speak for the session.
    log.record(...items, headItem(state));
  }
}

function moved(before: ReadonlyMap<ShardId, Offset>, now: ReadonlyMap<ShardId, Offset>): boolean {
  if (before.size !== now.size) return true;
  for (const [data, floor] of now) if (before.get(data) !== floor) return true;
  return false;
}
