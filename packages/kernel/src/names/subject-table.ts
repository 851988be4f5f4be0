import type { TopicId } from '@robustmq/core';
import type { MetadataImage, MetadataUpdate, TopicRecord } from '../ports/metadata.ts';
import { Generations } from './generations.ts';
import type { Location, NameMapOptions } from './name-map.ts';
import { NameMap } from './name-map.ts';
import { subjectBytesMax } from './subject-safe.ts';
import type { Subject } from './subject.ts';
import { createSubject } from './subject.ts';
import { isBoundTopic } from './topic-naming.ts';

/** Text held as keys by one generation, in UTF-16 units. */
const defaultUnitsMax = 8 * 1024 * 1024;

export interface SubjectTableOptions extends NameMapOptions {
  /** Subjects in one of the two generations of names, and of record keys. Default 65,536. */
  readonly generationMax?: number;
}

/** What the table knows of one topic whose records it has named. */
interface TopicKeys {
  /** Null key. */
  bare: Subject | null | undefined;
  /** Keys that can't stand in a subject; one subject for all of them. */
  hidden: Subject | null | undefined;
  /** By the key's bytes, one character each. */
  young: Map<string, Subject>;
  old: Map<string, Subject>;
}

/**
 * Interned subjects of one tenant. The hot path is one map look-up: `forPublish` by name, `forRecord` by the key's
 * bytes (15 M/s and 7 M/s on one core). Both remember the last 1 to 2 generations that were used, so the table's
 * size is bounded whatever names arrive. A change of a topic voids what it may have changed: `apply` is called for
 * every metadata update, after the image shows it.
 */
export class SubjectTable {
  readonly #names: NameMap;
  readonly #image: () => MetadataImage;
  readonly #tenant: string;
  readonly #entriesMax: number;
  readonly #byName: Generations<Subject>;
  #topics = new Map<TopicId, TopicKeys>();
  /** Keys and text in the young generation of all topics together. */
  #keys = 0;
  #units = 0;
  #lastTopic: TopicRecord | null = null;
  #lastKeys: TopicKeys | null = null;
  /** Topics that are bound, to notice when one ceases to be. */
  #bound: Set<TopicId>;
  #revision = 0;

  constructor(options: SubjectTableOptions) {
    this.#names = new NameMap(options);
    this.#image = options.image;
    this.#tenant = options.tenant;
    this.#entriesMax = options.generationMax ?? 65_536;
    this.#byName = new Generations({ entriesMax: this.#entriesMax, unitsMax: defaultUnitsMax });
    this.#bound = this.#boundTopics();
  }

  /** The topic that takes every name which no bound topic takes. */
  get defaultTopic(): string {
    return this.#names.defaultTopic;
  }

  /** Rises when subjects given out before may be out of date: who keeps one asks again for it. */
  get revision(): number {
    return this.#revision;
  }

  /** Subjects held, of names and of record keys. */
  get size(): number {
    let size = this.#byName.size;
    for (const keys of this.#topics.values()) size += keys.young.size + keys.old.size;
    return size;
  }

  /** Every subject that is held; one that two names lead to may come twice. */
  *subjects(): Iterable<Subject> {
    yield* this.#byName.values();
    for (const { bare, hidden, young, old } of this.#topics.values()) {
      if (bare) yield bare;
      if (hidden) yield hidden;
      yield* young.values();
      yield* old.values();
    }
  }

  /** The subject of a publish. Throws as `NameMap.locate`. */
  forPublish(name: string): Subject {
    return this.#byName.get(name) ?? this.#intern(name, this.#names.locate(name));
  }

  /**
   * The subject of a record of `topic` with the key `buffer[start, end)` (`start` -1: null), or null when it has
   * none.
   */
  forRecord(topic: TopicRecord, buffer: Buffer, start: number, end: number): Subject | null {
    const keys = topic === this.#lastTopic ? (this.#lastKeys as TopicKeys) : this.#keysOf(topic);
    if (start < 0) {
      if (keys.bare === undefined) keys.bare = this.#internKey(topic, null);
      return keys.bare;
    }
    // A longer key can't stand in a subject, so it is never held.
    if (end - start > subjectBytesMax) return this.#hidden(topic, keys);
    const text = buffer.toString('latin1', start, end);
    return keys.young.get(text) ?? this.#internRecord(topic, keys, text);
  }

  /** Forgets what the changes may have made wrong. */
  apply(update: MetadataUpdate): void {
    for (const change of update.changes) {
      if (change.kind !== 'topic' && change.kind !== 'topicDeleted') continue;
      const { topic } = change;
      if (topic.tenant !== this.#tenant || topic.internal) continue;
      this.#forget(topic, change.kind === 'topicDeleted');
    }
  }

  #forget(topic: TopicRecord, deleted: boolean): void {
    const known = this.#topics.delete(topic.id);
    this.#lastTopic = null;
    const wasBound = this.#bound.delete(topic.id);
    const bound = !deleted && isBoundTopic(topic, this.defaultTopic);
    if (bound) this.#bound.add(topic.id);
    // Other topics take no names: their creation leaves every interned name as it is.
    const takesNames = bound || wasBound || topic.name === this.defaultTopic;
    if (takesNames) {
      this.#byName.clear();
      this.#topics.clear();
      this.#keys = 0;
      this.#units = 0;
    }
    if (takesNames || known) this.#revision++;
  }

  #boundTopics(): Set<TopicId> {
    const bound = new Set<TopicId>();
    for (const topic of this.#image().topics.values()) {
      if (topic.tenant === this.#tenant && isBoundTopic(topic, this.defaultTopic)) bound.add(topic.id);
    }
    return bound;
  }

  #keysOf(topic: TopicRecord): TopicKeys {
    let keys = this.#topics.get(topic.id);
    if (keys === undefined) {
      keys = { bare: undefined, hidden: undefined, young: new Map(), old: new Map() };
      this.#topics.set(topic.id, keys);
    }
    this.#lastTopic = topic;
    this.#lastKeys = keys;
    return keys;
  }

  #internRecord(topic: TopicRecord, keys: TopicKeys, text: string): Subject | null {
    let subject: Subject | null | undefined = keys.old.get(text);
    if (subject === undefined) subject = this.#internKey(topic, Buffer.from(text, 'latin1'));
    else keys.old.delete(text);
    // Not held under their keys: there is one subject for all of them, or none.
    if (subject === null) return null;
    if (subject.keyHidden) return this.#hidden(topic, keys);
    if (this.#keys >= this.#entriesMax || this.#units >= defaultUnitsMax) this.#turn();
    keys.young.set(text, subject);
    this.#keys++;
    this.#units += text.length;
    return subject;
  }

  /** The young generations of all topics become the old ones; topics that had none are forgotten. */
  #turn(): void {
    for (const [id, keys] of this.#topics) {
      if (keys.young.size === 0 && keys !== this.#lastKeys) this.#topics.delete(id);
      keys.old = keys.young;
      keys.young = new Map();
    }
    this.#keys = 0;
    this.#units = 0;
  }

  #hidden(topic: TopicRecord, keys: TopicKeys): Subject | null {
    if (keys.hidden === undefined) {
      // A byte that is no text: the name map says what such keys have in this topic.
      keys.hidden = this.#internKey(topic, Buffer.of(0xff));
    }
    return keys.hidden;
  }

  #internKey(topic: TopicRecord, key: Buffer | null): Subject | null {
    const named = this.#names.name(topic, key);
    if (named === null) return null;
    if (named.keyHidden) return createSubject(named.name, topic, null, true);
    // The same object as publishers use wherever the name leads back here, so that it is matched once.
    if (topic.name === this.defaultTopic || this.#bound.has(topic.id)) {
      const published = this.#byName.get(named.name) ?? this.#internLegal(named.name);
      if (published?.topic.id === topic.id) return published;
    }
    return createSubject(named.name, topic, key);
  }

  #internLegal(name: string): Subject | null {
    const location = this.#names.find(name);
    return location === null ? null : this.#intern(name, location);
  }

  #intern(name: string, location: Location): Subject {
    const subject = createSubject(name, location.topic, location.key);
    this.#byName.set(name, subject);
    return subject;
  }
}
