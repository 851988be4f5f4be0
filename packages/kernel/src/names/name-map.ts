import { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import type { MetadataImage, TopicRecord } from '../ports/metadata.ts';
import { topicKey } from '../ports/metadata.ts';
import { isSubjectKey, isSubjectName } from './subject-safe.ts';
import { isBoundTopic } from './topic-naming.ts';

/** Where a published name goes. */
export interface Location {
  readonly topic: TopicRecord;
  readonly key: Buffer | null;
}

/** How a record is called. */
export interface RecordName {
  readonly name: string;
  /** The key can't stand in the name, which is the topic's alone. */
  readonly keyHidden: boolean;
}

export interface NameMapOptions {
  /** The image now; asked at every call. */
  readonly image: () => MetadataImage;
  readonly tenant: string;
  /** The topic that takes every name which no bound topic takes. */
  readonly defaultTopic: string;
}

const dollar = 0x24;
const noPrefix = { bytes: 0, levels: 0 };

/**
 * The mapping between names and (topic, key) of one tenant. `name(locate(n))` is `n` for every name that can be
 * published, so two names never meet in one record key. Source: docs/semantics.md 1.1-1.4.
 */
export class NameMap {
  readonly defaultTopic: string;
  readonly #image: () => MetadataImage;
  readonly #tenant: string;

  constructor(options: NameMapOptions) {
    this.#image = options.image;
    this.#tenant = options.tenant;
    this.defaultTopic = options.defaultTopic;
  }

  /**
   * The topic and key of a publish under `name`: the bound topic of its first level, else the default topic. Throws
   * `TOPIC_NAME_INVALID` for a name that can't be published (no legal subject, or beginning with `$`),
   * `TOPIC_NOT_FOUND` while the default topic does not exist.
   */
  locate(name: string): Location {
    if (!isPublishable(name)) throw invalidName(name);
    const location = this.find(name);
    if (location === null) {
      throw new RobustError<KernelErrorCode>('TOPIC_NOT_FOUND', 'the default topic does not exist', {
        retriable: true,
        detail: { topic: this.defaultTopic },
      });
    }
    return location;
  }

  /** `locate` for a name that is known to be legal; null while the default topic does not exist. */
  find(name: string): Location | null {
    const slash = name.indexOf('/');
    const bound = this.#topic(slash < 0 ? name : name.slice(0, slash));
    if (bound !== undefined && isBoundTopic(bound, this.defaultTopic)) {
      return { topic: bound, key: slash < 0 ? null : Buffer.from(name.slice(slash + 1)) };
    }
    const topic = this.#topic(this.defaultTopic);
    return topic === undefined ? null : { topic, key: Buffer.from(name) };
  }

  /**
   * The name of a record of `topic`, whose key may be null. Null when the record has no subject: in the default topic
   * without a legal key, and in internal topics.
   */
  name(topic: TopicRecord, key: Buffer | null): RecordName | null {
    if (topic.internal) return null;
    if (topic.name === this.defaultTopic) {
      if (key === null || key.length === 0 || key[0] === dollar) return null;
      return isSubjectKey(key, 0, key.length, noPrefix) ? { name: key.toString(), keyHidden: false } : null;
    }
    if (!isTopicLevel(topic.name)) return null;
    if (key === null) return { name: topic.name, keyHidden: false };
    const prefix = { bytes: Buffer.byteLength(topic.name) + 1, levels: 1 };
    if (!isSubjectKey(key, 0, key.length, prefix)) return { name: topic.name, keyHidden: true };
    return { name: `${topic.name}/${key.toString()}`, keyHidden: false };
  }

  #topic(name: string): TopicRecord | undefined {
    return this.#image().topicsByName.get(topicKey(this.#tenant, name));
  }
}

/** Whether clients may publish under the name. */
function isPublishable(name: string): boolean {
  return isSubjectName(name) && name.charCodeAt(0) !== dollar;
}

/** Whether a topic's name can be the first level of subjects. */
function isTopicLevel(name: string): boolean {
  return isPublishable(name) && !name.includes('/');
}

function invalidName(name: string): RobustError<KernelErrorCode> {
  return new RobustError('TOPIC_NAME_INVALID', 'the name can not be published to', {
    detail: { name: name.slice(0, 256) },
  });
}
