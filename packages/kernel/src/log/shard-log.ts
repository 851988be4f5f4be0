import { assert, RobustError } from '@robustmq/core';
import type { Clock, Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import { patchBaseOffset, patchLeaderEpoch } from '@robustmq/record';
import type { KernelErrorCode } from '../errors.ts';
import type {
  AppendAck,
  AppendEntry,
  AppendRefusal,
  Durability,
  JournalClient,
} from '../ports/journal-client.ts';
import type {
  Metadata,
  MetadataCommand,
  MetadataResult,
  SealedSegment,
  ShardRecord,
} from '../ports/metadata.ts';
import type { TopicConfig } from '../topic-config.ts';
import type { Appender } from './appender.ts';
import { ackedUpTo, durabilityOf } from './durability.ts';
import { entryRun } from './entry-run.ts';
import { entryCrcOf, entryFlag, entryHeaderBytes } from './entry.ts';
import { entryParts } from './entry-parts.ts';
import type { LogBatch } from './log-batch.ts';
import { snapshotBatches } from './snapshot-batches.ts';

/** Offsets that may be acknowledged before they are durable are reserved in steps of this (docs/storage.md 4.5). */
export const offsetLimitStep = 2 ** 20;
/** Pause before what found no room, in the journal or in metadata, is sent again. */
const fullRetryMs = 250;
const always: Durability = { kind: 'always' };

/** What the shard does with its log's events. Called synchronously, in log order. */
export interface ShardLogEvents {
  /** The batches got offsets and are on their way to the journal. */
  appended(batches: readonly LogBatch[], from: Offset, to: Offset): void;
  /** Every record below `to` is committed; `batches` holds those in `[from, to)`, control batches included. */
  committed(batches: readonly LogBatch[], from: Offset, to: Offset): void;
  /** Fold state for the head of a new segment; null where the shard keeps none. */
  snapshot(): Buffer | null;
  /** The log can't go on under this epoch; what was in flight is unknown. */
  failed(error: RobustError<KernelErrorCode>): void;
}

interface ShardLogModules {
  readonly metadata: Metadata;
  readonly journal: JournalClient;
  readonly appender: Appender;
  readonly clock: Clock;
}

interface InflightEntry {
  readonly entry: AppendEntry;
  readonly batches: readonly LogBatch[];
  readonly endOffset: Offset;
}

/**
 * The appending side of an owned shard: gathers the batches of a turn into entries, chains them, counts
 * acknowledgements, commits in order, and rolls segments. A segment is rolled only when nothing is in flight on it,
 * so that no acknowledgement is given between the proposal of a roll and its outcome (I7).
 */
export class ShardLog {
  readonly shard: ShardId;
  readonly #epoch: Epoch;
  readonly #modules: ShardLogModules;
  readonly #events: ShardLogEvents;
  #config: TopicConfig;
  #durability: Durability;
  #staged: LogBatch[] = [];
  /** Null where an entry was committed. */
  #inflight: (InflightEntry | null)[] = [];
  #inflightHead = 0;
  #nextOffset: Offset;
  #committed: Offset;
  #segment: { id: SegmentId; baseOffset: Offset; openedAt: number } | null = null;
  /** A roll is due or under way: no entry is made. */
  #rolling = false;
  /** Its outcome is awaited. */
  #rollPending = false;
  /** The next step of offsets was asked for. */
  #raising = false;
  /** The journal had no room from this entry on, -1: it has. */
  #resendFrom = -1;
  /** Nothing is sent until the pause after such a refusal is over. */
  #stalled = false;
  #failed: RobustError<KernelErrorCode> | null = null;
  #entryId = 0;
  #previousCrc = 0;
  #segmentBytes = 0;
  #maxTimestamp = -1;
  #offsetLimit: Offset;
  #idle: (() => void)[] = [];
  /** The last piece of the state at the head of the open segment, until it is durable. */
  #head: LogBatch | null = null;
  #headed: (() => void)[] = [];

  constructor(
    record: ShardRecord,
    config: TopicConfig,
    nextOffset: Offset,
    modules: ShardLogModules,
    events: ShardLogEvents,
  ) {
    this.shard = record.id;
    this.#epoch = record.ownerEpoch;
    this.#config = config;
    this.#nextOffset = nextOffset;
    this.#committed = nextOffset;
    this.#offsetLimit = record.offsetLimit;
    this.#modules = modules;
    this.#events = events;
    this.#durability = durabilityOf(config);
    modules.appender.attach(this);
  }

  get config(): TopicConfig {
    return this.#config;
  }

  /** The topic is configured anew: holds for what is sent from now on. */
  set config(config: TopicConfig) {
    this.#config = config;
    this.#durability = durabilityOf(config);
  }

  /** The offset the next record gets. */
  get nextOffset(): Offset {
    return this.#nextOffset;
  }

  /** High watermark: every record below it is committed. */
  get committed(): Offset {
    return this.#committed;
  }

  get epoch(): Epoch {
    return this.#epoch;
  }

  /** Bytes in the open segment. */
  get openBytes(): number {
    return this.#segmentBytes;
  }

  /** Takes a batch in order. It gets its offset when the turn ends; its listeners learn the outcome. */
  stage(batch: LogBatch): void {
    if (this.#failed !== null) {
      batch.settle(this.#failed);
      return;
    }
    if (batch.borrowed) this.#modules.appender.slab.adopt(batch, this.#staged.at(-1));
    this.#staged.push(batch);
    this.#modules.appender.took(batch.bytes);
    this.#modules.appender.dirty(this);
  }

  /** Whether the open segment has the state at its head, on disk: then it is safe to trim all others. */
  get stateIsKept(): boolean {
    return this.#segment !== null && !this.#rolling && this.#head === null;
  }

  /** Resolves when that is so; a segment is opened if there is none. */
  async keepState(): Promise<void> {
    if (this.#segment === null) this.#openFirst();
    while (this.#failed === null && (this.#rolling || this.#head !== null)) {
      await new Promise<void>((resolve) => this.#headed.push(resolve));
    }
    if (this.#failed !== null) throw this.#failed;
  }

  /** Resolves when nothing staged or in flight is left. */
  whenIdle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /**
   * Seals the open segment if it holds records and is old enough, or if retention wants them gone; called by the
   * retention pass. State at its head alone is no reason: an idle shard would roll for ever.
   */
  rollIfOld(now: number): void {
    const segment = this.#segment;
    if (segment === null || !this.#holdsRecords()) return;
    const { segmentMs, retentionMs } = this.#config;
    const expired = retentionMs >= 0 && this.#maxTimestamp >= 0 && now - this.#maxTimestamp > retentionMs;
    if (!expired && now - segment.openedAt < segmentMs) return;
    this.#rolling = true;
    this.#rollWhenQuiet();
  }

  /** Stops taking part; outcomes of what is in flight are unknown. */
  close(error: RobustError<KernelErrorCode>): void {
    this.#fail(error, false);
  }

  /** Moves what is staged into entries, as far as the segment, the roll and the offset limit allow. */
  drain(out: AppendEntry[]): void {
    if (this.#failed !== null || this.#stalled) return;
    if (this.#resendFrom >= 0) this.#resend(out);
    if (this.#staged.length === 0 || this.#rolling) return;
    if (this.#segment === null) {
      this.#openFirst();
      return;
    }
    const staged = this.#staged;
    const from = this.#nextOffset;
    let at = 0;
    while (at < staged.length && !this.#rolling) {
      const run = entryRun(staged, at);
      if (!this.#reserve(run.count)) break;
      const batches = run.end - at === staged.length ? staged : staged.slice(at, run.end);
      out.push(this.#entry(batches, run.count, run.bytes));
      at = run.end;
      if (this.#segmentBytes >= this.#config.segmentBytes && this.#holdsRecords()) this.#rolling = true;
    }
    if (at === 0) return;
    const taken = at === staged.length ? staged : staged.slice(0, at);
    this.#staged = at === staged.length ? [] : staged.slice(at);
    this.#events.appended(taken, from, this.#nextOffset);
    if (this.#rolling) this.#rollWhenQuiet();
  }

  acknowledged(ack: AppendAck): void {
    if (this.#failed !== null || ack.segment !== this.#segment?.id) return;
    const inflight = this.#inflight;
    const from = this.#committed;
    // Those of one entry are handed on as they are; of more, gathered.
    let batches: readonly LogBatch[] = [];
    let gathered: LogBatch[] | null = null;
    let bytes = 0;
    while (this.#inflightHead < inflight.length) {
      const entry = inflight[this.#inflightHead]!;
      if (entry.entry.entryId > ackedUpTo(ack, entry.entry.durability)) break;
      // A committed entry must not stay in memory until the array is cut.
      inflight[this.#inflightHead] = null;
      this.#inflightHead++;
      if (batches.length === 0) batches = entry.batches;
      else {
        gathered ??= [...batches];
        batches = gathered;
        for (const batch of entry.batches) gathered.push(batch);
      }
      bytes += entry.entry.bytes - entryHeaderBytes;
      this.#committed = entry.endOffset;
    }
    if (this.#inflightHead === inflight.length) {
      this.#inflight = [];
      this.#inflightHead = 0;
    } else if (this.#inflightHead > 256) {
      this.#inflight = inflight.slice(this.#inflightHead);
      this.#inflightHead = 0;
    }
    if (batches.length === 0) return;
    assert(this.#committed >= from, 'the high watermark never moves back (I11)');
    this.#events.committed(batches, from, this.#committed);
    for (const batch of batches) batch.settle(null);
    this.#modules.appender.gave(bytes);
    if (this.#rolling) this.#rollWhenQuiet();
    this.#wakeIdle();
  }

  refused(refusal: AppendRefusal): void {
    if (this.#failed !== null || refusal.segment !== this.#segment?.id) return;
    if (refusal.code === 'STORAGE_FULL' || (refusal.code === 'JOURNAL_GAP' && this.#resendFrom >= 0)) {
      this.#stall(refusal.entryId);
      return;
    }
    this.#fail(
      new RobustError('OUTCOME_UNKNOWN', `the journal refused an entry: ${refusal.code}`, {
        retriable: true,
        detail: { shard: this.shard, code: refusal.code, epoch: refusal.epoch },
      }),
      true,
    );
  }

  disconnected(cause: Error | null): void {
    this.#fail(new RobustError('OUTCOME_UNKNOWN', 'the journal is gone', { retriable: true, cause }), true);
  }

  /**
   * The journal has no room for an entry and so none for those behind it: nothing of them is stored, so the same
   * entries are sent again until there is. A full disk ends no shard and drops nothing (docs/storage.md 4.6).
   */
  #stall(entryId: number): void {
    if (this.#resendFrom >= 0 && this.#resendFrom <= entryId) return;
    this.#resendFrom = entryId;
    if (this.#stalled) return;
    this.#stalled = true;
    this.#modules.clock.after(fullRetryMs, () => {
      this.#stalled = false;
      if (this.#failed === null) this.#modules.appender.dirty(this);
    });
  }

  #resend(out: AppendEntry[]): void {
    for (let at = this.#inflightHead; at < this.#inflight.length; at++) {
      const { entry } = this.#inflight[at]!;
      if (entry.entryId >= this.#resendFrom) out.push(entry);
    }
    this.#resendFrom = -1;
  }

  #entry(batches: LogBatch[], count: number, payloadBytes: number): AppendEntry {
    const segment = this.#segment!;
    const baseOffset = this.#nextOffset;
    let offset = baseOffset;
    let flags = 0;
    for (const batch of batches) {
      batch.baseOffset = offset;
      flags = batch.flags | (batch.brokerEncoded ? entryFlag.brokerEncoded : 0);
      if (batch.count > 0) {
        patchBaseOffset(batch.buffer, batch.start, offset);
        patchLeaderEpoch(batch.buffer, batch.start, this.#epoch);
        if (batch.maxTimestamp > this.#maxTimestamp) this.#maxTimestamp = batch.maxTimestamp;
      }
      offset += batch.count;
    }
    this.#nextOffset = offset;
    const isSnapshot = (flags & entryFlag.snapshot) !== 0;
    const entryId = this.#entryId++;
    const bytes = entryHeaderBytes + payloadBytes;
    const header = {
      flags,
      shard: this.shard,
      entryId,
      segment: segment.id,
      epoch: this.#epoch,
      count,
      baseOffset,
      lastCommitted: this.#committed,
      payloadBytes,
      previousCrc: this.#previousCrc,
    };
    const parts = entryParts(header, batches, this.#modules.appender.slab);
    this.#previousCrc = entryCrcOf(parts[0]!);
    this.#segmentBytes += bytes;
    const entry: AppendEntry = {
      shard: this.shard,
      segment: segment.id,
      entryId,
      epoch: this.#epoch,
      parts,
      bytes,
      // The state that a trim relies on is not lost with what may be.
      durability: isSnapshot && this.#durability.kind === 'interval' ? always : this.#durability,
    };
    this.#inflight.push({ entry, batches, endOffset: offset });
    return entry;
  }

  /** Whether offsets up to `count` more may be used; asks metadata for the next step when they run out. */
  #reserve(count: number): boolean {
    if (this.#durability.kind === 'always' || this.#nextOffset + count <= this.#offsetLimit) return true;
    if (!this.#raising)
      void this.#raiseLimit(count).catch((error: Error) => this.#fail(asKernelError(error), true));
    return false;
  }

  /** Touches no segment, so it may overlap with a roll: each waits for its own outcome. */
  async #raiseLimit(count: number): Promise<void> {
    this.#raising = true;
    const limit = Math.max(this.#nextOffset + count, this.#offsetLimit) + offsetLimitStep;
    const result = await this.#propose({
      kind: 'raiseOffsetLimit',
      shard: this.shard,
      epoch: this.#epoch,
      limit,
    });
    this.#raising = false;
    if (this.#failed !== null) return;
    if (result instanceof Error) {
      this.#fail(asKernelError(result), true);
      return;
    }
    this.#offsetLimit = limit;
    this.#modules.appender.dirty(this);
  }

  /** Metadata that takes nothing now, as on a full disk, has heard nothing: the log waits for it and asks again. */
  async #propose(command: MetadataCommand): Promise<MetadataResult | Error | undefined> {
    const { metadata, clock } = this.#modules;
    for (;;) {
      try {
        const [result] = await metadata.propose([command]);
        return result;
      } catch (error) {
        const waits = error instanceof RobustError && error.code === 'METADATA_UNAVAILABLE';
        if (!waits || this.#failed !== null) throw error;
        await new Promise<void>((resolve) => clock.after(fullRetryMs, resolve));
        if (this.#failed !== null) throw error;
      }
    }
  }

  #openFirst(): void {
    if (this.#rolling) return;
    this.#rolling = true;
    this.#rollWhenQuiet();
  }

  #rollWhenQuiet(): void {
    if (this.#inflightHead < this.#inflight.length || this.#failed !== null) return;
    void this.#roll().catch((error: Error) => this.#fail(asKernelError(error), true));
  }

  async #roll(): Promise<void> {
    if (this.#rollPending) return;
    this.#rollPending = true;
    if (this.#segment !== null && this.#offsetLimit > 0 && this.#durability.kind !== 'memory') {
      await this.#makeDurable(this.#segment.id);
      if (this.#failed !== null) return;
    }
    const sealed: SealedSegment | null =
      this.#segment === null
        ? null
        : {
            segment: this.#segment.id,
            endEntry: this.#entryId - 1,
            endOffset: this.#nextOffset,
            maxTimestamp: this.#maxTimestamp,
            bytes: this.#segmentBytes,
            chainCrc: this.#previousCrc,
          };
    const result = await this.#propose({
      kind: 'rollSegment',
      shard: this.shard,
      epoch: this.#epoch,
      sealed,
      hole: null,
      open: true,
    });
    this.#rollPending = false;
    if (this.#failed !== null) return;
    const segment = result instanceof Error ? undefined : result?.shard?.segments.at(-1);
    if (segment === undefined || segment.state !== 'open') {
      const cause = result instanceof Error ? result : undefined;
      this.#fail(cause === undefined ? unknownRoll() : asKernelError(cause), true);
      return;
    }
    assert(segment.baseOffset === this.#nextOffset, 'segments are contiguous (I3)');
    const openedAt = this.#modules.clock.now();
    this.#segment = { id: segment.id, baseOffset: segment.baseOffset, openedAt };
    this.#entryId = 0;
    this.#previousCrc = 0;
    this.#segmentBytes = 0;
    this.#maxTimestamp = -1;
    this.#rolling = false;
    this.#stageSnapshot();
    if (this.#head === null) this.#headIsKept();
    if (this.#staged.length > 0) this.#modules.appender.dirty(this);
    this.#wakeIdle();
  }

  /**
   * Makes a segment durable that was acknowledged earlier than that: metadata must not call sealed what a power cut may
   * take. The fence stands behind all its entries in the journal's log.
   */
  async #makeDurable(id: SegmentId): Promise<void> {
    const [answer] = await this.#modules.journal.fence([
      { shard: this.shard, segment: id, epoch: this.#epoch },
    ]);
    if (answer?.status === 'ok' && answer.endEntry === this.#entryId - 1) return;
    throw new RobustError<KernelErrorCode>('OUTCOME_UNKNOWN', 'the journal does not have the whole segment', {
      retriable: true,
      detail: { shard: this.shard, segment: id, status: answer?.status },
    });
  }

  /** The fold's state goes first into a new segment, so that trimming can never take it away. */
  #stageSnapshot(): void {
    const state = this.#events.snapshot();
    if (state === null) return;
    const chunks = snapshotBatches(state);
    for (const chunk of chunks) this.#modules.appender.took(chunk.bytes);
    this.#staged.unshift(...chunks);
    this.#head = chunks.at(-1) ?? null;
    this.#head?.listen({ settled: () => this.#headIsKept() });
  }

  #headIsKept(): void {
    this.#head = null;
    const headed = this.#headed;
    this.#headed = [];
    for (const resolve of headed) resolve();
  }

  /** Whether the open segment has more than state at its head, which may be larger than a small segment. */
  #holdsRecords(): boolean {
    return this.#segment !== null && this.#nextOffset > this.#segment.baseOffset;
  }

  #isIdle(): boolean {
    return this.#staged.length === 0 && this.#inflightHead === this.#inflight.length;
  }

  #wakeIdle(): void {
    if (this.#idle.length === 0 || !this.#isIdle()) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  #fail(error: RobustError<KernelErrorCode>, tell: boolean): void {
    if (this.#failed !== null) return;
    this.#failed = error;
    this.#modules.appender.detach(this);
    let bytes = 0;
    const lost: LogBatch[] = [];
    // One by one: there may be more batches than a call has room for arguments.
    for (let at = this.#inflightHead; at < this.#inflight.length; at++)
      for (const batch of this.#inflight[at]!.batches) lost.push(batch);
    for (const batch of this.#staged) lost.push(batch);
    for (const batch of lost) bytes += batch.bytes;
    this.#inflight = [];
    this.#inflightHead = 0;
    this.#staged = [];
    for (const batch of lost) batch.settle(error);
    this.#modules.appender.gave(bytes);
    this.#headIsKept();
    this.#wakeIdle();
    if (tell) this.#events.failed(error);
  }
}

function unknownRoll(): RobustError<KernelErrorCode> {
  return new RobustError('OUTCOME_UNKNOWN', 'the outcome of a roll is unknown', { retriable: true });
}

/** An error of a port as the kernel's own; anything else keeps its message under OUTCOME_UNKNOWN. */
export function asKernelError(error: Error): RobustError<KernelErrorCode> {
  if (error instanceof RobustError) return error as RobustError<KernelErrorCode>;
  return new RobustError('OUTCOME_UNKNOWN', error.message, { retriable: true, cause: error });
}
