import type { MetadataCommand } from '@robustmq/kernel';
import { type Refusal, refusal } from './refusal.ts';
import type { Draft, Outcome, StoredShard, Tables } from './tables.ts';
import { int31Max, producerIdBlock, segmentsPerAllocationMax } from './tables.ts';

type Command<Kind extends MetadataCommand['kind']> = Extract<MetadataCommand, { kind: Kind }>;

/**
 * A journal with a boot counter below the recorded one is an old copy of its disk: it may lack what it acknowledged
 * since. A node that comes with another uuid lost the disk it had.
 */
export function registerJournal(tables: Tables, draft: Draft, command: Command<'registerJournal'>): Outcome {
  const { nodeId, uuid, bootCounter } = command.journal;
  const invalid = nodeProblem(nodeId);
  if (invalid !== null) return invalid;
  if (!/^[0-9a-f]{32}$/.test(uuid) || !(bootCounter >= 0)) {
    return refusal('METADATA_CONFLICT', 'not the identity of a journal', { uuid, bootCounter });
  }
  const known = tables.journals.get(uuid);
  if (known !== undefined && (known.nodeId !== nodeId || bootCounter < known.bootCounter)) {
    return refusal('JOURNAL_INCARNATION', 'another or an older copy of this journal is registered', {
      uuid,
      nodeId,
      bootCounter,
      known: { nodeId: known.nodeId, bootCounter: known.bootCounter },
    });
  }
  for (const other of tables.journals.values()) {
    if (other.nodeId === nodeId && other.uuid !== uuid && other.state !== 'lost') {
      draft.add({ kind: 'journal', previous: other, next: { ...other, state: 'lost' } });
    }
  }
  const next = { nodeId, uuid, bootCounter, state: 'up' } as const;
  draft.add(known === undefined ? { kind: 'journal', next } : { kind: 'journal', previous: known, next });
  return {};
}

/** One command for all shards, so that a start costs one commit however many there are. */
export function startBroker(tables: Tables, draft: Draft, command: Command<'startBroker'>): Outcome {
  const { broker, addresses, takeAll } = command;
  const invalid = nodeProblem(broker);
  if (invalid !== null) return invalid;
  const known = tables.brokers.get(broker);
  const next = { nodeId: broker, incarnation: (known?.incarnation ?? 0) + 1, addresses };
  draft.add(known === undefined ? { kind: 'broker', next } : { kind: 'broker', previous: known, next });
  if (!takeAll) return {};
  for (const shard of tables.shards.values()) {
    if (shard.ownerEpoch >= int31Max - 1) {
      return refusal('METADATA_CONFLICT', 'a shard has no epoch left', { shard: shard.id });
    }
    const ownerEpoch = (shard.ownerEpoch + 1) as StoredShard['ownerEpoch'];
    draft.add({ kind: 'shard', previous: shard, next: { ...shard, owner: broker, ownerEpoch } });
  }
  return {};
}

export function allocateSegments(
  tables: Tables,
  draft: Draft,
  command: Command<'allocateSegments'>,
): Outcome {
  const { count } = command;
  if (!Number.isSafeInteger(count) || count < 1 || count > segmentsPerAllocationMax) {
    return refusal('METADATA_CONFLICT', `a block has 1 to ${segmentsPerAllocationMax} ids`, { count });
  }
  const firstId = tables.counters.nextSegment;
  return allocate(tables, draft, { firstId, counters: { nextSegment: firstId + count } });
}

export function allocateProducerIds(tables: Tables, draft: Draft): Outcome {
  const firstId = tables.counters.nextProducer;
  return allocate(tables, draft, { firstId, counters: { nextProducer: firstId + producerIdBlock } });
}

function allocate(
  tables: Tables,
  draft: Draft,
  block: { firstId: number; counters: { nextSegment?: number; nextProducer?: number } },
): Outcome {
  const previous = tables.counters;
  draft.add({ kind: 'counters', previous, next: { ...previous, ...block.counters } });
  return { firstId: block.firstId };
}

function nodeProblem(node: number): Refusal | null {
  if (Number.isSafeInteger(node) && node >= 0 && node < int31Max) return null;
  return refusal('METADATA_CONFLICT', 'not a node id', { node });
}
