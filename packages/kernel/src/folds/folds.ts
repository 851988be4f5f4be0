import { RobustError } from '@robustmq/core';
import type { Logger, Offset, ShardId } from '@robustmq/core';
import { partitionHash } from '@robustmq/record';
import type { KernelErrorCode } from '../errors.ts';
import type { ShardModules } from '../shards/recover-shard.ts';
import type { Topics } from '../topics.ts';
import type { FoldKind, WaitingReader } from './fold-kind.ts';
import type { FoldShard } from './fold-shard.ts';
import { FoldSlot } from './fold-slot.ts';

/** All shards of one kind that this broker owns, loaded. */
export class Fold<State> {
  readonly kind: FoldKind<State>;
  readonly #shards: FoldShard<State>[];

  constructor(kind: FoldKind<State>, shards: FoldShard<State>[]) {
    this.kind = kind;
    this.#shards = shards;
  }

  /** In order; one that was lost is replaced when it is recovered. */
  get shards(): readonly FoldShard<State>[] {
    return this.#shards;
  }

  /** The shard that coordinates `key` (a client, a group). */
  of(key: string): FoldShard<State> {
    const bytes = Buffer.from(key);
    return this.#shards[(partitionHash(bytes, 0, bytes.length) & 0x7fffffff) % this.#shards.length]!;
  }
}

/** What whoever opened a fold hears of it. */
export interface FoldListener<State> {
  /**
   * A shard was lost, and another one has taken its place: its state is what the log says. Everything that was made of
   * the state before is void, and what is appended there is refused.
   */
  replaced(shard: FoldShard<State>, before: FoldShard<State>): void;
}

/** Loads and keeps the folds that adapters register. */
export class Folds {
  readonly #topics: Topics;
  readonly #modulesOf: (shard: ShardId) => ShardModules;
  readonly #logger: Logger;
  readonly #open = new Map<string, Fold<unknown>>();
  /** By topic, as `#open`. */
  readonly #slots = new Map<string, readonly FoldSlot<unknown>[]>();
  /** Kinds that are being loaded, or could not be. */
  readonly #missing = new Set<string>();

  constructor(topics: Topics, modulesOf: (shard: ShardId) => ShardModules, logger: Logger) {
    this.#topics = topics;
    this.#modulesOf = modulesOf;
    this.#logger = logger;
  }

  /**
   * Creates the internal topic at first use and loads all its shards; they serve when this resolves. When one can not be
   * loaded, none stays open: SHARD_UNAVAILABLE with `detail.shard` for one that lost records. One that is lost later is
   * opened again.
   */
  async open<State>(kind: FoldKind<State>, listener?: FoldListener<State>): Promise<Fold<State>> {
    this.#missing.add(kind.topic);
    const topic = await this.#topics.ensureInternal(kind.topic, kind.shards);
    const config = this.#topics.configOf(topic);
    const shards: FoldShard<State>[] = [];
    const slots = topic.shards.map((id, index) => {
      const replaced = (shard: FoldShard<State>, before: FoldShard<State>): void => {
        shards[index] = shard;
        listener?.replaced(shard, before);
      };
      const modules = this.#modulesOf(id);
      const slot = new FoldSlot({ kind, index, config, modules, logger: this.#logger, replaced });
      shards.push(slot.shard);
      return slot;
    });
    const opened = await Promise.allSettled(slots.map((slot) => slot.open()));
    const failed = opened.find((each) => each.status === 'rejected');
    if (failed !== undefined) {
      for (const slot of slots) slot.close(stopping());
      throw failed.reason;
    }
    const fold = new Fold(kind, shards);
    this.#open.set(kind.topic, fold as Fold<unknown>);
    this.#slots.set(kind.topic, slots as FoldSlot<unknown>[]);
    this.#missing.delete(kind.topic);
    return fold;
  }

  /** Whether `floors` knows all cursors: every kind that was asked for is loaded, and none of its shards is lost. */
  get complete(): boolean {
    if (this.#missing.size > 0) return false;
    for (const slots of this.#slots.values()) if (slots.some(({ lost }) => lost)) return false;
    return true;
  }

  /** Lowest offset per data shard that some state still has to read. */
  floors(): Map<ShardId, Offset> {
    const floors = new Map<ShardId, Offset>();
    for (const fold of this.#open.values()) {
      if (fold.kind.floors === undefined) continue;
      for (const shard of fold.shards) {
        for (const [data, offset] of fold.kind.floors(shard.state)) {
          const before = floors.get(data);
          if (before === undefined || offset < before) floors.set(data, offset);
        }
      }
    }
    return floors;
  }

  /** Everyone who waits to read a data shard on, each with the shard that its place is written to. */
  *waiting(shard: ShardId): Iterable<readonly [WaitingReader, FoldShard<unknown>]> {
    for (const { kind, shards } of this.#open.values()) {
      if (kind.waiting === undefined) continue;
      for (const of of shards) for (const reader of kind.waiting(of.state, shard)) yield [reader, of];
    }
  }

  flush(): void {
    for (const fold of this.#open.values()) for (const shard of fold.shards) shard.flush();
  }

  compactIfDue(): void {
    for (const fold of this.#open.values()) for (const shard of fold.shards) shard.compactIfDue(this.#logger);
  }

  async whenIdle(): Promise<void> {
    for (const fold of this.#open.values()) {
      for (const shard of fold.shards) await shard.whenIdle();
    }
  }

  stop(): void {
    const error = stopping();
    for (const slots of this.#slots.values()) for (const slot of slots) slot.close(error);
    this.#slots.clear();
    this.#open.clear();
  }
}

function stopping(): RobustError<KernelErrorCode> {
  return new RobustError('KERNEL_STOPPING', 'the broker is stopping', { retriable: true });
}
