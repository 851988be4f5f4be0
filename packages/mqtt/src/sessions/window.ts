import type { Offset, ShardId } from '@robustmq/core';
import { assert } from '@robustmq/core';
import type { InflightEntry, SessionState } from './session-state.ts';

const packetIdMax = 65_535;

/** Where a message about to be in flight was read. */
export interface InflightSource {
  readonly shard: ShardId;
  readonly offset: Offset;
  readonly retainedSubject: string | null;
  readonly ids: readonly number[];
}

/** What there is to know of a message whose session ends with its connection: these serve all of them. */
const volatile = {
  packetId: 0,
  shard: 0 as ShardId,
  offset: 0,
  retainedSubject: null,
  retain: false,
  subscriptionIds: [],
} as const;
const volatileQos1: InflightEntry = { ...volatile, qos: 1, phase: 'publish' };
const volatileQos2: InflightEntry = { ...volatile, qos: 2, phase: 'publish' };
const volatileReleased: InflightEntry = { ...volatile, qos: 2, phase: 'released' };

/**
 * QoS 1 and 2 messages that were sent and are not acknowledged, by packet id, in sending order. In a session that is
 * logged each knows where its record is, and whether the log knows of it; in others one shared entry says all there is.
 */
export class Window {
  readonly #entries: Map<number, InflightEntry>;
  readonly #logged: boolean;
  readonly #unrecorded: Set<number>;
  /** Places of what was in flight when the session was resumed: a cursor may lie below them. */
  readonly #resumed = new Map<ShardId, Set<Offset>>();
  #last = 0;

  constructor(state: SessionState, logged: boolean) {
    const entries = state.inflight;
    this.#entries = entries;
    this.#unrecorded = state.unrecorded;
    this.#logged = logged;
    for (const { packetId, shard, offset, retainedSubject } of entries.values()) {
      this.#last = packetId;
      if (retainedSubject !== null) continue;
      const offsets = this.#resumed.get(shard);
      if (offsets === undefined) this.#resumed.set(shard, new Set([offset]));
      else offsets.add(offset);
    }
  }

  /** Nothing is sent any more: forgets what only sending needs. */
  drop(): void {
    this.#resumed.clear();
  }

  get size(): number {
    return this.#entries.size;
  }

  get(packetId: number): InflightEntry | undefined {
    return this.#entries.get(packetId);
  }

  entries(): InflightEntry[] {
    return [...this.#entries.values()];
  }

  /** Puts a message in flight under a packet id that is not in use, and returns that. */
  add(qos: 1 | 2, retain: boolean, source: InflightSource): number {
    const packetId = this.#allocate();
    if (!this.#logged) {
      this.#entries.set(packetId, qos === 1 ? volatileQos1 : volatileQos2);
      return packetId;
    }
    this.#entries.set(packetId, {
      packetId,
      shard: source.shard,
      offset: source.offset,
      qos,
      phase: 'publish',
      retainedSubject: source.retainedSubject,
      retain,
      subscriptionIds: source.ids,
    });
    this.#unrecorded.add(packetId);
    return packetId;
  }

  /** The client has it: PUBREL is next. */
  released(packetId: number): InflightEntry {
    const entry = this.#entries.get(packetId);
    assert(entry !== undefined, 'a released message is in flight');
    const released: InflightEntry = this.#logged ? { ...entry, phase: 'released' } : volatileReleased;
    this.#entries.set(packetId, released);
    return released;
  }

  /** The log knows of it now. */
  recorded(packetId: number): void {
    this.#unrecorded.delete(packetId);
  }

  /** Ends it; returns whether the log knows of it. */
  remove(packetId: number): boolean {
    this.#entries.delete(packetId);
    return this.#logged && !this.#unrecorded.delete(packetId);
  }

  /** Whether the message read at this place was in flight already when the session was resumed. */
  wasInflight(shard: ShardId, offset: Offset): boolean {
    return this.#resumed.size > 0 && this.#resumed.get(shard)?.has(offset) === true;
  }

  /** Entries that the log does not know (of one shard), which count as recorded from now on. */
  takeUnrecorded(shard?: ShardId): InflightEntry[] {
    const taken: InflightEntry[] = [];
    for (const packetId of this.#unrecorded) {
      const entry = this.#entries.get(packetId)!;
      if (shard !== undefined && (entry.shard !== shard || entry.retainedSubject !== null)) continue;
      this.#unrecorded.delete(packetId);
      taken.push(entry);
    }
    return taken;
  }

  /** Lowest offset of the shard in flight that the log does not know; infinite when there is none. */
  lowestUnrecorded(shard: ShardId): Offset {
    let lowest = Infinity;
    for (const packetId of this.#unrecorded) {
      const { shard: at, offset, retainedSubject } = this.#entries.get(packetId)!;
      if (at === shard && retainedSubject === null && offset < lowest) lowest = offset;
    }
    return lowest;
  }

  #allocate(): number {
    assert(this.#entries.size < packetIdMax, 'the window is smaller than the number of packet ids');
    let id = this.#last;
    do id = id === packetIdMax ? 1 : id + 1;
    while (this.#entries.has(id));
    this.#last = id;
    return id;
  }
}
