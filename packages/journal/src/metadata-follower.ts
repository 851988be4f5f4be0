import type { Clock, Logger, SegmentId, ShardId, Timer } from '@robustmq/core';
import type { Metadata, SegmentRecord, ShardRecord } from '@robustmq/kernel';
import type { JournalLimits } from './limits.ts';
import type { Segment } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';

export interface MetadataFollowerOptions {
  readonly metadata: Metadata;
  readonly store: SegmentStore;
  readonly limits: JournalLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly seal: (segment: Segment) => void;
  readonly delete: (segment: Segment) => void;
  /** Nothing of the shard is left. */
  readonly forget: (shard: ShardId) => void;
}

/**
 * Metadata decides what is sealed and what may go; this carries it out. What metadata no longer lists is deleted when
 * the longest read is over, what it never listed after a longer grace, and both only if it still is not listed then.
 */
export class MetadataFollower {
  readonly #options: MetadataFollowerOptions;
  /** Segments to look at again, by when. */
  readonly #doomed = new Map<Segment, number>();
  readonly #gone = new Map<ShardId, number>();
  #unwatch: (() => void) | null = null;
  #timer: Timer | null = null;

  constructor(options: MetadataFollowerOptions) {
    this.#options = options;
  }

  /** `others`: shards of which there may be more than segments. */
  start(others: Iterable<ShardId>): void {
    const { metadata, store } = this.#options;
    this.#unwatch = metadata.watch((update) => {
      for (const change of update.changes) {
        if (change.kind === 'shard') this.#review(change.shard.id, change.shard);
        else if (change.kind === 'shardDeleted') this.#review(change.shard, undefined);
        else if (change.kind === 'topicDeleted')
          for (const shard of change.topic.shards) this.#review(shard, undefined);
      }
    });
    for (const shard of new Set([...store.shards.keys(), ...others]))
      this.#review(shard, metadata.image.shards.get(shard));
  }

  stop(): void {
    this.#unwatch?.();
    this.#timer?.cancel();
  }

  record(shard: ShardId, segment: SegmentId): SegmentRecord | undefined {
    return this.#options.metadata.image.shards
      .get(shard)
      ?.segments.findLast((record) => record.id === segment);
  }

  /** A segment that metadata may never come to list: one that compaction wrote, or that a start found. */
  suspect(segment: Segment): void {
    if (this.record(segment.shard, segment.id) === undefined)
      this.#doom(segment, this.#options.limits.orphanGraceMs);
  }

  #review(shard: ShardId, record: ShardRecord | undefined): void {
    const { store, limits, clock } = this.#options;
    if (record === undefined) {
      this.#gone.set(shard, clock.monotonic() + limits.deleteAfterMs);
      this.#arm();
    }
    const state = store.shards.get(shard);
    if (state === undefined) return;
    for (const segment of state.segments.values()) {
      const listed = record?.segments.find((candidate) => candidate.id === segment.id);
      if (listed !== undefined) this.#listed(segment, listed);
      else this.#doom(segment, segment.listed ? limits.deleteAfterMs : limits.orphanGraceMs);
    }
  }

  #listed(segment: Segment, record: SegmentRecord): void {
    segment.listed = true;
    this.#doomed.delete(segment);
    if (record.state !== 'sealed') return;
    segment.sealedEnd = record.endOffset;
    if (segment.phase !== 'open') return;
    if (record.endEntry > segment.end.entry && segment.lostTo === 0) {
      const { shard, id, end } = segment;
      this.#options.logger.error(
        { shard, segment: id, has: end.entry, sealedAt: record.endEntry },
        'a sealed segment is short here',
      );
      // Its readers are told: they would wait for ever for what is missing.
      segment.lostTo = record.endOffset;
    }
    this.#options.seal(segment);
  }

  #doom(segment: Segment, afterMs: number): void {
    if (this.#doomed.has(segment)) return;
    this.#doomed.set(segment, this.#options.clock.monotonic() + afterMs);
    this.#arm();
  }

  #arm(): void {
    let due = Number.POSITIVE_INFINITY;
    for (const at of this.#doomed.values()) due = Math.min(due, at);
    for (const at of this.#gone.values()) due = Math.min(due, at);
    this.#timer?.cancel();
    this.#timer = null;
    if (due === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#options;
    this.#timer = clock.after(Math.max(1, due - clock.monotonic()), () => this.#expire());
  }

  #expire(): void {
    const { clock, metadata, forget } = this.#options;
    const now = clock.monotonic();
    for (const [segment, due] of this.#doomed) {
      if (due > now) continue;
      this.#doomed.delete(segment);
      if (this.record(segment.shard, segment.id) === undefined) this.#options.delete(segment);
    }
    for (const [shard, due] of this.#gone) {
      if (due > now) continue;
      this.#gone.delete(shard);
      if (!metadata.image.shards.has(shard)) forget(shard);
    }
    this.#arm();
  }
}
