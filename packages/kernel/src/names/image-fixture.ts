import type { ShardId, TopicId } from '@robustmq/core';
import type { MetadataImage, TopicRecord } from '../ports/metadata.ts';
import { topicKey } from '../ports/metadata.ts';

/** Topics as tests of this package need them; not exported. */
export class ImageFixture {
  readonly tenant = 'acme';
  readonly defaultTopic = 'tree';
  readonly #topics = new Map<TopicId, TopicRecord>();
  readonly #byName = new Map<string, TopicRecord>();
  #nextShard = 0;
  #nextId = 0;

  constructor() {
    this.topic('tree', { shards: 16 });
  }

  readonly image = (): MetadataImage => ({
    revision: this.#nextId,
    clusterId: 'test',
    topics: this.#topics,
    topicsByName: this.#byName,
    shards: new Map(),
    journals: new Map(),
    brokers: new Map(),
  });

  /** Creates a topic, or replaces the one of this name. */
  topic(
    name: string,
    options: { shards?: number; internal?: boolean; config?: Record<string, string>; tenant?: string } = {},
  ): TopicRecord {
    const tenant = options.tenant ?? this.tenant;
    const known = this.#byName.get(topicKey(tenant, name));
    const topic: TopicRecord = {
      id: known?.id ?? ((++this.#nextId).toString(16).padStart(32, '0') as TopicId),
      tenant,
      name,
      internal: options.internal ?? false,
      config: new Map(Object.entries(options.config ?? {})),
      shards: Array.from({ length: options.shards ?? 4 }, () => this.#nextShard++ as ShardId),
      createdRevision: this.#nextId,
    };
    this.#topics.set(topic.id, topic);
    this.#byName.set(topicKey(tenant, name), topic);
    return topic;
  }

  bound(name: string): TopicRecord {
    return this.topic(name, { config: { 'subject.bind': 'true' } });
  }

  delete(topic: TopicRecord): void {
    this.#topics.delete(topic.id);
    this.#byName.delete(topicKey(topic.tenant, topic.name));
  }
}
