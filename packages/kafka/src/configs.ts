import { RobustError } from '@robustmq/core';
import { errorCodes, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import { topicConfigKeys } from '@robustmq/kernel';
import type { TopicConfigKey } from '@robustmq/kernel';
import type { KafkaContext } from './adapter.ts';
import { errorNumber } from './error-map.ts';
import { findTopic } from './partitions.ts';

/** What has a configuration. */
export const resourceTypes = { topic: 2, broker: 4 } as const;

/** Where a value comes from. */
export const configSources = { topic: 1, staticBroker: 4, default: 5 } as const;

const configTypes = { boolean: 1, string: 2, int: 3, long: 5, list: 7 } as const;

export interface ConfigEntry {
  readonly name: string;
  readonly value: string;
  readonly readOnly: boolean;
  readonly source: number;
  readonly type: number;
  /** What the value would be without each source before it, the value itself first. */
  readonly synonyms: readonly { readonly name: string; readonly value: string; readonly source: number }[];
}

export interface ConfigOutcome {
  readonly errorCode: ErrorNumber;
  readonly errorMessage: string | null;
}

export const configDone: ConfigOutcome = { errorCode: errorCodes.NONE, errorMessage: null };

/** All configuration of a topic with its defaults, or the error to answer. */
export function topicConfigs(context: KafkaContext, name: string): ConfigEntry[] | ConfigOutcome {
  const topic = findTopic(context.kernel, { name, id: zeroUuid, byId: false });
  if (topic === undefined) {
    return { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: 'there is no such topic' };
  }
  return topicConfigKeys.map((key) => topicEntry(key, topic.config.get(key.name)));
}

function topicEntry(key: TopicConfigKey, value: string | undefined): ConfigEntry {
  const { name } = key;
  const fallback = { name, value: key.default, source: configSources.default };
  const type = configTypes[key.type];
  const readOnly = false;
  if (value === undefined) return { ...fallback, readOnly, type, synonyms: [fallback] };
  const own = { name, value, source: configSources.topic };
  return { ...own, readOnly, type, synonyms: [own, fallback] };
}

/** What clients look at in a broker's configuration; it is set in the server's own file, not over this protocol. */
export function brokerConfigs(context: KafkaContext, name: string): ConfigEntry[] | ConfigOutcome {
  const { nodeId } = context.broker();
  if (name !== '' && name !== String(nodeId)) {
    return { errorCode: errorCodes.INVALID_REQUEST, errorMessage: `this broker is ${nodeId}` };
  }
  const { autoCreateShards } = context.kernel.topics.options;
  const entry = (key: string, value: string, type: number): ConfigEntry => {
    const own = { name: key, value, source: configSources.staticBroker };
    return { ...own, readOnly: true, type, synonyms: [own] };
  };
  const fallback = (key: string): string =>
    topicConfigKeys.find((known) => known.name === key)?.default ?? '';
  return [
    entry('broker.id', String(nodeId), configTypes.int),
    entry('auto.create.topics.enable', 'true', configTypes.boolean),
    entry('num.partitions', String(autoCreateShards), configTypes.int),
    entry('default.replication.factor', '1', configTypes.int),
    entry('delete.topic.enable', 'true', configTypes.boolean),
    entry('log.retention.ms', fallback('retention.ms'), configTypes.long),
    entry('log.retention.bytes', fallback('retention.bytes'), configTypes.long),
    entry('log.segment.bytes', fallback('segment.bytes'), configTypes.int),
    entry('log.cleanup.policy', fallback('cleanup.policy'), configTypes.list),
    entry('message.max.bytes', fallback('max.message.bytes'), configTypes.int),
  ];
}

/** Sets (or, with null, resets) values of a topic; what is accepted is enforced. */
export async function changeTopic(
  context: KafkaContext,
  name: string,
  { changes, validateOnly }: { changes: ReadonlyMap<string, string | null>; validateOnly: boolean },
): Promise<ConfigOutcome> {
  const { topics } = context.kernel;
  const topic = findTopic(context.kernel, { name, id: zeroUuid, byId: false });
  if (topic === undefined) {
    return { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: 'there is no such topic' };
  }
  for (const key of changes.keys()) {
    const known = topicConfigKeys.find((each) => each.name === key);
    if (known === undefined) return invalid(`${key} is no configuration of a topic`);
  }
  try {
    if (validateOnly) topics.checkConfiguration(topic, changes);
    else await topics.configure(topic, changes);
    return configDone;
  } catch (error) {
    const errorMessage = error instanceof RobustError ? error.message : null;
    return { errorCode: errorNumber(error), errorMessage };
  }
}

export function invalid(errorMessage: string): ConfigOutcome {
  return { errorCode: errorCodes.INVALID_CONFIG, errorMessage };
}
