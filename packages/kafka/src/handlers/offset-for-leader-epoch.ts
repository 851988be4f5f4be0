import {
  decodeRequest,
  encodeResponse,
  errorCodes,
  offsetForLeaderEpoch,
  zeroUuid,
} from '@robustmq/kafka-codec';
import type { ErrorNumber, RequestOf } from '@robustmq/kafka-codec';
import type { TopicRecord } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { epochError, findTopic, shardOf } from '../partitions.ts';

type Asked = RequestOf<typeof offsetForLeaderEpoch>['topics'][number]['partitions'][number];

interface PartitionAnswer {
  readonly partition: number;
  readonly errorCode: ErrorNumber;
  readonly leaderEpoch: number;
  readonly endOffset: number;
}

/** Where the records of an epoch end. */
export async function handleOffsetForLeaderEpoch(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(offsetForLeaderEpoch, apiVersion, request.frame, request.bodyStart);
  const topics: { topic: string; partitions: PartitionAnswer[] }[] = [];
  for (const asked of body.topics) {
    const topic = findTopic(context.kernel, { name: asked.topic, id: zeroUuid, byId: false });
    const partitions: PartitionAnswer[] = [];
    for (const partition of asked.partitions) partitions.push(await find(context, topic, partition));
    topics.push({ topic: asked.topic, partitions });
  }
  return encodeResponse(offsetForLeaderEpoch, apiVersion, correlationId, { topics });
}

async function find(
  context: KafkaContext,
  topic: TopicRecord | undefined,
  { partition, currentLeaderEpoch, leaderEpoch }: Asked,
): Promise<PartitionAnswer> {
  const nothing = (errorCode: ErrorNumber): PartitionAnswer => ({
    partition,
    errorCode,
    leaderEpoch: -1,
    endOffset: -1,
  });
  if (topic === undefined) return nothing(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
  const shard = await shardOf(context.kernel, topic, partition);
  if (typeof shard === 'number') return nothing(shard);
  const wrongEpoch = epochError(shard, currentLeaderEpoch);
  if (wrongEpoch !== errorCodes.NONE) return nothing(wrongEpoch);
  const end = leaderEpoch > shard.epoch ? null : shard.endOfEpoch(leaderEpoch);
  if (end === null) return nothing(errorCodes.NONE);
  return { partition, errorCode: errorCodes.NONE, leaderEpoch: end.epoch, endOffset: end.endOffset };
}
