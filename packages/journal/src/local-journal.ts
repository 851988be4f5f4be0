import { dirname } from 'node:path';
import type {
  Clock,
  Disk,
  JournalUuid,
  Lifecycle,
  Logger,
  NodeId,
  Offset,
  Random,
  ShardId,
} from '@robustmq/core';
import type {
  AppendListener,
  AppendStream,
  FenceAnswer,
  FenceRequest,
  JournalClient,
  Metadata,
  ReadAnswer,
  ReadRequest,
  SegmentRecord,
  TimestampRequest,
  WriteSegmentRequest,
} from '@robustmq/kernel';
import { entryHeaderBytes } from '@robustmq/kernel';
import type { Wal, WalStats } from '@robustmq/wal';
import { openWal } from '@robustmq/wal';
import { Admission } from './admission.ts';
import { Appender } from './appender.ts';
import { BlockCache } from './block-cache.ts';
import { BlockLoader } from './block-loader.ts';
import { encodeCheckpoint, oldestGenerationOf } from './checkpoint.ts';
import type { JournalCounters } from './counters.ts';
import { createCounters } from './counters.ts';
import { journalStopped, storageFull } from './errors.ts';
import { FilterMaker } from './filter-maker.ts';
import { FoldCheckpoints } from './fold-checkpoints.ts';
import { IndexLoader } from './index-loader.ts';
import type { JournalLimits } from './limits.ts';
import { defaultLimits } from './limits.ts';
import { MetadataFollower } from './metadata-follower.ts';
import { Reader } from './reader.ts';
import { probe, Recovery } from './recovery.ts';
import { Scrubber } from './scrubber.ts';
import type { Segment } from './segment.ts';
import { SegmentFiles } from './segment-files.ts';
import { importSegment } from './segment-import.ts';
import { SegmentStore } from './segment-store.ts';
import { SlabPool } from './slab-pool.ts';
import { snapshotStore } from './store-snapshot.ts';
import { entryNumbersOf } from './tail-entry.ts';
import { checkItem, encodeFence, fenceCrc } from './wal-items.ts';
import { WriteBehind } from './write-behind.ts';

/** Kind of writer in the frames of the write-ahead log. */
const walKind = 1;
/** A checkpoint is handed to the log in pieces of this size. */
const checkpointChunkBytes = 1024 * 1024;
/** Buffers for blocks come in multiples of this part of a usual block. */
const slabUnits = 4;
/** The pool of written files grows when nothing was appended for this long, */
const idleMs = 2000;
/** and only while more than this share of the volume is free. */
const poolFreeShare = 0.2;
/** Sources that paused at the bound on unwritten entries go on below this share of it. */
const relievedShare = 0.75;

export interface JournalOptions {
  readonly disk: Disk;
  /** The journal's own folder; it makes `wal`, `segments` and `folds` in it. */
  readonly folder: string;
  readonly nodeId: NodeId;
  readonly uuid: JournalUuid;
  readonly metadata: Metadata;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly limits?: Partial<JournalLimits>;
  /** What is on the disk is no longer known: it must end the process. */
  readonly onFatal: (error: Error) => void;
}

/** Makes a journal and starts it: recovers what its folder holds. Throws the errors of `openWal` and of the disk. */
export async function openJournal(options: JournalOptions): Promise<LocalJournal> {
  const journal = new LocalJournal(options);
  await journal.start();
  return journal;
}

/**
 * The journal of this process. Appends go to the write-ahead log and to memory; from there they are written behind into
 * one file a segment. Reads come from memory, from the block cache or from those files. Metadata says what is sealed
 * and what may go.
 */
export class LocalJournal implements JournalClient, Lifecycle {
  readonly nodeId: NodeId;
  readonly uuid: JournalUuid;
  readonly counters: JournalCounters = createCounters();
  readonly #options: JournalOptions;
  readonly #limits: JournalLimits;
  readonly #store: SegmentStore;
  readonly #files: SegmentFiles;
  readonly #blocks: BlockLoader;
  readonly #indexes: IndexLoader;
  readonly #reader: Reader;
  readonly #writeBehind: WriteBehind;
  readonly #admission: Admission;
  readonly #follower: MetadataFollower;
  readonly #folds: FoldCheckpoints;
  readonly #scrubber: Scrubber;
  #wal: Wal | null = null;
  #appender: Appender | null = null;
  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #starting: Promise<void> | null = null;
  #stopping: Promise<void> | null = null;
  /** Who waits for an item of the log to be durable, by its number. */
  readonly #durableWaiters: { number: number; resolve: () => void }[] = [];
  /** Sources are told to pause. */
  #pressed = false;
  #appendedAtIdle = 0;
  #idleSince = 0;

  constructor(options: JournalOptions) {
    this.nodeId = options.nodeId;
    this.uuid = options.uuid;
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    const { disk, folder, clock, random, logger, onFatal, metadata } = options;
    const limits = this.#limits;
    const counters = this.counters;
    const store = new SegmentStore(limits, counters);
    const files = new SegmentFiles({ disk, folder: `${folder}/segments`, limits, counters });
    const slabs = new SlabPool({
      unitBytes: Math.ceil(limits.blockBytes / slabUnits),
      freeBytesMax: limits.spareBlockBytes,
    });
    const cache = new BlockCache(limits.blockCacheBytes, counters, slabs);
    const indexes = new IndexLoader({ files, blocks: cache, limits, counters, logger });
    const blocks = new BlockLoader({ files, cache, slabs, indexes, counters, logger });
    this.#store = store;
    this.#files = files;
    this.#indexes = indexes;
    this.#blocks = blocks;
    this.#reader = new Reader({ store, blocks, indexes, counters });
    this.#folds = new FoldCheckpoints(disk, `${folder}/folds`, logger);
    this.#scrubber = new Scrubber({ store, files, limits, counters, clock, random, logger });
    this.#admission = new Admission({
      disk,
      folder,
      files,
      limits,
      counters,
      clock,
      logger,
      onFatal,
      logBytes: () => this.#logBytes,
      retry: () => this.#writeBehind.retry(),
      looked: () => this.#release(),
      changed: (open) => {
        this.#appender?.admission(open);
        this.#press();
      },
    });
    this.#writeBehind = new WriteBehind({
      store,
      files,
      indexes,
      filters: new FilterMaker(),
      limits,
      counters,
      clock,
      logger,
      onFatal,
      onStored: () => {
        this.#release();
        this.#press();
        cache.shrink();
        this.#admission.took();
      },
      pinnedBelow: () => this.#pinnedBelow(),
      onFull: (error) => this.#admission.full(error),
      idle: () => this.#poolJob(),
    });
    this.#follower = new MetadataFollower({
      metadata,
      store,
      limits,
      clock,
      logger,
      seal: (segment) => this.#writeBehind.seal(segment),
      delete: (segment) => this.#writeBehind.delete(segment),
      forget: (shard) => this.#forget(shard),
    });
  }

  /** Recovers; resolves when appends and reads are taken. Idempotent. */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  /** Makes everything appended durable, writes it into segments as far as `stopMs` allows, and closes. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** The log's own figures, for metrics. */
  get walStats(): WalStats {
    return this.#running().wal.stats;
  }

  openAppendStream(listener: AppendListener): AppendStream {
    const { appender } = this.#running();
    const stream = appender.open(listener);
    if (!this.#admission.open) queueMicrotask(() => listener.admission(this.#admission.open));
    if (this.#pressed) queueMicrotask(() => listener.pressure(this.#pressed));
    return stream;
  }

  async fence(requests: readonly FenceRequest[]): Promise<FenceAnswer[]> {
    const { wal } = this.#running();
    let last = 0;
    for (const request of requests) {
      const shard = this.#store.shard(request.shard);
      if (request.epoch < shard.fence) continue;
      shard.fence = request.epoch;
      const item = encodeFence({ shard: request.shard, epoch: request.epoch });
      last = wal.append([item], fenceCrc(item));
    }
    // Entries received before the fence are in the log before it: what is answered is durable.
    if (last > 0) await this.#durable(last);
    for (const request of requests) {
      const segment = this.#store.find(request.shard, request.segment);
      if (segment?.unprobed === true) await this.#probe(segment);
    }
    return requests.map((request) => this.#fenceAnswer(request));
  }

  readCached(request: ReadRequest): ReadAnswer | null {
    this.#running();
    return this.#reader.readCached(request);
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    this.#running();
    return this.#reader.read(request);
  }

  async seekTimestamp(request: TimestampRequest): Promise<Offset | null> {
    this.#running();
    return this.#reader.seekTimestamp(request);
  }

  async saveCheckpoint(shard: ShardId, coveredTo: Offset, state: Uint8Array): Promise<void> {
    this.#running();
    if (!(await this.#admission.hasRoomFor(state.length))) throw storageFull();
    await this.#folds.save(shard, coveredTo, state);
  }

  async loadCheckpoint(shard: ShardId): Promise<{ coveredTo: Offset; state: Buffer } | null> {
    this.#running();
    return this.#folds.load(shard);
  }

  async writeSegment(request: WriteSegmentRequest): Promise<void> {
    this.#running();
    // A second try after an unknown outcome: the segment is whole already.
    if (this.#store.find(request.shard, request.segment) !== undefined) return;
    const segment = await importSegment(request, {
      disk: this.#options.disk,
      files: this.#files,
      limits: this.#limits,
      hasRoomFor: (bytes) => this.#admission.hasRoomFor(bytes),
    });
    this.#store.adopt(segment);
    this.#indexes.keep(segment);
    this.#follower.suspect(segment);
  }

  usage(): {
    readonly shards: ReadonlyMap<ShardId, number>;
    readonly freeBytes: number;
    readonly totalBytes: number;
  } {
    const shards = new Map<ShardId, number>();
    for (const segment of this.#store.segments()) {
      shards.set(segment.shard, (shards.get(segment.shard) ?? 0) + segment.end.bytes);
    }
    return { shards, freeBytes: this.#admission.freeBytes, totalBytes: this.#admission.totalBytes };
  }

  async #start(): Promise<void> {
    const { disk, folder, uuid, random, logger, onFatal, clock } = this.#options;
    const limits = this.#limits;
    const found = await this.#files.start();
    const withCheckpoint = await this.#folds.start();
    await disk.syncDir(folder);
    await disk.syncDir(dirname(folder));
    const { wal, recovered } = await openWal({
      disk,
      folder: `${folder}/wal`,
      user: {
        check: (item) => checkItem(Buffer.from(item.buffer, item.byteOffset, item.byteLength)),
        checkpoint: () => this.#checkpoint(),
        oldestNeeded: (checkpoint) => oldestGenerationOf(checkpoint),
      },
      kind: walKind,
      uuid,
      random,
      fileBytes: limits.walFileBytes,
      maxBytes: limits.walBytes,
      initialFiles: limits.walInitialFiles,
      queueBytes: limits.walQueueBytes,
      logger,
      onFatal,
    });
    const recovery = new Recovery({
      disk,
      walFolder: `${folder}/wal`,
      store: this.#store,
      files: this.#files,
      limits,
      counters: this.counters,
      logger,
      now: () => clock.monotonic(),
      record: (shard, segment) => this.#follower.record(shard, segment),
      openRecords: () => this.#openRecords(),
      drain: () => this.#writeBehind.drain(),
    });
    await recovery.run(recovered, found);
    this.#wal = wal;
    await wal.start();
    this.#startAppender(wal);
    await this.#admission.start();
    this.#state = 'running';
    this.#follower.start(withCheckpoint);
    this.#writeBehind.kick();
    this.#scrubber.start();
  }

  #startAppender(wal: Wal): void {
    const appender = new Appender({
      store: this.#store,
      wal,
      limits: this.#limits,
      counters: this.counters,
      clock: this.#options.clock,
      record: (shard, segment) => this.#follower.record(shard, segment),
      grew: (segments) => this.#writeBehind.grew(segments),
      storedCrc: (segment, header) => this.#storedCrc(segment, header.baseOffset, header.entryId),
      logFull: () => this.#admission.logRoom(false),
      onFatal: this.#options.onFatal,
    });
    this.#appender = appender;
    wal.onSpace(() => this.#admission.logRoom(true));
    wal.onDurable((upTo) => {
      appender.durable(upTo);
      this.#press();
      this.#admission.took();
      const waiters = this.#durableWaiters;
      while (waiters.length > 0 && waiters[0]!.number <= upTo) waiters.shift()!.resolve();
    });
  }

  async #stop(): Promise<void> {
    await this.#starting;
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    this.#follower.stop();
    await this.#scrubber.stop();
    await this.#admission.stop();
    const { wal, appender } = { wal: this.#wal!, appender: this.#appender! };
    wal.flush();
    if (wal.durable < wal.appended) await this.#durable(wal.appended);
    appender.stop(null);
    const deadline = new Promise<void>((resolve) => this.#options.clock.after(this.#limits.stopMs, resolve));
    await Promise.race([this.#writeBehind.drain(), deadline]);
    await this.#writeBehind.stop();
    await this.#folds.stop();
    this.#release();
    await wal.stop();
    await this.#files.stop();
    this.#state = 'stopped';
  }

  #running(): { readonly wal: Wal; readonly appender: Appender } {
    if (this.#state !== 'running' || this.#wal === null || this.#appender === null) throw journalStopped();
    return { wal: this.#wal, appender: this.#appender };
  }

  #durable(number: number): Promise<void> {
    return new Promise((resolve) => this.#durableWaiters.push({ number, resolve }));
  }

  #fenceAnswer({ shard, segment: id, epoch }: FenceRequest): FenceAnswer {
    const fence = this.#store.shard(shard).fence;
    const segment = this.#store.find(shard, id);
    const base = segment?.baseOffset ?? this.#follower.record(shard, id)?.baseOffset ?? 0;
    const end = segment?.end;
    const lostTo = segment?.lostTo ?? 0;
    const endOffset = end?.offset ?? base;
    return {
      shard,
      segment: id,
      status: epoch < fence ? 'fenced' : lostTo > endOffset ? 'lost' : 'ok',
      endEntry: end?.entry ?? -1,
      endOffset,
      maxTimestamp: end?.maxTimestamp ?? -1,
      bytes: end?.bytes ?? 0,
      chainCrc: end?.crc ?? 0,
      lostTo: Math.max(lostTo, endOffset),
      epoch: fence,
    };
  }

  /** Entries in the file that the log does not have: it lost its tail, they are kept. */
  async #probe(segment: Segment): Promise<void> {
    const { wal } = this.#running();
    const { shard, id } = segment;
    await probe(segment, { files: this.#files }, (header, bytes) => {
      if (header.entryId !== segment.end.entry + 1) return;
      const place = { position: segment.end.bytes, generation: wal.generation };
      const entry = entryNumbersOf(header, [bytes], place);
      this.#store.push(segment, entry, [bytes], this.#options.clock.monotonic());
      segment.durableEntry = entry.entryId;
      this.#options.logger.warn({ shard, segment: id, entry: entry.entryId }, 'the log had lost an entry');
    });
  }

  async #storedCrc(segment: Segment, offset: Offset, entryId: number): Promise<number | null> {
    const index = segment.index;
    if (index === null || index.blocks === 0) return null;
    const found = await this.#blocks.load(segment, index.find(offset));
    let crc: number | null = null;
    for (const { payload } of found.entries) {
      const header = Buffer.from(payload.buffer, payload.byteOffset - entryHeaderBytes, entryHeaderBytes);
      if (header.readUInt32BE(12) === entryId) crc = header.readUInt32BE(60);
    }
    this.#blocks.release(found);
    return crc;
  }

  #checkpoint(): Buffer[] {
    const oldest = this.#store.dirty.oldestGeneration(this.#wal?.generation ?? 1);
    const bytes = encodeCheckpoint(snapshotStore(this.#store, oldest));
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += checkpointChunkBytes) {
      chunks.push(bytes.subarray(at, at + checkpointChunkBytes));
    }
    return chunks;
  }

  #release(): void {
    const wal = this.#wal;
    if (wal !== null) wal.release(this.#store.dirty.oldestGeneration(wal.generation));
  }

  /**
   * Holds the bound on unwritten entries: sources pause above it. Not while admission is closed: then nothing new comes,
   * and who asks has to be told so.
   */
  #press(): void {
    const { tailBytes } = this.counters;
    const bound = this.#limits.tailBytes * (this.#pressed ? relievedShare : 1);
    const pressed = this.#admission.open && tailBytes > bound;
    if (pressed === this.#pressed) return;
    this.#pressed = pressed;
    this.#appender?.pressure(pressed);
  }

  get #logBytes(): number {
    const files = this.#wal?.files;
    return files === undefined ? 0 : (files.live + files.free) * this.#limits.walFileBytes;
  }

  /** The log is short of free files while segments pin old ones. */
  #pinnedBelow(): number {
    const wal = this.#wal;
    if (wal === null || wal.oldestGeneration === wal.generation) return 0;
    const short = wal.files.free <= 1 || this.#logBytes > this.#limits.walBytes / 2;
    return short ? wal.generation : 0;
  }

  /** Adds to the pool while the journal is idle and shards are known that fill their segments. */
  #poolJob(): (() => Promise<void>) | null {
    const { clock } = this.#options;
    const now = clock.monotonic();
    if (this.counters.appendedBytes !== this.#appendedAtIdle) {
      this.#appendedAtIdle = this.counters.appendedBytes;
      this.#idleSince = now;
    }
    const wanted = Math.min(this.#limits.poolFiles, this.#writeBehind.fillingShards * 2);
    if (this.#files.poolFiles >= wanted || now - this.#idleSince < idleMs) return null;
    const { freeBytes, totalBytes } = this.#admission;
    if (freeBytes - this.#limits.poolFileBytes < totalBytes * poolFreeShare) return null;
    return () => this.#files.addToPool();
  }

  #forget(shard: ShardId): void {
    this.#store.forget(shard);
    this.#folds.remove(shard).catch(this.#options.onFatal);
  }

  *#openRecords(): Generator<{ readonly shard: ShardId; readonly record: SegmentRecord }> {
    for (const shard of this.#options.metadata.image.shards.values()) {
      const record = shard.segments.at(-1);
      if (record?.state === 'open') yield { shard: shard.id, record };
    }
  }
}
