import type { TopicId } from '@robustmq/core';
import { decodeRequest, encodeResponse, errorCodes, offsetFetch, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import type { CommittedOffset } from '../groups/group-fold.ts';
import { findTopic } from '../partitions.ts';

/** From here on a request names several groups. */
const groupsVersion = 8;
/** From here on topics are named by id. */
const idVersion = 10;

interface AskedTopic {
  readonly name: string;
  readonly topicId: string;
  readonly partitionIndexes: readonly number[];
}

interface PartitionAnswer {
  readonly partitionIndex: number;
  readonly committedOffset: number;
  readonly committedLeaderEpoch: number;
  readonly metadata: string;
  readonly errorCode: ErrorNumber;
}

interface TopicAnswer {
  readonly name: string;
  readonly topicId: string;
  readonly partitions: PartitionAnswer[];
}

/** What groups have committed; -1 where nothing is. A null list of topics asks for all. */
export function handleOffsetFetch(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(offsetFetch, apiVersion, request.frame, request.bodyStart);
  if (apiVersion < groupsVersion) {
    const asked = body.topics?.map((topic) => ({ ...topic, topicId: zeroUuid })) ?? null;
    const topics = topicsOf(context, body.groupId, asked, false);
    return encodeResponse(offsetFetch, apiVersion, correlationId, { errorCode: errorCodes.NONE, topics });
  }
  const byId = apiVersion >= idVersion;
  const asked = new Map(body.groups.map((group) => [group.groupId, group]));
  const groups = [...asked.values()].map(({ groupId, topics }) => ({
    groupId,
    topics: topicsOf(context, groupId, topics, byId),
    errorCode: errorCodes.NONE,
  }));
  return encodeResponse(offsetFetch, apiVersion, correlationId, { groups });
}

function topicsOf(
  context: KafkaContext,
  groupId: string,
  asked: readonly AskedTopic[] | null,
  byId: boolean,
): TopicAnswer[] {
  if (asked === null) return everything(context, groupId);
  return asked.map(({ name, topicId, partitionIndexes }) => {
    const topic = findTopic(context.kernel, { name, id: topicId, byId });
    const errorCode = byId && topic === undefined ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.NONE;
    const partitions = partitionIndexes.map((partition) => {
      const known = topic && context.groups.committed(groupId, topic.id, partition);
      return answer(partition, known, errorCode);
    });
    return { name, topicId, partitions };
  });
}

function everything(context: KafkaContext, groupId: string): TopicAnswer[] {
  const topics = new Map<TopicId, TopicAnswer>();
  for (const committed of context.groups.committedAll(groupId)) {
    const topic = context.kernel.topics.byId(committed.topic);
    if (topic === undefined) continue;
    let entry = topics.get(topic.id);
    if (entry === undefined) {
      entry = { name: topic.name, topicId: topic.id, partitions: [] };
      topics.set(topic.id, entry);
    }
    entry.partitions.push(answer(committed.partition, committed, errorCodes.NONE));
  }
  return [...topics.values()];
}

function answer(
  partitionIndex: number,
  committed: CommittedOffset | undefined,
  errorCode: ErrorNumber,
): PartitionAnswer {
  return {
    partitionIndex,
    committedOffset: committed?.offset ?? -1,
    committedLeaderEpoch: committed?.leaderEpoch ?? -1,
    metadata: committed?.metadata ?? '',
    errorCode,
  };
}
