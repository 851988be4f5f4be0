import { constants } from 'node:fs';
import { fsync, open } from 'node:fs';
import { lstat, mkdir, readdir, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Disk, DiskEntry, DiskFile, IoClass, OpenOptions } from '@robustmq/core';
import type { DiskCounters } from './counters.ts';
import { createCounters } from './counters.ts';
import { toDiskError } from './disk-error.ts';
import { TaskJob } from './jobs.ts';
import { NodeFile, writeBytesMax } from './node-file.ts';
import type { Lane } from './scheduler.ts';
import { Scheduler } from './scheduler.ts';
import { syncDirectory } from './sync-directory.ts';

const openFd = promisify(open);
const fsyncFd = promisify(fsync);
const zeros = Buffer.alloc(writeBytesMax);
/** Zeros that the system may keep back. */
const unsyncedBytesMax = 4 * writeBytesMax;
/** Whether a descriptor can make each of its writes durable by itself. */
const hasDsync = process.platform === 'linux';

export interface NodeDiskOptions {
  /** Reads in flight; 2. */
  maxReads?: number;
  /** Threads of libuv's pool (UV_THREADPOOL_SIZE); 4. */
  threads?: number;
  /** Called when what is on the disk is no longer known; it must end the process. Default: an uncaught exception. */
  onFatal?: (error: Error) => void;
}

/** The machine's file systems behind the port `Disk`, under one I/O scheduler per process. */
export function openNodeDisk(options: NodeDiskOptions = {}): NodeDisk {
  return new NodeDisk(options);
}

export class NodeDisk implements Disk {
  /** What each I/O class has done. */
  readonly counters: DiskCounters = createCounters();
  readonly #scheduler: Scheduler;
  readonly #onFatal: (error: Error) => void;

  constructor({ maxReads = 2, threads = 4, onFatal = throwUncaught }: NodeDiskOptions) {
    this.#scheduler = new Scheduler({ maxReads, threads });
    this.#onFatal = onFatal;
  }

  /** Jobs that wait for a slot of the scheduler. */
  get waiting(): number {
    return this.#scheduler.waiting;
  }

  async open(io: IoClass, path: string, options: OpenOptions = {}): Promise<DiskFile> {
    const dsync = options.dsync === true;
    const flags =
      constants.O_RDWR |
      (options.create === true ? constants.O_CREAT : 0) |
      (dsync && hasDsync ? constants.O_DSYNC : 0);
    if (options.preallocateBytes !== undefined)
      await this.#preallocate(path, flags, options.preallocateBytes);
    const fd = await this.#admit(io, 'open', path, () => openFd(path, flags, 0o600));
    return this.#file(path, fd, dsync);
  }

  mkdir(path: string): Promise<void> {
    return this.#admit('names', 'create the directory', path, async () => {
      await mkdir(path, { recursive: true, mode: 0o700 });
    });
  }

  async syncDir(path: string): Promise<void> {
    try {
      await this.#admit('names', 'sync the directory', path, () => syncDirectory(path));
    } catch (error) {
      const { code } = error as { code: string };
      if (code !== 'DISK_NOT_FOUND' && code !== 'DISK_ACCESS') this.#onFatal(error as Error);
      throw error;
    }
  }

  rename(from: string, to: string): Promise<void> {
    return this.#admit('names', 'rename', from, () => rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.#admit('names', 'remove', path, () => rm(path, { force: true }));
  }

  list(path: string): Promise<DiskEntry[]> {
    return this.#admit('names', 'list', path, async () => {
      const names = await readdir(path);
      const entries: DiskEntry[] = [];
      for (const name of names.sort()) {
        const stat = await lstat(join(path, name)).catch(ignoreMissing);
        if (stat !== null) entries.push({ name, bytes: stat.size, directory: stat.isDirectory() });
      }
      return entries;
    });
  }

  free(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#admit('names', 'stat', path, async () => {
      const stat = await statfs(path);
      return { freeBytes: stat.bavail * stat.bsize, totalBytes: stat.blocks * stat.bsize };
    });
  }

  /** `job` holds the one slot of its class, so it must not itself wait for work of the same class. */
  run<T>(io: IoClass, job: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#scheduler.submit(new TaskJob(io, job, { resolve, reject }));
    });
  }

  #file(path: string, fd: number, dsync: boolean): NodeFile {
    const handle = { path, fd, dsync, syncAfterWrite: dsync && !hasDsync };
    return new NodeFile(handle, {
      scheduler: this.#scheduler,
      counters: this.counters,
      onFatal: this.#onFatal,
    });
  }

  async #admit<T>(lane: Lane, action: string, path: string, task: () => Promise<T>): Promise<T> {
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#scheduler.submit(new TaskJob(lane, task, { resolve, reject }));
      });
    } catch (error) {
      throw toDiskError(error, { action, path });
    }
  }

  /**
   * Zeros are written, not reserved: an extent that was never written costs a journal commit at its first durable
   * write. They are synced as they come: a durable write to another file may have to wait until the system has written
   * all that it keeps back. A file that was new is removed again when the zeros do not fit.
   */
  async #preallocate(path: string, flags: number, bytes: number): Promise<void> {
    const plain = hasDsync ? flags & ~constants.O_DSYNC : flags;
    const fd = await this.#admit('names', 'open', path, () => openFd(path, plain, 0o600));
    const file = this.#file(path, fd, false);
    const had = await file.size();
    try {
      for (let at = had; at < bytes; at += zeros.length) {
        if (at > had && (at - had) % unsyncedBytesMax === 0) await file.sync('writeBehind');
        await file.pwrite('writeBehind', zeros.subarray(0, Math.min(zeros.length, bytes - at)), at);
      }
      if (had < bytes) await this.#admit('writeBehind', 'sync', path, () => fsyncFd(fd));
    } catch (error) {
      if (had === 0) await this.unlink(path);
      throw error;
    } finally {
      await file.close();
    }
  }
}

function throwUncaught(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}

function ignoreMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
