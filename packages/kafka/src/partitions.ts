import type { TopicId } from '@robustmq/core';
import { errorCodes } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Kernel, Shard, TopicRecord } from '@robustmq/kernel';
import { errorNumber } from './error-map.ts';

/** A topic as a request names it: by id from some version on, by name before. */
export interface TopicName {
  readonly name: string;
  readonly id: string;
  readonly byId: boolean;
}

export function findTopic(kernel: Kernel, named: TopicName): TopicRecord | undefined {
  return named.byId ? kernel.topics.byId(named.id as TopicId) : kernel.topics.byName(named.name);
}

/** What a request for a missing topic is answered with. */
export function missingTopic(named: TopicName): ErrorNumber {
  return named.byId ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
}

/** The open shard of a partition, at once if it is open already, or the error to answer. */
export function shardOf(
  kernel: Kernel,
  topic: TopicRecord,
  partition: number,
): Shard | ErrorNumber | Promise<Shard | ErrorNumber> {
  const id = topic.shards[partition];
  if (id === undefined) return errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
  return kernel.readyShard(id) ?? kernel.openShard(id).catch(errorNumber);
}

/** Compares the epoch a client believes in (-1: any) with the owner's. */
export function epochError(shard: Shard, clientEpoch: number): ErrorNumber {
  if (clientEpoch < 0 || clientEpoch === shard.epoch) return errorCodes.NONE;
  return clientEpoch < shard.epoch ? errorCodes.FENCED_LEADER_EPOCH : errorCodes.UNKNOWN_LEADER_EPOCH;
}
