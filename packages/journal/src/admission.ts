import type { Clock, Disk, Logger, Timer } from '@robustmq/core';
import type { JournalCounters } from './counters.ts';
import type { JournalLimits } from './limits.ts';
import type { SegmentFiles } from './segment-files.ts';

export interface AdmissionOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly files: SegmentFiles;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onFatal: (error: Error) => void;
  /** Of the files of the log. */
  readonly logBytes: () => number;
  /** There may be space for a write that found none. */
  readonly retry: () => void;
  /** Free space was looked at: a log that found none to grow may try again. */
  readonly looked: () => void;
  readonly changed: (open: boolean) => void;
}

/**
 * Decides whether new data may come: there must be room for what is in memory and in the log but not in segments, plus
 * a reserve; and the log must not have more waiting than it can stage. Admission opens again one reserve later than
 * it closes. The pool counts as free space, and is given back before admission closes.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  #freeBytes = 0;
  #totalBytes = 0;
  #hasSpace = true;
  #logHasRoom = true;
  /** A write found the disk full, whatever the volume says. */
  #writeFailed = false;
  /** What came since the last look leaves too little room: the next look decides. */
  #short = false;
  #open = true;
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  #stopped = false;
  /** Bytes written to segments and files of the log, and of these and in memory, by the last look. */
  #writtenAtLook = 0;
  #takenAtLook = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  get open(): boolean {
    return this.#open;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  async start(): Promise<void> {
    await this.look();
    this.#arm();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  /** Free space as of now, and whether to go on admitting. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  /**
   * Whether `bytes` that nobody was promised (a compacted segment, a fold's checkpoint) may be written now. They leave
   * half of the reserve: without space for a file of the log, a journal that was killed could not start again.
   */
  async hasRoomFor(bytes: number): Promise<boolean> {
    await this.look();
    const { counters, limits } = this.#options;
    return this.#freeBytes - bytes >= counters.tailBytes + limits.reserveBytes / 2;
  }

  /**
   * Bytes have come into memory, or went to files. Free space is looked at again when it is much, and admission closes
   * without waiting for that look when it is too much: a machine that is busy may take seconds for it.
   */
  took(): void {
    const { counters, limits, files, onFatal } = this.#options;
    if (this.#stopped) return;
    const { tailBytes } = counters;
    const written = this.#writtenBytes;
    const left = this.#freeBytes - (written - this.#writtenAtLook) - tailBytes;
    const short = left + files.poolFiles * limits.poolFileBytes < limits.reserveBytes;
    if (!short && tailBytes + written - this.#takenAtLook < limits.reserveBytes / 4) return;
    this.look().catch(onFatal);
    if (short === this.#short) return;
    this.#short = short;
    this.#settle();
  }

  /** A write found no space, or (null) one has succeeded. */
  full(error: Error | null): void {
    if (this.#writeFailed === (error !== null)) return;
    this.#writeFailed = error !== null;
    this.#settle();
  }

  logRoom(has: boolean): void {
    if (this.#logHasRoom === has) return;
    this.#logHasRoom = has;
    this.#settle();
  }

  get #writtenBytes(): number {
    return this.#options.counters.sweptBytes + this.#options.logBytes();
  }

  #arm(): void {
    const { clock, limits, onFatal } = this.#options;
    this.#timer = clock.after(limits.pollMs, () => {
      this.look()
        .catch(onFatal)
        .finally(() => {
          if (!this.#stopped) this.#arm();
        });
    });
  }

  async #look(): Promise<void> {
    const { disk, folder, counters, limits, files, retry, looked } = this.#options;
    // What is written meanwhile may count twice until the next look, but is not missed.
    const written = this.#writtenBytes;
    const space = await disk.free(folder);
    const needed = counters.tailBytes + limits.reserveBytes;
    this.#totalBytes = space.totalBytes;
    this.#freeBytes = space.freeBytes;
    this.#writtenAtLook = written;
    this.#takenAtLook = counters.tailBytes + written;
    this.#short = false;
    while ((this.#freeBytes < needed || this.#writeFailed) && (await files.shrinkPool())) {
      this.#freeBytes += limits.poolFileBytes;
      if (this.#writeFailed) break;
    }
    const margin = this.#hasSpace ? 0 : limits.reserveBytes;
    this.#hasSpace = this.#freeBytes >= needed + margin;
    this.#settle();
    if (this.#writeFailed) retry();
    looked();
  }

  #settle(): void {
    const open = this.#hasSpace && !this.#short && this.#logHasRoom && !this.#writeFailed;
    if (open === this.#open) return;
    this.#open = open;
    const { logger, changed } = this.#options;
    const fields = { freeBytes: this.#freeBytes, hasSpace: this.#hasSpace, logHasRoom: this.#logHasRoom };
    // The log's room comes and goes with load; space is for an operator to see.
    if (this.#hasSpace && !this.#short && !this.#writeFailed) logger.debug(fields, 'admission changed');
    else logger.warn(fields, 'no space for new data');
    changed(open);
  }
}
