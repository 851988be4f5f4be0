import { basename, dirname } from 'node:path';
import type { Disk } from '@robustmq/core';

/**
 * An empty file that stands while the store of applied state is read: a start that finds it knows that the one before
 * ended in between, by a kill or by the store's library, which ends the process on some damage.
 */
export class ReadMarker {
  readonly #disk: Disk;
  readonly #path: string;
  #set = false;

  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
  }

  async isFound(): Promise<boolean> {
    const entries = await this.#disk.list(dirname(this.#path));
    this.#set = entries.some(({ name }) => name === basename(this.#path));
    return this.#set;
  }

  /** Not synced: what a process wrote outlives its end in the system's cache, and a power cut is not what it tells of. */
  async set(): Promise<void> {
    const file = await this.#disk.open('level', this.#path, { create: true });
    this.#set = true;
    await file.close();
  }

  async remove(): Promise<void> {
    if (!this.#set) return;
    await this.#disk.unlink(this.#path);
    this.#set = false;
  }
}
