import type { Epoch, JournalUuid, NodeId, SegmentId, ShardId, TopicId } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { MetadataCommand, MetadataResult, SealedSegment } from '@robustmq/kernel';
import type { MetadataState } from '../state/metadata-state.ts';
import type { StoredShard } from '../state/tables.ts';

export const stateOptions = { clusterId: 'c1', defaultTopic: 'main' };
export const node = 1 as NodeId;
export const journal = 'a'.repeat(32) as JournalUuid;

export const startBroker = (broker = node, takeAll = true): MetadataCommand => ({
  kind: 'startBroker',
  broker,
  addresses: new Map([['client', `127.0.0.1:${broker}`]]),
  takeAll,
});

export const registerJournal = (uuid = journal, bootCounter = 1, nodeId = node): MetadataCommand => ({
  kind: 'registerJournal',
  journal: { nodeId, uuid, bootCounter },
});

export function topicId(name: string): TopicId {
  return Buffer.from(name).toString('hex').padEnd(32, '0').slice(-32) as TopicId;
}

export function createTopic(
  name: string,
  options: { shards?: number; config?: Record<string, string>; internal?: boolean; tenant?: string } = {},
): Extract<MetadataCommand, { kind: 'createTopic' }> {
  const { shards = 1, config = {}, internal = false, tenant = 'default' } = options;
  const id = topicId(`${tenant}/${name}`);
  return { kind: 'createTopic', tenant, name, id, shards, internal, config: new Map(Object.entries(config)) };
}

export function roll(
  shard: StoredShard,
  endOffset: number | null,
  more: Partial<Extract<MetadataCommand, { kind: 'rollSegment' }>> = {},
): MetadataCommand {
  const open = shard.segments.at(-1);
  const sealed = endOffset === null || open === undefined ? null : seal(open.id, endOffset, open.baseOffset);
  return {
    kind: 'rollSegment',
    shard: shard.id,
    epoch: shard.ownerEpoch,
    sealed,
    hole: null,
    open: true,
    ...more,
  };
}

export function seal(segment: SegmentId, endOffset: number, baseOffset = -1): SealedSegment {
  const endEntry = endOffset === baseOffset ? -1 : 4;
  return { segment, endEntry, endOffset, maxTimestamp: 1000, bytes: 512, chainCrc: 9 };
}

/** Applies commands one after the other. */
export function run(state: MetadataState, ...commands: MetadataCommand[]): (MetadataResult | RobustError)[] {
  return commands.map((command) => state.apply(state.index + 1, command).result);
}

/** The result of a command that is accepted. */
export function accept(state: MetadataState, command: MetadataCommand): MetadataResult {
  const [result] = run(state, command);
  if (result instanceof RobustError) throw result;
  return result!;
}

/** The code of the refusal of a command, 'ok' when it is none. */
export function codeOf(state: MetadataState, command: MetadataCommand): string {
  const [result] = run(state, command);
  return result instanceof RobustError ? result.code : 'ok';
}

/** Six numbers that say what one random command does; `commandFrom` makes it fit the state, mostly. */
export type Dice = readonly [kind: number, a: number, b: number, c: number, d: number, e: number];

/** A command that has a fair chance of being accepted by `state`, and a fair one of being refused. */
export function commandFrom(state: MetadataState, dice: Dice): MetadataCommand {
  const [kind, a, b, c, d, e] = dice;
  const shards = [...state.shards.values()].sort((left, right) => left.id - right.id);
  const shard = shards[a % Math.max(shards.length, 1)];
  const name = ['main', 'a', 'b', '__x', 'c'][a % 5]!;
  if (kind < 2 || shard === undefined) return registerOrCreate(kind, dice, name);
  const epoch = (shard.ownerEpoch - (b % 8 === 0 ? 1 : 0)) as Epoch;
  if (kind < 9) return randomRoll(shard, epoch, dice);
  const topic = c % 9 === 0 ? topicId('gone') : shard.topic;
  switch (kind) {
    case 9:
      return { kind: 'trimShard', shard: shard.id, startOffset: shard.startOffset + (b % 40) - 5 };
    case 10:
    case 11:
      return randomSwap(shard, epoch, dice);
    case 12:
      return { kind: 'deleteTopic', topic };
    case 13:
      return { kind: 'addShards', topic, shards: b % 6 };
    case 14: {
      const key = ['subject.bind', 'cleanup.policy', 'retention.ms', 'storage'][b % 4]!;
      const value = ['true', 'compact', '1000', 'memory', null][d % 5]!;
      return { kind: 'configureTopic', topic, changes: new Map([[key, value]]) };
    }
    case 15:
      return { kind: 'raiseOffsetLimit', shard: shard.id, epoch, limit: shard.offsetLimit + (e % 30) - 5 };
    case 16:
      return { kind: 'acceptLoss', shard: (shard.id + (b % 2)) as ShardId };
    case 17:
      return { kind: 'allocateSegments', count: b % 4 };
    case 18:
      return { kind: 'allocateProducerIds' };
    default:
      return startBroker(((b % 2) + 1) as NodeId, c % 2 === 0);
  }
}

/** Kinds of dice: `commandFrom` takes 0 to this. */
export const diceKinds = 19;

function registerOrCreate(kind: number, [, a, b, c, d]: Dice, name: string): MetadataCommand {
  if (kind % 4 === 0 && b % 3 === 0)
    return registerJournal((b % 2 ? 'a' : 'b').repeat(32) as JournalUuid, c % 5);
  if (kind % 4 === 1 && b % 3 === 0) return startBroker(((c % 2) + 1) as NodeId, d % 2 === 0);
  const config: Record<string, string> = d % 4 === 0 ? { 'subject.bind': 'true' } : {};
  return createTopic(name, {
    shards: b % 4,
    internal: name.startsWith('__'),
    config,
    tenant: a % 2 ? 't' : 'u',
  });
}

function randomRoll(shard: StoredShard, epoch: Epoch, [, , b, c, d, e]: Dice): MetadataCommand {
  const open = shard.segments.at(-1)?.state === 'open' ? shard.segments.at(-1)! : undefined;
  const end = (open?.baseOffset ?? shard.nextBase) + (b % 20);
  const sealed = open === undefined || d % 11 === 0 ? null : seal(open.id, end, open.baseOffset);
  const from = sealed === null ? shard.nextBase : end;
  const hole =
    c % 4 === 0 ? ({ from, to: from + (e % 9), kind: e % 2 === 0 ? 'lost' : 'skipped' } as const) : null;
  return { kind: 'rollSegment', shard: shard.id, epoch, sealed, hole, open: e % 5 !== 0 };
}

function randomSwap(shard: StoredShard, epoch: Epoch, [, , b, c, d, e]: Dice): MetadataCommand {
  const at = b % Math.max(shard.segments.length, 1);
  const removed = shard.segments.slice(at, at + 1 + (c % 3));
  const like = removed[0];
  if (like === undefined) return { kind: 'swapSegments', shard: shard.id, epoch, removed: [], added: [] };
  const { seq: _seq, state: _state, ...base } = like;
  const id = (1 + (d % 30)) as SegmentId;
  const endOffset = removed.at(-1)!.endOffset + (e % 7 === 0 ? 1 : 0);
  const added = endOffset === base.baseOffset ? [] : [{ ...base, id, endOffset }];
  return { kind: 'swapSegments', shard: shard.id, epoch, removed: removed.map((one) => one.id), added };
}
