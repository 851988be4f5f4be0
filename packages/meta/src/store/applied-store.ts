import type { Clock, Logger, StateChange, StateStore, Timer } from '@robustmq/core';
import { ByteReader, ByteWriter, RobustError } from '@robustmq/core';
import type { MetaErrorCode } from '../errors.ts';
import type { StateOptions, Transition } from '../state/metadata-state.ts';
import { MetadataState } from '../state/metadata-state.ts';
import type { ReadMarker } from './read-marker.ts';

export interface AppliedStoreOptions {
  readonly store: StateStore;
  readonly marker: ReadMarker;
  readonly stateOptions: StateOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onFatal: (error: unknown) => void;
}

const appliedKey = 'applied';
const version = 1;
const rebuildBatchPairs = 1000;
const retryFullMs = 10_000;
const rebuildAttempts = 2;

/**
 * Keeps the applied state in a `StateStore`, behind the commits and never in their way. It is a cache of snapshot and
 * log: each batch holds the index, the number of pairs and their hash, and a store that does not agree with itself is
 * dropped and written anew. Batches that wait are merged by key, so what waits is never more than the state.
 */
export class AppliedStore {
  readonly #options: AppliedStoreOptions;
  #state: MetadataState | null = null;
  readonly #waiting = new Map<string, Buffer | null>();
  #mode: 'following' | 'rebuilding' | 'full' = 'rebuilding';
  #running: Promise<void> | null = null;
  #retry: Timer | null = null;
  #closed = false;

  constructor(options: AppliedStoreOptions) {
    this.#options = options;
  }

  /**
   * Opens the store and returns the state it holds, or null when there is none that can be trusted. The marker then
   * stands until the store is cleared: who could not read it once does not try again.
   */
  async load(): Promise<MetadataState | null> {
    const { store, marker, logger } = this.#options;
    try {
      await marker.set();
      await store.open();
      const state = await this.#read();
      await marker.remove();
      return state;
    } catch (error) {
      logger.warn({ error }, 'the applied metadata is not usable and will be rebuilt');
      return null;
    }
  }

  /** From here on the store follows `state`; unless it holds exactly that (`fresh`) it is written anew first. */
  follow(state: MetadataState, fresh: boolean): void {
    this.#state = state;
    this.#mode = fresh ? 'following' : 'rebuilding';
    this.#kick();
  }

  /** Notes what one applied command changed. */
  note(transition: Transition): void {
    if (this.#mode === 'full') return;
    for (const [key, value] of transition.pairs) this.#waiting.set(key, value);
    this.#kick();
  }

  /** Writes what waits, then closes the store. */
  async close(): Promise<void> {
    this.#retry?.cancel();
    while (this.#running !== null) await this.#running;
    this.#closed = true;
    await this.#options.store.close();
  }

  async #read(): Promise<MetadataState | null> {
    const { store, stateOptions } = this.#options;
    const applied = await store.get(appliedKey);
    if (applied === undefined) return null;
    const reader = new ByteReader(applied);
    if (reader.u8() !== version) throw doubt('it has another version');
    if (reader.string() !== stateOptions.clusterId || reader.string() !== stateOptions.defaultTopic) {
      throw doubt('it belongs to another cluster');
    }
    const index = reader.i64();
    const count = reader.u32();
    const hash = reader.string();
    const pairs: [string, Uint8Array][] = [];
    for await (const [key, value] of store.entries()) if (key !== appliedKey) pairs.push([key, value]);
    const state = MetadataState.load(stateOptions, index, pairs);
    if (state.pairCount !== count || state.hash !== hash) throw doubt('its content has another hash');
    return state;
  }

  #kick(): void {
    if (this.#running !== null || this.#closed || this.#state === null || this.#mode === 'full') return;
    if (this.#mode === 'following' && this.#waiting.size === 0) return;
    this.#running = this.#work(this.#state).then(() => {
      this.#running = null;
      this.#kick();
    });
  }

  async #work(state: MetadataState): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        if (this.#mode === 'rebuilding') await this.#rebuild(state);
        else await this.#writeWaiting(state);
        return;
      } catch (error) {
        if (error instanceof RobustError && error.code === 'DISK_FULL') return this.#pause(error);
        if (attempt === rebuildAttempts) return this.#giveUp(error);
        this.#options.logger.warn({ error }, 'the applied metadata could not be written and is rebuilt');
        this.#mode = 'rebuilding';
      }
    }
  }

  /** Everything at once is never atomic: the store names an index only when all pairs are there. */
  async #rebuild(state: MetadataState): Promise<void> {
    const { store, marker } = this.#options;
    const applied = this.#appliedChange(state);
    const pairs = state.pairs();
    this.#waiting.clear();
    let batch: StateChange[] = [];
    await store.clear();
    await marker.remove();
    for (const [key, value] of pairs) {
      batch.push({ key, value });
      if (batch.length < rebuildBatchPairs) continue;
      await store.write(batch);
      batch = [];
    }
    await store.write([...batch, applied]);
    this.#mode = 'following';
  }

  async #writeWaiting(state: MetadataState): Promise<void> {
    const batch: StateChange[] = [this.#appliedChange(state)];
    for (const [key, value] of this.#waiting) batch.push({ key, value });
    this.#waiting.clear();
    await this.#options.store.write(batch);
  }

  #appliedChange(state: MetadataState): StateChange {
    const { clusterId, defaultTopic } = this.#options.stateOptions;
    const writer = new ByteWriter().u8(version).string(clusterId).string(defaultTopic);
    writer.i64(state.index).u32(state.pairCount).string(state.hash);
    return { key: appliedKey, value: writer.finish() };
  }

  /** A full disk stops the cache, not the metadata: it is written anew when there is room. */
  #pause(error: RobustError): void {
    this.#options.logger.warn({ error }, 'no space for the applied metadata; it is rebuilt later');
    this.#mode = 'full';
    this.#waiting.clear();
    this.#retry = this.#options.clock.after(retryFullMs, () => {
      this.#mode = 'rebuilding';
      this.#kick();
    });
  }

  #giveUp(error: unknown): void {
    this.#closed = true;
    this.#options.onFatal(error);
  }
}

function doubt(problem: string): RobustError<MetaErrorCode> {
  return new RobustError('META_STORE_STALE', `the applied metadata is dropped: ${problem}`);
}
