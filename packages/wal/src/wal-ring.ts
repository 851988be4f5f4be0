import { dirname } from 'node:path';
import type { Disk, DiskErrorCode, Logger, RobustError } from '@robustmq/core';
import { WalFile } from './wal-file.ts';

export interface WalRingOptions {
  disk: Disk;
  folder: string;
  fileBytes: number;
  maxBytes: number;
  logger: Logger;
  /** Called when a file was added, or could not be. */
  onGrown: () => void;
  /** Called when background work failed other than for space. */
  onFatal: (error: Error) => void;
}

const namePattern = /^\d{4}\.wal$/;

/**
 * The files of one log: the live ones by generation and the free ones. A file becomes free only by `release`.
 *
 * One free file is kept back as long as nothing can be released: live files become free only through a checkpoint
 * that says so, and the checkpoint needs a file to be written to.
 */
export class WalRing {
  readonly #options: WalRingOptions;
  /** Ascending by generation; the last is being written. */
  readonly #live: WalFile[] = [];
  readonly #free: WalFile[] = [];
  #growing: Promise<void> | null = null;
  #names = 0;

  constructor(options: WalRingOptions) {
    this.#options = options;
  }

  get liveFiles(): number {
    return this.#live.length;
  }

  get freeFiles(): number {
    return this.#free.length;
  }

  get growing(): boolean {
    return this.#growing !== null;
  }

  get oldestGeneration(): number {
    return this.#live[0]?.generation ?? 0;
  }

  byGeneration(generation: number): WalFile | null {
    return this.#live.find((file) => file.generation === generation) ?? null;
  }

  /** Live files, newest first. */
  *newestFirst(): Generator<WalFile> {
    for (let at = this.#live.length - 1; at >= 0; at--) yield this.#live[at]!;
  }

  /** Opens every file of the log, in the order of their names; makes the folder when it is missing. */
  async open(): Promise<WalFile[]> {
    const { disk, folder } = this.#options;
    await disk.mkdir(folder);
    await disk.syncDir(dirname(folder));
    // A process that was killed may have left files whose names are not durable yet; what is written to them would be.
    await disk.syncDir(folder);
    const files: WalFile[] = [];
    for (const { name, bytes } of await disk.list(folder)) {
      if (!namePattern.test(name)) continue;
      this.#names = Math.max(this.#names, Number.parseInt(name, 10));
      const file = await disk.open('wal', `${folder}/${name}`, { dsync: true });
      files.push(new WalFile(name, file, { bytes, generation: 0 }));
    }
    return files;
  }

  /** Takes an opened file in, live when the log still needs it. */
  adopt(file: WalFile, live: boolean): void {
    if (!live) this.#retire(file);
    else {
      this.#live.push(file);
      this.#live.sort((left, right) => left.generation - right.generation);
    }
  }

  /** Whether the file kept back may be used, because the checkpoint in it frees another. */
  releasable(before: number): boolean {
    return this.oldestGeneration !== 0 && this.oldestGeneration < before;
  }

  /** The file for `generation`, or null when none may be used; `last` allows the one kept back. */
  take(generation: number, last: boolean): WalFile | null {
    if (this.#free.length <= (last ? 0 : 1)) return null;
    // A file with a torn attempt at this very generation must not stay beside the real one.
    const torn = this.#free.findIndex((file) => file.generation === generation);
    const [file] = this.#free.splice(Math.max(torn, 0), 1);
    this.#live.push(file!);
    return file!;
  }

  release(before: number): void {
    const { maxBytes, fileBytes } = this.#options;
    while (this.#live.length > 1 && this.#live[0]!.generation < before) {
      const tooMany = (this.#live.length + this.#free.length) * fileBytes > maxBytes;
      const file = this.#live.shift()!;
      const surplus = tooMany || file.bytes > fileBytes;
      if (surplus) this.#remove(file);
      else this.#retire(file);
    }
  }

  /**
   * Adds a file in the background unless the ring is at its largest. `freeing`: the checkpoint in it frees others. A
   * restart may have used up the file kept back; then the ring is larger by one until that checkpoint is durable.
   */
  grow(freeing: boolean): void {
    const { maxBytes, fileBytes, logger, onGrown, onFatal } = this.#options;
    const largest = (this.#live.length + this.#free.length + 1) * fileBytes > maxBytes;
    if (this.#growing !== null || (largest && !(freeing && this.#free.length === 0))) return;
    this.#growing = this.create()
      .catch((error: RobustError<DiskErrorCode>) => {
        if (error.code !== 'DISK_FULL') return onFatal(error);
        logger.warn({ error, liveFiles: this.#live.length }, 'no space to grow the write-ahead log');
      })
      .finally(() => {
        this.#growing = null;
        onGrown();
      });
  }

  /** Adds one zeroed file whose name is durable. */
  async create(): Promise<void> {
    const { disk, folder, fileBytes } = this.#options;
    this.#names++;
    const name = `${String(this.#names).padStart(4, '0')}.wal`;
    const options = { create: true, dsync: true, preallocateBytes: fileBytes };
    const file = await disk.open('wal', `${folder}/${name}`, options);
    await disk.syncDir(folder);
    this.#free.push(new WalFile(name, file, { bytes: fileBytes, generation: 0 }));
  }

  /** Frees a file, or removes one that is shorter than files are now: its creation was cut off, or the size raised. */
  #retire(file: WalFile): void {
    if (file.bytes >= this.#options.fileBytes) this.#free.push(file);
    else this.#remove(file);
  }

  #remove(file: WalFile): void {
    const { disk, folder, onFatal } = this.#options;
    const removal = file.file.close().then(() => disk.unlink(`${folder}/${file.name}`));
    removal.catch(onFatal);
  }

  async close(): Promise<void> {
    await this.#growing;
    for (const file of [...this.#live, ...this.#free]) await file.file.close();
  }
}
