import { fdatasync, read, write } from 'node:fs';
import type { Job, Lane } from './scheduler.ts';

type Done = (lane: Lane) => void;
type Settle = (error: Error | null, bytes: number) => void;

/** One contiguous write, continued until all of it is written, and made durable when the descriptor does not do that. */
export class WriteJob implements Job {
  readonly lane: Lane;
  readonly #fd: number;
  readonly #data: Uint8Array;
  readonly #position: number;
  readonly #syncAfter: boolean;
  readonly #settle: Settle;
  #written = 0;

  constructor(lane: Lane, target: WriteTarget, settle: Settle) {
    this.lane = lane;
    this.#fd = target.fd;
    this.#data = target.data;
    this.#position = target.position;
    this.#syncAfter = target.syncAfter;
    this.#settle = settle;
  }

  begin(done: Done): void {
    const data = this.#data;
    const rest = data.length - this.#written;
    write(this.#fd, data, this.#written, rest, this.#position + this.#written, (error, bytes) => {
      if (error !== null) return this.#end(done, error);
      this.#written += bytes;
      if (this.#written < data.length) return this.begin(done);
      if (!this.#syncAfter) return this.#end(done, null);
      fdatasync(this.#fd, (syncError) => this.#end(done, syncError));
    });
  }

  #end(done: Done, error: Error | null): void {
    done(this.lane);
    this.#settle(error, this.#written);
  }
}

export interface WriteTarget {
  fd: number;
  data: Uint8Array;
  position: number;
  syncAfter: boolean;
}

/** One read; short only at the end of the file. */
export class ReadJob implements Job {
  readonly lane: Lane;
  readonly #fd: number;
  readonly #into: Uint8Array;
  readonly #position: number;
  readonly #settle: Settle;
  #got = 0;

  constructor(lane: Lane, target: ReadTarget, settle: Settle) {
    this.lane = lane;
    this.#fd = target.fd;
    this.#into = target.into;
    this.#position = target.position;
    this.#settle = settle;
  }

  begin(done: Done): void {
    const into = this.#into;
    const rest = into.length - this.#got;
    read(this.#fd, into, this.#got, rest, this.#position + this.#got, (error, bytes) => {
      if (error === null) this.#got += bytes;
      if (error === null && bytes > 0 && this.#got < into.length) return this.begin(done);
      done(this.lane);
      this.#settle(error, this.#got);
    });
  }
}

export interface ReadTarget {
  fd: number;
  into: Uint8Array;
  position: number;
}

/** Any other work, which holds its slot until its promise settles. */
export class TaskJob<T> implements Job {
  readonly lane: Lane;
  readonly #task: () => Promise<T>;
  readonly #resolve: (value: T) => void;
  readonly #reject: (reason: unknown) => void;

  constructor(lane: Lane, task: () => Promise<T>, settle: Settlers<T>) {
    this.lane = lane;
    this.#task = task;
    this.#resolve = settle.resolve;
    this.#reject = settle.reject;
  }

  begin(done: Done): void {
    invoke(this.#task).then(
      (value) => {
        done(this.lane);
        this.#resolve(value);
      },
      (reason: unknown) => {
        done(this.lane);
        this.#reject(reason);
      },
    );
  }
}

interface Settlers<T> {
  resolve: (value: T) => void;
  reject: (reason: unknown) => void;
}

/** A task that throws before its first await counts as rejected: its slot must come back. */
async function invoke<T>(task: () => Promise<T>): Promise<T> {
  return await task();
}
