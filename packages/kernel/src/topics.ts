import { RobustError } from '@robustmq/core';
import type { Random, TopicId } from '@robustmq/core';
import type { KernelErrorCode } from './errors.ts';
import { retainedTopic } from './folds/retained.ts';
import { isBoundTopic } from './names/topic-naming.ts';
import type { Metadata, MetadataCommand, TopicConfigValues, TopicRecord } from './ports/metadata.ts';
import { topicKey } from './ports/metadata.ts';
import { parseTopicConfig, topicConfigKeys, validateTopicConfig } from './topic-config.ts';
import type { TopicConfig } from './topic-config.ts';

/** The tenant of internal topics; no adapter can name it. */
export const systemTenant = 'system';

export interface TopicsOptions {
  readonly tenant: string;
  /** Name of the topic that takes every subject no bound topic takes; from the server's configuration. */
  readonly defaultTopic: string;
  readonly defaultTopicShards: number;
  readonly defaultTopicConfig: TopicConfigValues;
  /** Shards of a topic that is created by its first use. */
  readonly autoCreateShards: number;
  /** Topics that may be created by use, at most. */
  readonly autoCreateMax: number;
}

/** Topics by name, with their effective configuration; creation and change. */
export class Topics {
  readonly options: TopicsOptions;
  readonly #metadata: Metadata;
  readonly #random: Random;
  readonly #configs = new WeakMap<TopicRecord, TopicConfig>();
  readonly #creating = new Map<string, Promise<TopicRecord>>();
  /** The last that was found by its name: clients ask for one over and over. */
  #lastNamed: TopicRecord | undefined;

  constructor(options: TopicsOptions, metadata: Metadata, random: Random) {
    this.options = options;
    this.#metadata = metadata;
    this.#random = random;
  }

  has(id: TopicId): boolean {
    return this.#metadata.image.topics.has(id);
  }

  byId(id: TopicId): TopicRecord | undefined {
    const topic = this.#metadata.image.topics.get(id);
    return topic?.internal === true ? undefined : topic;
  }

  byName(name: string): TopicRecord | undefined {
    const { topics, topicsByName } = this.#metadata.image;
    const last = this.#lastNamed;
    if (last !== undefined && last.name === name && topics.get(last.id) === last) return last;
    const topic = topicsByName.get(topicKey(this.options.tenant, name));
    this.#lastNamed = topic;
    return topic;
  }

  /** Topics that clients may see, in name order. */
  list(): TopicRecord[] {
    const topics = [...this.#metadata.image.topics.values()].filter((topic) => !topic.internal);
    return topics.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get defaultTopic(): TopicRecord {
    const topic = this.byName(this.options.defaultTopic);
    if (topic === undefined)
      throw new RobustError<KernelErrorCode>('TOPIC_NOT_FOUND', 'the kernel has not started');
    return topic;
  }

  isBound(topic: TopicRecord): boolean {
    return isBoundTopic(topic, this.options.defaultTopic);
  }

  /** Whether messages may be retained under the topic's subjects. */
  retains(topic: TopicRecord): boolean {
    return topic.name === this.options.defaultTopic || this.isBound(topic);
  }

  configOf(topic: TopicRecord): TopicConfig {
    let config = this.#configs.get(topic);
    if (config === undefined) {
      config = parseTopicConfig(topic.config);
      this.#configs.set(topic, config);
    }
    return config;
  }

  /** Creates a topic. Throws TOPIC_EXISTS, TOPIC_NAME_INVALID, TOPIC_CONFIG_INVALID, TOPIC_POLICY, TOPIC_LIMIT. */
  async create(name: string, shards: number, config: TopicConfigValues = new Map()): Promise<TopicRecord> {
    this.checkCreation(name, shards, config);
    const id = this.#random.bytes(16).toString('hex') as TopicId;
    const { tenant } = this.options;
    return this.#created({ kind: 'createTopic', tenant, name, id, shards, internal: false, config });
  }

  /** The topic, created with the defaults if it is not there; concurrent callers share one creation. */
  async ensure(name: string): Promise<TopicRecord> {
    const known = this.byName(name);
    if (known !== undefined) return known;
    const { tenant, autoCreateShards, autoCreateMax } = this.options;
    return this.#once(tenant, name, () => {
      // Those that are being created count, too.
      if (this.#autoCreated() + this.#creating.size >= autoCreateMax) {
        throw new RobustError<KernelErrorCode>('TOPIC_POLICY', 'too many topics were created by their use');
      }
      return this.create(name, autoCreateShards, new Map([['auto.created', 'true']]));
    });
  }

  /** The default topic, made at the first start. */
  async ensureDefault(): Promise<void> {
    const { defaultTopic, defaultTopicShards, defaultTopicConfig } = this.options;
    if (this.byName(defaultTopic) === undefined) {
      await this.create(defaultTopic, defaultTopicShards, defaultTopicConfig);
    }
  }

  /** An internal topic, created if it is not there. */
  async ensureInternal(name: string, shards: number): Promise<TopicRecord> {
    const known = this.#metadata.image.topicsByName.get(topicKey(systemTenant, name));
    return (
      known ?? this.#once(systemTenant, name, () => this.#created(internalTopic(name, shards, this.#random)))
    );
  }

  async delete(topic: TopicRecord): Promise<void> {
    const commands: MetadataCommand[] = [{ kind: 'deleteTopic', topic: topic.id }];
    const retained = this.#metadata.image.topicsByName.get(topicKey(systemTenant, retainedTopic(topic.id)));
    if (retained !== undefined) commands.push({ kind: 'deleteTopic', topic: retained.id });
    await this.#propose(commands);
  }

  /** Grows a topic to `shards` shards. */
  async grow(topic: TopicRecord, shards: number): Promise<void> {
    await this.#propose([{ kind: 'addShards', topic: topic.id, shards }]);
  }

  /** Sets (or, with null, resets) configuration keys. */
  async configure(topic: TopicRecord, changes: ReadonlyMap<string, string | null>): Promise<void> {
    this.checkConfiguration(topic, changes);
    await this.#propose([{ kind: 'configureTopic', topic: topic.id, changes }]);
  }

  /** What `configure` checks, for callers that only want to know (a dry run). Metadata checks again. */
  checkConfiguration(topic: TopicRecord, changes: ReadonlyMap<string, string | null>): void {
    const values = new Map(topic.config);
    for (const [name, value] of changes) {
      if (value === null) values.delete(name);
      else values.set(name, value);
    }
    validateTopicConfig(values);
    this.#refuseCompaction(topic.name, values);
    if (topic.name === this.options.defaultTopic && parseTopicConfig(values).subjectBind) {
      throw new RobustError<KernelErrorCode>(
        'TOPIC_POLICY',
        'the default topic takes every name; it cannot be bound to one',
      );
    }
    for (const { name, fixed, default: fallback } of topicConfigKeys) {
      if (fixed !== true) continue;
      const changed = (topic.config.get(name) ?? fallback) !== (values.get(name) ?? fallback);
      if (!changed || !this.#mayHoldData(topic)) continue;
      throw new RobustError<KernelErrorCode>(
        'TOPIC_CONFIG_INVALID',
        `${name} is only changed while the topic is empty`,
        { detail: { key: name } },
      );
    }
  }

  #autoCreated(): number {
    let count = 0;
    for (const topic of this.#metadata.image.topics.values())
      if (!topic.internal && this.configOf(topic).autoCreated) count++;
    return count;
  }

  #mayHoldData(topic: TopicRecord): boolean {
    const { shards } = this.#metadata.image;
    const inMemory = this.configOf(topic).storage === 'memory';
    return topic.shards.some((id) => {
      const shard = shards.get(id);
      if (shard === undefined) return false;
      if (inMemory && shard.offsetLimit > shard.startOffset) return true;
      return shard.segments.some(
        ({ state, baseOffset, endOffset }) => state === 'open' || endOffset > baseOffset,
      );
    });
  }

  /** What `create` checks, for callers that only want to know (a dry run). */
  checkCreation(name: string, shards: number, config: TopicConfigValues): void {
    if (!/^[a-zA-Z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..') {
      throw new RobustError<KernelErrorCode>(
        'TOPIC_NAME_INVALID',
        'a topic name is 1 to 249 of [a-zA-Z0-9._-]',
        {
          detail: { name },
        },
      );
    }
    if (name.startsWith('__')) {
      throw new RobustError<KernelErrorCode>('TOPIC_POLICY', 'names that begin with __ belong to the system');
    }
    if (!Number.isInteger(shards) || shards < 1 || shards > 10_000) {
      throw new RobustError<KernelErrorCode>('SHARD_COUNT_INVALID', 'a topic has 1 to 10,000 shards', {
        detail: { shards },
      });
    }
    validateTopicConfig(config);
    this.#refuseCompaction(name, config);
    if (this.byName(name) !== undefined) {
      throw new RobustError<KernelErrorCode>('TOPIC_EXISTS', 'a topic of this name exists', {
        detail: { name },
      });
    }
  }

  /**
   * Where every record is promised there will be no compaction (docs/semantics.md 1.6); of other topics it does not exist
   * yet, and is refused rather than ignored.
   */
  #refuseCompaction(name: string, values: TopicConfigValues): void {
    const { compact, subjectBind } = parseTopicConfig(values);
    if (!compact) return;
    if (subjectBind || name === this.options.defaultTopic) {
      throw new RobustError<KernelErrorCode>(
        'TOPIC_POLICY',
        'every record of the default topic and of bound topics is kept',
      );
    }
    throw new RobustError<KernelErrorCode>(
      'TOPIC_CONFIG_INVALID',
      'cleanup.policy=compact is not available yet',
    );
  }

  async #created(command: MetadataCommand): Promise<TopicRecord> {
    const [first] = await this.#propose([command]);
    return first!.topic!;
  }

  /** Concurrent callers share one creation; what another node created meanwhile serves as well. */
  #once(tenant: string, name: string, create: () => Promise<TopicRecord>): Promise<TopicRecord> {
    const key = topicKey(tenant, name);
    const before = this.#creating.get(key);
    if (before !== undefined) return before;
    const creating = create()
      .catch((error: Error) => {
        const there = this.#metadata.image.topicsByName.get(key);
        if (there === undefined || !(error instanceof RobustError) || error.code !== 'TOPIC_EXISTS')
          throw error;
        return there;
      })
      .finally(() => this.#creating.delete(key));
    this.#creating.set(key, creating);
    return creating;
  }

  async #propose(commands: readonly MetadataCommand[]): Promise<{ topic?: TopicRecord }[]> {
    const results = await this.#metadata.propose(commands);
    return results.map((result) => {
      if (result instanceof Error) throw result;
      return result;
    });
  }
}

function internalTopic(name: string, shards: number, random: Random): MetadataCommand {
  const id = random.bytes(16).toString('hex') as TopicId;
  const config = new Map([
    ['retention.ms', '-1'],
    ['segment.bytes', String(16 * 1024 * 1024)],
  ]);
  return { kind: 'createTopic', tenant: systemTenant, name, id, shards, internal: true, config };
}
