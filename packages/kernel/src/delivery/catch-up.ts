import { RobustError } from '@robustmq/core';
import type { Clock, Logger, Offset, ShardId } from '@robustmq/core';
import { batchBaseOffset, batchLastOffset, nextBatch } from '@robustmq/record';
import { entryFlag } from '../log/entry.ts';
import type { BlockFilter, StoredEntry } from '../ports/journal-client.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';
import type { Shard } from '../shards/shard.ts';
import { DecodedBatch } from './batch-decoder.ts';
import type { BatchDecoder } from './batch-decoder.ts';
import type { CatchUpReader } from './delivery-port.ts';
import type { Dispatcher } from './dispatcher.ts';
import { wantedBlocks } from './wanted-blocks.ts';

const blockBytes = 256 * 1024;

interface Scan {
  /** Those the present block is read for. */
  readonly readers: Map<object, CatchUpReader>;
  /** Those that came meanwhile: they join at the next block, as this one may have passed their offset. */
  readonly joining: Map<object, CatchUpReader>;
  running: boolean;
  /** Skips blocks for the readers there are now; undefined: make it anew. */
  filter: BlockFilter | null | undefined;
}

/** Pause after a shard could not be read. */
const retryMs = 1000;

export interface CatchUpModules {
  readonly clock: Clock;
  readonly dispatcher: Dispatcher;
  readonly decoder: BatchDecoder;
  readonly logger: Logger;
  readonly defaultTopic: string;
  openShard(id: ShardId): Promise<Shard>;
}

/**
 * Brings sessions that are behind to the live path: one scan per shard in offset order serves all that wait, each
 * joining at its own offset; a block is read and decoded once for all of them.
 */
export class CatchUp {
  readonly #modules: CatchUpModules;
  readonly #scans = new Map<ShardId, Scan>();
  #stopped = false;

  constructor(modules: CatchUpModules) {
    this.#modules = modules;
  }

  /** Sessions that are behind on any shard. */
  get waiting(): number {
    let waiting = 0;
    for (const scan of this.#scans.values()) waiting += scan.readers.size + scan.joining.size;
    return waiting;
  }

  /** Adds a reader at its `next`; the same reader again is no error. */
  add(shard: ShardId, reader: CatchUpReader): void {
    if (this.#stopped) return;
    let scan = this.#scans.get(shard);
    if (scan === undefined) {
      scan = { readers: new Map(), joining: new Map(), running: false, filter: undefined };
      this.#scans.set(shard, scan);
    }
    // One that is being read for may have other filters now.
    if (scan.readers.get(reader.subscriber) === reader) scan.filter = undefined;
    else scan.joining.set(reader.subscriber, reader);
    if (!scan.running) void this.#run(shard, scan);
  }

  /** Takes a reader out: its session is gone, or has no room. */
  remove(shard: ShardId, reader: CatchUpReader): void {
    const scan = this.#scans.get(shard);
    if (scan === undefined) return;
    if (scan.joining.get(reader.subscriber) === reader) scan.joining.delete(reader.subscriber);
    if (scan.readers.get(reader.subscriber) !== reader) return;
    scan.readers.delete(reader.subscriber);
    scan.filter = undefined;
  }

  stop(): void {
    this.#stopped = true;
    for (const scan of this.#scans.values()) clear(scan);
  }

  async #run(id: ShardId, scan: Scan): Promise<void> {
    scan.running = true;
    try {
      const view = new DecodedBatch();
      while (scan.readers.size + scan.joining.size > 0) {
        const shard = await this.#modules.openShard(id);
        if (!this.#join(shard, scan)) continue;
        await this.#block(shard, scan, view);
        // Other connections get their turn between blocks.
        await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof RobustError && error.code === 'SHARD_NOT_FOUND') {
        // The topic was deleted: nothing is left to read.
        const readers = [...scan.readers.values(), ...scan.joining.values()];
        clear(scan);
        this.#scans.delete(id);
        for (const reader of readers) reader.caughtUp();
        return;
      }
      this.#modules.logger.error({ error, shard: id }, 'sessions can not read their backlog; trying again');
      this.#modules.clock.after(retryMs, () => void this.#run(id, scan));
      return;
    }
    scan.running = false;
    this.#scans.delete(id);
  }

  /** Lets those go that have met the live path or lie below the log start; false when nothing is left to read. */
  #join(shard: Shard, scan: Scan): boolean {
    const live = this.#modules.dispatcher.routedTo(shard.id) ?? shard.highWatermark;
    const start = shard.startOffset;
    if (scan.joining.size > 0) {
      for (const [subscriber, reader] of scan.joining) scan.readers.set(subscriber, reader);
      scan.joining.clear();
      scan.filter = undefined;
    }
    for (const [subscriber, reader] of scan.readers) {
      if (reader.next < start) {
        const from = reader.next;
        reader.next = start;
        reader.skipped(from, start, 'truncated');
      }
      if (reader.next < live) continue;
      scan.readers.delete(subscriber);
      scan.filter = undefined;
      reader.caughtUp();
    }
    return scan.readers.size > 0;
  }

  async #block(shard: Shard, scan: Scan, view: DecodedBatch): Promise<void> {
    let from = Number.MAX_SAFE_INTEGER;
    for (const reader of scan.readers.values()) if (reader.next < from) from = reader.next;
    const limit = this.#modules.dispatcher.routedTo(shard.id) ?? shard.highWatermark;
    if (scan.filter === undefined) scan.filter = this.#filterOf(shard, scan);
    const options = {
      maxBytes: blockBytes,
      limit,
      lost: (lostFrom: Offset, lostTo: Offset) => tellLost(scan, lostFrom, lostTo),
      ...(scan.filter === null ? {} : { filter: scan.filter }),
    };
    const answer = shard.readCached(from, options) ?? (await shard.read(from, options));
    for (const entry of answer.entries) {
      // All are full: what is left of the block is read again when one comes back.
      if (scan.readers.size === 0) break;
      await this.#entry(shard, scan, entry, view);
    }
    for (const reader of scan.readers.values()) {
      if (reader.next >= from && reader.next < answer.nextOffset) reader.next = answer.nextOffset;
    }
  }

  async #entry(shard: Shard, scan: Scan, entry: StoredEntry, view: DecodedBatch): Promise<void> {
    if ((entry.flags & entryFlag.control) !== 0) return;
    const { payload } = entry;
    const brokerEncoded = (entry.flags & entryFlag.brokerEncoded) !== 0;
    for (let at = 0, end = nextBatch(payload, 0); end !== -1; at = end, end = nextBatch(payload, at)) {
      const baseOffset = batchBaseOffset(payload, at);
      const count = batchLastOffset(payload, at) - baseOffset + 1;
      const batch: RoutedBatch = {
        baseOffset,
        count,
        buffer: payload,
        start: at,
        end,
        brokerEncoded,
        subjects: null,
      };
      if (scan.readers.size === 0) return;
      const later = this.#modules.decoder.recordsOf(batch);
      const section = later instanceof Promise ? await later : later;
      if (section === null) continue;
      const source = { shard: shard.id, epoch: shard.epoch, topic: shard.topic };
      const decoded = this.#modules.decoder.decode(batch, section, source, view);
      if (decoded?.wanted === true) this.#rows(scan, decoded);
    }
  }

  #rows(scan: Scan, view: DecodedBatch): void {
    const { records, matches } = view;
    for (let row = 0; row < records.count; row++) {
      const match = matches[row]!;
      if (match.guaranteeMax < 0) continue;
      const offset = records.offset(row);
      for (const subscription of match.subscriptions) {
        const reader = scan.readers.get(subscription.subscriber);
        // A second filter of the same session finds the reader already behind this record.
        if (reader === undefined || reader.next > offset) continue;
        if (reader.take(view, row, match)) reader.next = offset + 1;
        else {
          reader.next = offset;
          scan.readers.delete(subscription.subscriber);
          scan.filter = undefined;
        }
      }
    }
  }

  #filterOf(shard: Shard, scan: Scan): BlockFilter | null {
    return wantedBlocks(shard.topic, filtersOf(scan), { defaultTopic: this.#modules.defaultTopic });
  }
}

function* filtersOf(scan: Scan): Iterable<string> {
  for (const reader of scan.readers.values()) yield* reader.filters;
}

function clear(scan: Scan): void {
  scan.readers.clear();
  scan.joining.clear();
}

function tellLost(scan: Scan, from: Offset, to: Offset): void {
  for (const reader of scan.readers.values()) {
    if (reader.next >= to) continue;
    // What lies before the loss was asked of the block filter: nothing wanted is there.
    reader.skipped(Math.max(reader.next, from), to, 'lost');
    reader.next = to;
  }
}
