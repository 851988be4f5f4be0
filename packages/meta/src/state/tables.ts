import type { JournalUuid, NodeId, Offset, ShardId, TopicId } from '@robustmq/core';
import type { BrokerRecord, JournalRecord, MetadataResult, ShardRecord, TopicRecord } from '@robustmq/kernel';
import type { Refusal } from './refusal.ts';

/** Where the next id of each kind comes from. They only grow, so that no id is ever given twice. */
export interface Counters {
  readonly nextShard: number;
  readonly nextSegment: number;
  readonly nextProducer: number;
}

/** A shard with what the next segment needs once all earlier ones have left the list. */
export interface StoredShard extends ShardRecord {
  readonly nextSegmentSeq: number;
  /** Base of the next segment while none is open: the end of everything sealed or recorded as a hole so far. */
  readonly nextBase: Offset;
}

/** The state that rules read. They never change it: what they decide goes into a `Draft`. */
export interface Tables {
  readonly defaultTopic: string;
  readonly counters: Counters;
  readonly topics: ReadonlyMap<TopicId, TopicRecord>;
  readonly topicsByName: ReadonlyMap<string, TopicRecord>;
  readonly shards: ReadonlyMap<ShardId, StoredShard>;
  readonly journals: ReadonlyMap<JournalUuid, JournalRecord>;
  readonly brokers: ReadonlyMap<NodeId, BrokerRecord>;
  shardsOfTenant(tenant: string): number;
}

/** One record replaced (both sides), made (no `previous`) or removed (no `next`). */
export type Edit =
  | { readonly kind: 'topic'; readonly previous?: TopicRecord; readonly next?: TopicRecord }
  | { readonly kind: 'shard'; readonly previous?: StoredShard; readonly next?: StoredShard }
  | { readonly kind: 'journal'; readonly previous?: JournalRecord; readonly next: JournalRecord }
  | { readonly kind: 'broker'; readonly previous?: BrokerRecord; readonly next: BrokerRecord }
  | { readonly kind: 'counters'; readonly previous: Counters; readonly next: Counters };

/** What a command answers: refused, or accepted with what it made. */
export type Outcome = Refusal | Omit<MetadataResult, 'revision'>;

/**
 * The edits of one command, applied all together after its rule accepted it. A rule that refuses leaves nothing
 * behind whatever it drafted.
 */
export class Draft {
  readonly edits: Edit[] = [];
  readonly revision: number;

  constructor(revision: number) {
    this.revision = revision;
  }

  add(edit: Edit): void {
    this.edits.push(edit);
  }
}

export const shardsPerTenantMax = 20_000;
export const segmentsPerAllocationMax = 10_000;
export const producerIdBlock = 1000;
/** Ids and epochs of 32 bits stay below this. */
export const int31Max = 0x7fff_ffff;
