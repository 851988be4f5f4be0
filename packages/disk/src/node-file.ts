import { close, fdatasync, fstat, ftruncate } from 'node:fs';
import { promisify } from 'node:util';
import type { DiskFile, IoClass } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { DiskCounters } from './counters.ts';
import { toDiskError } from './disk-error.ts';
import { ReadJob, TaskJob, WriteJob } from './jobs.ts';
import type { Lane, Scheduler } from './scheduler.ts';

const closeFd = promisify(close);
const fdatasyncFd = promisify(fdatasync);
const fstatFd = promisify(fstat);
const ftruncateFd = promisify(ftruncate);

/** Reads above this are split, so that no read holds a pool thread for long. */
export const readBytesMax = 256 * 1024;
/** Writes above this are split, the WAL's frames excepted: a frame is one write. */
export const writeBytesMax = 1024 * 1024;

/** What all files of one disk share. */
export interface FileContext {
  scheduler: Scheduler;
  counters: DiskCounters;
  onFatal: (error: Error) => void;
}

export interface FileHandle {
  path: string;
  fd: number;
  /** The descriptor was opened for durable writes. */
  dsync: boolean;
  /** `dsync`, on a system where the descriptor does not do it itself. */
  syncAfterWrite: boolean;
}

export class NodeFile implements DiskFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #context: FileContext;
  #pending = 0;
  #closing: Promise<void> | null = null;
  #idle: (() => void) | null = null;

  constructor(handle: FileHandle, context: FileContext) {
    this.path = handle.path;
    this.#handle = handle;
    this.#context = context;
  }

  async pwrite(io: IoClass, data: Uint8Array, position: number): Promise<void> {
    if (io === 'wal' || data.length <= writeBytesMax) return this.#write(io, data, position);
    for (let at = 0; at < data.length; at += writeBytesMax) {
      await this.#write(io, data.subarray(at, at + writeBytesMax), position + at);
    }
  }

  async pread(io: IoClass, into: Uint8Array, position: number): Promise<number> {
    if (into.length <= readBytesMax) return this.#read(io, into, position);
    let got = 0;
    while (got < into.length) {
      const bytes = await this.#read(io, into.subarray(got, got + readBytesMax), position + got);
      got += bytes;
      if (bytes < readBytesMax) break;
    }
    return got;
  }

  async sync(io: IoClass): Promise<void> {
    await this.#task(io, 'sync', () => fdatasyncFd(this.#handle.fd));
    this.#context.counters[io].syncs++;
  }

  truncate(io: IoClass, bytes: number): Promise<void> {
    return this.#task(io, 'truncate', () => ftruncateFd(this.#handle.fd, bytes));
  }

  async size(): Promise<number> {
    return (await this.#task('names', 'stat', () => fstatFd(this.#handle.fd))).size;
  }

  /** Waits for what is under way: a descriptor closed under a queued read may by then belong to another file. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await closeFd(this.#handle.fd);
  }

  #write(io: IoClass, data: Uint8Array, position: number): Promise<void> {
    const { scheduler, counters } = this.#context;
    const target = { fd: this.#handle.fd, data, position, syncAfter: this.#handle.syncAfterWrite };
    return new Promise((resolve, reject) => {
      this.#enter();
      const job = new WriteJob(io, target, (error, bytes) => {
        this.#leave();
        if (error !== null) return reject(this.#failed(error, 'write'));
        counters[io].pwrites++;
        counters[io].writtenBytes += bytes;
        resolve();
      });
      scheduler.submit(job);
    });
  }

  #read(io: IoClass, into: Uint8Array, position: number): Promise<number> {
    const { scheduler, counters } = this.#context;
    return new Promise((resolve, reject) => {
      this.#enter();
      const job = new ReadJob(io, { fd: this.#handle.fd, into, position }, (error, bytes) => {
        this.#leave();
        if (error !== null) return reject(this.#failed(error, 'read'));
        counters[io].preads++;
        counters[io].readBytes += bytes;
        resolve(bytes);
      });
      scheduler.submit(job);
    });
  }

  async #task<T>(lane: Lane, action: FileAction, task: () => Promise<T>): Promise<T> {
    this.#enter();
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#context.scheduler.submit(new TaskJob(lane, task, { resolve, reject }));
      });
    } catch (error) {
      throw this.#failed(error, action);
    } finally {
      this.#leave();
    }
  }

  #enter(): void {
    if (this.#closing !== null) throw new RobustError('DISK_IO', `${this.path} is closed`);
    this.#pending++;
  }

  #leave(): void {
    this.#pending--;
    if (this.#pending === 0) this.#idle?.();
  }

  /**
   * After a failed sync nobody knows which pages are on the disk, and the kernel may have marked them clean: the
   * process must end. The same holds for EIO on any write and for a durable write that failed otherwise than for space.
   */
  #failed(cause: unknown, action: FileAction): Error {
    const error = toDiskError(cause, { action, path: this.path });
    const lost =
      action === 'sync' ||
      (action === 'write' &&
        (error.code === 'DISK_IO' || (this.#handle.dsync && error.code !== 'DISK_FULL')));
    if (lost) this.#context.onFatal(error);
    return error;
  }
}

type FileAction = 'write' | 'read' | 'sync' | 'truncate' | 'stat';
