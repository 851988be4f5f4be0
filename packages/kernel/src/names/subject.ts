import type { ShardId } from '@robustmq/core';
import { partitionHash } from '@robustmq/record';
import type { TopicRecord } from '../ports/metadata.ts';
import type { Match } from '../router/match.ts';
import { noMatch } from '../router/match.ts';

/**
 * A hierarchical name as one broker interns it: where a publish under it goes, and who wants it. One lookup per
 * message finds all of this (docs/ARCHITECTURE.md, 'One publish').
 */
export interface Subject {
  readonly name: string;
  readonly topic: TopicRecord;
  readonly key: Buffer | null;
  /** Shard of a keyed publish; with a null key the publisher decides (-1). */
  readonly shard: ShardId;
  /**
   * The name is the topic's because the record's key can't stand in one: a receiver shows the key as the property
   * `hiddenKeyProperty`. `key` is null and says nothing of the record's.
   */
  readonly keyHidden: boolean;
  /** The bytes of the name are those of the key, as in the default topic: who needs them need not encode the name. */
  readonly nameIsKey: boolean;
  /** Cached by the router, which alone touches what follows; other code asks `Router.match`. */
  match: Match;
  matchEpoch: number;
  levelSlot: number;
  prefixSlot: number;
  nameSlot: number;
}

/** A shard id that says that the publisher's identity decides. */
export const noShard = -1 as ShardId;

/** Makes a subject that no router has seen. `key` is kept: not a view into a read buffer. */
export function createSubject(
  name: string,
  topic: TopicRecord,
  key: Buffer | null,
  keyHidden = false,
): Subject {
  return {
    name,
    topic,
    key,
    shard: key === null ? noShard : shardOfKey(topic, key),
    keyHidden,
    nameIsKey: key !== null && key.toString() === name,
    match: noMatch,
    matchEpoch: -1,
    levelSlot: 0,
    prefixSlot: 0,
    nameSlot: 0,
  };
}

/** The shard that all clients which hash keys choose; -1 in a topic without shards. Source: docs/semantics.md 1. */
export function shardOfKey(topic: TopicRecord, key: Uint8Array): ShardId {
  const { shards } = topic;
  return shards[(partitionHash(key) & 0x7fffffff) % shards.length] ?? noShard;
}
