import type { Disk, DiskEntry, DiskErrorCode, DiskFile, IoClass, OpenOptions } from '@robustmq/core';
import { assert, crc32c, RobustError } from '@robustmq/core';
import type { SimClock } from './sim-clock.ts';
import { SimDirectory } from './sim-directory.ts';
import { SimFileImage } from './sim-file-image.ts';
import { SimRandom } from './sim-random.ts';

export type SimOpKind =
  | 'open'
  | 'pwrite'
  | 'pread'
  | 'sync'
  | 'truncate'
  | 'mkdir'
  | 'syncDir'
  | 'rename'
  | 'unlink'
  | 'list'
  | 'free'
  | 'run';

/** One call of the port, as faults and observers see it. */
export interface SimOp {
  /** Counts from 1 over the life of this disk. */
  number: number;
  kind: SimOpKind;
  path: string;
  io: IoClass | null;
  position: number;
  bytes: number;
}

export interface SimDiskOptions {
  seed?: number;
  /** Bytes that all files together may have; more is `DISK_FULL`. */
  capacityBytes?: number;
  /** With a clock, each call takes `latencyMs` of virtual time; without one, a microtask. */
  clock?: SimClock;
  latencyMs?: (op: SimOp, random: SimRandom) => number;
  /** Seen before each call; an error code makes that call fail. The place for a test to cut the power. */
  fault?: (op: SimOp) => DiskErrorCode | undefined;
  /** As on a real disk: called for every failed sync and every write that failed other than for space. */
  onFatal?: (error: Error) => void;
}

/**
 * The port `Disk` in memory. It forgets at a crash whatever was not synced, sector by sector and name by name, and is
 * deterministic: the same seed and calls give the same survivors and the same `traceHash`.
 */
export class SimDisk implements Disk {
  /** Replaceable while running. */
  fault: (op: SimOp) => DiskErrorCode | undefined;
  /** Replaceable while running. */
  capacityBytes: number;
  readonly #options: SimDiskOptions;
  readonly #random: SimRandom;
  #root = new SimDirectory();
  #dead = false;
  #ops = 0;
  #trace = 0;

  constructor(options: SimDiskOptions = {}) {
    this.#options = options;
    this.#random = new SimRandom(options.seed ?? 1);
    this.fault = options.fault ?? noFault;
    this.capacityBytes = options.capacityBytes ?? Number.MAX_SAFE_INTEGER;
  }

  /** A checksum over all calls so far and the bytes they wrote; two runs of one seed must agree. */
  get traceHash(): number {
    return this.#trace;
  }

  /** Calls so far. */
  get ops(): number {
    return this.#ops;
  }

  /**
   * Cuts the power: this disk is dead, none of its calls ever settles, and the disk returned holds what survived.
   */
  crash(): SimDisk {
    return this.#succeed(this.#root.survivor(this.#random));
  }

  /** Ends the process only: what it wrote is in the system's cache, still not durable, and visible to the next one. */
  kill(): SimDisk {
    return this.#succeed(this.#root.clone());
  }

  /** Bytes of a file as reads see them; a copy. */
  peek(path: string): Buffer {
    return Buffer.from(this.#image(path).content());
  }

  /** Replaces bytes on the medium itself. */
  poke(path: string, position: number, data: Uint8Array): void {
    this.#image(path).overwrite(position, data);
  }

  /** Flips one bit on the medium; without `bit`, a random one of the file. */
  rot(path: string, bit?: number): void {
    const image = this.#image(path);
    const at = bit ?? this.#random.below(image.size * 8);
    const flipped = image.content()[at >> 3]! ^ (1 << (at & 7));
    image.overwrite(at >> 3, Uint8Array.of(flipped));
  }

  async open(io: IoClass, path: string, options: OpenOptions = {}): Promise<DiskFile> {
    return await this.#call({ kind: 'open', path, io }, () => {
      const [parent, name] = this.#parent(path);
      let node = parent.entries.get(name);
      if (node === undefined) {
        if (options.create !== true) throw diskError('DISK_NOT_FOUND', path);
        node = new SimFileImage();
        parent.link(name, node);
      }
      if (node instanceof SimDirectory) throw diskError('DISK_IO', path);
      const missing = (options.preallocateBytes ?? 0) - node.size;
      if (missing > 0) this.#allocate({ parent, name, image: node, path }, missing);
      return new SimFile(path, node, options.dsync === true, this.#access());
    });
  }

  async mkdir(path: string): Promise<void> {
    await this.#call({ kind: 'mkdir', path }, () => {
      let at = this.#root;
      for (const name of split(path)) {
        let next = at.entries.get(name);
        if (next === undefined) {
          next = new SimDirectory();
          at.link(name, next);
        }
        if (!(next instanceof SimDirectory)) throw diskError('DISK_IO', path);
        at = next;
      }
    });
  }

  async syncDir(path: string): Promise<void> {
    await this.#call({ kind: 'syncDir', path }, () => this.#directory(path).sync());
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#call({ kind: 'rename', path: from }, () => {
      const [source, sourceName] = this.#parent(from);
      const [target, targetName] = this.#parent(to);
      const node = source.entries.get(sourceName);
      if (node === undefined) throw diskError('DISK_NOT_FOUND', from);
      if (source === target && sourceName === targetName) return;
      if (source === target) return target.link(targetName, node, sourceName);
      target.link(targetName, node);
      source.unlink(sourceName);
    });
  }

  async unlink(path: string): Promise<void> {
    await this.#call({ kind: 'unlink', path }, () => {
      const [parent, name] = this.#parent(path);
      if (parent.entries.get(name) instanceof SimDirectory) throw diskError('DISK_IO', path);
      if (parent.entries.has(name)) parent.unlink(name);
    });
  }

  async list(path: string): Promise<DiskEntry[]> {
    return await this.#call({ kind: 'list', path }, () => {
      const entries: DiskEntry[] = [];
      for (const [name, node] of this.#directory(path).entries) {
        const directory = node instanceof SimDirectory;
        entries.push({ name, bytes: directory ? 0 : node.size, directory });
      }
      return entries.sort((left, right) => (left.name < right.name ? -1 : 1));
    });
  }

  async free(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return await this.#call({ kind: 'free', path }, () => ({
      freeBytes: this.#freeBytes(),
      totalBytes: this.capacityBytes,
    }));
  }

  async run<T>(io: IoClass, job: () => Promise<T>): Promise<T> {
    return await this.#call({ kind: 'run', path: '', io }, job);
  }

  #succeed(root: SimDirectory): SimDisk {
    assert(!this.#dead, 'the disk has crashed before');
    this.#dead = true;
    const { fault: _fault, ...options } = this.#options;
    const next = new SimDisk({ ...options, capacityBytes: this.capacityBytes, seed: this.#random.u32() });
    next.#root = root;
    return next;
  }

  #access(): FileAccess {
    return {
      begin: (op, data) => this.#begin(op, data),
      finish: (op, effect) => this.#finish(op, effect),
      freeBytes: () => this.#freeBytes(),
      fatal: (error) => this.#options.onFatal?.(error),
    };
  }

  async #call<T>(call: OpCall, effect: () => T | Promise<T>): Promise<T> {
    const { op, failure } = this.#begin(call);
    return await this.#finish(op, () => {
      if (failure === undefined) return effect();
      const error = diskError(failure, call.path);
      if (call.kind === 'syncDir') this.#options.onFatal?.(error);
      throw error;
    });
  }

  /** Notes the call; synchronous, so that the order of calls is the order of the trace. */
  #begin(call: OpCall, data?: Uint8Array): BegunOp {
    const op: SimOp = {
      number: ++this.#ops,
      kind: call.kind,
      path: call.path,
      io: call.io ?? null,
      position: call.position ?? 0,
      bytes: call.bytes ?? 0,
    };
    const line = `${op.kind} ${op.path} ${op.position} ${op.bytes} ${op.io ?? ''}`;
    this.#trace = crc32c(Buffer.from(line), this.#trace);
    if (data !== undefined) this.#trace = crc32c(data, this.#trace);
    return { op, failure: this.#dead ? undefined : this.fault(op), dead: this.#dead };
  }

  /**
   * Settles with `effect` when the call is over; never, once the power is off. The effect happens in the stroke that
   * completes the call: nobody may learn of a sync that came after the power cut.
   */
  #finish<T>(op: SimOp, effect: () => T | Promise<T>): Promise<T> {
    const { clock, latencyMs } = this.#options;
    const delay = latencyMs?.(op, this.#random) ?? 0;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        if (this.#dead) return;
        try {
          resolve(effect());
        } catch (error) {
          reject(error as Error);
        }
      };
      if (clock === undefined) queueMicrotask(settle);
      else clock.after(delay, settle);
    });
  }

  #freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.#root.usedBytes());
  }

  #allocate({ parent, name, image, path }: Allocation, missing: number): void {
    if (missing > this.#freeBytes()) {
      if (image.size === 0) parent.unlink(name);
      throw diskError('DISK_FULL', path);
    }
    image.write(new Uint8Array(missing), image.size);
    image.sync();
  }

  #directory(path: string): SimDirectory {
    let at = this.#root;
    for (const name of split(path)) {
      const next = at.entries.get(name);
      if (!(next instanceof SimDirectory)) throw diskError('DISK_NOT_FOUND', path);
      at = next;
    }
    return at;
  }

  #parent(path: string): [SimDirectory, string] {
    const names = split(path);
    const name = names.pop();
    assert(name !== undefined, 'a file needs a name');
    return [this.#directory(names.join('/')), name];
  }

  #image(path: string): SimFileImage {
    const [parent, name] = this.#parent(path);
    const node = parent.entries.get(name);
    if (!(node instanceof SimFileImage)) throw diskError('DISK_NOT_FOUND', path);
    return node;
  }
}

interface Allocation {
  parent: SimDirectory;
  name: string;
  image: SimFileImage;
  path: string;
}

interface OpCall {
  kind: SimOpKind;
  path: string;
  io?: IoClass;
  position?: number;
  bytes?: number;
}

interface BegunOp {
  op: SimOp;
  failure: DiskErrorCode | undefined;
  dead: boolean;
}

/** What an open file may ask of its disk. */
interface FileAccess {
  begin(call: OpCall, data?: Uint8Array): BegunOp;
  finish<T>(op: SimOp, effect: () => T): Promise<T>;
  freeBytes(): number;
  fatal(error: Error): void;
}

class SimFile implements DiskFile {
  readonly path: string;
  readonly #image: SimFileImage;
  readonly #dsync: boolean;
  readonly #disk: FileAccess;
  #closed = false;

  constructor(path: string, image: SimFileImage, dsync: boolean, disk: FileAccess) {
    this.path = path;
    this.#image = image;
    this.#dsync = dsync;
    this.#disk = disk;
  }

  async pwrite(io: IoClass, data: Uint8Array, position: number): Promise<void> {
    const begun = this.#begin({ kind: 'pwrite', path: this.path, io, position, bytes: data.length }, data);
    const growth = Math.max(0, position + data.length - this.#image.size);
    const room = this.#disk.freeBytes();
    const fits = growth <= room ? data.length : Math.max(0, data.length - growth + room);
    // The bytes are on their way from here on: a crash before completion keeps any of their sectors.
    if (!begun.dead && fits > 0) this.#image.write(data.subarray(0, fits), position);
    await this.#disk.finish(begun.op, () => {
      if (begun.failure !== undefined) throw this.#failed(begun.failure, 'pwrite');
      if (fits < data.length) throw diskError('DISK_FULL', this.path);
      if (this.#dsync) this.#image.syncRange(position, data.length);
    });
  }

  async pread(io: IoClass, into: Uint8Array, position: number): Promise<number> {
    const { op, failure } = this.#begin({
      kind: 'pread',
      path: this.path,
      io,
      position,
      bytes: into.length,
    });
    return await this.#disk.finish(op, () => {
      if (failure !== undefined) throw diskError(failure, this.path);
      return this.#image.read(into, position);
    });
  }

  async sync(io: IoClass): Promise<void> {
    const { op, failure } = this.#begin({ kind: 'sync', path: this.path, io });
    await this.#disk.finish(op, () => {
      if (failure !== undefined) throw this.#failed(failure, 'sync');
      this.#image.sync();
    });
  }

  async truncate(io: IoClass, bytes: number): Promise<void> {
    const { op, failure } = this.#begin({ kind: 'truncate', path: this.path, io, bytes });
    await this.#disk.finish(op, () => {
      if (failure !== undefined) throw diskError(failure, this.path);
      this.#image.truncate(bytes);
    });
  }

  async size(): Promise<number> {
    return this.#image.size;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #begin(call: OpCall, data?: Uint8Array): BegunOp {
    if (this.#closed) throw diskError('DISK_IO', this.path);
    return this.#disk.begin(call, data);
  }

  #failed(code: DiskErrorCode, kind: 'pwrite' | 'sync'): Error {
    const error = diskError(code, this.path);
    if (kind === 'sync' || code !== 'DISK_FULL') this.#disk.fatal(error);
    return error;
  }
}

function noFault(): undefined {
  return undefined;
}

function split(path: string): string[] {
  return path.split('/').filter((name) => name !== '');
}

function diskError(code: DiskErrorCode, path: string): RobustError<DiskErrorCode> {
  return new RobustError(code, `${path}: ${code}`, { retriable: code === 'DISK_FULL', detail: { path } });
}
