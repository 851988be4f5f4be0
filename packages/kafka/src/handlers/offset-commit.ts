import { decodeRequest, encodeResponse, errorCodes, offsetCommit } from '@robustmq/kafka-codec';
import type { ErrorNumber, RequestOf } from '@robustmq/kafka-codec';
import type { TopicRecord } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import type { OffsetToCommit } from '../groups/coordinator.ts';
import { findTopic, missingTopic } from '../partitions.ts';

type Asked = RequestOf<typeof offsetCommit>['topics'][number]['partitions'][number];

/** From here on topics are named by id. */
const idVersion = 10;

/** Commits offsets; answered when they are durable. A partition that cannot be committed does not hinder the others. */
export async function handleOffsetCommit(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(offsetCommit, apiVersion, request.frame, request.bodyStart);
  const { groupId, memberId, groupInstanceId: instanceId } = body;
  const speaker = { memberId, instanceId };
  const refused = context.groups.commitError(groupId, speaker, body.generationIdOrMemberEpoch);
  const offsets: OffsetToCommit[] = [];
  const waiting: { errorCode: ErrorNumber }[] = [];
  const topics = body.topics.map((asked) => {
    const named = { name: asked.name, id: asked.topicId, byId: apiVersion >= idVersion };
    const topic = findTopic(context.kernel, named);
    const partitions = asked.partitions.map((partition) => {
      const { partitionIndex } = partition;
      const missing = topic === undefined ? missingTopic(named) : errorCodes.NONE;
      const errorCode = refused || missing || partitionError(context, topic!, partition);
      const answer = { partitionIndex, errorCode: errorCode as ErrorNumber };
      if (errorCode === errorCodes.NONE) {
        offsets.push({
          topic: topic!.id,
          partition: partitionIndex,
          offset: partition.committedOffset,
          leaderEpoch: partition.committedLeaderEpoch,
          metadata: partition.committedMetadata ?? '',
        });
        waiting.push(answer);
      }
      return answer;
    });
    return { name: asked.name, topicId: asked.topicId, partitions };
  });
  if (offsets.length > 0) {
    const errorCode = await context.groups.commit(groupId, offsets);
    for (const answer of waiting) answer.errorCode = errorCode;
  }
  return encodeResponse(offsetCommit, apiVersion, correlationId, { topics });
}

function partitionError(context: KafkaContext, topic: TopicRecord, asked: Asked): ErrorNumber {
  if (topic.shards[asked.partitionIndex] === undefined) return errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
  return context.groups.metadataError(asked.committedMetadata ?? '');
}
