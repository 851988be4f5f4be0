import { ByteReader, ByteWriter } from '@robustmq/core';
import type { Epoch, Offset, RobustError, ShardId } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import type { FoldShard } from '../folds/fold-shard.ts';
import { ProducerTable } from '../folds/producer-table.ts';
import type { ProducerBatch, SequenceVerdict } from '../folds/producer-table.ts';
import { applyRetained, retainedClear, retainedItem, retainedMarker } from '../folds/retained.ts';
import type { RetainedRecord, RetainedState, RetainedUsage } from '../folds/retained.ts';
import { TokenTable } from '../folds/token-table.ts';
import { entryFlag } from '../log/entry.ts';
import { LogBatch } from '../log/log-batch.ts';
import type { BatchListener } from '../log/log-batch.ts';
import { ShardLog } from '../log/shard-log.ts';
import type { ReadOptions } from '../log/shard-reader.ts';
import { ShardReader } from '../log/shard-reader.ts';
import type { SubjectTable } from '../names/subject-table.ts';
import type { ReadAnswer } from '../ports/journal-client.ts';
import type { TopicRecord } from '../ports/metadata.ts';
import type { TopicConfig } from '../topic-config.ts';
import type { ShardModules } from './recover-shard.ts';
import { recoverShard, sealShard } from './recover-shard.ts';
import { ShardReplay } from './replay-shard.ts';

const snapshotVersion = 1;
/** A marker is written beside the data at least this often, so that loading replays no more, */
const retainedMarkerBytes = 16 * 1024 * 1024;
/** and the state is stored beside the segment. */
const checkpointBytes = 16 * 1024 * 1024;
/** At the end it is not worth a file, or a marker, to save a start from reading less than this. */
const handOverBytesMin = 1024 * 1024;

/** Where a data shard sends its batches. */
export interface ShardRoutes {
  appended(shard: Shard, batches: readonly LogBatch[], from: Offset, to: Offset): void;
  committed(shard: Shard, batches: readonly LogBatch[], from: Offset, to: Offset): void;
  failed(shard: Shard, error: RobustError<KernelErrorCode>): void;
}

/** What a data shard is opened with. */
export interface ShardOptions {
  readonly topic: TopicRecord;
  readonly config: TopicConfig;
  readonly modules: ShardModules;
  readonly routes: ShardRoutes;
  /** The shard of retained copies beside it; null where nothing can be retained. */
  readonly retained: FoldShard<RetainedState> | null;
  readonly usage: RetainedUsage;
  readonly subjects: SubjectTable;
}

/** A data shard under this broker's ownership: its log, and the state that is a fold of it. */
export class Shard {
  readonly id: ShardId;
  readonly index: number;
  readonly producers = new ProducerTable();
  readonly tokens = new TokenTable();
  readonly #options: ShardOptions;
  readonly #reader: ShardReader;
  #log!: ShardLog;
  #waiters = new Set<() => void>();
  #sinceMarker = 0;
  #sinceCheckpoint = 0;
  #saving: Promise<void> | null = null;

  constructor(options: ShardOptions) {
    const record = options.modules.record();
    this.id = record.id;
    this.index = record.index;
    this.#options = options;
    this.#reader = new ShardReader(record.id, options.modules.metadata, options.modules.journal);
  }

  /** As it is configured now. */
  get topic(): TopicRecord {
    const { topic, modules } = this.#options;
    return modules.metadata.image.topics.get(topic.id) ?? topic;
  }

  get config(): TopicConfig {
    return this.#log.config;
  }

  get epoch(): Epoch {
    return this.#log.epoch;
  }

  get log(): ShardLog {
    return this.#log;
  }

  /** Every record below it is committed and may be read. */
  get highWatermark(): Offset {
    return this.#log.committed;
  }

  /** Log start: lower offsets are gone. */
  get startOffset(): Offset {
    return this.#options.modules.record().startOffset;
  }

  /** What subjects retain in this shard; null where nothing can be retained. */
  get retained(): RetainedState | null {
    return this.#options.retained?.state ?? null;
  }

  /** Recovers the log and rebuilds the state; the retained copies beside it are open already. */
  async open(): Promise<void> {
    const { modules, config } = this.#options;
    const next = await recoverShard(modules, config);
    const checkpoint = await modules.journal.loadCheckpoint(this.id);
    const replay = new ShardReplay(this, this.#options.subjects);
    await replay.run(this.#reader, modules.record(), next, checkpoint);
    // Else a process that always dies before its marker is due would leave ever more to read.
    this.#sinceMarker = replay.unmarkedBytes;
    this.#log = new ShardLog(modules.record(), config, next, modules, {
      appended: (batches, from, to) => this.#options.routes.appended(this, batches, from, to),
      committed: (batches, from, to) => this.#committed(batches, from, to),
      snapshot: () => this.#snapshot(),
      failed: (error) => this.#options.routes.failed(this, error),
    });
  }

  close(error: RobustError<KernelErrorCode>): void {
    this.#log.close(error);
  }

  /** Nothing is in flight, and the process ends: leaves behind what lets the next start read little. */
  async handOver(): Promise<void> {
    if (this.#sinceMarker >= handOverBytesMin) await this.copiesCommitted();
    await this.#saving;
    if (this.#sinceCheckpoint >= handOverBytesMin) this.#saveCheckpoint(this.highWatermark);
    await this.#saving;
  }

  /** After `close` with nothing in flight, where offsets may be given out before they are durable: none is in doubt. */
  async seal(): Promise<void> {
    const { modules } = this.#options;
    if (modules.record().offsetLimit > 0) await sealShard(modules, this.config);
  }

  /** Takes a batch that a broker encoded. */
  stage(batch: LogBatch): void {
    this.#log.stage(batch);
  }

  /**
   * Takes one batch as a client encoded it, already validated. With a producer id its sequence decides: a duplicate
   * of a batch in flight joins it, one of a committed batch is answered at once.
   */
  appendClient(batch: LogBatch, producer: ProducerBatch | null, listener: BatchListener): SequenceVerdict {
    if (producer !== null) {
      const verdict = this.producers.check(producer);
      if (verdict.kind === 'inflight') verdict.batch.listen(listener);
      if (verdict.kind !== 'append') return verdict;
      this.producers.record(producer, { inflight: batch }, batch.maxTimestamp);
      batch.producerId = producer.producerId;
    }
    batch.listen(listener);
    this.#log.stage(batch);
    return { kind: 'append' };
  }

  /** Ends open exactly-once exchanges: a control entry without an offset. */
  release(pairs: readonly { producerId: number; token: number }[], listener: BatchListener | null): void {
    const out = new ByteWriter(pairs.length * 12);
    for (const pair of pairs) out.i64(pair.producerId).u32(pair.token);
    const bytes = out.finish();
    const batch = new LogBatch(true, entryFlag.control | entryFlag.dedupRelease);
    batch.fill(bytes, 0, bytes.length, 0, -1);
    if (listener !== null) batch.listen(listener);
    this.#log.stage(batch);
  }

  readCached(offset: Offset, options: ReadOptions): ReadAnswer | null {
    return this.#reader.readCached(offset, options);
  }

  read(offset: Offset, options: ReadOptions): Promise<ReadAnswer> {
    return this.#reader.read(offset, options);
  }

  seekTimestamp(timestamp: number): Promise<Offset | null> {
    return this.#reader.seekTimestamp(timestamp);
  }

  /** Calls `wake` once, the next time the high watermark moves. Returns a function that takes it back. */
  onAdvance(wake: () => void): () => void {
    this.#waiters.add(wake);
    return () => this.#waiters.delete(wake);
  }

  /**
   * Where the records of `epoch` end, and the highest epoch not above it that wrote any. Of an epoch whose records are
   * all deleted that is the start of the log: a reader that stands there has missed nothing. Null below epoch 0.
   */
  endOfEpoch(epoch: number): { epoch: Epoch; endOffset: Offset } | null {
    if (epoch < 0) return null;
    if (epoch >= this.epoch) return { epoch: this.epoch, endOffset: this.highWatermark };
    const segments = this.#options.modules.record().segments;
    for (let at = segments.length - 1; at >= 0; at--) {
      const segment = segments[at]!;
      if (segment.writerEpoch > epoch) continue;
      return { epoch: segment.writerEpoch, endOffset: segments[at + 1]?.baseOffset ?? this.highWatermark };
    }
    return { epoch: epoch as Epoch, endOffset: segments[0]?.baseOffset ?? this.highWatermark };
  }

  /** Folds a release entry. */
  released(bytes: Buffer): void {
    const input = new ByteReader(bytes);
    while (input.remaining >= 12) this.tokens.release(input.i64(), input.u32());
  }

  /** Restores the state of a snapshot entry (all chunks joined). */
  restore(state: Buffer): void {
    const input = new ByteReader(state);
    if (input.u8() !== snapshotVersion) return;
    this.producers.decode(input);
    this.tokens.decode(input);
  }

  /** Sets (or, with an empty value, clears) what a subject retains: in memory, and as a copy beside the data. */
  retain(record: RetainedRecord): void {
    const fold = this.#options.retained;
    if (fold === null) return;
    const { subject, sourceOffset } = record;
    const kept = record.value.length === 0 ? null : record;
    applyRetained(fold.state, this.#options.usage, subject, sourceOffset, kept);
    fold.appendThen([kept === null ? retainedClear(subject, sourceOffset) : retainedItem(kept)], null);
  }

  /**
   * Resolves when the copies of everything that is committed by now are committed themselves: trimming must not take
   * what they would be made from again (docs/storage.md 4.3).
   */
  async copiesCommitted(): Promise<void> {
    const { retained } = this.#options;
    if (retained !== null) await retained.append([retainedMarker(this.highWatermark)]);
  }

  #committed(batches: readonly LogBatch[], from: Offset, to: Offset): void {
    for (const batch of batches) {
      if (batch.producerId >= 0) this.producers.committed(batch.producerId, batch);
      if ((batch.flags & entryFlag.dedupRelease) !== 0) {
        this.released(batch.buffer.subarray(batch.start, batch.end));
      }
      if (batch.notes !== null) this.#notes(batch);
      this.#sinceMarker += batch.bytes;
      this.#sinceCheckpoint += batch.bytes;
    }
    if (this.#sinceCheckpoint >= checkpointBytes && this.#saving === null) this.#saveCheckpoint(to);
    if (this.#options.retained !== null && this.#sinceMarker >= retainedMarkerBytes) {
      this.#sinceMarker = 0;
      this.#options.retained.appendThen([retainedMarker(to)], null);
    }
    this.#options.routes.committed(this, batches, from, to);
    if (this.#waiters.size === 0 || to === from) return;
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const wake of waiters) wake();
  }

  /** The state as of now, where everything below `to` is folded and nothing else. One that can't be saved costs time only. */
  #saveCheckpoint(to: Offset): void {
    this.#sinceCheckpoint = 0;
    if (this.config.storage === 'memory') return;
    this.#saving = this.#options.modules.journal
      .saveCheckpoint(this.id, to, this.#snapshot())
      .catch(() => undefined)
      .finally(() => {
        this.#saving = null;
      });
  }

  #notes(batch: LogBatch): void {
    for (const note of batch.notes!) {
      const offset = batch.baseOffset + note.row;
      if (note.token !== null) this.tokens.add(note.token.producerId, note.token.token, offset);
      if (note.retain !== null) this.retain({ ...note.retain, sourceOffset: offset });
    }
  }

  #snapshot(): Buffer {
    const out = new ByteWriter(1024).u8(snapshotVersion);
    this.producers.encode(out);
    this.tokens.encode(out);
    return out.finish();
  }
}
