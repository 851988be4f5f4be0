import { RobustError } from '@robustmq/core';
import type { NodeId, ShardId, TopicId } from '@robustmq/core';
import { parseTopicConfig, topicConfigKeys, topicKey, validateTopicConfig } from '@robustmq/kernel';
import type { KernelErrorCode, MetadataCommand, TopicConfigValues, TopicRecord } from '@robustmq/kernel';
import { type Refusal, refusal } from './refusal.ts';
import type { Draft, Outcome, StoredShard, Tables } from './tables.ts';
import { int31Max, shardsPerTenantMax } from './tables.ts';
import { tenantProblem, topicNameProblem } from './topic-name.ts';

type Command<Kind extends MetadataCommand['kind']> = Extract<MetadataCommand, { kind: Kind }>;

export function createTopic(tables: Tables, draft: Draft, command: Command<'createTopic'>): Outcome {
  const { tenant, name, id, internal, config } = command;
  const again = tables.topics.get(id);
  // The same id again is the same request sent twice because its outcome was unknown.
  if (again !== undefined) {
    if (again.tenant === tenant && again.name === name) return { topic: again };
    return refusal('METADATA_CONFLICT', 'another topic has this id', { id });
  }
  if (!/^[0-9a-f]{32}$/.test(id)) return refusal('METADATA_CONFLICT', 'a topic id is 32 hex digits', { id });
  const problem = topicNameProblem(name, internal);
  if (problem !== null) return refusal('TOPIC_NAME_INVALID', `not a topic name: ${problem}`, { name });
  const stranger = tenantProblem(tenant);
  if (stranger !== null) return refusal('TOPIC_NAME_INVALID', `not a tenant: ${stranger}`, { tenant });
  if (tables.topicsByName.has(topicKey(tenant, name))) {
    return refusal('TOPIC_EXISTS', 'the tenant has a topic of this name', { tenant, name });
  }
  const refused = configProblem(tables, { name, internal, config });
  if (refused !== null) return refused;
  const shards = planShards(tables, draft, { topic: id, tenant, first: 0, count: command.shards });
  if (shards instanceof RobustError) return shards;
  const topic: TopicRecord = {
    id,
    tenant,
    name,
    internal,
    config,
    shards: shards.map((shard) => shard.id),
    createdRevision: draft.revision,
  };
  draft.add({ kind: 'topic', next: topic });
  for (const shard of shards) draft.add({ kind: 'shard', next: shard });
  return { topic };
}

export function deleteTopic(tables: Tables, draft: Draft, command: Command<'deleteTopic'>): Outcome {
  const topic = tables.topics.get(command.topic);
  if (topic === undefined) return unknownTopic(command.topic);
  if (isDefault(tables, topic)) return refusal('TOPIC_POLICY', 'the default topic is not deleted');
  draft.add({ kind: 'topic', previous: topic });
  for (const shard of topic.shards) draft.add({ kind: 'shard', previous: tables.shards.get(shard)! });
  return { topic };
}

/** `command.shards` is the new total. */
export function addShards(tables: Tables, draft: Draft, command: Command<'addShards'>): Outcome {
  const topic = tables.topics.get(command.topic);
  if (topic === undefined) return unknownTopic(command.topic);
  if (isDefault(tables, topic) || parseTopicConfig(topic.config).subjectBind) {
    return refusal('SHARD_COUNT_INVALID', 'the default topic and bound topics keep their shards', {
      name: topic.name,
    });
  }
  const first = topic.shards.length;
  if (!(command.shards > first)) {
    return refusal('SHARD_COUNT_INVALID', 'the number of shards only grows', {
      shards: first,
      asked: command.shards,
    });
  }
  const { id, tenant } = topic;
  const added = planShards(tables, draft, { topic: id, tenant, first, count: command.shards - first });
  if (added instanceof RobustError) return added;
  const next: TopicRecord = { ...topic, shards: [...topic.shards, ...added.map((shard) => shard.id)] };
  draft.add({ kind: 'topic', previous: topic, next });
  for (const shard of added) draft.add({ kind: 'shard', next: shard });
  return { topic: next };
}

export function configureTopic(tables: Tables, draft: Draft, command: Command<'configureTopic'>): Outcome {
  const topic = tables.topics.get(command.topic);
  if (topic === undefined) return unknownTopic(command.topic);
  const config = new Map(topic.config);
  for (const [key, value] of command.changes) {
    if (value === null) config.delete(key);
    else config.set(key, value);
  }
  const refused = configProblem(tables, { name: topic.name, internal: topic.internal, config });
  if (refused !== null) return refused;
  const fixed = changedFixedKey(topic.config, config);
  if (fixed !== null && mayHoldData(tables, topic)) {
    return refusal('TOPIC_CONFIG_INVALID', `${fixed} is only changed while the topic is empty`, {
      key: fixed,
    });
  }
  const next: TopicRecord = { ...topic, config };
  draft.add({ kind: 'topic', previous: topic, next });
  return { topic: next };
}

function isDefault(tables: Tables, topic: { name: string; internal: boolean }): boolean {
  return !topic.internal && topic.name === tables.defaultTopic;
}

function unknownTopic(topic: TopicId): Refusal {
  return refusal('TOPIC_NOT_FOUND', 'no topic has this id', { topic });
}

function configProblem(
  tables: Tables,
  topic: { name: string; internal: boolean; config: TopicConfigValues },
): Refusal | null {
  try {
    validateTopicConfig(topic.config);
  } catch (error) {
    if (error instanceof RobustError) return error as RobustError<KernelErrorCode>;
    throw error;
  }
  const config = parseTopicConfig(topic.config);
  const standard = isDefault(tables, topic);
  if (config.compact && (standard || config.subjectBind)) {
    return refusal('TOPIC_POLICY', 'every record of the default topic and of bound topics is kept', {
      name: topic.name,
    });
  }
  if (standard && config.subjectBind) {
    return refusal('TOPIC_POLICY', 'the default topic takes every name; it cannot be bound to one');
  }
  return null;
}

function changedFixedKey(before: TopicConfigValues, after: TopicConfigValues): string | null {
  for (const key of topicConfigKeys) {
    if (key.fixed !== true) continue;
    if ((before.get(key.name) ?? key.default) !== (after.get(key.name) ?? key.default)) return key.name;
  }
  return null;
}

/** An open segment counts: what it holds is known to its owner only. */
function mayHoldData(tables: Tables, topic: TopicRecord): boolean {
  const inMemory = parseTopicConfig(topic.config).storage === 'memory';
  for (const id of topic.shards) {
    const shard = tables.shards.get(id)!;
    if (inMemory && shard.offsetLimit > shard.startOffset) return true;
    for (const segment of shard.segments) {
      if (segment.state === 'open' || segment.endOffset > segment.baseOffset) return true;
    }
  }
  return false;
}

/** New shards of a topic, each owned by the broker that has the fewest; the counter's edit goes to the draft. */
function planShards(
  tables: Tables,
  draft: Draft,
  plan: { topic: TopicId; tenant: string; first: number; count: number },
): StoredShard[] | Refusal {
  const { topic, tenant, first, count } = plan;
  if (!Number.isSafeInteger(count) || count < 1) {
    return refusal('SHARD_COUNT_INVALID', 'a topic has at least one shard', { shards: count });
  }
  const have = tables.shardsOfTenant(tenant);
  const nextShard = tables.counters.nextShard;
  if (have + count > shardsPerTenantMax || nextShard + count > int31Max) {
    return refusal('TOPIC_LIMIT', 'the tenant has as many shards as it may', {
      limit: shardsPerTenantMax,
      have,
    });
  }
  const owners = new OwnerChoice(tables);
  if (owners.none) return refusal('SHARD_UNAVAILABLE', 'no broker is registered to own shards', {}, true);
  const shards: StoredShard[] = [];
  for (let at = 0; at < count; at++) {
    shards.push({
      id: (nextShard + at) as ShardId,
      topic,
      index: first + at,
      owner: owners.take(),
      ownerEpoch: 1 as StoredShard['ownerEpoch'],
      startOffset: 0,
      segments: [],
      holes: [],
      offsetLimit: 0,
      lossAccepted: false,
      nextSegmentSeq: 0,
      nextBase: 0,
    });
  }
  draft.add({
    kind: 'counters',
    previous: tables.counters,
    next: { ...tables.counters, nextShard: nextShard + count },
  });
  return shards;
}

/** Hands out the broker with the fewest shards, the lowest id among equals: independent of the order of tables. */
class OwnerChoice {
  readonly #brokers: NodeId[];
  readonly #load = new Map<NodeId, number>();

  constructor(tables: Tables) {
    this.#brokers = [...tables.brokers.keys()].sort((a, b) => a - b);
    if (this.#brokers.length < 2) return;
    for (const shard of tables.shards.values()) {
      this.#load.set(shard.owner, (this.#load.get(shard.owner) ?? 0) + 1);
    }
  }

  get none(): boolean {
    return this.#brokers.length === 0;
  }

  take(): NodeId {
    let best = this.#brokers[0]!;
    for (const broker of this.#brokers) {
      if ((this.#load.get(broker) ?? 0) < (this.#load.get(best) ?? 0)) best = broker;
    }
    this.#load.set(best, (this.#load.get(best) ?? 0) + 1);
    return best;
  }
}
