import { RobustError } from '@robustmq/core';
import type { Clock, Logger, ShardId } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import { FoldShard } from '../folds/fold-shard.ts';
import { forgetUsage, retainedKind, retainedTopic } from '../folds/retained.ts';
import type { RetainedState, RetainedUsage } from '../folds/retained.ts';
import type { Appender } from '../log/appender.ts';
import { asKernelError } from '../log/shard-log.ts';
import type { JournalClient } from '../ports/journal-client.ts';
import type { SubjectTable } from '../names/subject-table.ts';
import type { Metadata, ShardRecord, TopicRecord } from '../ports/metadata.ts';
import type { Topics } from '../topics.ts';
import type { ShardModules } from './recover-shard.ts';
import type { ShardRoutes } from './shard.ts';
import { Shard } from './shard.ts';

export interface ShardTableModules {
  readonly metadata: Metadata;
  readonly journal: JournalClient;
  readonly appender: Appender;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly topics: Topics;
  readonly usage: RetainedUsage;
  readonly subjects: SubjectTable;
}

/** A shard that can't be opened is logged this often at most: clients ask for it again and again. */
const complainMs = 10_000;

/** The data shards that this broker owns, each opened at its first use. */
export class ShardTable {
  readonly #modules: ShardTableModules;
  readonly #routes: ShardRoutes;
  readonly #ready = new Map<ShardId, Shard>();
  readonly #opening = new Map<ShardId, Promise<Shard>>();
  readonly #retained = new Map<ShardId, FoldShard<RetainedState>>();
  /** Shards that could not be opened at their last use, and when that was logged. */
  readonly #complained = new Map<ShardId, number>();

  constructor(modules: ShardTableModules, routes: ShardRoutes) {
    this.#modules = modules;
    this.#routes = routes;
  }

  /** The shard if it is open, else null. */
  ready(id: ShardId): Shard | null {
    return this.#ready.get(id) ?? null;
  }

  /** Every shard that is open. */
  all(): Iterable<Shard> {
    return this.#ready.values();
  }

  /** Folds of retained copies that are open, for the end-of-turn flush and compaction. */
  retainedFolds(): Iterable<FoldShard<RetainedState>> {
    return this.#retained.values();
  }

  /** Opens the shard: recovery, replay, then ready. Throws SHARD_NOT_FOUND, SHARD_FENCED, SHARD_UNAVAILABLE. */
  open(id: ShardId): Promise<Shard> {
    const shard = this.#ready.get(id);
    if (shard !== undefined) return Promise.resolve(shard);
    let opening = this.#opening.get(id);
    if (opening === undefined) {
      opening = this.#open(id).finally(() => this.#opening.delete(id));
      this.#opening.set(id, opening);
    }
    return opening;
  }

  /** Closes a shard; its next use opens it anew. */
  drop(id: ShardId, error: RobustError<KernelErrorCode>): void {
    this.#complained.delete(id);
    const shard = this.#ready.get(id);
    this.#ready.delete(id);
    shard?.close(error);
    const retained = this.#retained.get(id);
    this.#retained.delete(id);
    if (retained !== undefined) this.#close(retained, error);
  }

  modulesOf(id: ShardId): ShardModules {
    const { metadata, journal, appender, clock } = this.#modules;
    return { metadata, journal, appender, clock, record: () => recordOf(metadata, id) };
  }

  async #open(id: ShardId): Promise<Shard> {
    const { metadata, topics, usage, subjects } = this.#modules;
    const record = recordOf(metadata, id);
    const topic = metadata.image.topics.get(record.topic);
    if (topic === undefined || topic.internal) throw notFound(id);
    let retained: FoldShard<RetainedState> | null = null;
    let lost: RobustError<KernelErrorCode> | null = null;
    try {
      if (topics.retains(topic)) {
        retained = await this.#retainedOf(topic, record);
        await retained.open((error) => {
          lost = error;
          const ready = this.#ready.get(id);
          if (ready !== undefined) this.#routes.failed(ready, error);
        });
      }
      const modules = this.modulesOf(id);
      const config = topics.configOf(topic);
      const shard = new Shard({ topic, config, modules, routes: this.#routes, retained, usage, subjects });
      await shard.open();
      // While it was opened the shard of copies may have been lost, or the topic deleted.
      if (lost !== null) throw lost as RobustError<KernelErrorCode>;
      const recovered = recordOf(metadata, id);
      this.#ready.set(id, shard);
      this.#complained.delete(id);
      this.#report(topic, record, recovered);
      if (retained !== null) {
        this.#retained.set(id, retained);
        // Copies made while replaying wait for the end of a turn.
        this.#modules.appender.requestFlush();
      }
      return shard;
    } catch (error) {
      this.#complain(id, topic, error as Error);
      const known = asKernelError(error as Error);
      if (retained !== null) this.#close(retained, known);
      throw known;
    }
  }

  /** What a crash cost is said where an operator looks; readers find the holes in metadata. */
  #report(topic: TopicRecord, before: ShardRecord, after: ShardRecord): void {
    const known = new Set(before.holes.map(({ from }) => from));
    for (const { from, to, kind } of after.holes) {
      if (known.has(from)) continue;
      this.#modules.logger.warn(
        { topic: topic.name, shard: after.id, from, to, kind },
        'offsets are missing since the last stop: lost, or acknowledged before they were durable',
      );
    }
  }

  #complain(id: ShardId, topic: TopicRecord, error: Error): void {
    const { clock, logger } = this.#modules;
    const now = clock.monotonic();
    if (now - (this.#complained.get(id) ?? -Infinity) < complainMs) return;
    this.#complained.set(id, now);
    logger.error({ error, shard: id, topic: topic.name }, 'a shard could not be opened');
  }

  /** The shard of copies beside a data shard; its topic is made here if it is not there yet. */
  async #retainedOf(topic: TopicRecord, record: ShardRecord): Promise<FoldShard<RetainedState>> {
    const { topics, usage } = this.#modules;
    const beside = await topics.ensureInternal(retainedTopic(topic.id), topic.shards.length);
    const shard = beside.shards[record.index];
    if (shard === undefined) throw notFound(record.id);
    const kind = retainedKind(topic.id, beside.shards.length, usage);
    return new FoldShard(kind, record.index, topics.configOf(beside), this.modulesOf(shard));
  }

  #close(retained: FoldShard<RetainedState>, error: RobustError<KernelErrorCode>): void {
    retained.close(error);
    forgetUsage(retained.state, this.#modules.usage);
  }
}

function recordOf(metadata: Metadata, id: ShardId): ShardRecord {
  const record = metadata.image.shards.get(id);
  if (record === undefined) throw notFound(id);
  return record;
}

function notFound(id: ShardId): RobustError<KernelErrorCode> {
  return new RobustError('SHARD_NOT_FOUND', 'there is no such shard', { detail: { shard: id } });
}
