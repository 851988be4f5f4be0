import type { TopicId } from '@robustmq/core';
import { decodeRequest, encodeResponse, errorCodes, metadata, zeroUuid } from '@robustmq/kafka-codec';
import type { RequestOf, ResponseInput } from '@robustmq/kafka-codec';
import type { TopicRecord } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';

type TopicAnswer = NonNullable<ResponseInput<typeof metadata>['topics']>[number];
type Asked = NonNullable<RequestOf<typeof metadata>['topics']>[number];

/** Versions 10 and 11 carry topic ids, but only from here on may a client ask by them. */
const idVersion = 12;

/** Brokers and topics; a topic that is asked for by name and is not there is created if the client allows it. */
export async function handleMetadata(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(metadata, apiVersion, request.frame, request.bodyStart);
  const { kernel } = context;
  const all = body.topics === null || (apiVersion === 0 && body.topics.length === 0);
  const topics: TopicAnswer[] = [];
  if (all) for (const topic of kernel.topics.list()) topics.push(describe(context, topic));
  else
    for (const asked of once(body.topics ?? []))
      topics.push(await find(context, asked, { apiVersion, create: body.allowAutoTopicCreation }));
  const broker = context.broker();
  return encodeResponse(metadata, apiVersion, correlationId, {
    brokers: [broker],
    clusterId: kernel.modules.metadata.image.clusterId,
    controllerId: broker.nodeId,
    topics,
  });
}

/** Each topic once: a small request that repeats a name would otherwise have an answer a hundred times its size. */
function once(asked: readonly Asked[]): Iterable<Asked> {
  return new Map(asked.map((topic) => [topic.name ?? `/${topic.topicId}`, topic])).values();
}

async function find(
  context: KafkaContext,
  asked: Asked,
  { apiVersion, create }: { apiVersion: number; create: boolean },
): Promise<TopicAnswer> {
  const { topics } = context.kernel;
  if (asked.name === null) {
    if (apiVersion < idVersion) return missing('', errorCodes.INVALID_REQUEST);
    const topic = topics.byId(asked.topicId as TopicId);
    if (topic !== undefined) return describe(context, topic);
    return { ...missing(null, errorCodes.UNKNOWN_TOPIC_ID), topicId: asked.topicId };
  }
  const known = topics.byName(asked.name);
  if (known !== undefined) return describe(context, known);
  if (!create) return missing(asked.name, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
  try {
    return describe(context, await topics.ensure(asked.name));
  } catch (error) {
    return missing(asked.name, errorNumber(error));
  }
}

function describe(context: KafkaContext, topic: TopicRecord): TopicAnswer {
  const { nodeId } = context.broker();
  const { shards } = context.kernel.modules.metadata.image;
  return {
    errorCode: errorCodes.NONE,
    name: topic.name,
    topicId: topic.id,
    partitions: topic.shards.map((id, index) => ({
      errorCode: errorCodes.NONE,
      partitionIndex: index,
      leaderId: nodeId,
      leaderEpoch: shards.get(id)?.ownerEpoch ?? -1,
      replicaNodes: [nodeId],
      isrNodes: [nodeId],
    })),
  };
}

function missing(name: string | null, errorCode: number): TopicAnswer {
  return { errorCode, name, topicId: zeroUuid, partitions: [] };
}
