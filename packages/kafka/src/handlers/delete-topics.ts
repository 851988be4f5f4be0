import { RobustError } from '@robustmq/core';
import { decodeRequest, deleteTopics, encodeResponse, errorCodes, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { findTopic, missingTopic } from '../partitions.ts';
import type { TopicName } from '../partitions.ts';

/** From here on topics are named by name or id. */
const idVersion = 6;

interface TopicAnswer {
  readonly name: string | null;
  readonly topicId: string;
  readonly errorCode: ErrorNumber;
  readonly errorMessage: string | null;
}

/** Deletes topics. The default topic is part of the server and stays. */
export async function handleDeleteTopics(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(deleteTopics, apiVersion, request.frame, request.bodyStart);
  const named: TopicName[] =
    apiVersion >= idVersion
      ? body.topics.map(({ name, topicId }) => ({ name: name ?? '', id: topicId, byId: name === null }))
      : body.topicNames.map((name) => ({ name, id: zeroUuid, byId: false }));
  const responses: TopicAnswer[] = [];
  for (const each of named) responses.push(await remove(context, each));
  return encodeResponse(deleteTopics, apiVersion, correlationId, { responses });
}

async function remove(context: KafkaContext, named: TopicName): Promise<TopicAnswer> {
  const { topics } = context.kernel;
  const topic = findTopic(context.kernel, named);
  const name = topic?.name ?? (named.byId ? null : named.name);
  const topicId = topic?.id ?? named.id;
  if (topic === undefined) return { name, topicId, errorCode: missingTopic(named), errorMessage: null };
  if (topic.name === topics.options.defaultTopic) {
    const errorMessage = 'the default topic cannot be deleted';
    return { name, topicId, errorCode: errorCodes.POLICY_VIOLATION, errorMessage };
  }
  try {
    await topics.delete(topic);
    return { name, topicId, errorCode: errorCodes.NONE, errorMessage: null };
  } catch (error) {
    const errorMessage = error instanceof RobustError ? error.message : null;
    return { name, topicId, errorCode: errorNumber(error), errorMessage };
  }
}
