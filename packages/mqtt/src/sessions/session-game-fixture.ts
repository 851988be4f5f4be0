import type { Offset, ShardId } from '@robustmq/core';
import type { FoldItem } from '@robustmq/kernel';
import { inflightOf, shard, subscriptionOf } from './session-fold-fixture.ts';
import { sessionKind } from './session-fold.ts';
import {
  acknowledgedItem,
  cursorItem,
  deletedItem,
  floorItem,
  headItem,
  inflightItem,
  subscriptionItem,
  unsubscribedItem,
  willItem,
} from './session-items.ts';
import type { InflightEntry, SessionShard, SessionState } from './session-state.ts';
import { createSession, effectiveCursor } from './session-state.ts';

const shards = [shard(1), shard(2)];
const inflightMax = 4;

/** What the game knows of a session besides its state. */
interface Player {
  readonly state: SessionState;
  /** First offset of each shard that was not sent. */
  readonly next: Map<ShardId, Offset>;
  packetId: number;
  readonly acknowledged: Set<string>;
}

/** One move: its kind, a client, and a number that some moves use. */
export type Move = readonly [kind: (typeof moves)[number], client: number, n: number];

export const moves = [
  'open',
  'openClean',
  'close',
  'publish',
  'publish',
  'publish',
  'catchUp',
  'catchUp',
  'acknowledge',
  'acknowledge',
  'release',
  'record',
  'sweep',
  'floors',
  'subscribe',
  'unsubscribe',
  'nameShard',
  'setWill',
] as const;

/**
 * Sessions as the adapter keeps them: the state changes first, then its items are appended. Each session has a filter
 * that matches everything, so that the game knows what must never be lost.
 */
export class SessionGame {
  readonly state: SessionShard = sessionKind().create(0);
  /** What was appended, in order. */
  log: FoldItem[] = [];
  readonly #players = new Map<string, Player>();
  readonly #routedTo = new Map<ShardId, Offset>(shards.map((id) => [id, 0]));
  readonly #packetIdMax: number;
  #producerIds = 0;

  /** With few packet ids they are used again while a copy is made; in the adapter that takes 65535 messages. */
  constructor(packetIdMax = 65_535) {
    this.#packetIdMax = packetIdMax;
  }

  play([kind, client, n]: Move): void {
    const clientId = `client-${client}`;
    const player = this.#players.get(clientId);
    if (kind === 'publish') this.#publish(shards[n % shards.length]!);
    else if (kind === 'floors') this.#writeFloors();
    else if (kind === 'open' || kind === 'openClean') this.#open(clientId, kind === 'openClean');
    else if (player?.state.connected === true) this.#playConnected(kind, player, n);
  }

  /** Messages that a broker which starts with this state would never send again although nobody acknowledged them. */
  lostWith(recovered: SessionShard): string[] {
    const lost: string[] = [];
    for (const { state, acknowledged } of this.#players.values()) {
      const session = recovered.sessions.get(state.clientId);
      const since = session?.subscriptions.get('#')?.since;
      if (session?.producerId !== state.producerId || since === undefined) continue;
      const kept = new Set([...session.inflight.values()].map((entry) => place(entry.shard, entry.offset)));
      for (const id of shards) {
        const from = since.get(id)!;
        const cursor = effectiveCursor(recovered, session, id) ?? from;
        for (let offset = from; offset < cursor; offset++) {
          const at = place(id, offset);
          if (!acknowledged.has(at) && !kept.has(at)) lost.push(`${state.clientId} ${at}`);
        }
      }
    }
    return lost;
  }

  #playConnected(kind: Move[0], player: Player, n: number): void {
    const { state } = player;
    switch (kind) {
      case 'close':
        return this.#close(player);
      case 'catchUp':
        return this.#catchUp(player, shards[n % shards.length]!);
      case 'acknowledge':
        return this.#acknowledge(player, n);
      case 'release':
        return this.#release(state, n);
      case 'record':
        return this.#append(this.#cursorItems(player));
      case 'sweep':
        return this.#sweep(player);
      case 'subscribe': {
        const subscription = subscriptionOf({ filter: `f/${n % 3}`, subscriptionId: n });
        state.subscriptions.set(subscription.filter, subscription);
        return this.#append([subscriptionItem(state, subscription)]);
      }
      case 'unsubscribe':
        if (!state.subscriptions.delete(`f/${n % 3}`)) return;
        return this.#append([unsubscribedItem(state, `f/${n % 3}`)]);
      case 'nameShard':
        state.inboundShards.add(shard(n));
        return this.#append([headItem(state)]);
      case 'setWill':
        state.will =
          n % 2 === 0
            ? null
            : { topic: 'w', payload: Buffer.from([n]), qos: 1, retain: false, properties: { willDelay: n } };
        return this.#append([willItem(state)]);
    }
  }

  #append(items: readonly FoldItem[]): void {
    this.log.push(...items);
  }

  #open(clientId: string, clean: boolean): void {
    let player = this.#players.get(clientId);
    if (player?.state.connected === true) this.#close(player);
    if (player !== undefined && clean) {
      this.#players.delete(clientId);
      this.state.sessions.delete(clientId);
      this.#append([deletedItem(clientId)]);
      player = undefined;
    }
    const isNew = player === undefined;
    player ??= this.#create(clientId);
    const { state } = player;
    state.epoch++;
    state.connected = true;
    state.disconnectedAt = 0;
    state.behind = !isNew;
    this.#append([headItem(state), willItem(state)]);
    if (!isNew) return;
    const all = subscriptionOf({ filter: '#', qos: 2, since: new Map(this.#routedTo) });
    state.subscriptions.set('#', all);
    this.#append([subscriptionItem(state, all)]);
  }

  #create(clientId: string): Player {
    const state = createSession({ clientId, producerId: ++this.#producerIds, expirySeconds: 60 });
    const player = { state, next: new Map(this.#routedTo), packetId: 0, acknowledged: new Set<string>() };
    this.#players.set(clientId, player);
    this.state.sessions.set(clientId, state);
    return player;
  }

  #close(player: Player): void {
    const items = this.#cursorItems(player);
    const { state } = player;
    state.connected = false;
    state.behind = false;
    state.disconnectedAt = 1_700_000_000_000;
    this.#append([...items, headItem(state)]);
  }

  #publish(id: ShardId): void {
    const offset = this.#routedTo.get(id)!;
    this.#routedTo.set(id, offset + 1);
    for (const player of this.#players.values()) {
      if (player.state.connected && player.next.get(id) === offset) this.#transmit(player, id);
    }
  }

  #catchUp(player: Player, id: ShardId): void {
    if (player.next.get(id)! < this.#routedTo.get(id)!) this.#transmit(player, id);
  }

  /** Every other offset is at QoS 2, whose entry and cursor are appended before it is sent. */
  #transmit(player: Player, id: ShardId): void {
    const { state, next } = player;
    if (state.inflight.size >= inflightMax) return;
    const offset = next.get(id)!;
    next.set(id, offset + 1);
    do player.packetId = (player.packetId % this.#packetIdMax) + 1;
    while (state.inflight.has(player.packetId));
    const { packetId } = player;
    const qos = offset % 2 === 0 ? 1 : 2;
    state.inflight.set(packetId, inflightOf(packetId, { shard: id, offset, qos }));
    state.unrecorded.add(packetId);
    if (qos === 1) return;
    const items = this.#takeUnrecorded(state, id);
    state.cursors.set(id, offset + 1);
    this.#append([...items, cursorItem(state, id)]);
  }

  #acknowledge(player: Player, n: number): void {
    const { state, acknowledged } = player;
    const entry = entryAt(state, n);
    if (entry === undefined) return;
    acknowledged.add(place(entry.shard, entry.offset));
    state.inflight.delete(entry.packetId);
    if (!state.unrecorded.delete(entry.packetId)) this.#append([acknowledgedItem(state, entry.packetId)]);
  }

  #release(state: SessionState, n: number): void {
    const entry = entryAt(state, n);
    if (entry?.qos !== 2) return;
    const released: InflightEntry = { ...entry, phase: 'released' };
    state.inflight.set(entry.packetId, released);
    this.#append([inflightItem(state, released)]);
  }

  #sweep(player: Player): void {
    const { state, next } = player;
    const behind = shards.some((id) => next.get(id)! < this.#routedTo.get(id)!);
    const items = this.#cursorItems(player);
    state.behind = behind;
    this.#append([...items, headItem(state)]);
  }

  #writeFloors(): void {
    const following = [...this.#players.values()].filter(({ state }) => state.connected && !state.behind);
    if (following.length === 0) return;
    for (const id of shards) {
      let floor = Infinity;
      for (const { state, next } of following) {
        floor = Math.min(floor, next.get(id)!);
        for (const packetId of state.unrecorded) {
          const entry = state.inflight.get(packetId)!;
          if (entry.shard === id) floor = Math.min(floor, entry.offset);
        }
      }
      this.state.floors.set(id, floor);
    }
    this.#append([floorItem(this.state.floors)]);
  }

  #cursorItems(player: Player): FoldItem[] {
    const { state, next } = player;
    const items = this.#takeUnrecorded(state);
    for (const id of shards) {
      state.cursors.set(id, next.get(id)!);
      items.push(cursorItem(state, id));
    }
    return items;
  }

  #takeUnrecorded(state: SessionState, id?: ShardId): FoldItem[] {
    const items: FoldItem[] = [];
    for (const packetId of state.unrecorded) {
      const entry = state.inflight.get(packetId)!;
      if (id !== undefined && entry.shard !== id) continue;
      state.unrecorded.delete(packetId);
      items.push(inflightItem(state, entry));
    }
    return items;
  }
}

function entryAt(state: SessionState, n: number): InflightEntry | undefined {
  return [...state.inflight.values()][n % Math.max(state.inflight.size, 1)];
}

function place(id: ShardId, offset: Offset): string {
  return `${id}@${offset}`;
}
