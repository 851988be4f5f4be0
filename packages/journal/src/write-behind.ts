import type { Clock, Logger, Timer } from '@robustmq/core';
import { assert } from '@robustmq/core';
import type { JournalCounters } from './counters.ts';
import { isDiskError } from './errors.ts';
import type { FilterMaker } from './filter-maker.ts';
import type { IndexLoader } from './index-loader.ts';
import type { JournalLimits } from './limits.ts';
import type { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { SegmentStore } from './segment-store.ts';
import { GatheringWriter, writeFooter } from './segment-writer.ts';
import { TailRun } from './tail-run.ts';

/** A small sweep is followed by a rest of this many times its length, unless something presses. */
const restFactor = 4;
const restMsMax = 250;
/** What is old and not durable in the log yet is looked at again this much later. */
const wakeMsMin = 10;

export interface WriteBehindOptions {
  readonly store: SegmentStore;
  readonly files: SegmentFiles;
  readonly indexes: IndexLoader;
  readonly filters: FilterMaker;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onFatal: (error: Error) => void;
  /** Something reached its file: the log may be able to give files back. */
  readonly onStored: () => void;
  /** Entries of a generation of the log below this one should leave it; 0 when none has to. */
  readonly pinnedBelow: () => number;
  /** A write found no space; `null` when one has succeeded again. */
  readonly onFull: (error: Error | null) => void;
  /** Fills the pool while nothing else is to do. */
  readonly idle: () => (() => Promise<void>) | null;
}

/**
 * Moves entries from memory into segment files, behind their acknowledgement and only when they are durable in the log;
 * seals and deletes files. One job at a time: nothing else writes segment files of the open kind.
 *
 * Order: what has grown large, then what must be sealed, then the largest while a bound is near, then what keeps old
 * files of the log (at a stop: everything, the longest waiting first), then what is old, then deletions. A sweep writes
 * everything of its segment, so that one sweep frees many files of the log.
 */
export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #writer: GatheringWriter;
  readonly #large: Segment[] = [];
  readonly #sealing = new Set<Segment>();
  readonly #deleting = new Set<Segment>();
  readonly #waiters: (() => void)[] = [];
  /** Shards whose last segment grew to the size of a pool file: the next one starts in a written file. */
  readonly #filling = new Set<number>();
  #running = false;
  #stopped = false;
  #full = false;
  /** The last write found no space; tried again and again, and said once. */
  #refused = false;
  #draining = false;
  #timer: Timer | null = null;
  #restUntil = 0;

  constructor(options: WriteBehindOptions) {
    this.#options = options;
    this.#writer = new GatheringWriter(options.limits.writeBytes);
  }

  /** Shards that fill their segments, for the size of the pool. */
  get fillingShards(): number {
    return this.#filling.size;
  }

  /** More of these segments is durable in the log. */
  grew(segments: readonly Segment[]): void {
    for (const segment of segments) {
      if (segment.queuedLarge || segment.unstoredBytes < this.#options.limits.sweepBytes) continue;
      segment.queuedLarge = true;
      this.#large.push(segment);
    }
    this.kick();
  }

  seal(segment: Segment): void {
    if (segment.phase !== 'open') return;
    segment.phase = segment.memory ? 'sealed' : 'sealing';
    if (segment.memory) return;
    this.#sealing.add(segment);
    this.kick();
  }

  /** Metadata may say it again while the first deletion waits: the second one would find no file. */
  delete(segment: Segment): void {
    if (segment.phase === 'deleted') return;
    this.#deleting.add(segment);
    this.kick();
  }

  kick(): void {
    if (this.#running || this.#stopped || this.#full) return;
    this.#running = true;
    void this.#run();
  }

  /** There may be space again. */
  retry(): void {
    this.#full = false;
    this.kick();
  }

  /** Resolves when everything that is durable in the log is in its file, or cannot be written. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.kick();
    while (this.#running) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    this.#draining = false;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    while (this.#running) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  async #run(): Promise<void> {
    try {
      for (let job = this.#next(); job !== null && !this.#stopped; job = this.#next()) {
        await job();
      }
    } catch (error) {
      this.#failed(error as Error);
    }
    this.#running = false;
    for (const waiter of this.#waiters.splice(0)) waiter();
    this.#schedule();
  }

  #failed(error: Error): void {
    const { logger, onFull, onFatal } = this.#options;
    if (!isDiskError(error, 'DISK_FULL')) return onFatal(error);
    // Nothing is dropped: the entries stay in the log and in memory until there is space.
    this.#full = true;
    if (!this.#refused) logger.warn({ error }, 'no space to write segments');
    this.#refused = true;
    onFull(error);
  }

  #stored(): void {
    this.#refused = false;
    this.#options.onFull(null);
    this.#options.onStored();
  }

  #next(): (() => Promise<void>) | null {
    const large = this.#nextLarge();
    if (large !== null) return () => this.#sweep(large);
    for (const segment of this.#sealing) {
      // What is not durable in the log yet comes with its frame.
      if (segment.sweepableEntries > 0 || segment.durableEntry >= segment.end.entry) {
        return () => this.#seal(segment);
      }
    }
    const pressing = this.#pressing();
    if (pressing !== null) return () => this.#sweep(pressing);
    const old = this.#oldest();
    if (old !== null) return () => this.#sweepOld(old);
    for (const segment of this.#deleting) return () => this.#delete(segment);
    return this.#draining ? null : this.#options.idle();
  }

  #nextLarge(): Segment | null {
    for (let segment = this.#large.shift(); segment !== undefined; segment = this.#large.shift()) {
      segment.queuedLarge = false;
      if (segment.sweepableEntries > 0 && segment.phase !== 'deleted') return segment;
    }
    return null;
  }

  #pressing(): Segment | null {
    const { counters, limits, pinnedBelow, store } = this.#options;
    if (counters.tailBytes > limits.tailBytes / 2) {
      const largest = this.#largest();
      if (largest !== null) return largest;
    }
    const below = this.#draining ? Number.POSITIVE_INFINITY : pinnedBelow();
    if (store.dirty.oldestGeneration(below) >= below) return null;
    for (const segment of store.dirty) {
      if (segment.sweepableEntries > 0 && segment.dirtyGeneration < below) return segment;
    }
    return null;
  }

  #largest(): Segment | null {
    let largest: Segment | null = null;
    for (const segment of this.#options.store.dirty) {
      if (segment.sweepableEntries <= 0) continue;
      if (largest === null || segment.unstoredBytes > largest.unstoredBytes) largest = segment;
    }
    return largest;
  }

  /** The segment that waits longest, if it does so for long enough and the last sweep is far enough back. */
  #oldest(): Segment | null {
    const now = this.#options.clock.monotonic();
    if (now < this.#restUntil) return null;
    for (const segment of this.#options.store.dirty) {
      if (now - segment.dirtySince < this.#options.limits.tailAgeMs) return null;
      if (segment.sweepableEntries > 0) return segment;
    }
    return null;
  }

  /** Wakes up for the next segment that grows old. */
  #schedule(): void {
    const { store, clock, limits } = this.#options;
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#stopped || this.#full) return;
    const [first] = store.dirty;
    if (first === undefined) return;
    const now = clock.monotonic();
    const due = Math.max(first.dirtySince + limits.tailAgeMs, this.#restUntil, now + wakeMsMin);
    this.#timer = clock.after(due - now, () => this.kick());
  }

  async #sweepOld(segment: Segment): Promise<void> {
    const { clock } = this.#options;
    const start = clock.monotonic();
    await this.#sweep(segment);
    // Thousands of cold shards must not keep the disk busy with a sync each.
    const end = clock.monotonic();
    this.#restUntil = end + Math.min(restMsMax, (end - start) * restFactor);
  }

  /** Writes all of the segment that is durable in the log, and makes it durable in the file. */
  async #sweep(segment: Segment): Promise<void> {
    const { store, files, filters, counters, clock } = this.#options;
    const run = new TailRun(segment);
    if (run.entries === 0) return;
    if (!segment.named) await files.create(segment, this.#filling.has(segment.shard));
    await files.use('writeBehind', segment, async (file) => {
      await this.#writer.write('writeBehind', file, run);
      if (!segment.durableWrites) await file.sync('writeBehind');
    });
    if (segment.phase === 'deleted') return;
    assert(run.isGivenOut, 'a sweep writes all of its entries');
    const before = segment.stored;
    const stored = run.end;
    segment.stored = stored;
    counters.sweeps++;
    counters.sweptBytes += stored.bytes - before.bytes;
    this.#buildFilters(segment, before.bytes, filters);
    store.wrote(segment, run.entries, stored.bytes - before.bytes, clock.monotonic());
    this.#stored();
  }

  #buildFilters(segment: Segment, from: number, filters: FilterMaker): void {
    const index = segment.index;
    assert(index !== null, 'an open segment has its index');
    // The block that holds the end is not closed, unless the next entry has already opened another.
    const to =
      segment.stored.bytes < index.dataBytes ? index.blockAt(segment.stored.bytes) : index.blocks - 1;
    // The block that ended exactly at `from` was not closed at the last sweep.
    filters.build(segment, index.blockAt(Math.max(0, from - 1)), to);
  }

  async #seal(segment: Segment): Promise<void> {
    const { files, filters, indexes, counters, limits } = this.#options;
    await this.#sweep(segment);
    if (segment.phase === 'deleted' || segment.durableEntry < segment.end.entry) return;
    const index = segment.index;
    assert(index !== null, 'a segment has its index until it is sealed');
    if (segment.stored.bytes >= limits.poolFileBytes * 0.75) this.#filling.add(segment.shard);
    else this.#filling.delete(segment.shard);
    if (segment.stored.bytes > 0 && !segment.memory) {
      filters.build(segment, index.blocks - 1, index.blocks);
      index.segmentFilter = filters.finish(segment);
      await files.use('writeBehind', segment, (file) => writeFooter('writeBehind', file, segment));
    }
    this.#sealing.delete(segment);
    if (segment.phase !== 'sealing') return;
    segment.phase = 'sealed';
    counters.sealedSegments++;
    if (segment.stored.bytes > 0) indexes.keep(segment);
  }

  async #delete(segment: Segment): Promise<void> {
    const { store, files, filters, indexes, counters } = this.#options;
    const { named, stored } = segment;
    this.#deleting.delete(segment);
    this.#sealing.delete(segment);
    store.remove(segment);
    indexes.drop(segment);
    filters.drop(segment);
    counters.deletedSegments++;
    if (named) await files.remove(segment, stored.bytes);
    this.#stored();
  }
}
