import { RobustError } from '@robustmq/core';
import type { Clock, Offset } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import type { Appender } from '../log/appender.ts';
import type { JournalClient } from '../ports/journal-client.ts';
import type { Hole, Metadata, MetadataCommand, ShardRecord } from '../ports/metadata.ts';
import type { TopicConfig } from '../topic-config.ts';

/** What an owned shard works with. */
export interface ShardModules {
  readonly metadata: Metadata;
  readonly journal: JournalClient;
  readonly appender: Appender;
  readonly clock: Clock;
  /** The shard's newest metadata; throws SHARD_NOT_FOUND when the shard is gone. */
  record(): ShardRecord;
}

/**
 * Ends the segment that an earlier owner left open: fences it, seals it at the last entry that the journal holds, and
 * records what is lost. Returns the offset the shard goes on with. The next segment is opened by the first append.
 */
export async function recoverShard(modules: ShardModules, config: TopicConfig): Promise<Offset> {
  return endSegment(modules, config, modules.record().offsetLimit);
}

/**
 * Ends the segment of a shard that was closed with nothing in flight: what the journal holds is all there ever was, so
 * no offset is skipped at the next start, as after a crash.
 */
export async function sealShard(modules: ShardModules, config: TopicConfig): Promise<void> {
  await endSegment(modules, config, 0);
}

/** `usedBelow`: offsets below it may have been given out. */
async function endSegment(modules: ShardModules, config: TopicConfig, usedBelow: Offset): Promise<Offset> {
  const record = modules.record();
  const last = record.segments.at(-1);
  if (last?.state !== 'open') return endOfShard(record);
  const [answer] = await modules.journal.fence([
    { shard: record.id, segment: last.id, epoch: record.ownerEpoch },
  ]);
  if (answer === undefined || answer.status === 'fenced') {
    throw new RobustError<KernelErrorCode>('SHARD_FENCED', 'a newer owner has fenced this shard', {
      retriable: true,
      detail: { shard: record.id, epoch: record.ownerEpoch, seen: answer?.epoch },
    });
  }
  // A journal that has nothing of the segment may not know where it begins.
  const endOffset = Math.max(answer.endOffset, last.baseOffset);
  const hole = holeBehind(endOffset, answer.status === 'lost' ? answer.lostTo : null, usedBelow);
  const commands: MetadataCommand[] = [
    {
      kind: 'rollSegment',
      shard: record.id,
      epoch: record.ownerEpoch,
      sealed: {
        segment: last.id,
        endEntry: answer.endEntry,
        endOffset,
        maxTimestamp: answer.maxTimestamp,
        bytes: answer.bytes,
        chainCrc: answer.chainCrc,
      },
      hole,
      open: false,
    },
  ];
  const next = hole?.to ?? endOffset;
  // What was only in memory did not survive the restart that brought us here.
  if (config.storage === 'memory') commands.push({ kind: 'trimShard', shard: record.id, startOffset: next });
  for (const result of await modules.metadata.propose(commands)) if (result instanceof Error) throw result;
  return next;
}

/**
 * Offsets below the limit may have been given out and acknowledged from memory, whatever the topic is configured to do
 * now: none of them is used again.
 */
function holeBehind(endOffset: Offset, lostTo: Offset | null, usedBelow: Offset): Hole | null {
  const to = Math.max(lostTo ?? 0, usedBelow);
  if (to <= endOffset) return null;
  return { from: endOffset, to, kind: lostTo !== null && lostTo > endOffset ? 'lost' : 'skipped' };
}

/** The offset behind everything that the shard's metadata names. */
function endOfShard(record: ShardRecord): Offset {
  let end = record.startOffset;
  for (const segment of record.segments) end = Math.max(end, segment.endOffset);
  for (const hole of record.holes) end = Math.max(end, hole.to);
  return end;
}
