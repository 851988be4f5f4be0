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
  /**
   * Lets readers that wait pass what is not for them, up to an offset. Resolves to the lowest offset that one of them
   * still needs, infinite when none does; rejects when that is not known.
   */
  pass(shard: ShardId, to: Offset): Promise<Offset>;
  readonly backlogBytesMax: number;
  /**
   * Resolves when nothing needs the records of a shard below an offset that `floors` does not name, with that offset or a
   * lower one up to which that is so; rejects when it is not known.
   */
  settled(shard: ShardId, to: Offset): Promise<Offset>;
}

/** A shard that retention wants shorter, and how short, cursors aside. */
interface Due {
  readonly shard: ShardId;
  readonly config: TopicConfig;
  readonly wanted: Offset;
}

type Trim = Extract<MetadataCommand, { kind: 'trimShard' }>;

/** One pass over all shards: proposes every trim that is due in one call. */
export async function trimDue(modules: RetentionModules, now: number): Promise<void> {
  const due = shardsDue(modules, now);
  if (due.length === 0) return;
  const needed = new Map<ShardId, Offset>();
  for (const { shard, wanted } of due) {
    // One after the other: each may have thousands of readers to ask for.
    const lowest = await modules.pass(shard, wanted).catch(() => null);
    if (lowest !== null) needed.set(shard, lowest);
  }
  const trims = trimsOf(modules, due, needed, now);
  const settled = await Promise.allSettled(
    trims.map(({ shard, startOffset }) => modules.settled(shard, startOffset)),
  );
  const commands: Trim[] = [];
  let waiting = due.length - needed.size;
  for (const [at, trim] of trims.entries()) {
    const answer = settled[at]!;
    const startOffset = answer.status === 'fulfilled' ? answer.value : -1;
    if (startOffset < trim.startOffset) waiting++;
    const record = modules.metadata.image.shards.get(trim.shard);
    if (record !== undefined && startOffset > record.startOffset) commands.push({ ...trim, startOffset });
  }
  if (waiting > 0) modules.logger.warn({ shards: waiting }, 'trims wait');
  if (commands.length === 0) return;
  for (const result of await modules.metadata.propose(commands)) {
    if (result instanceof Error) modules.logger.warn({ error: result }, 'a trim was refused');
  }
}

function shardsDue(modules: RetentionModules, now: number): Due[] {
  const due: Due[] = [];
  for (const record of modules.metadata.image.shards.values()) {
    if (record.segments.length === 0) continue;
    const config = modules.configOf(record);
    if (config === null || !config.deleteOld) continue;
    const wanted = retainedFrom(record, config, now, null);
    if (wanted > record.startOffset) due.push({ shard: record.id, config, wanted });
  }
  return due;
}

/** `needed`: by shard, what waiting readers need; a shard that is not in it is left alone. */
function trimsOf(
  modules: RetentionModules,
  due: readonly Due[],
  needed: ReadonlyMap<ShardId, Offset>,
  now: number,
): Trim[] {
  const { metadata, backlogBytesMax } = modules;
  const floors = modules.floors();
  const trims: Trim[] = [];
  for (const { shard, config } of due) {
    const record = metadata.image.shards.get(shard);
    const lowest = needed.get(shard);
    if (record === undefined || lowest === undefined) continue;
    const offset = Math.min(lowest, floors.get(shard) ?? Infinity);
    const startOffset = retainedFrom(record, config, now, { offset, backlogBytesMax });
    if (startOffset > record.startOffset) trims.push({ kind: 'trimShard', shard, startOffset });
  }
  return trims;
}
