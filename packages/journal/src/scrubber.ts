import type { Clock, Logger, Offset, Random, Timer } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import { entryBytesMax, entryCrcOf } from '@robustmq/kernel';
import type { JournalCounters } from './counters.ts';
import type { JournalLimits } from './limits.ts';
import type { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import { scanSegment } from './segment-scan.ts';
import type { SegmentStore } from './segment-store.ts';

/** Read at a time, at least: a rest that fits the rate follows. */
const stepBytes = 1024 * 1024;
/** Between the beginnings of two passes: what is small need not be read all day. */
const passMs = 24 * 3600 * 1000;

export interface ScrubberOptions {
  readonly store: SegmentStore;
  readonly files: SegmentFiles;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What follows the entries that are checked: where it is, what it must be, and the checksum before it. */
interface Place {
  position: number;
  offset: Offset;
  entryId: number;
  crc: number;
}

/**
 * Reads the sealed segments, one after the other and at a bounded rate, and checks every entry: damage is found while
 * there may still be a backup, and not when somebody needs the record. It changes nothing; readers meet the damage by
 * themselves. A pass begins with any of the segments, so that a process that never lives long sees them all in time.
 */
export class Scrubber {
  readonly #options: ScrubberOptions;
  #pass: Segment[] = [];
  #passAt = 0;
  #segment: Segment | null = null;
  /** How far it is checked. */
  #at: Place = { position: 0, offset: 0, entryId: 0, crc: 0 };
  #timer: Timer | null = null;
  #step: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  start(): void {
    this.#passAt = this.#options.clock.monotonic();
    if (this.#options.limits.scrubBytesPerSecond > 0) this.#after(this.#msFor(stepBytes));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#step;
  }

  #after(ms: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(ms, () => {
      this.#step = this.#next().then((rest) => this.#after(rest));
    });
  }

  #msFor(bytes: number): number {
    return Math.min(passMs, (bytes * 1000) / this.#options.limits.scrubBytesPerSecond);
  }

  /** Checks a piece of the present segment, or of the next one; resolves to how long the rest is. */
  async #next(): Promise<number> {
    const segment = this.#segment ?? this.#begin();
    if (segment === null) return Math.max(0, this.#passAt - this.#options.clock.monotonic());
    const from = this.#at.position;
    const damage = await this.#check(segment);
    const read = this.#at.position - from;
    this.#options.counters.scrubbedBytes += read;
    const gone = segment.phase === 'deleted';
    if (damage !== null && !gone) this.#found(segment, damage);
    if (damage !== null || gone || this.#at.position >= segment.stored.bytes) this.#segment = null;
    return this.#msFor(Math.max(read, stepBytes));
  }

  #begin(): Segment | null {
    const { clock, random, store } = this.#options;
    const now = clock.monotonic();
    if (this.#pass.length === 0 && now >= this.#passAt) {
      this.#passAt = now + passMs;
      const sealed = [...store.segments()].filter(isServed);
      const first = sealed.length === 0 ? 0 : random.u32() % sealed.length;
      // The last of the list is the next one.
      this.#pass = [...sealed.slice(first), ...sealed.slice(0, first)].reverse();
    }
    for (let next = this.#pass.pop(); next !== undefined; next = this.#pass.pop()) {
      if (!isServed(next)) continue;
      this.#segment = next;
      this.#at = { position: 0, offset: next.baseOffset, entryId: 0, crc: 0 };
      return next;
    }
    return null;
  }

  /** Moves `#at` on; resolves to what is wrong there, null when nothing is. */
  async #check(segment: Segment): Promise<string | null> {
    const at = this.#at;
    const { position, entryId, crc: previousCrc } = at;
    const end = Math.min(segment.stored.bytes, position + Math.max(stepBytes, entryBytesMax));
    const range = { io: 'compaction', position, entryId, previousCrc, end } as const;
    try {
      await this.#options.files.use('compaction', segment, (file) =>
        scanSegment(file, segment, range, (header, entry, start) => {
          at.position = start + entry.length;
          at.offset = header.baseOffset + header.count;
          at.entryId = header.entryId + 1;
          at.crc = entryCrcOf(entry);
        }),
      );
    } catch (error) {
      // Its file is gone, or the disk can't read it.
      return error instanceof RobustError ? error.code : (error as Error).message;
    }
    // The largest entry fits into what was read: what comes next is none, or not the one that belongs there.
    return at.position === position ? 'a checksum does not hold' : null;
  }

  #found(segment: Segment, reason: string): void {
    const { counters, logger } = this.#options;
    const { shard, id } = segment;
    const { offset, position } = this.#at;
    counters.scrubDamagedSegments++;
    logger.error({ shard, segment: id, offset, position, reason }, 'a stored segment is damaged');
  }
}

/**
 * Whether it is whole and anybody may read it: one that metadata does not list was on its way out when the process died, and
 * its file may be cut already.
 */
function isServed(segment: Segment): boolean {
  return segment.phase === 'sealed' && segment.listed && !segment.memory && segment.stored.bytes > 0;
}
