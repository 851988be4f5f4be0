import { assert, RobustError } from '@robustmq/core';
import type { Logger, Offset, ShardId } from '@robustmq/core';
import {
  BatchEncoder,
  batchHeaderBytes,
  nextBatch,
  readBatchFields,
  RecordInput,
  RecordTable,
} from '@robustmq/record';
import type { KernelErrorCode } from '../errors.ts';
import { entryFlag } from '../log/entry.ts';
import { LogBatch } from '../log/log-batch.ts';
import type { BatchListener } from '../log/log-batch.ts';
import { ShardLog } from '../log/shard-log.ts';
import { ShardReader } from '../log/shard-reader.ts';
import type { StoredEntry } from '../ports/journal-client.ts';
import type { ShardRecord } from '../ports/metadata.ts';
import type { ShardModules } from '../shards/recover-shard.ts';
import { recoverShard } from '../shards/recover-shard.ts';
import type { TopicConfig } from '../topic-config.ts';
import type { FoldItem, FoldKind, FoldRecord } from './fold-kind.ts';

/** Compaction starts when this much was appended since the last pass, or as much as is live, whichever is more. */
const compactBytesMin = 16 * 1024 * 1024;
/** Live state written per turn by a compaction pass. */
const compactChunkBytes = 1024 * 1024;
const readBytes = 1024 * 1024;

type Outcome = (error: RobustError<KernelErrorCode> | null) => void;

interface HeldAppend {
  readonly items: readonly FoldItem[];
  readonly bytes: number;
  readonly outcome: Outcome | null;
}

/**
 * One owned shard of an internal topic with its folded state. Records are applied in log order when they commit; a
 * promise of `append` resolves after that. Compaction writes the live state again at the end of the log and then
 * raises the log start: what lies below is superseded.
 */
export class FoldShard<State> {
  readonly kind: FoldKind<State>;
  readonly index: number;
  readonly #modules: ShardModules;
  readonly #config: TopicConfig;
  readonly #encoder = new BatchEncoder();
  readonly #input = new RecordInput();
  readonly #table = new RecordTable();
  #state: State;
  #log: ShardLog | null = null;
  #open: LogBatch | null = null;
  #sinceCompaction = 0;
  /** `#sinceCompaction` when it was last seen to be too little. */
  #tooLittle = -1;
  #compaction: Promise<void> | null = null;
  /** Appends wait here while a compaction pass copies, so that no copy overtakes a change in flight. */
  #held: HeldAppend[] | null = null;
  /** Why nothing is taken any more. */
  #lost: RobustError<KernelErrorCode> | null = null;

  constructor(kind: FoldKind<State>, index: number, config: TopicConfig, modules: ShardModules) {
    this.kind = kind;
    this.index = index;
    this.#config = config;
    this.#modules = modules;
    this.#state = kind.create(index);
  }

  /** The committed state. */
  get state(): State {
    return this.#state;
  }

  get log(): ShardLog {
    assert(this.#log !== null, 'the shard is open');
    return this.#log;
  }

  /** Recovers the log, folds it, and is ready to append. `failed` is called once if the shard is lost later. */
  async open(failed: (error: RobustError<KernelErrorCode>) => void): Promise<void> {
    const record = this.#modules.record();
    const next = await recoverShard(this.#modules, this.#config);
    const after = this.#modules.record();
    if (after.holes.some((hole) => hole.kind === 'lost') && !after.lossAccepted)
      throw this.#damaged(record.id);
    await this.#load(after, next);
    this.#log = new ShardLog(after, this.#config, next, this.#modules, {
      appended: () => undefined,
      committed: (batches) => this.#committed(batches),
      snapshot: () => null,
      failed: (error) => {
        this.#lost = error;
        failed(error);
      },
    });
  }

  /** Appends records as one unit of order; resolves when they are committed and applied. */
  append(items: readonly FoldItem[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.appendThen(items, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  /** As `append`, without a promise; with a null outcome nobody waits. */
  appendThen(items: readonly FoldItem[], outcome: Outcome | null): void {
    const lost = this.#lost;
    if (lost !== null) {
      if (outcome !== null) queueMicrotask(() => outcome(lost));
      return;
    }
    if (this.#held !== null) {
      this.#hold(this.#held, items, outcome);
      return;
    }
    const listener: BatchListener | null =
      outcome === null ? null : { settled: (_batch, error) => outcome(error) };
    for (const item of items) this.#add(item);
    const last = this.#open;
    if (last === null) {
      outcome?.(null);
      return;
    }
    if (listener !== null) last.listen(listener);
    this.#modules.appender.requestFlush();
  }

  /** Closes the open batch; called at the end of the turn. */
  flush(): void {
    const batch = this.#open;
    if (batch === null) return;
    this.#open = null;
    const count = this.#encoder.count;
    const maxTimestamp = this.#encoder.maxTimestamp;
    const buffer = this.#encoder.finish();
    this.log.stage(batch.fill(buffer, 0, buffer.length, count, maxTimestamp));
  }

  /** Stops taking part; a shard whose `open` failed may be closed, too. */
  close(error: RobustError<KernelErrorCode>): void {
    if (this.#log === null) return;
    // What waits for the end of the turn has an outcome, too.
    this.flush();
    this.#log.close(error);
    this.#lost ??= error;
  }

  /** Resolves when what was appended is committed, a compaction pass that holds it back included. */
  async whenIdle(): Promise<void> {
    do {
      await this.#compaction;
      this.flush();
      this.#modules.appender.flush();
      await this.log.whenIdle();
    } while (this.#held !== null);
  }

  /** Starts a compaction pass if enough was appended. */
  compactIfDue(logger: Logger): void {
    // A shard that nothing was written to costs no look at its state.
    if (this.#compaction !== null || this.#sinceCompaction === this.#tooLittle) return;
    const due = Math.max(this.kind.liveBytes(this.#state), compactBytesMin);
    if (this.#sinceCompaction < due) {
      this.#tooLittle = this.#sinceCompaction;
      return;
    }
    this.#compaction = this.#compact()
      .catch((error: Error) =>
        logger.warn({ error, topic: this.kind.topic }, 'a compaction pass ended early'),
      )
      .finally(() => {
        this.#compaction = null;
      });
  }

  /** New appends wait until the pass is over, so that no copy overtakes a change in flight. */
  async #compact(): Promise<void> {
    this.#held = [];
    // At once: what a kind notes of this moment fits what is appended behind the copy.
    const live = this.kind.live(this.#state);
    try {
      this.flush();
      await this.log.whenIdle();
      const from = this.log.nextOffset;
      let chunk: FoldItem[] = [];
      let bytes = 0;
      for (const item of live) {
        chunk.push(item);
        bytes += item.key.length + (item.value?.length ?? 0);
        if (bytes < compactChunkBytes) continue;
        await this.#write(chunk);
        chunk = [];
        bytes = 0;
      }
      await this.#write(chunk);
      this.#sinceCompaction = 0;
      const [result] = await this.#modules.metadata.propose([
        { kind: 'trimShard', shard: this.log.shard, startOffset: from },
      ]);
      if (result instanceof Error) throw result;
    } finally {
      const held = this.#held;
      this.#held = null;
      for (const append of held) {
        this.#modules.appender.gave(append.bytes);
        this.appendThen(append.items, append.outcome);
      }
    }
  }

  /** The caller may use its buffers again; what waits counts as in flight, so that sources are paused. */
  #hold(held: HeldAppend[], items: readonly FoldItem[], outcome: Outcome | null): void {
    let bytes = 0;
    const copies = items.map(({ key, value }) => {
      bytes += key.length + (value?.length ?? 0);
      return { key: Buffer.from(key), value: value === null ? null : Buffer.from(value) };
    });
    this.#modules.appender.took(bytes);
    held.push({ items: copies, bytes, outcome });
  }

  #write(items: readonly FoldItem[]): Promise<void> {
    if (items.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      for (const item of items) this.#add(item);
      this.#open!.listen({ settled: (_batch, error) => (error === null ? resolve() : reject(error)) });
      this.flush();
      this.#modules.appender.requestFlush();
    });
  }

  #add(item: FoldItem): void {
    const input = this.#input;
    input.timestamp = this.#modules.clock.now();
    input.setKey(item.key).setValue(item.value);
    if (!this.#encoder.append(input)) {
      this.flush();
      this.#encoder.append(input);
    }
    this.#open ??= new LogBatch(true);
  }

  #committed(batches: readonly LogBatch[]): void {
    for (const batch of batches) {
      if (batch.count === 0) continue;
      this.#sinceCompaction += batch.bytes;
      if (this.kind.applyAt !== 'caller') this.#apply(batch.buffer, batch.start, batch.end);
    }
  }

  /** Steps over what is lost only where that was accepted; a copy of the rest then takes its place soon. */
  async #load(record: ShardRecord, to: Offset): Promise<void> {
    const reader = new ShardReader(record.id, this.#modules.metadata, this.#modules.journal);
    let lost = false;
    const accepted = record.lossAccepted ? { lost: () => (lost = true) } : {};
    let offset = record.startOffset;
    try {
      while (offset < to) {
        const answer = await reader.read(offset, { maxBytes: readBytes, limit: to, ...accepted });
        for (const entry of answer.entries) this.#applyEntry(entry);
        offset = answer.nextOffset;
      }
    } catch (error) {
      if (error instanceof RobustError && error.code === 'JOURNAL_DATA_LOST')
        throw this.#damaged(record.id, error);
      throw error;
    }
    if (lost) this.#sinceCompaction = Number.MAX_SAFE_INTEGER;
  }

  #damaged(shard: ShardId, cause?: RobustError): RobustError<KernelErrorCode> {
    const { from, to } = (cause?.detail ?? {}) as { from?: Offset; to?: Offset };
    const where = cause === undefined ? '' : ` (${cause.message}, offsets ${from} to ${to})`;
    return new RobustError<KernelErrorCode>(
      'SHARD_UNAVAILABLE',
      `state of ${this.kind.topic} shard ${this.index} is damaged${where}; see \`robustmq shard accept-loss ${shard}\``,
      { detail: { shard }, cause },
    );
  }

  #applyEntry(entry: StoredEntry): void {
    if ((entry.flags & entryFlag.control) !== 0) return;
    this.#sinceCompaction += entry.payload.length;
    const payload = entry.payload;
    for (let at = 0, next = nextBatch(payload, 0); next !== -1; at = next, next = nextBatch(payload, at)) {
      this.#apply(payload, at, next);
    }
  }

  #apply(buffer: Buffer, start: number, end: number): void {
    const fields = readBatchFields(buffer, start);
    const table = this.#table.read(buffer, start + batchHeaderBytes, end, {
      count: fields.recordCount,
      baseOffset: fields.baseOffset,
      baseTimestamp: fields.baseTimestamp,
    });
    for (let row = 0; row < table.count; row++) {
      const key = table.key(row);
      if (key === null) continue;
      const record: FoldRecord = {
        key,
        value: table.value(row),
        offset: table.offset(row),
        timestamp: table.timestamp(row),
      };
      this.kind.apply(this.#state, record);
    }
    table.clear();
  }
}
