import { RobustError } from '@robustmq/core';
import type { Logger, Timer } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import { asKernelError } from '../log/shard-log.ts';
import type { ShardModules } from '../shards/recover-shard.ts';
import type { TopicConfig } from '../topic-config.ts';
import type { FoldKind } from './fold-kind.ts';
import { FoldShard } from './fold-shard.ts';

/** Pause before a lost shard is opened again; doubled each time, up to the second. */
const reopenMsMin = 250;
const reopenMsMax = 30_000;
/** One that served so long is lost for a new reason: the pauses begin anew. */
const settledMs = 60_000;

export interface FoldSlotOptions<State> {
  readonly kind: FoldKind<State>;
  readonly index: number;
  readonly config: TopicConfig;
  readonly modules: ShardModules;
  readonly logger: Logger;
  /** A new shard has taken the place of one that was lost. */
  readonly replaced: (shard: FoldShard<State>, before: FoldShard<State>) => void;
}

/**
 * One shard of a fold, and another one in its place when it is lost: what the lost one had in flight is unknown, so the
 * state is made again from the log. Who still holds the lost one is refused there.
 */
export class FoldSlot<State> {
  readonly #options: FoldSlotOptions<State>;
  #shard: FoldShard<State>;
  /** The newest that was lost; null while one serves. */
  #lostShard: FoldShard<State> | null = null;
  #closed = false;
  #pauseMs = reopenMsMin;
  #openedAt = 0;
  #timer: Timer | null = null;

  constructor(options: FoldSlotOptions<State>) {
    this.#options = options;
    this.#shard = this.#make();
  }

  /** Serves, or has served and is lost. */
  get shard(): FoldShard<State> {
    return this.#shard;
  }

  get lost(): boolean {
    return this.#lostShard !== null;
  }

  /** Opens it for the first time; rejects as `FoldShard.open`. */
  open(): Promise<void> {
    return this.#open(this.#shard);
  }

  close(error: RobustError<KernelErrorCode>): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#shard.close(error);
  }

  #make(): FoldShard<State> {
    const { kind, index, config, modules } = this.#options;
    return new FoldShard(kind, index, config, modules);
  }

  async #open(shard: FoldShard<State>): Promise<void> {
    await shard.open((error) => this.#wasLost(shard, error));
    this.#openedAt = this.#options.modules.clock.monotonic();
  }

  #wasLost(shard: FoldShard<State>, error: RobustError<KernelErrorCode>): void {
    const { logger, kind, index, modules } = this.#options;
    logger.error({ error, topic: kind.topic, shard: index }, 'a state shard was lost; it is opened again');
    this.#lostShard = shard;
    if (modules.clock.monotonic() - this.#openedAt >= settledMs) this.#pauseMs = reopenMsMin;
    this.#reopenLater();
  }

  #reopenLater(): void {
    if (this.#closed) return;
    this.#timer = this.#options.modules.clock.after(this.#pauseMs, () => void this.#reopen());
    this.#pauseMs = Math.min(this.#pauseMs * 2, reopenMsMax);
  }

  async #reopen(): Promise<void> {
    const { logger, kind, index, replaced } = this.#options;
    const before = this.#shard;
    const shard = this.#make();
    try {
      await this.#open(shard);
    } catch (error) {
      shard.close(asKernelError(error as Error));
      logger.error({ error, topic: kind.topic, shard: index }, 'a state shard could not be opened again');
      this.#reopenLater();
      return;
    }
    if (this.#closed) shard.close(closed());
    if (this.#closed || this.#lostShard === shard) return;
    this.#shard = shard;
    this.#lostShard = null;
    logger.info({ topic: kind.topic, shard: index }, 'a state shard serves again');
    replaced(shard, before);
  }
}

function closed(): RobustError<KernelErrorCode> {
  return new RobustError('KERNEL_STOPPING', 'the broker is stopping', { retriable: true });
}
