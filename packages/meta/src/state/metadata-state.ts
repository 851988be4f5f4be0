import { assert, RobustError } from '@robustmq/core';
import type { JournalUuid, NodeId, ShardId, TopicId } from '@robustmq/core';
import { topicKey } from '@robustmq/kernel';
import type {
  BrokerRecord,
  JournalRecord,
  MetadataChange,
  MetadataCommand,
  MetadataImage,
  MetadataResult,
  SegmentRecord,
  TopicRecord,
} from '@robustmq/kernel';
import type { Pair } from '../codec/pair-codec.ts';
import {
  brokerPair,
  countersPair,
  decodePair,
  journalPair,
  segmentPair,
  shardPair,
  topicPair,
} from '../codec/pair-codec.ts';
import { ContentHash } from './content-hash.ts';
import { allocateProducerIds, allocateSegments, registerJournal, startBroker } from './node-rules.ts';
import type { Refusal } from './refusal.ts';
import {
  acceptLoss,
  bySegmentOrder,
  raiseOffsetLimit,
  rollSegment,
  swapSegments,
  trimShard,
} from './segment-rules.ts';
import { assertShard } from './shard-invariants.ts';
import type { Counters, Edit, Outcome, StoredShard, Tables } from './tables.ts';
import { Draft, int31Max, producerIdBlock, segmentsPerAllocationMax, shardsPerTenantMax } from './tables.ts';
import { addShards, configureTopic, createTopic, deleteTopic } from './topic-rules.ts';

export interface StateOptions {
  readonly clusterId: string;
  /** Name of the topic that takes every name without a topic of its own. The same on every replica, for ever. */
  readonly defaultTopic: string;
}

/** What applying one command did. */
export interface Transition {
  readonly result: MetadataResult | Refusal;
  /** Empty when the command was refused or changed nothing. */
  readonly changes: readonly MetadataChange[];
  /** The pairs that changed; a null value is one that went. */
  readonly pairs: readonly (readonly [key: string, value: Buffer | null])[];
}

/**
 * The metadata of a cluster as a deterministic state machine (I16): the same commands at the same indexes give the
 * same state, results and hash, on every replica and at every replay. Knows no clock, no randomness and no disk.
 */
export class MetadataState implements Tables {
  readonly defaultTopic: string;
  readonly topics = new Map<TopicId, TopicRecord>();
  readonly topicsByName = new Map<string, TopicRecord>();
  readonly shards = new Map<ShardId, StoredShard>();
  readonly journals = new Map<JournalUuid, JournalRecord>();
  readonly brokers = new Map<NodeId, BrokerRecord>();
  readonly image: MetadataImage;
  readonly #tenantShards = new Map<string, number>();
  readonly #hash = new ContentHash();
  #counters: Counters = { nextShard: 1, nextSegment: 1, nextProducer: 1000 };
  #index = 0;

  constructor(options: StateOptions) {
    this.defaultTopic = options.defaultTopic;
    this.image = liveImage(this, options.clusterId);
    const [key, value] = countersPair(this.#counters);
    this.#hash.add(key, value);
  }

  /** Index of the last applied command; 0 before the first. It is the revision of the image. */
  get index(): number {
    return this.#index;
  }

  get counters(): Counters {
    return this.#counters;
  }

  /** Hash of all pairs, 32 hex digits: equal on all replicas at an equal index. */
  get hash(): string {
    return this.#hash.digest();
  }

  get pairCount(): number {
    return this.#hash.count;
  }

  shardsOfTenant(tenant: string): number {
    return this.#tenantShards.get(tenant) ?? 0;
  }

  /** Applies the command at `index`, which is one above the last. Refusals are results, never exceptions. */
  apply(index: number, command: MetadataCommand): Transition {
    assert(index === this.#index + 1, 'commands are applied in the order of their indexes');
    this.#index = index;
    const draft = new Draft(index);
    const outcome = decide(this, draft, command);
    if (outcome instanceof RobustError) return { result: outcome, changes: [], pairs: [] };
    const changes: MetadataChange[] = [];
    const pairs: [string, Buffer | null][] = [];
    for (const edit of draft.edits) {
      this.#commit(edit);
      this.#hashEdit(edit, pairs);
      const change = changeOf(edit);
      if (change !== null) changes.push(change);
    }
    return { result: { ...outcome, revision: index }, changes, pairs };
  }

  /**
   * Goes on at `index` without the commands in between, which are lost. Whatever they may have allocated or raised is
   * stepped over: an id or epoch that somebody out there holds must not be given again.
   */
  stepOver(index: number): void {
    const lost = index - this.#index;
    assert(lost > 0, 'what is stepped over is ahead');
    const { nextShard, nextSegment, nextProducer } = this.#counters;
    const counters: Counters = {
      // Ids of shards are few: however much was lost, half of the rest stays.
      nextShard: nextShard + Math.min(lost * shardsPerTenantMax, Math.floor((int31Max - nextShard) / 2)),
      nextSegment: nextSegment + lost * segmentsPerAllocationMax,
      nextProducer: nextProducer + lost * producerIdBlock,
    };
    const edits: Edit[] = [{ kind: 'counters', previous: this.#counters, next: counters }];
    for (const shard of this.shards.values()) {
      const ownerEpoch = Math.min(shard.ownerEpoch + lost, int31Max - 1) as StoredShard['ownerEpoch'];
      edits.push({ kind: 'shard', previous: shard, next: { ...shard, ownerEpoch } });
    }
    for (const edit of edits) {
      this.#commit(edit);
      this.#hashEdit(edit, []);
    }
    this.#index = index;
  }

  /** All pairs of the state as it is now, whatever is applied during the iteration. */
  pairs(): Generator<Pair> {
    return pairsOf({
      counters: this.#counters,
      journals: [...this.journals.values()],
      brokers: [...this.brokers.values()],
      topics: [...this.topics.values()],
      shards: [...this.shards.values()],
    });
  }

  #commit(edit: Edit): void {
    switch (edit.kind) {
      case 'topic':
        return this.#commitTopic(edit.previous, edit.next);
      case 'shard':
        if (edit.next === undefined) this.shards.delete(edit.previous!.id);
        else {
          assertShard(edit.next, edit.previous);
          this.shards.set(edit.next.id, edit.next);
        }
        return;
      case 'journal':
        this.journals.set(edit.next.uuid, edit.next);
        return;
      case 'broker':
        this.brokers.set(edit.next.nodeId, edit.next);
        return;
      case 'counters':
        this.#counters = edit.next;
    }
  }

  #commitTopic(previous: TopicRecord | undefined, next: TopicRecord | undefined): void {
    const { tenant } = (next ?? previous)!;
    const grown = (next?.shards.length ?? 0) - (previous?.shards.length ?? 0);
    this.#tenantShards.set(tenant, this.shardsOfTenant(tenant) + grown);
    if (next === undefined) {
      this.topics.delete(previous!.id);
      this.topicsByName.delete(topicKey(tenant, previous!.name));
    } else {
      this.topics.set(next.id, next);
      this.topicsByName.set(topicKey(tenant, next.name), next);
    }
  }

  #hashEdit(edit: Edit, pairs: [string, Buffer | null][]): void {
    const before = edit.previous === undefined ? null : headPair(edit, edit.previous);
    const after = edit.next === undefined ? null : headPair(edit, edit.next);
    this.#hashPair(before, after, pairs);
    if (edit.kind === 'shard') this.#hashSegments(edit.previous, edit.next, pairs);
  }

  #hashSegments(
    previous: StoredShard | undefined,
    next: StoredShard | undefined,
    pairs: [string, Buffer | null][],
  ): void {
    const before = previous?.segments ?? [];
    const after = next?.segments ?? [];
    if (before === after) return;
    const { id } = (next ?? previous)!;
    // A roll changes the end of a list that may be long.
    let equal = 0;
    while (equal < before.length && before[equal] === after[equal]) equal++;
    const gone = new Map(before.slice(equal).map((segment) => [segment.id, segment]));
    for (const segment of after.slice(equal)) {
      const known = gone.get(segment.id);
      gone.delete(segment.id);
      if (known === segment) continue;
      this.#hashPair(known === undefined ? null : segmentPair(id, known), segmentPair(id, segment), pairs);
    }
    for (const segment of gone.values()) this.#hashPair(segmentPair(id, segment), null, pairs);
  }

  #hashPair(before: Pair | null, after: Pair | null, pairs: [string, Buffer | null][]): void {
    if (before !== null) this.#hash.remove(before[0], before[1]);
    if (after !== null) {
      this.#hash.add(after[0], after[1]);
      pairs.push([after[0], after[1]]);
    } else if (before !== null) {
      pairs.push([before[0], null]);
    }
  }

  /**
   * The state that `pairs` describe, at `index`. Throws a `BytesErrorCode` on a pair that this version does not know
   * or one that belongs to nothing; whether the set is complete is for the caller to compare by count and hash.
   */
  static load(
    options: StateOptions,
    index: number,
    pairs: Iterable<readonly [string, Uint8Array]>,
  ): MetadataState {
    const state = new MetadataState(options);
    const segments = new Map<ShardId, SegmentRecord[]>();
    const heads: StoredShard[] = [];
    const initial = countersPair(state.#counters);
    state.#hash.remove(initial[0], initial[1]);
    for (const [key, value] of pairs) {
      state.#hash.add(key, value);
      const stored = decodePair(key, value);
      if (stored.kind === 'counters') state.#counters = stored.record;
      else if (stored.kind === 'topic') state.#commitTopic(undefined, stored.record);
      else if (stored.kind === 'journal') state.journals.set(stored.record.uuid, stored.record);
      else if (stored.kind === 'broker') state.brokers.set(stored.record.nodeId, stored.record);
      else if (stored.kind === 'shard') heads.push(stored.record);
      else listOf(segments, stored.shard).push(stored.record);
    }
    for (const head of heads) {
      const own = (segments.get(head.id) ?? []).sort(bySegmentOrder);
      state.shards.set(head.id, { ...head, segments: own });
    }
    state.#index = index;
    return state;
  }
}

interface Records {
  readonly counters: Counters;
  readonly journals: readonly JournalRecord[];
  readonly brokers: readonly BrokerRecord[];
  readonly topics: readonly TopicRecord[];
  readonly shards: readonly StoredShard[];
}

function* pairsOf(records: Records): Generator<Pair> {
  yield countersPair(records.counters);
  for (const journal of records.journals) yield journalPair(journal);
  for (const broker of records.brokers) yield brokerPair(broker);
  for (const topic of records.topics) yield topicPair(topic);
  for (const shard of records.shards) {
    yield shardPair(shard);
    for (const segment of shard.segments) yield segmentPair(shard.id, segment);
  }
}

function listOf(lists: Map<ShardId, SegmentRecord[]>, shard: ShardId): SegmentRecord[] {
  let list = lists.get(shard);
  if (list === undefined) {
    list = [];
    lists.set(shard, list);
  }
  return list;
}

function decide(tables: Tables, draft: Draft, command: MetadataCommand): Outcome {
  switch (command.kind) {
    case 'createTopic':
      return createTopic(tables, draft, command);
    case 'deleteTopic':
      return deleteTopic(tables, draft, command);
    case 'addShards':
      return addShards(tables, draft, command);
    case 'configureTopic':
      return configureTopic(tables, draft, command);
    case 'registerJournal':
      return registerJournal(tables, draft, command);
    case 'startBroker':
      return startBroker(tables, draft, command);
    case 'rollSegment':
      return rollSegment(tables, draft, command);
    case 'trimShard':
      return trimShard(tables, draft, command);
    case 'swapSegments':
      return swapSegments(tables, draft, command);
    case 'allocateSegments':
      return allocateSegments(tables, draft, command);
    case 'raiseOffsetLimit':
      return raiseOffsetLimit(tables, draft, command);
    case 'allocateProducerIds':
      return allocateProducerIds(tables, draft);
    case 'acceptLoss':
      return acceptLoss(tables, draft, command);
  }
}

function headPair(edit: Edit, record: NonNullable<Edit['previous'] | Edit['next']>): Pair {
  switch (edit.kind) {
    case 'topic':
      return topicPair(record as TopicRecord);
    case 'shard':
      return shardPair(record as StoredShard);
    case 'journal':
      return journalPair(record as JournalRecord);
    case 'broker':
      return brokerPair(record as BrokerRecord);
    case 'counters':
      return countersPair(record as Counters);
  }
}

function changeOf(edit: Edit): MetadataChange | null {
  switch (edit.kind) {
    case 'topic':
      if (edit.next === undefined) return { kind: 'topicDeleted', topic: edit.previous! };
      return { kind: 'topic', topic: edit.next };
    case 'shard':
      if (edit.next === undefined) return { kind: 'shardDeleted', shard: edit.previous!.id };
      return { kind: 'shard', shard: edit.next };
    case 'journal':
      return { kind: 'journal', journal: edit.next };
    case 'broker':
      return { kind: 'broker', broker: edit.next };
    case 'counters':
      return null;
  }
}

/** The image is the live tables, not a copy: a revision costs what it changes. */
function liveImage(state: MetadataState, clusterId: string): MetadataImage {
  return {
    clusterId,
    get revision() {
      return state.index;
    },
    topics: state.topics,
    topicsByName: state.topicsByName,
    shards: state.shards,
    journals: state.journals,
    brokers: state.brokers,
  };
}
