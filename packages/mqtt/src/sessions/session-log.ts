import type { RobustError } from '@robustmq/core';
import type { FoldItem, FoldShard, KernelErrorCode } from '@robustmq/kernel';
import type { SessionShard } from './session-state.ts';

/** What a session hears of its changes. */
export interface SessionLogListener {
  /** Changes up to this number are committed. */
  committed(change: number): void;
  /** The state can't be written any more: what was not committed is unknown. */
  failed(error: RobustError<KernelErrorCode>): void;
}

/**
 * Appends the changes of one session to its shard of `__sessions`: what a callback of the event loop changes is one
 * unit with one number.
 */
export class SessionLog {
  readonly shard: FoldShard<SessionShard>;
  readonly #listener: SessionLogListener;
  #items: FoldItem[] = [];
  #next = 1;
  readonly #run = (): void => this.flush();

  constructor(shard: FoldShard<SessionShard>, listener: SessionLogListener) {
    this.shard = shard;
    this.#listener = listener;
  }

  /** Adds items to the present unit; returns its number, which `committed` tells later. */
  record(...items: readonly FoldItem[]): number {
    if (this.#items.length === 0) queueMicrotask(this.#run);
    for (const item of items) this.#items.push(item);
    return this.#next;
  }

  /** Appends what there is; resolves when it, and everything before it, is committed. */
  commit(...items: readonly FoldItem[]): Promise<void> {
    const all = [...this.#items, ...items];
    this.#items = [];
    const number = this.#next++;
    return new Promise((resolve, reject) => {
      this.shard.appendThen(all, (error) => {
        this.#settled(number, error);
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  flush(): void {
    if (this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    const number = this.#next++;
    this.shard.appendThen(items, (error) => this.#settled(number, error));
  }

  #settled(number: number, error: RobustError<KernelErrorCode> | null): void {
    if (error === null) this.#listener.committed(number);
    else this.#listener.failed(error);
  }
}
