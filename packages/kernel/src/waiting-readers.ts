import { RobustError } from '@robustmq/core';
import type { Offset, ShardId } from '@robustmq/core';
import { wantedTokens } from './delivery/wanted-tokens.ts';
import type { KernelErrorCode } from './errors.ts';
import type { WaitingReader } from './folds/fold-kind.ts';
import type { Folds } from './folds/folds.ts';
import { entryFlag } from './log/entry.ts';
import type { BlockFilter } from './ports/journal-client.ts';
import type { TopicRecord } from './ports/metadata.ts';
import { filterMayMatchTopic } from './router/filter.ts';
import type { Shard } from './shards/shard.ts';

/** Readers that the log is asked for in one pass; the trims that wait for more of them come with the next. */
const asksMax = 1000;
/** Readers that are looked at before others get their turn. */
const turnReaders = 1000;

export interface WaitingReadersModules {
  readonly folds: Folds;
  readonly defaultTopic: string;
  openShard(id: ShardId): Promise<Shard>;
}

/**
 * Before retention passes a reader that waits, the filters of the blocks below are asked whether anything there may be
 * for it; if not, it moves on without being told (docs/storage.md 4.4). One that was stopped stays where it is, since
 * sealed segments do not change, and is not asked again.
 */
export class WaitingReaders {
  readonly #modules: WaitingReadersModules;
  /** By reader, the shards at which it is stopped, with its version. */
  readonly #stopped = new WeakMap<object, Map<ShardId, number>>();

  constructor(modules: WaitingReadersModules) {
    this.#modules = modules;
  }

  /**
   * Moves everyone who waits below `to` as far as that. Resolves, when it is written where they stand, to the lowest
   * offset that one of them needs; infinite when none does. Throws SHARD_UNAVAILABLE when there are too many for one
   * pass, and the errors of `openShard`.
   */
  async pass(id: ShardId, topic: TopicRecord, to: Offset): Promise<Offset> {
    let lowest = Infinity;
    let looked = 0;
    let asked = 0;
    const written: Promise<void>[] = [];
    for (const [reader, fold] of this.#modules.folds.waiting(id)) {
      if (++looked % turnReaders === 0) await new Promise((resolve) => setImmediate(resolve));
      const from = this.#placeOf(reader, topic);
      if (from === null || from >= to) continue;
      let at = from;
      if (this.#stopped.get(reader.identity)?.get(id) !== reader.version) {
        if (++asked > asksMax) throw tooMany(id);
        at = await this.#firstFor(reader, { id, topic, from, to });
        if (at < to) this.#stop(reader, id);
        const item = at > from ? reader.moveTo(at) : null;
        if (item !== null) written.push(fold.append([item]));
      }
      if (at < to && at < lowest) lowest = at;
    }
    await Promise.all(written);
    return lowest;
  }

  /** Where it reads on in the topic; null when none of its filters can match there. */
  #placeOf(reader: WaitingReader, topic: TopicRecord): Offset | null {
    let place: Offset | null = null;
    for (const { filter, since } of reader.filters) {
      if (!filterMayMatchTopic(filter, topic, this.#modules.defaultTopic)) continue;
      place = Math.min(place ?? Infinity, since ?? 0);
    }
    return place === null ? null : (reader.cursor ?? place);
  }

  /** The first offset from which on something may be for it. */
  async #firstFor(reader: WaitingReader, { id, topic, from, to }: Range): Promise<Offset> {
    const { defaultTopic, openShard } = this.#modules;
    const filters = reader.filters
      .map(({ filter }) => filter)
      .filter((filter) => filterMayMatchTopic(filter, topic, defaultTopic));
    const wanted = wantedTokens(topic, filters, { defaultTopic });
    if (wanted === null) return from;
    const filter = wanted.map(({ tokens }) => tokens);
    const shard = await openShard(id);
    // It lost something already, and is told when it comes back.
    if (from < shard.startOffset) return from;
    return firstIn(shard, filter, from, to);
  }

  #stop(reader: WaitingReader, id: ShardId): void {
    let stopped = this.#stopped.get(reader.identity);
    if (stopped === undefined) {
      stopped = new Map();
      this.#stopped.set(reader.identity, stopped);
    }
    stopped.set(id, reader.version);
  }
}

interface Range {
  readonly id: ShardId;
  readonly topic: TopicRecord;
  readonly from: Offset;
  readonly to: Offset;
}

/** The first offset in `[from, to)` whose block the filter lets pass, or that can't be read; `to` when none is. */
async function firstIn(shard: Shard, filter: BlockFilter, from: Offset, to: Offset): Promise<Offset> {
  let offset = from;
  while (offset < to) {
    const options = { maxBytes: 1, limit: to, filter };
    try {
      const answer = shard.readCached(offset, options) ?? (await shard.read(offset, options));
      const found = answer.entries.find((entry) => (entry.flags & entryFlag.control) === 0);
      if (found !== undefined) return Math.max(offset, found.baseOffset);
      offset = answer.nextOffset;
    } catch (error) {
      if (error instanceof RobustError && error.code === 'JOURNAL_DATA_LOST') return offset;
      throw error;
    }
  }
  return to;
}

function tooMany(id: ShardId): RobustError<KernelErrorCode> {
  return new RobustError('SHARD_UNAVAILABLE', 'more readers wait than one pass asks for', {
    retriable: true,
    detail: { shard: id },
  });
}
