import type { Offset } from '@robustmq/core';
import type {
  BlockFilter,
  ReadAnswer,
  ReadLease,
  ReadRequest,
  StoredEntry,
  TimestampRequest,
} from '@robustmq/kernel';
import type { CachedBlock } from './block-cache.ts';
import { filterMatches } from './block-filter.ts';
import type { BlockLoader } from './block-loader.ts';
import type { JournalCounters } from './counters.ts';
import { dataLost, segmentUnknown } from './errors.ts';
import type { IndexLoader } from './index-loader.ts';
import type { Segment } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';
import { maxTimestampOf, reaches } from './tail-entry.ts';
import type { TailEntry } from './tail-entry.ts';

/** What a read needs from disk before it can go on, when it is not the number of a block. */
const need = { nothing: -1, index: -2, filters: -3 } as const;
/** What is read ahead of one reader, at most; */
const aheadBytesMax = 2 * 1024 * 1024;
/** of one that filters: as much in blocks that it may want, */
const filteredAheadBytes = 1024 * 1024;
/** looked for among as many. */
const filteredAheadBlocks = 64;

export interface ReaderOptions {
  readonly store: SegmentStore;
  readonly blocks: BlockLoader;
  readonly indexes: IndexLoader;
  readonly counters: JournalCounters;
}

/**
 * Reads of one segment: from the memory tail, the block cache, and the file, in this order.
 *
 * Control entries take no offset. Those that stand at an offset of the range are returned, one that stands at its very
 * end included, so that a reader of a whole segment sees them all; one at the start of the next range comes again.
 */
export class Reader {
  readonly #store: SegmentStore;
  readonly #blocks: BlockLoader;
  readonly #indexes: IndexLoader;
  readonly #counters: JournalCounters;

  constructor(options: ReaderOptions) {
    this.#store = options.store;
    this.#blocks = options.blocks;
    this.#indexes = options.indexes;
    this.#counters = options.counters;
  }

  readCached(request: ReadRequest): ReadAnswer | null {
    const segment = this.#segment(request);
    const plan = new ReadPlan(request, segment, this.#blocks);
    try {
      const missing = this.#advance(segment, plan);
      // Part of an answer is one; the next call finds out what is missing. Behind the last offset there is no next call.
      if (missing !== need.nothing && (!plan.hasData || plan.next >= plan.limit)) {
        plan.abandon();
        return null;
      }
      this.#counters.readsCached++;
      if (missing >= 0) this.#loadRest(segment, plan);
      else this.#readAhead(segment, plan);
      return plan.answer(missing !== need.nothing);
    } catch (error) {
      plan.abandon();
      throw error;
    }
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const segment = this.#segment(request);
    const plan = new ReadPlan(request, segment, this.#blocks);
    this.#indexes.hold(segment);
    try {
      return await this.#read(segment, plan);
    } catch (error) {
      plan.abandon();
      throw error;
    } finally {
      this.#indexes.release(segment);
    }
  }

  async #read(segment: Segment, plan: ReadPlan): Promise<ReadAnswer> {
    const { request } = plan;
    let fromDisk = false;
    for (;;) {
      const missing = this.#advance(segment, plan);
      if (missing === need.nothing) break;
      if (missing === need.index) await this.#indexes.load(segment);
      else if (missing === need.filters) await this.#indexes.loadFilters(segment);
      else {
        const loading = this.#blocks.load(segment, missing);
        this.#loadRest(segment, plan);
        const found = await loading;
        plan.setLoaded(found);
        if (request.filter !== undefined) this.#blocks.addFilter(segment, found);
        fromDisk = true;
      }
      if (segment.phase === 'deleted') throw segmentUnknown(request);
    }
    if (fromDisk) this.#counters.readsDisk++;
    else this.#counters.readsCached++;
    this.#readAhead(segment, plan);
    return plan.answer(plan.full);
  }

  async seekTimestamp(request: TimestampRequest): Promise<Offset | null> {
    const segment = this.#segment(request);
    if (segment.end.maxTimestamp < request.timestamp) return null;
    this.#indexes.hold(segment);
    try {
      return await this.#seek(segment, request);
    } finally {
      this.#indexes.release(segment);
    }
  }

  async #seek(segment: Segment, request: TimestampRequest): Promise<Offset | null> {
    const { timestamp } = request;
    for (;;) {
      if (segment.phase === 'deleted') throw segmentUnknown(request);
      const { index } = segment;
      if (index === null) {
        await this.#indexes.load(segment);
        continue;
      }
      const block = index.findTimestamp(timestamp);
      const inFile = block < index.blocks && index.position[block]! < segment.stored.bytes;
      const inMemory = segment.tail.length > 0 && index.firstOffset[block]! >= segment.tail.coversFrom;
      if (!inFile || inMemory) return youngInTail(segment, timestamp);
      const found = await this.#blocks.load(segment, block);
      const young = found.entries.find((entry) => maxTimestampOf([entry.payload], entry.flags) >= timestamp);
      // What a sweep added meanwhile has left the memory tail, and the block was read without it.
      const whole = this.#blocks.cached(segment, block, found) !== null;
      this.#blocks.release(found);
      if (young !== undefined) return young.baseOffset;
      if (found.lost.length > 0) return index.firstOffset[block]!;
      if (whole) return youngInTail(segment, timestamp);
    }
  }

  #segment(request: Pick<ReadRequest, 'shard' | 'segment'>): Segment {
    const segment = this.#store.find(request.shard, request.segment);
    if (segment === undefined) throw segmentUnknown(request);
    return segment;
  }

  /** Takes all that is in memory; returns what is missing for more. */
  #advance(segment: Segment, plan: ReadPlan): number {
    while (!plan.done) {
      const inMemory = plan.next >= segment.tail.coversFrom || segment.memory;
      if (inMemory) {
        if (plan.request.filter === undefined || !this.#takeFiltered(segment, plan)) takeTail(segment, plan);
        continue;
      }
      const index = segment.index;
      if (index === null) return need.index;
      if (plan.block < 0) plan.block = index.find(plan.next);
      if (plan.block >= index.blocks || index.position[plan.block]! >= segment.stored.bytes) {
        takeUnstored(segment, plan);
        continue;
      }
      if (plan.request.filter !== undefined) {
        if (!index.filtersLoaded) return need.filters;
        if (this.#skip(segment, plan)) continue;
      }
      const found = this.#blocks.cached(segment, plan.block, plan.loaded);
      if (found === null) return plan.block;
      this.#blocks.touch(found);
      const before = plan.entries.length;
      takeBlock(segment, plan, found);
      if (plan.entries.length > before) plan.use(found);
    }
    return need.nothing;
  }

  /** Steps over the block when the filter proves that nothing wanted is in it. */
  #skip(segment: Segment, plan: ReadPlan): boolean {
    const wanted = plan.request.filter!;
    const index = segment.index!;
    if (index.segmentFilter !== null && !filterMatches(index.segmentFilter, wanted)) {
      this.#counters.blocksSkipped += index.blocks - plan.block;
      plan.reachEnd();
      return true;
    }
    const filter = index.filters[plan.block] ?? null;
    if (filter === null || filterMatches(filter, wanted)) return false;
    this.#counters.blocksSkipped++;
    plan.block++;
    plan.moveTo(index.firstOffset[plan.block] ?? segment.stored.offset);
    return true;
  }

  /**
   * What of the memory tail is in the file as well has block filters: steps over one block, or takes its entries. False
   * where there is none to ask.
   */
  #takeFiltered(segment: Segment, plan: ReadPlan): boolean {
    const { index, tail } = segment;
    if (index === null || !index.filtersLoaded || index.blocks === 0) return false;
    let block = index.find(plan.next);
    while (block + 1 < index.blocks && index.firstOffset[block + 1]! <= plan.next) block++;
    const end = index.firstOffset[block + 1];
    const filter = index.filters[block] ?? null;
    if (filter === null || end === undefined || index.end(block) > segment.stored.bytes) return false;
    if (filterMatches(filter, plan.request.filter!)) {
      for (let at = tail.find(plan.next); at < tail.length && tail.baseOffsetAt(at) < end; at++) {
        if (!plan.takeInMemory(tail.at(at))) return true;
      }
    } else this.#counters.blocksSkipped++;
    plan.moveTo(end);
    return true;
  }

  /** Begins to read the block that an answer ends before or waits for, and what it needs behind that. */
  #loadRest(segment: Segment, plan: ReadPlan): void {
    this.#loadAhead(segment, plan, { from: plan.block, bytes: Math.min(plan.room, aheadBytesMax) });
  }

  /**
   * Reads what comes next while the answer is on its way: as much as an answer holds for a reader that takes several
   * blocks at a time, else one block.
   */
  #readAhead(segment: Segment, plan: ReadPlan): void {
    if (plan.block < 0 || !plan.full) return;
    const bytes = plan.blocks > 1 ? Math.min(plan.request.maxBytes, aheadBytesMax) : 1;
    this.#loadAhead(segment, plan, { from: plan.block + 1, bytes });
  }

  #loadAhead(segment: Segment, plan: ReadPlan, { from, bytes }: { from: number; bytes: number }): void {
    const { index } = segment;
    if (index === null || !index.filtersLoaded) return;
    const wanted = plan.request.filter;
    let left = wanted === undefined ? bytes : filteredAheadBytes;
    const end = wanted === undefined ? index.blocks : Math.min(index.blocks, from + filteredAheadBlocks);
    for (let block = from; left > 0 && block < end; block++) {
      if (index.end(block) > segment.stored.bytes || index.firstOffset[block]! >= plan.limit) return;
      if (wanted !== undefined && !mayHold(segment, block, wanted)) continue;
      this.#blocks.loadAhead(segment, block);
      left -= index.bytes(block);
    }
  }
}

/** Whether a filtered reader is going to read the block; what is there or on its way was asked before. */
function mayHold(segment: Segment, block: number, wanted: BlockFilter): boolean {
  if (segment.blocks.has(block) || segment.loading.has(block)) return true;
  const filter = segment.index!.filters[block] ?? null;
  return filter === null || filterMatches(filter, wanted);
}

/** The answer in the making, and where the search stands. */
class ReadPlan {
  readonly request: ReadRequest;
  readonly limit: Offset;
  readonly entries: StoredEntry[] = [];
  /** Everything below is covered. */
  next: Offset;
  /** Where the search goes on in the file; -1: not looked up yet. */
  block = -1;
  /** The block that was read last, with a lease: other readers may have pushed it out of the cache already. */
  loaded: CachedBlock | null = null;
  /** Blocks that the answer has entries of. */
  blocks = 0;
  done = false;
  /** Stopped by `maxBytes`. */
  full = false;
  hasData = false;
  readonly #segment: Segment;
  readonly #loader: BlockLoader;
  /** Blocks whose bytes the answer lends out. */
  readonly #lent: CachedBlock[] = [];
  #bytes = 0;

  constructor(request: ReadRequest, segment: Segment, loader: BlockLoader) {
    this.request = request;
    this.#segment = segment;
    this.#loader = loader;
    this.limit = Math.min(request.limit, segment.sealedEnd);
    this.next = request.offset;
    if (request.offset > this.limit) this.done = true;
  }

  /** As `take`, of an entry whose memory would be used again. */
  takeInMemory(entry: TailEntry): boolean {
    const taken = this.take(entry);
    if (taken) entry.give();
    return taken;
  }

  /** Adds an entry; false when the answer ends before it. */
  take(entry: StoredEntry): boolean {
    const control = entry.count === 0;
    if (control ? entry.baseOffset > this.limit : entry.baseOffset >= this.limit) {
      this.reachEnd();
      return false;
    }
    const bytes = entry.payload.length;
    // What stands at the very end comes with the last data: no later read asks for it.
    const last = control && entry.baseOffset === this.limit;
    if (this.hasData && !last && this.#bytes + bytes > this.request.maxBytes) {
      this.full = true;
      this.done = true;
      return false;
    }
    this.entries.push(entry);
    this.#bytes += bytes;
    this.moveTo(entry.baseOffset + entry.count);
    if (!control) this.hasData = true;
    return true;
  }

  /** Bytes that the answer may still take. */
  get room(): number {
    return this.request.maxBytes - this.#bytes;
  }

  setLoaded(block: CachedBlock | null): void {
    if (this.loaded !== null) this.#loader.release(this.loaded);
    this.loaded = block;
  }

  /** Entries of the block are in the answer. */
  use(block: CachedBlock): void {
    this.blocks++;
    if (this.request.lent !== true) {
      block.isGiven = true;
      return;
    }
    block.leases++;
    this.#lent.push(block);
  }

  /** There is no answer: nothing of the blocks is needed. */
  abandon(): void {
    this.setLoaded(null);
    for (const block of this.#lent.splice(0)) this.#loader.release(block);
  }

  moveTo(offset: Offset): void {
    if (offset > this.next) this.next = offset;
    if (this.next > this.limit) this.done = true;
  }

  /** All that the segment has of the range is taken, up to where entries are lost. */
  reachEnd(): void {
    this.done = true;
    const { end, lostTo } = this.#segment;
    if (end.offset < lostTo && this.limit > end.offset) {
      this.moveTo(end.offset);
      this.meetLost(end.offset, lostTo);
      return;
    }
    this.moveTo(Math.min(this.limit, end.offset));
  }

  /** The next offset is lost: what was taken before it is the answer, or there is none. */
  meetLost(from: Offset, to: Offset): void {
    this.done = true;
    if (this.entries.length === 0) throw dataLost(this.request, Math.max(from, this.next), to);
  }

  /** `partial`: the range has more. A control entry at its end stands at the next range's start, which returns it. */
  answer(partial: boolean): ReadAnswer {
    if (partial && this.hasData) while (this.entries.at(-1)?.count === 0) this.entries.pop();
    this.setLoaded(null);
    const { entries, next: nextOffset } = this;
    if (this.#lent.length === 0) return { entries, nextOffset };
    return { entries, nextOffset, lease: new BlockLease(this.#lent, this.#loader) };
  }
}

/** Keeps the blocks of an answer from being used again. */
class BlockLease implements ReadLease {
  readonly #loader: BlockLoader;
  #blocks: readonly CachedBlock[];

  constructor(blocks: readonly CachedBlock[], loader: BlockLoader) {
    this.#blocks = blocks;
    this.#loader = loader;
  }

  end(): void {
    const blocks = this.#blocks;
    this.#blocks = [];
    for (const block of blocks) this.#loader.release(block);
  }
}

/** Where the first entry of the memory tail begins that has a record as young as that. */
function youngInTail({ tail }: Segment, timestamp: number): Offset | null {
  const at = tail.findTimestamp(timestamp);
  return at < 0 ? null : tail.baseOffsetAt(at);
}

function takeTail(segment: Segment, plan: ReadPlan, from = 0): void {
  const tail = segment.tail;
  for (let at = Math.max(from, tail.find(plan.next)); at < tail.length; at++) {
    if (!plan.takeInMemory(tail.at(at))) return;
  }
  plan.reachEnd();
}

/** Goes on behind the file, all of which was taken: what of it is still in memory does not come again. */
function takeUnstored(segment: Segment, plan: ReadPlan): void {
  const first = segment.tail.indexOf(segment.stored.entry + 1);
  takeTail(segment, plan, first < 0 ? segment.tail.length : first);
}

function takeBlock(segment: Segment, plan: ReadPlan, found: CachedBlock): void {
  const coversFrom = segment.tail.coversFrom;
  let lost = 0;
  for (const entry of found.entries) {
    while (lost < found.lost.length && found.lost[lost]!.to <= plan.next) lost++;
    const gap = found.lost[lost];
    if (gap !== undefined && gap.from <= entry.baseOffset && gap.to > plan.next) break;
    if (!reaches(entry.baseOffset, entry.count, plan.next)) continue;
    // The memory tail has the rest, and each entry is taken once.
    if (entry.baseOffset >= coversFrom && plan.next >= coversFrom) return;
    if (!plan.take(entry)) return;
  }
  const gap = found.lost.find((range) => range.to > plan.next);
  if (gap !== undefined) {
    if (gap.from < plan.limit) return plan.meetLost(gap.from, gap.to);
    return plan.reachEnd();
  }
  const index = segment.index;
  // The rest of a block that is in the file in part is in memory only.
  if (index !== null && index.end(plan.block) > segment.stored.bytes) return takeUnstored(segment, plan);
  plan.block++;
  plan.moveTo(index?.firstOffset[plan.block] ?? plan.next);
}
