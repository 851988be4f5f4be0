import { assert } from '@robustmq/core';
import type { Offset } from '@robustmq/core';
import type { Hole, SegmentRecord } from '@robustmq/kernel';
import type { StoredShard } from './tables.ts';

/**
 * What holds for every shard at every revision, whoever asked for the change: rules refuse what would break it, so a
 * failure here is a defect of ours and the process must not go on.
 */
export function assertShard(shard: StoredShard, previous: StoredShard | undefined): void {
  assert(shard.ownerEpoch >= 1, 'I1: an epoch begins at 1');
  if (previous === undefined || previous.segments !== shard.segments) assertSegments(shard);
  if (previous === undefined) return;
  assert(shard.id === previous.id && shard.topic === previous.topic, 'a shard keeps its identity');
  assert(shard.ownerEpoch >= previous.ownerEpoch, 'I1: an owner epoch never decreases');
  assert(
    shard.owner === previous.owner || shard.ownerEpoch > previous.ownerEpoch,
    'I1: no two brokers hold one epoch of a shard',
  );
  assert(shard.startOffset >= previous.startOffset, 'I15: the log start never moves back');
  assert(shard.nextBase >= previous.nextBase, 'I3: the end of a log never moves back');
  assert(shard.offsetLimit >= previous.offsetLimit, 'an offset limit never decreases');
  assert(shard.nextSegmentSeq >= previous.nextSegmentSeq, 'segment positions are never reused');
  if (previous.segments !== shard.segments) assertSealedKept(shard.segments, previous.segments);
}

/** I3: at most one open segment, the last one; bases are contiguous apart from recorded holes. */
function assertSegments(shard: StoredShard): void {
  const { segments, holes } = shard;
  for (let at = 0; at < segments.length; at++) {
    const segment = segments[at]!;
    const after = segments[at + 1];
    assert(segment.endOffset >= segment.baseOffset, 'I3: a segment does not end before it begins');
    assert(segment.writerEpoch <= shard.ownerEpoch, 'I1: no segment is of a later epoch than its shard');
    if (after === undefined) break;
    assert(segment.state === 'sealed', 'I3: only the last segment is open');
    assert(follows(segment.endOffset, after.baseOffset, holes), 'I3: bases are contiguous apart from holes');
    assert(segment.writerEpoch <= after.writerEpoch, 'I1: writer epochs never decrease along a log');
  }
  const last = segments.at(-1);
  if (last === undefined) return;
  if (last.state === 'open')
    assert(shard.nextBase === last.baseOffset, 'I3: an open segment is the next base');
  else assert(follows(last.endOffset, shard.nextBase, holes), 'I3: the next base follows the last segment');
}

/** I4: what was sealed is the same object as long as it is listed. */
function assertSealedKept(after: readonly SegmentRecord[], before: readonly SegmentRecord[]): void {
  let equal = 0;
  while (equal < before.length && before[equal] === after[equal]) equal++;
  if (equal === before.length) return;
  const sealed = new Map<number, SegmentRecord>();
  for (let at = equal; at < before.length; at++) {
    const segment = before[at]!;
    if (segment.state === 'sealed') sealed.set(segment.id, segment);
  }
  for (let at = equal; at < after.length; at++) {
    const segment = after[at]!;
    assert((sealed.get(segment.id) ?? segment) === segment, 'I4: a sealed segment never changes');
  }
}

/** Whether nothing but recorded holes lies between `end` and `base`. */
function follows(end: Offset, base: Offset, holes: readonly Hole[]): boolean {
  let at = end;
  for (let hole = 0; at !== base && hole < holes.length; hole++)
    if (holes[hole]!.from === at) at = holes[hole]!.to;
  return at === base;
}
