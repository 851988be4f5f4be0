import { RobustError } from '@robustmq/core';
import type { Clock, Logger, Offset, ShardId } from '@robustmq/core';
import { batchBaseOffset, batchLastOffset, nextBatch } from '@robustmq/record';
import { entryFlag } from '../log/entry.ts';
import type { ReadAnswer, StoredEntry } from '../ports/journal-client.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';
import type { Shard } from '../shards/shard.ts';
import { DecodedBatch } from './batch-decoder.ts';
import type { BatchDecoder } from './batch-decoder.ts';
import type { CatchUpReader } from './delivery-port.ts';
import type { Dispatcher } from './dispatcher.ts';
import { Scan } from './scan.ts';
import type { ScanStep } from './scan.ts';
import { ScanPace } from './scan-pace.ts';
import { wantedTokens } from './wanted-tokens.ts';

const blockBytes = 256 * 1024;

/** Who is so many records behind has much to read: a few blocks of small messages at least. */
const farRecords = 10_000;

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
  readonly #pace: ScanPace;
  /** Those that were added before, who come again when they have room. */
  readonly #known = new WeakSet<CatchUpReader>();
  #stopped = false;

  constructor(modules: CatchUpModules) {
    this.#modules = modules;
    this.#pace = new ScanPace(modules.clock);
  }

  /** Sessions that are behind on any shard. */
  get waiting(): number {
    let waiting = 0;
    for (const scan of this.#scans.values()) waiting += scan.size;
    return waiting;
  }

  /** Adds a reader at its `next`; the same reader again has other filters now. */
  add(shard: ShardId, reader: CatchUpReader): void {
    if (this.#stopped) return;
    let scan = this.#scans.get(shard);
    if (scan === undefined) {
      scan = new Scan();
      this.#scans.set(shard, scan);
    }
    scan.add(reader);
    const isFar = this.#welcome(shard, reader);
    if (!scan.running) void this.#run(shard, scan, isFar);
  }

  /** One that is new and far behind is seldom alone: a whole fleet may come back with it. */
  #welcome(shard: ShardId, reader: CatchUpReader): boolean {
    if (this.#known.has(reader)) return false;
    this.#known.add(reader);
    const live = this.#modules.dispatcher.routedTo(shard);
    const isFar = live !== undefined && live - reader.next >= farRecords;
    if (isFar) this.#pace.came(reader.subscriber);
    return isFar;
  }

  /** Takes a reader out: its session is gone, or has no room. */
  remove(shard: ShardId, reader: CatchUpReader): void {
    this.#scans.get(shard)?.remove(reader);
  }

  stop(): void {
    this.#stopped = true;
    for (const scan of this.#scans.values()) scan.clear();
  }

  async #run(id: ShardId, scan: Scan, expectsMore = false): Promise<void> {
    scan.running = true;
    this.#pace.begin();
    try {
      if (expectsMore) await this.#pace.rest();
      const view = new DecodedBatch();
      while (scan.size > 0) {
        const shard = await this.#modules.openShard(id);
        const goesOn = this.#pace.share();
        while (goesOn() && this.#join(shard, scan)) {
          const later = this.#block(shard, scan, view);
          if (later !== null) await later;
        }
        if (scan.size > 0) await this.#pace.rest();
      }
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof RobustError && error.code === 'SHARD_NOT_FOUND') {
        // The topic was deleted: nothing is left to read.
        const readers = [...scan.readers.values(), ...scan.joining.values()];
        scan.clear();
        this.#scans.delete(id);
        for (const reader of readers) reader.caughtUp();
        return;
      }
      this.#modules.logger.error({ error, shard: id }, 'sessions can not read their backlog; trying again');
      this.#modules.clock.after(retryMs, () => void this.#run(id, scan));
      return;
    } finally {
      this.#pace.end();
    }
    scan.running = false;
    this.#scans.delete(id);
  }

  /** Lets those go that have met the live path or lie below the log start; false when nothing is left to read. */
  #join(shard: Shard, scan: Scan): boolean {
    const live = this.#modules.dispatcher.routedTo(shard.id) ?? shard.highWatermark;
    const start = shard.startOffset;
    scan.join();
    for (const reader of scan.readers.values()) {
      if (reader.next < start) {
        const from = reader.next;
        reader.next = start;
        reader.skipped(from, start, 'truncated');
      }
      if (reader.next < live) continue;
      scan.remove(reader);
      reader.caughtUp();
    }
    return scan.readers.size > 0;
  }

  /** Reads the next block for those it is next for. A promise where it had to wait for something; null where not. */
  #block(shard: Shard, scan: Scan, view: DecodedBatch): Promise<void> | null {
    const { dispatcher, defaultTopic } = this.#modules;
    const limit = dispatcher.routedTo(shard.id) ?? shard.highWatermark;
    const step = scan.next(limit, (reader) => wantedTokens(shard.topic, reader.filters, { defaultTopic }));
    const options = {
      maxBytes: blockBytes,
      limit: step.limit,
      lent: true,
      lost: (from: Offset, to: Offset) => tellLost(scan, step, { from, to }),
      ...(step.wanted === null ? {} : { filter: step.wanted.blocks }),
    };
    const pass = { shard, scan, step, view };
    const answer = shard.readCached(step.from, options);
    if (answer !== null) return this.#answer(pass, answer);
    return shard.read(step.from, options).then((later) => this.#answer(pass, later) ?? undefined);
  }

  #answer(pass: Pass, answer: ReadAnswer): Promise<void> | null {
    const { scan, step } = pass;
    // Nobody asked the filters for those who stand at the limit or above.
    const end = Math.min(answer.nextOffset, step.limit);
    const finish = (): void => {
      for (const reader of scan.readers.values()) {
        if (reader.next >= step.from && reader.next < end) reader.next = end;
      }
      scan.passed(end);
      answer.lease?.end();
    };
    const later = this.#batches(pass, batchesOf(answer.entries));
    if (later !== null) return later.then(finish);
    finish();
    return null;
  }

  #batches(pass: Pass, batches: Iterator<RoutedBatch>): Promise<void> | null {
    for (let each = batches.next(); each.done !== true; each = batches.next()) {
      // All are full: what is left of the block is read again when one comes back.
      if (pass.scan.readers.size === 0) return null;
      const batch = each.value;
      const section = this.#modules.decoder.recordsOf(batch);
      if (section instanceof Promise) {
        return section.then((later) => {
          this.#batch(pass, batch, later);
          return this.#batches(pass, batches) ?? undefined;
        });
      }
      this.#batch(pass, batch, section);
    }
    return null;
  }

  #batch({ shard, scan, step, view }: Pass, batch: RoutedBatch, section: Buffer | null): void {
    if (section === null) return;
    const wanted = step.wanted?.records ?? null;
    if (wanted !== null && !this.#modules.decoder.mayHold(batch, section, wanted)) return;
    const source = { shard: shard.id, epoch: shard.epoch, topic: shard.topic, wanted };
    const decoded = this.#modules.decoder.decode(batch, section, source, view);
    if (decoded?.wanted === true) this.#rows(scan, step, decoded);
  }

  #rows(scan: Scan, step: ScanStep, view: DecodedBatch): void {
    const { records, matches } = view;
    for (let row = 0; row < records.count; row++) {
      const match = matches[row]!;
      if (match.guaranteeMax < 0) continue;
      const offset = records.offset(row);
      if (offset >= step.limit) return;
      for (const subscription of match.subscriptions) {
        const reader = scan.readers.get(subscription.subscriber);
        // A second filter of the same session finds the reader already behind this record; others wait for their block.
        if (reader === undefined || reader.next > offset || reader.next < step.from) continue;
        if (reader.take(view, row, match)) reader.next = offset + 1;
        else {
          reader.next = offset;
          scan.remove(reader);
        }
      }
    }
  }
}

/** One block on its way to the readers of a shard. */
interface Pass {
  readonly shard: Shard;
  readonly scan: Scan;
  readonly step: ScanStep;
  readonly view: DecodedBatch;
}

function* batchesOf(entries: readonly StoredEntry[]): Iterator<RoutedBatch> {
  for (const { flags, payload: buffer } of entries) {
    if ((flags & entryFlag.control) !== 0) continue;
    const brokerEncoded = (flags & entryFlag.brokerEncoded) !== 0;
    for (let start = 0, end = nextBatch(buffer, 0); end !== -1; start = end, end = nextBatch(buffer, start)) {
      const baseOffset = batchBaseOffset(buffer, start);
      const count = batchLastOffset(buffer, start) - baseOffset + 1;
      yield { baseOffset, count, buffer, start, end, brokerEncoded, subjects: null };
    }
  }
}

function tellLost(
  scan: Scan,
  step: ScanStep,
  { from, to }: { readonly from: Offset; readonly to: Offset },
): void {
  for (const reader of scan.readers.values()) {
    if (reader.next < step.from || reader.next >= to) continue;
    // What lies before the loss was asked of the block filter: nothing wanted is there.
    reader.skipped(Math.max(reader.next, from), to, 'lost');
    reader.next = to;
  }
}
