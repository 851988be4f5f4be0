import type { Disk, DiskFile, IoClass, SegmentId, ShardId } from '@robustmq/core';
import type { JournalCounters } from './counters.ts';
import type { JournalLimits } from './limits.ts';
import type { Segment, SegmentHandle } from './segment.ts';

const segmentName = /^(\d+)-(\d+)\.seg$/;
const poolName = /^(\d+)\.free$/;

export interface FoundFile {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly bytes: number;
}

export interface SegmentFilesOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
}

/**
 * The folder of segment files: `<shard>-<segment>.seg`, and `<n>.free`, the pool of files that are written already and
 * wait for a shard that fills its segments. A pool file becomes a segment, and back, by a rename within the folder.
 * Open descriptors are bounded; the least recently used that nobody uses is closed first.
 */
export class SegmentFiles {
  readonly folder: string;
  readonly #disk: Disk;
  readonly #limits: JournalLimits;
  readonly #counters: JournalCounters;
  readonly #open = new Map<Segment, SegmentHandle>();
  readonly #pool: string[] = [];
  #poolNumber = 0;

  constructor(options: SegmentFilesOptions) {
    this.folder = options.folder;
    this.#disk = options.disk;
    this.#limits = options.limits;
    this.#counters = options.counters;
  }

  /** Makes the folder, clears what a crash left half done, and lists the segments. */
  async start(): Promise<FoundFile[]> {
    await this.#disk.mkdir(this.folder);
    // A process that was killed may have left files whose names are not durable; entries in them are from here on.
    await this.#disk.syncDir(this.folder);
    const found: FoundFile[] = [];
    for (const entry of await this.#disk.list(this.folder)) {
      const segment = segmentName.exec(entry.name);
      const pool = poolName.exec(entry.name);
      if (segment !== null) {
        const shard = Number(segment[1]) as ShardId;
        found.push({ shard, segment: Number(segment[2]) as SegmentId, bytes: entry.bytes });
      } else if (pool !== null && entry.bytes === this.#limits.poolFileBytes) {
        this.#pool.push(entry.name);
        this.#poolNumber = Math.max(this.#poolNumber, Number(pool[1]));
      } else if (pool !== null || entry.name.endsWith('.new')) {
        await this.#disk.unlink(`${this.folder}/${entry.name}`);
      }
    }
    this.#counters.poolFiles = this.#pool.length;
    return found;
  }

  path(segment: { readonly shard: ShardId; readonly id: SegmentId }): string {
    return `${this.folder}/${segment.shard}-${segment.id}.seg`;
  }

  get poolFiles(): number {
    return this.#pool.length;
  }

  /** Runs `task` with the segment's file; the descriptor stays open while it runs. */
  async use<T>(io: IoClass, segment: Segment, task: (file: DiskFile) => Promise<T>): Promise<T> {
    const handle = this.#acquire(io, segment);
    try {
      return await task(await handle.file);
    } finally {
      handle.users--;
      this.#shrink();
    }
  }

  /**
   * Creates the file of a segment, with its name durable before it resolves; from the pool when `filling` says that
   * the shard fills its segments and the pool has one.
   */
  async create(segment: Segment, filling: boolean): Promise<void> {
    const pooled = filling ? this.#pool.shift() : undefined;
    const path = this.path(segment);
    this.#counters.poolFiles = this.#pool.length;
    if (pooled !== undefined) {
      await this.#disk.rename(`${this.folder}/${pooled}`, path);
      this.#counters.pooledSegments++;
    }
    const opening = this.#disk.open('writeBehind', path, { create: true, dsync: pooled !== undefined });
    this.#hold(segment, { file: opening, users: 0 });
    // A failed open must not stay behind as the segment's file.
    opening.catch(() => this.#forget(segment));
    await opening;
    await this.#disk.syncDir(this.folder);
    segment.named = true;
    segment.durableWrites = pooled !== undefined;
  }

  async close(segment: Segment): Promise<void> {
    const handle = segment.handle;
    if (handle === null) return;
    this.#forget(segment);
    await (await handle.file).close();
  }

  /** Ends a segment's file: into the pool when it is large enough to be worth keeping, else off the disk. */
  async remove(segment: Segment, fileBytes: number): Promise<void> {
    await this.close(segment);
    const { poolFileBytes, poolFiles } = this.#limits;
    const worth = fileBytes >= poolFileBytes * 0.75 && fileBytes <= poolFileBytes * 1.5;
    if (!worth || this.#pool.length >= poolFiles) {
      await this.#disk.unlink(this.path(segment));
      return;
    }
    this.#poolNumber++;
    const name = `${this.#poolNumber}.free`;
    await this.#disk.rename(this.path(segment), `${this.folder}/${name}`);
    const file = await this.#disk.open('writeBehind', `${this.folder}/${name}`, {
      preallocateBytes: poolFileBytes,
    });
    await file.truncate('writeBehind', poolFileBytes);
    await file.close();
    this.#pool.push(name);
    this.#counters.poolFiles = this.#pool.length;
  }

  /** Adds one file of zeros to the pool. */
  async addToPool(): Promise<void> {
    this.#poolNumber++;
    const name = `${this.#poolNumber}.free`;
    const options = { create: true, preallocateBytes: this.#limits.poolFileBytes };
    const file = await this.#disk.open('writeBehind', `${this.folder}/${name}`, options);
    await file.close();
    this.#pool.push(name);
    this.#counters.poolFiles = this.#pool.length;
  }

  /** Gives one file of the pool back to the volume; false when there is none. */
  async shrinkPool(): Promise<boolean> {
    const name = this.#pool.pop();
    if (name === undefined) return false;
    this.#counters.poolFiles = this.#pool.length;
    await this.#disk.unlink(`${this.folder}/${name}`);
    return true;
  }

  async stop(): Promise<void> {
    for (const segment of [...this.#open.keys()]) await this.close(segment);
  }

  #acquire(io: IoClass, segment: Segment): SegmentHandle {
    let handle = segment.handle;
    if (handle === null) {
      const dsync = segment.durableWrites;
      handle = { file: this.#disk.open(io, this.path(segment), { dsync }), users: 0 };
      this.#hold(segment, handle);
      handle.file.catch(() => this.#forget(segment));
    } else {
      this.#open.delete(segment);
      this.#open.set(segment, handle);
    }
    handle.users++;
    return handle;
  }

  #hold(segment: Segment, handle: SegmentHandle): void {
    segment.handle = handle;
    this.#open.set(segment, handle);
    this.#counters.openFiles = this.#open.size;
    this.#shrink(segment);
  }

  /** Closes what is above the bound and not in use; `keep` is about to be. */
  #shrink(keep: Segment | null = null): void {
    if (this.#open.size <= this.#limits.openFiles) return;
    for (const [oldest, idle] of this.#open) {
      if (idle.users > 0 || oldest === keep) continue;
      this.#forget(oldest);
      void idle.file.then(
        (file) => file.close(),
        () => undefined,
      );
      if (this.#open.size <= this.#limits.openFiles) return;
    }
  }

  #forget(segment: Segment): void {
    segment.handle = null;
    this.#open.delete(segment);
    this.#counters.openFiles = this.#open.size;
  }
}
