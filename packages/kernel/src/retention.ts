import type { Logger, Offset, ShardId } from '@robustmq/core';
import type { Metadata, MetadataCommand, ShardRecord } from './ports/metadata.ts';
import type { TopicConfig } from './topic-config.ts';

/**
 * The log start that a shard's retention asks for: behind the sealed segments that are too old or too many. Cursors
 * (`floor`) hold segments back as long as these are within `backlogBytesMax`. Returns the present start when nothing
 * is to be trimmed.
 */
export function retainedFrom(
  record: ShardRecord,
  config: TopicConfig,
  now: number,
  floor: { offset: Offset; backlogBytesMax: number } | null,
): Offset {
  const live = record.segments.filter(
    (segment) => segment.state === 'open' || segment.endOffset > record.startOffset,
  );
  let bytes = live.reduce((sum, segment) => sum + segment.bytes, 0);
  let start = record.startOffset;
  let behindFloor = 0;
  if (floor !== null) {
    for (const segment of live)
      if (segment.state === 'sealed' && segment.endOffset > floor.offset) behindFloor += segment.bytes;
  }
  for (const segment of live) {
    if (segment.state === 'open') break;
    const old =
      config.retentionMs >= 0 && segment.maxTimestamp >= 0 && now - segment.maxTimestamp > config.retentionMs;
    const many = config.retentionBytes >= 0 && bytes - segment.bytes >= config.retentionBytes;
    // State at its head is all it has: it goes with its neighbours.
    if (segment.endOffset === segment.baseOffset) continue;
    if (!old && !many) break;
    if (floor !== null && segment.endOffset > floor.offset) {
      if (behindFloor <= floor.backlogBytesMax) break;
      behindFloor -= segment.bytes;
    }
    bytes -= segment.bytes;
    start = segment.endOffset;
  }
  return start;
}

export interface RetentionModules {
  readonly metadata: Metadata;
  readonly logger: Logger;
  /** Effective configuration of the shard's topic; null where retention does not apply (internal topics). */
  configOf(record: ShardRecord): TopicConfig | null;
  floors(): ReadonlyMap<ShardId, Offset>;
  readonly backlogBytesMax: number;
  /** Resolves when nothing needs the records of a shard that `floors` does not name; rejects when that is not known. */
  settled(shard: ShardId): Promise<void>;
}

/** One pass over all shards: proposes every trim that is due in one call. */
export async function trimDue(modules: RetentionModules, now: number): Promise<void> {
  const due = trimsDue(modules, now);
  const settled = await Promise.allSettled(due.map(({ shard }) => modules.settled(shard)));
  const commands = due.filter((_, at) => settled[at]!.status === 'fulfilled');
  if (commands.length < due.length)
    modules.logger.warn({ shards: due.length - commands.length }, 'trims wait');
  if (commands.length === 0) return;
  for (const result of await modules.metadata.propose(commands)) {
    if (result instanceof Error) modules.logger.warn({ error: result }, 'a trim was refused');
  }
}

type Trim = Extract<MetadataCommand, { kind: 'trimShard' }>;

function trimsDue(modules: RetentionModules, now: number): Trim[] {
  const floors = modules.floors();
  const due: Trim[] = [];
  for (const record of modules.metadata.image.shards.values()) {
    if (record.segments.length === 0) continue;
    const config = modules.configOf(record);
    if (config === null || !config.deleteOld) continue;
    const offset = floors.get(record.id);
    const floor = offset === undefined ? null : { offset, backlogBytesMax: modules.backlogBytesMax };
    const startOffset = retainedFrom(record, config, now, floor);
    if (startOffset > record.startOffset) due.push({ kind: 'trimShard', shard: record.id, startOffset });
  }
  return due;
}
