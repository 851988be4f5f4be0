import type { RobustError } from '@robustmq/core';
import type { BatchListener, KernelErrorCode, LogBatch, Shard } from '@robustmq/kernel';

interface Release {
  readonly pair: { readonly producerId: number; readonly token: number };
  readonly done: ((error: RobustError<KernelErrorCode> | null) => void) | null;
}

/** Ends of exactly-once exchanges, gathered per shard: one control entry for all of a turn (docs/semantics.md 4.2). */
export class Releases {
  #open = new Map<Shard, Release[]>();
  readonly #run = (): void => this.flush();

  /** Releases a token; `done` hears when that is committed. */
  add(
    shard: Shard,
    pair: Release['pair'],
    done: ((error: RobustError<KernelErrorCode> | null) => void) | null,
  ): void {
    if (this.#open.size === 0) queueMicrotask(this.#run);
    const releases = this.#open.get(shard);
    if (releases === undefined) this.#open.set(shard, [{ pair, done }]);
    else releases.push({ pair, done });
  }

  flush(): void {
    const open = this.#open;
    // Not cleared: tables of a map point to each other, and an old one would keep these (docs/performance.md).
    this.#open = new Map();
    for (const [shard, releases] of open) {
      const listener: BatchListener = {
        settled: (_batch: LogBatch, error) => {
          for (const release of releases) release.done?.(error);
        },
      };
      shard.release(
        releases.map((release) => release.pair),
        listener,
      );
    }
  }
}
