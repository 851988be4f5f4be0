import type { Disk, DiskEntry, DiskFile, IoClass, OpenOptions } from '@robustmq/core';

/** What is said to be durable and is not. */
export interface Lies {
  /** Names in directories. */
  readonly directories?: boolean;
  /** Bytes of the files with such a path. */
  readonly files?: (path: string) => boolean;
}

/**
 * A disk whose syncs lie. Under a game it stands for code that leaves the sync out, and shows that the game would
 * notice.
 */
export class LyingDisk implements Disk {
  readonly #disk: Disk;
  readonly #lies: Lies;

  constructor(disk: Disk, lies: Lies) {
    this.#disk = disk;
    this.#lies = lies;
  }

  async open(io: IoClass, path: string, options: OpenOptions = {}): Promise<DiskFile> {
    if (this.#lies.files?.(path) !== true) return await this.#disk.open(io, path, options);
    const { dsync: _dsync, ...rest } = options;
    const file = await this.#disk.open(io, path, rest);
    return {
      path: file.path,
      pwrite: (...args) => file.pwrite(...args),
      pread: (...args) => file.pread(...args),
      sync: async () => undefined,
      truncate: (...args) => file.truncate(...args),
      size: () => file.size(),
      close: () => file.close(),
    };
  }

  mkdir(path: string): Promise<void> {
    return this.#disk.mkdir(path);
  }

  async syncDir(path: string): Promise<void> {
    if (this.#lies.directories !== true) await this.#disk.syncDir(path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.#disk.rename(from, to);
  }

  unlink(path: string): Promise<void> {
    return this.#disk.unlink(path);
  }

  list(path: string): Promise<DiskEntry[]> {
    return this.#disk.list(path);
  }

  free(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#disk.free(path);
  }

  run<T>(io: IoClass, job: () => Promise<T>): Promise<T> {
    return this.#disk.run(io, job);
  }
}
