import { RobustError } from '@robustmq/core';
import type { Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import type { CompactedSegment, Hole, MetadataCommand, SealedSegment, SegmentRecord } from '@robustmq/kernel';
import { type Refusal, refusal } from './refusal.ts';
import type { Draft, Outcome, StoredShard, Tables } from './tables.ts';

type Command<Kind extends MetadataCommand['kind']> = Extract<MetadataCommand, { kind: Kind }>;

export function rollSegment(tables: Tables, draft: Draft, command: Command<'rollSegment'>): Outcome {
  const shard = ownedShard(tables, command);
  if (shard instanceof RobustError) return shard;
  const ended = endSegment(shard, command.sealed);
  if (ended instanceof RobustError) return ended;
  const { hole } = command;
  if (hole !== null && !(hole.from === ended.nextBase && hole.to > hole.from)) {
    return refusal('METADATA_CONFLICT', 'a hole begins where the sealed segment ends', {
      hole,
      end: ended.nextBase,
    });
  }
  let segments = [...ended.segments];
  let holes = hole === null ? shard.holes : [...shard.holes, hole];
  let nextSegmentSeq = shard.nextSegmentSeq;
  let nextBase = hole === null ? ended.nextBase : hole.to;
  if (nextBase < shard.startOffset) {
    // The log was trimmed up to records that did not survive: nothing is left below its start, and it goes on there.
    segments = [];
    holes = [];
    nextBase = shard.startOffset;
  }
  if (command.open) {
    const opened = openSegment(tables, { shard, seq: nextSegmentSeq, baseOffset: nextBase });
    if (opened instanceof RobustError) return opened;
    segments.push(opened);
    nextSegmentSeq++;
    const next = { ...tables.counters, nextSegment: tables.counters.nextSegment + 1 };
    draft.add({ kind: 'counters', previous: tables.counters, next });
  }
  const next: StoredShard = {
    ...shard,
    segments,
    holes,
    // What was accepted is the loss known then, not the next one.
    lossAccepted: hole?.kind === 'lost' ? false : shard.lossAccepted,
    nextSegmentSeq,
    nextBase,
  };
  return replace(draft, shard, next);
}

/**
 * Takes no epoch: retention, an administrator and the owner may all raise the start, and it only grows. The open
 * segment's end is not known here, so its owner answers for a start inside it.
 */
export function trimShard(tables: Tables, draft: Draft, command: Command<'trimShard'>): Outcome {
  const shard = tables.shards.get(command.shard);
  if (shard === undefined) return unknownShard(command.shard);
  const startOffset = Math.max(command.startOffset, shard.startOffset);
  const open = shard.segments.at(-1)?.state === 'open';
  if (!Number.isSafeInteger(startOffset) || (!open && startOffset > shard.nextBase)) {
    return refusal('OFFSET_OUT_OF_RANGE', 'the start of a log is not above its end', {
      startOffset,
      end: shard.nextBase,
    });
  }
  const segments = shard.segments.filter(
    (segment) => segment.state === 'open' || segment.endOffset > startOffset,
  );
  const holes = shard.holes.filter((hole) => hole.to > startOffset);
  const same =
    startOffset === shard.startOffset &&
    segments.length === shard.segments.length &&
    holes.length === shard.holes.length;
  if (same) return { shard };
  // What was accepted ends with the data that it was about.
  const lossAccepted = shard.lossAccepted && hasLost(holes);
  return replace(draft, shard, { ...shard, startOffset, segments, holes, lossAccepted });
}

function hasLost(holes: readonly Hole[]): boolean {
  return holes.some((hole) => hole.kind === 'lost');
}

export function swapSegments(tables: Tables, draft: Draft, command: Command<'swapSegments'>): Outcome {
  const shard = ownedShard(tables, command);
  if (shard instanceof RobustError) return shard;
  const at = shard.segments.findIndex((segment) => segment.id === command.removed[0]);
  const run = at < 0 ? [] : shard.segments.slice(at, at + command.removed.length);
  const isRun =
    run.length > 0 &&
    run.length === command.removed.length &&
    run.every((segment, index) => segment.id === command.removed[index] && segment.state === 'sealed');
  if (!isRun) {
    return refusal('METADATA_CONFLICT', 'what is replaced is no run of sealed segments', {
      removed: command.removed,
    });
  }
  const problem = addedProblem(tables, shard, command.added) ?? rangeProblem(run, command.added);
  if (problem !== null) return refusal('METADATA_CONFLICT', problem, { removed: command.removed });
  const added = command.added.map(
    (segment, index): SegmentRecord => ({
      ...segment,
      seq: shard.nextSegmentSeq + index,
      state: 'sealed',
    }),
  );
  const segments = shard.segments.toSpliced(at, run.length, ...added).sort(bySegmentOrder);
  const nextSegmentSeq = shard.nextSegmentSeq + added.length;
  return replace(draft, shard, { ...shard, segments, nextSegmentSeq });
}

export function raiseOffsetLimit(
  tables: Tables,
  draft: Draft,
  command: Command<'raiseOffsetLimit'>,
): Outcome {
  const shard = ownedShard(tables, command);
  if (shard instanceof RobustError) return shard;
  if (command.limit <= shard.offsetLimit) return { shard };
  return replace(draft, shard, { ...shard, offsetLimit: command.limit });
}

export function acceptLoss(tables: Tables, draft: Draft, command: Command<'acceptLoss'>): Outcome {
  const shard = tables.shards.get(command.shard);
  if (shard === undefined) return unknownShard(command.shard);
  if (shard.lossAccepted) return { shard };
  // Damage inside a segment shows only to whoever reads it; the state of an internal topic can't do without reading.
  const internal = tables.topics.get(shard.topic)?.internal === true;
  if (!internal && !hasLost(shard.holes)) return { shard };
  return replace(draft, shard, { ...shard, lossAccepted: true });
}

/**
 * The order of a shard's segments, the same on every replica however it came by them: by offset, an empty one before
 * its neighbour of the same base, then by age.
 */
export function bySegmentOrder(a: SegmentRecord, b: SegmentRecord): number {
  return a.baseOffset - b.baseOffset || endOf(a) - endOf(b) || a.seq - b.seq;
}

/** End of a segment; of an open one nothing is above. */
function endOf(segment: SegmentRecord): Offset {
  return segment.state === 'open' ? Number.MAX_SAFE_INTEGER : segment.endOffset;
}

function replace(draft: Draft, previous: StoredShard, next: StoredShard): Outcome {
  draft.add({ kind: 'shard', previous, next });
  return { shard: next };
}

function unknownShard(shard: ShardId): Refusal {
  return refusal('SHARD_NOT_FOUND', 'no shard has this id', { shard });
}

function ownedShard(tables: Tables, command: { shard: ShardId; epoch: Epoch }): StoredShard | Refusal {
  const shard = tables.shards.get(command.shard);
  if (shard === undefined) return unknownShard(command.shard);
  if (shard.ownerEpoch === command.epoch) return shard;
  return refusal('SHARD_FENCED', 'the shard has another owner epoch', {
    shard: shard.id,
    epoch: command.epoch,
    current: shard.ownerEpoch,
  });
}

function endSegment(
  shard: StoredShard,
  sealed: SealedSegment | null,
): { segments: readonly SegmentRecord[]; nextBase: Offset } | Refusal {
  const last = shard.segments.at(-1);
  const open = last?.state === 'open' ? last : undefined;
  if (open === undefined && sealed === null) return { segments: shard.segments, nextBase: shard.nextBase };
  if (open === undefined || sealed === null || sealed.segment !== open.id) {
    return refusal('METADATA_CONFLICT', 'what is sealed is not the open segment', {
      shard: shard.id,
      sealed: sealed?.segment ?? null,
      open: open?.id ?? null,
    });
  }
  if (!isSeal(open.baseOffset, sealed)) {
    return refusal('METADATA_CONFLICT', 'a segment does not end like this', {
      sealed,
      base: open.baseOffset,
    });
  }
  const { endEntry, endOffset, maxTimestamp, bytes, chainCrc } = sealed;
  const ended: SegmentRecord = {
    ...open,
    state: 'sealed',
    endEntry,
    endOffset,
    maxTimestamp,
    bytes,
    chainCrc,
  };
  return { segments: [...shard.segments.slice(0, -1), ended], nextBase: endOffset };
}

function isSeal(baseOffset: Offset, end: SealedSegment): boolean {
  if (end.endEntry < -1 || end.bytes < 0 || end.endOffset < baseOffset) return false;
  return end.endEntry >= 0 || end.endOffset === baseOffset;
}

function openSegment(
  tables: Tables,
  place: { shard: StoredShard; seq: number; baseOffset: Offset },
): SegmentRecord | Refusal {
  const writeSet = [...tables.journals.values()]
    .filter((journal) => journal.state === 'up')
    .map((journal) => journal.uuid)
    .sort();
  if (writeSet.length === 0) return refusal('SHARD_UNAVAILABLE', 'no journal is up', {}, true);
  return {
    id: tables.counters.nextSegment as SegmentId,
    seq: place.seq,
    baseOffset: place.baseOffset,
    writerEpoch: place.shard.ownerEpoch,
    writeSet,
    state: 'open',
    endEntry: -1,
    endOffset: place.baseOffset,
    maxTimestamp: -1,
    bytes: 0,
    chainCrc: 0,
  };
}

function addedProblem(tables: Tables, shard: StoredShard, added: readonly CompactedSegment[]): string | null {
  const used = new Set<SegmentId>(shard.segments.map((segment) => segment.id));
  for (const segment of added) {
    if (segment.id < 1 || segment.id >= tables.counters.nextSegment)
      return 'a segment id was never allocated';
    if (used.has(segment.id)) return 'a segment id is in use';
    used.add(segment.id);
    if (segment.endEntry < -1 || segment.bytes < 0 || segment.endOffset <= segment.baseOffset) {
      return 'a segment does not end like this';
    }
    if (segment.writeSet.length === 0 || !segment.writeSet.every((uuid) => tables.journals.has(uuid))) {
      return 'a segment lies on an unknown journal';
    }
  }
  return null;
}

/**
 * The new segments hold exactly the offsets of the old ones, with the same epoch at each: the list of segments is the
 * shard's history of epochs, and compaction must not blur where one began.
 */
function rangeProblem(removed: readonly Stretch[], added: readonly Stretch[]): string | null {
  const before = epochStretches(removed);
  const after = epochStretches(added);
  const same =
    before.length === after.length &&
    before.every((stretch, index) => {
      const other = after[index]!;
      return (
        stretch.writerEpoch === other.writerEpoch &&
        stretch.baseOffset === other.baseOffset &&
        stretch.endOffset === other.endOffset
      );
    });
  return same ? null : 'the new segments cover other offsets or epochs than the old ones';
}

type Stretch = Pick<SegmentRecord, 'writerEpoch' | 'baseOffset' | 'endOffset'>;

/** Neighbours of one epoch made one; empty segments say nothing. */
function epochStretches(segments: readonly Stretch[]): Stretch[] {
  const stretches: Stretch[] = [];
  for (const { writerEpoch, baseOffset, endOffset } of segments) {
    if (baseOffset === endOffset) continue;
    const last = stretches.at(-1);
    if (last !== undefined && last.writerEpoch === writerEpoch && last.endOffset === baseOffset) {
      stretches[stretches.length - 1] = { writerEpoch, baseOffset: last.baseOffset, endOffset };
    } else {
      stretches.push({ writerEpoch, baseOffset, endOffset });
    }
  }
  return stretches;
}
