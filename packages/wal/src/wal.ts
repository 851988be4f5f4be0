import type { Logger, Random } from '@robustmq/core';
import { assert, crc32c, RobustError } from '@robustmq/core';
import { pageBytes } from './frame.ts';
import { FrameQueue } from './frame-queue.ts';
import type { WalUser } from './recovery.ts';
import { readTable } from './recovery.ts';
import type { FrameOwner } from './scan.ts';
import { scanFrame } from './scan.ts';
import { StagingBuffer } from './staging-buffer.ts';
import type { WalErrorCode } from './wal-error.ts';
import type { WalFile, WalPosition } from './wal-file.ts';
import type { WalRing } from './wal-ring.ts';

export interface AppendOptions {
  /** The item waits for a frame that others start, for 1 MiB of its like, or for `flush()`. */
  lazy?: boolean;
}

/** What the log has done since it was opened; read by the metrics endpoint. */
export interface WalStats {
  frames: number;
  items: number;
  itemBytes: number;
  /** With headers, tables, padding and checkpoints. */
  writtenBytes: number;
  checkpoints: number;
  /** Times that writing waited for a file. */
  stalls: number;
}

/** Wiring of a `Wal`, done by `openWal`. */
export interface WalModules {
  ring: WalRing;
  user: WalUser;
  owner: FrameOwner;
  random: Random;
  logger: Logger;
  onFatal: (error: Error) => void;
  schedule: (task: () => void) => void;
  initialFiles: number;
  queueBytes: number;
  /** Bytes of the largest frame. */
  frameBytes: number;
  /** Generation and header CRC of the last frame that recovery kept. */
  last: { generation: number; crc: number };
}

/** Lazy items start a frame by themselves once they are this many bytes. */
const lazyBytesMax = 1024 * 1024;

/**
 * The writing half of a log. One frame is on its way at a time and holds all that was appended while the one before
 * it was; there is no linger and no timer. Items have dense numbers from 1 in each run, which become durable in order.
 */
export class Wal {
  readonly stats: WalStats = {
    frames: 0,
    items: 0,
    itemBytes: 0,
    writtenBytes: 0,
    checkpoints: 0,
    stalls: 0,
  };
  readonly #modules: WalModules;
  readonly #queue: FrameQueue;
  readonly #durableListeners: ((upTo: number, generation: number) => void)[] = [];
  readonly #spaceListeners: (() => void)[] = [];
  #state: 'opened' | 'running' | 'stopping' | 'stopped' | 'failed' = 'opened';
  #file: WalFile | null = null;
  #generation: number;
  #position = 0;
  #sequence = 0;
  #previousCrc: number;
  /** Number of the last item appended, taken into a frame, durable, and told to the listeners. */
  #appended = 0;
  #taken = 0;
  #durable = 0;
  #told = 0;
  #durableGeneration = 0;
  /** The generation during which growth was last asked for ahead of need. */
  #grownFor = 0;
  /** Items up to this number wait for no company. */
  #urgent = 0;
  #pendingBytes = 0;
  #releaseBefore = 0;
  #scheduled = false;
  #pumping = false;
  #full = false;
  #wake: (() => void) | null = null;
  #stopped: Promise<void> | null = null;
  #drained: (() => void) | null = null;

  constructor(modules: WalModules) {
    this.#modules = modules;
    this.#queue = new FrameQueue(modules.frameBytes);
    this.#generation = modules.last.generation;
    this.#previousCrc = modules.last.crc;
  }

  /**
   * Begins a new generation with a checkpoint; to be called once, when the recovered items have been dealt with. Throws
   * `DISK_FULL` when there is no file to write to and no space for one.
   */
  async start(): Promise<void> {
    assert(this.#state === 'opened', 'a log is started once');
    const { ring, initialFiles } = this.#modules;
    while (ring.freeFiles === 0 || ring.freeFiles + ring.liveFiles < initialFiles) {
      try {
        await ring.create();
      } catch (error) {
        const { code } = error as RobustError;
        if (code !== 'DISK_FULL' || ring.freeFiles === 0) throw error;
        break;
      }
    }
    await this.#beginFile(ring.take(this.#generation + 1, true)!);
    this.#state = 'running';
  }

  /** Number of the last item whose frame is durable; 0 before the first. */
  get durable(): number {
    return this.#durable;
  }

  /** Number of the last item appended; 0 before the first. */
  get appended(): number {
    return this.#appended;
  }

  /** The generation being written. */
  get generation(): number {
    return this.#generation;
  }

  /** The oldest generation whose file was not freed. */
  get oldestGeneration(): number {
    return this.#modules.ring.oldestGeneration;
  }

  /** Bytes of items that are not durable yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Sources should pause until `onSpace`. What a turn still has may be appended. */
  get full(): boolean {
    return this.#full;
  }

  /** Live and free files, for metrics. */
  get files(): { live: number; free: number } {
    return { live: this.#modules.ring.liveFiles, free: this.#modules.ring.freeFiles };
  }

  /** `upTo` is the number of the last durable item, `generation` that of its frame; called once for each frame. */
  onDurable(listener: (upTo: number, generation: number) => void): void {
    this.#durableListeners.push(listener);
  }

  /** Called when `full` becomes false again. */
  onSpace(listener: () => void): void {
    this.#spaceListeners.push(listener);
  }

  /**
   * Appends the concatenation of `parts` under `crc`, which must be what `user.check` computes for it; returns its
   * number. The parts must not change until the item is durable. Throws `WAL_STOPPED`, and `WAL_FULL` beyond four
   * times the bound at which `full` is set. No promise, closure or object per item unless the staging is full.
   */
  append(parts: readonly Uint8Array[], crc: number, options?: AppendOptions): number {
    if (this.#state !== 'running') throw stopped(this.#state);
    let bytes = 0;
    for (let part = 0; part < parts.length; part++) bytes += parts[part]!.length;
    assert(bytes > 0 && this.#queue.holds(bytes), 'an item has between 1 byte and what a frame holds');
    const { queueBytes } = this.#modules;
    if (this.#queue.waitingBytes + bytes > queueBytes * 4) throw overfull();
    this.#queue.push(parts, bytes, crc);
    this.#pendingBytes += bytes;
    const number = ++this.#appended;
    if (options?.lazy !== true) this.#urgent = number;
    if (this.#queue.waitingBytes >= queueBytes) this.#full = true;
    if (!this.#pumping && !this.#scheduled && this.#due()) {
      this.#scheduled = true;
      this.#modules.schedule(this.#startScheduled);
    }
    return number;
  }

  /** Starts a frame with all that is appended, at once or as soon as the one on its way is durable. */
  flush(): void {
    this.#urgent = this.#appended;
    this.#kick();
  }

  /** Where a durable item of this run is, or null once its generation was released. */
  locate(number: number): WalPosition | null {
    if (number > this.#durable) return null;
    for (const file of this.#modules.ring.newestFirst()) {
      const position = file.locate(number);
      if (position !== null) return position;
    }
    return null;
  }

  /** Reads back a durable item that is not released; null when it is not there or not intact. */
  async read(at: number | WalPosition): Promise<Buffer | null> {
    const position = typeof at === 'number' ? this.locate(at) : at;
    const file = position === null ? null : this.#modules.ring.byGeneration(position.generation);
    if (position === null || file === null) return null;
    const frame = await scanFrame(file, position.position);
    const items = frame === null ? null : await readTable(file, frame);
    const item = items?.[position.index];
    return item !== undefined && this.#modules.user.check(item.bytes) === item.crc ? item.bytes : null;
  }

  /**
   * Says that no item of a generation before this one is needed any more, as the next `checkpoint()` must say too: the
   * files are used again once that checkpoint is durable. Calling it again with the same generation has a log that found
   * no space to grow try again.
   */
  release(beforeGeneration: number): void {
    this.#releaseBefore = Math.max(this.#releaseBefore, beforeGeneration);
    if (this.#wake === null) return;
    this.#grow();
    this.#wake();
  }

  /**
   * Makes everything appended durable and closes the files. Idempotent. Rejects with `WAL_FULL` when there is no file
   * for what is pending, which was then never acknowledged.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    if (this.#state === 'running') {
      this.#state = 'stopping';
      this.flush();
      this.#wake?.();
      if (this.#pumping) await new Promise<void>((resolve) => (this.#drained = resolve));
      await this.#letGo();
    }
    if (this.#state !== 'failed') this.#state = 'stopped';
    await this.#modules.ring.close();
    if (this.#pendingBytes > 0) throw overfull();
  }

  /** A last checkpoint, so that the next start need not read generations that were released; without it they stay. */
  async #letGo(): Promise<void> {
    const { ring } = this.#modules;
    if (this.#state !== 'stopping' || this.#pendingBytes > 0 || !ring.releasable(this.#releaseBefore)) return;
    if (ring.freeFiles === 0) {
      try {
        await ring.create();
      } catch (error) {
        if ((error as RobustError).code === 'DISK_FULL') return;
        throw error;
      }
    }
    await this.#beginFile(ring.take(this.#generation + 1, true)!);
  }

  readonly #startScheduled = (): void => {
    this.#scheduled = false;
    this.#kick();
  };

  /** Whether a frame should start. */
  #due(): boolean {
    const queue = this.#queue;
    return (
      !queue.empty &&
      (this.#urgent > this.#taken || queue.waitingBytes > 0 || queue.stagedBytes >= lazyBytesMax)
    );
  }

  #kick(): void {
    if (this.#pumping || !this.#due() || (this.#state !== 'running' && this.#state !== 'stopping')) return;
    this.#pumping = true;
    void this.#pump();
  }

  async #pump(): Promise<void> {
    try {
      while (this.#due()) await this.#writeFrame();
      this.#tell();
    } catch (error) {
      const undrained = this.#state === 'stopping' && (error as RobustError).code === 'WAL_FULL';
      this.#state = 'failed';
      if (!undrained) this.#modules.onFatal(error as Error);
    }
    this.#pumping = false;
    this.#drained?.();
    // A listener may have appended after the last look.
    this.#kick();
  }

  async #writeFrame(): Promise<void> {
    const staged = this.#queue.take();
    const { count, itemBytes } = staged;
    this.#taken += count;
    let file = this.#file!;
    if (this.#position + staged.frameBytes > file.bytes) {
      this.#tell();
      await this.#roll();
      file = this.#file!;
      await this.#lengthen(file, this.#position + staged.frameBytes);
    }
    const first = this.#taken - count + 1;
    const position = this.#position;
    const writing = this.#write(file, staged, { checkpoint: false, complete: false });
    this.#queue.refill();
    this.#relax();
    this.#tell();
    await writing;
    file.note(first, position);
    this.#queue.giveBack(staged);
    this.#durable = this.#taken;
    this.#durableGeneration = this.#generation;
    this.#pendingBytes -= itemBytes;
    this.stats.items += count;
    this.stats.itemBytes += itemBytes;
    this.#growAhead(file);
  }

  /** Makes a file longer that has no room for a frame although nothing else is in it; waits for the space. */
  async #lengthen(file: WalFile, bytes: number): Promise<void> {
    while (file.bytes < bytes) {
      try {
        await file.file.pwrite('wal', Buffer.alloc(bytes - file.bytes), file.bytes);
        file.bytes = bytes;
      } catch (error) {
        if ((error as RobustError).code !== 'DISK_FULL') throw error;
        this.stats.stalls++;
        if (this.#state === 'stopping') throw overfull();
        if (this.#state !== 'running') throw error;
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = null;
      }
    }
  }

  /** Has the next file made while this one is half empty, unless a checkpoint will free one anyway. */
  #growAhead(file: WalFile): void {
    const { ring } = this.#modules;
    if (this.#grownFor === this.#generation || this.#position < file.bytes / 2) return;
    if (ring.freeFiles >= 2 || ring.releasable(this.#releaseBefore)) return;
    this.#grownFor = this.#generation;
    this.#grow();
  }

  #grow(): void {
    const { ring } = this.#modules;
    ring.grow(ring.releasable(this.#releaseBefore));
  }

  /** Seals and writes one frame at the current position, which moves on. */
  #write(
    file: WalFile,
    staged: StagingBuffer,
    flags: { checkpoint: boolean; complete: boolean },
  ): Promise<void> {
    const { kind, uuid } = this.#modules.owner;
    const frame = staged.seal({
      kind,
      uuid,
      salt: file.salt,
      generation: this.#generation,
      sequence: this.#sequence,
      previousCrc: this.#previousCrc,
      checkpoint: flags.checkpoint,
      complete: flags.complete,
    });
    const position = this.#position;
    this.#position += frame.length;
    this.#sequence++;
    this.#previousCrc = staged.headerCrc;
    this.stats.frames++;
    this.stats.writtenBytes += frame.length;
    return file.file.pwrite('wal', frame, position);
  }

  /** Goes on in the next file, waiting for one if need be. */
  async #roll(): Promise<void> {
    const { ring, logger } = this.#modules;
    let file = this.#takeFile();
    if (file === null) {
      this.stats.stalls++;
      logger.warn(
        { liveFiles: ring.liveFiles, generation: this.#generation },
        'the write-ahead log has no free file',
      );
    }
    // Without space, growth is tried again when something was released, not in a loop.
    if (file === null) this.#grow();
    while (file === null) {
      if (this.#state === 'stopping' && !ring.growing) throw overfull();
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
      file = this.#takeFile();
    }
    await this.#beginFile(file);
  }

  #takeFile(): WalFile | null {
    const { ring } = this.#modules;
    const last = this.#state === 'stopping' || ring.releasable(this.#releaseBefore);
    return ring.take(this.#generation + 1, last);
  }

  /** Writes the checkpoint at the head of a file; files that it says are not needed become free. */
  async #beginFile(file: WalFile): Promise<void> {
    const { ring, user, random } = this.#modules;
    this.#generation++;
    this.#file = file;
    this.#position = 0;
    this.#sequence = 0;
    file.begin(this.#generation, random.bytes(8));
    const releaseBefore = this.#releaseBefore;
    const chunks = user.checkpoint();
    const needed = user.oldestNeeded(chunks);
    const frames = Math.max(1, chunks.length);
    for (let at = 0; at < frames; at++) {
      const chunk = chunks[at];
      const staged = new StagingBuffer((chunk?.length ?? 0) + 2 * pageBytes, 1);
      if (chunk !== undefined) staged.add([chunk], chunk.length, crc32c(chunk));
      await this.#lengthen(file, this.#position + staged.frameBytes);
      await this.#write(file, staged, { checkpoint: true, complete: at === frames - 1 });
    }
    this.stats.checkpoints++;
    ring.release(Math.min(releaseBefore, needed));
  }

  /** Wakes a stalled writer; called when the ring has grown or could not. */
  grown(): void {
    this.#wake?.();
  }

  /** Calls the listeners for what became durable since the last call, while the next frame is on its way. */
  #tell(): void {
    if (this.#told === this.#durable) return;
    this.#told = this.#durable;
    for (const listener of this.#durableListeners) listener(this.#durable, this.#durableGeneration);
  }

  #relax(): void {
    if (!this.#full || this.#queue.waitingBytes > 0) return;
    this.#full = false;
    for (const listener of this.#spaceListeners) listener();
  }
}

function stopped(state: string): RobustError<WalErrorCode> {
  return new RobustError('WAL_STOPPED', 'the write-ahead log does not take items', { detail: { state } });
}

function overfull(): RobustError<WalErrorCode> {
  return new RobustError('WAL_FULL', 'the write-ahead log and its queue are full', { retriable: true });
}
