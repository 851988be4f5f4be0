import type { TopicId } from '@robustmq/core';
import { decodeRequest, encodeResponse, errorCodes, offsetDelete, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { findTopic } from '../partitions.ts';

/**
 * Deletes committed offsets of a group without members. What its members subscribe to is known only to the clients,
 * so a group with members keeps its offsets.
 */
export async function handleOffsetDelete(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(offsetDelete, apiVersion, request.frame, request.bodyStart);
  const view = context.groups.describe(body.groupId);
  if (view === undefined) {
    return encodeResponse(offsetDelete, apiVersion, correlationId, {
      throttleTimeMs: 0,
      errorCode: errorCodes.GROUP_ID_NOT_FOUND,
      topics: [],
    });
  }
  const subscribed = view.members.length > 0 ? errorCodes.GROUP_SUBSCRIBED_TO_TOPIC : errorCodes.NONE;
  const gone: { topic: TopicId; partition: number }[] = [];
  const waiting: { errorCode: ErrorNumber }[] = [];
  const topics = body.topics.map(({ name, partitions }) => {
    const topic = findTopic(context.kernel, { name, id: zeroUuid, byId: false });
    return {
      name,
      partitions: partitions.map(({ partitionIndex }) => {
        const known = topic?.shards[partitionIndex] !== undefined;
        const errorCode: ErrorNumber = known ? subscribed : errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
        const answer = { partitionIndex, errorCode };
        if (errorCode === errorCodes.NONE) {
          gone.push({ topic: topic!.id, partition: partitionIndex });
          waiting.push(answer);
        }
        return answer;
      }),
    };
  });
  if (gone.length > 0) {
    const errorCode = await context.groups.deleteOffsets(body.groupId, gone);
    for (const answer of waiting) answer.errorCode = errorCode;
  }
  return encodeResponse(offsetDelete, apiVersion, correlationId, {
    throttleTimeMs: 0,
    errorCode: errorCodes.NONE,
    topics,
  });
}
