import type { StateChange, StateStore } from '@robustmq/core';
import { assert } from '@robustmq/core';

/** A `StateStore` in memory. What it holds outlives `close`, so a test can open it again after a crash. */
export class MemoryStateStore implements StateStore {
  readonly #pairs = new Map<string, Uint8Array>();
  #opened = false;

  async open(): Promise<void> {
    this.#opened = true;
  }

  async close(): Promise<void> {
    this.#opened = false;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    assert(this.#opened, 'the store is not open');
    return this.#pairs.get(key);
  }

  async *entries(): AsyncGenerator<[string, Uint8Array]> {
    assert(this.#opened, 'the store is not open');
    yield* [...this.#pairs].sort(([left], [right]) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
  }

  async write(changes: readonly StateChange[]): Promise<void> {
    assert(this.#opened, 'the store is not open');
    for (const { key, value } of changes) {
      if (value === null) this.#pairs.delete(key);
      else this.#pairs.set(key, Uint8Array.from(value));
    }
  }

  async clear(): Promise<void> {
    this.#pairs.clear();
    this.#opened = true;
  }
}
