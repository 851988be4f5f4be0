import { RobustError } from '@robustmq/core';
import { createTopics, decodeRequest, encodeResponse, errorCodes, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber, RequestOf, ResponseInput } from '@robustmq/kafka-codec';
import type { TopicConfigValues } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';

type Asked = RequestOf<typeof createTopics>['topics'][number];
type TopicAnswer = NonNullable<ResponseInput<typeof createTopics>['topics']>[number];

/** Creates topics, or tells whether it could. */
export async function handleCreateTopics(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(createTopics, apiVersion, request.frame, request.bodyStart);
  /** By name; null for one that is named twice. */
  const wanted = new Map<string, Asked | null>();
  for (const asked of body.topics) wanted.set(asked.name, wanted.has(asked.name) ? null : asked);
  const topics: TopicAnswer[] = [];
  for (const [name, asked] of wanted) {
    if (asked === null)
      topics.push(refusal(name, errorCodes.INVALID_REQUEST, 'the request names the topic twice'));
    else topics.push(await create(context, asked, body.validateOnly));
  }
  return encodeResponse(createTopics, apiVersion, correlationId, { topics });
}

async function create(context: KafkaContext, asked: Asked, validateOnly: boolean): Promise<TopicAnswer> {
  const { name, replicationFactor } = asked;
  const { topics } = context.kernel;
  const manual = asked.assignments.length > 0;
  if (manual && (asked.numPartitions !== -1 || replicationFactor !== -1)) {
    return refusal(
      name,
      errorCodes.INVALID_REQUEST,
      'give either an assignment or numbers of partitions and replicas',
    );
  }
  const problem = assignmentProblem(context, asked.assignments);
  if (problem !== null) return refusal(name, errorCodes.INVALID_REPLICA_ASSIGNMENT, problem);
  // Where data lies is the placement policy's business, and a topic's factor is the cluster's.
  if (replicationFactor !== -1 && replicationFactor !== 1) {
    return refusal(
      name,
      errorCodes.INVALID_REPLICATION_FACTOR,
      'the replication factor is 1 or -1, the default',
    );
  }
  const asManual = manual ? asked.assignments.length : topics.options.autoCreateShards;
  const shards = asked.numPartitions === -1 ? asManual : asked.numPartitions;
  const config: Map<string, string> = new Map();
  for (const entry of asked.configs) if (entry.value !== null) config.set(entry.name, entry.value);
  try {
    topics.checkCreation(name, shards, config);
    const topic = validateOnly ? null : await topics.create(name, shards, config);
    const done = { name, topicId: topic?.id ?? zeroUuid, errorCode: errorCodes.NONE, errorMessage: null };
    return { ...done, numPartitions: shards, replicationFactor: 1, configs: shown(config) };
  } catch (error) {
    const message = error instanceof RobustError ? error.message : null;
    return refusal(name, errorNumber(error), message);
  }
}

/** A manual assignment says what is so anyway, or is refused: partitions from 0 on, each at this broker alone. */
function assignmentProblem(context: KafkaContext, assignments: Asked['assignments']): string | null {
  const { nodeId } = context.broker();
  const partitions = new Set<number>();
  for (const { partitionIndex, brokerIds } of assignments) {
    if (brokerIds.length !== 1 || brokerIds[0] !== nodeId) return `the only replica is at broker ${nodeId}`;
    partitions.add(partitionIndex);
  }
  for (let index = 0; index < assignments.length; index++) {
    if (!partitions.has(index)) return 'partitions are numbered from 0 on without a gap';
  }
  return null;
}

const topicSource = 1;

function shown(config: TopicConfigValues): NonNullable<TopicAnswer['configs']> {
  return [...config].map(([name, value]) => ({
    name,
    value,
    readOnly: false,
    configSource: topicSource,
    isSensitive: false,
  }));
}

function refusal(name: string, errorCode: ErrorNumber, errorMessage: string | null): TopicAnswer {
  return { name, topicId: zeroUuid, errorCode, errorMessage, configs: null };
}
