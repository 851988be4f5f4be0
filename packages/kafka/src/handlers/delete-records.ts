import { decodeRequest, deleteRecords, encodeResponse, errorCodes, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber, RequestOf } from '@robustmq/kafka-codec';
import type { TopicRecord } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { findTopic, shardOf } from '../partitions.ts';

type Asked = RequestOf<typeof deleteRecords>['topics'][number]['partitions'][number];

interface PartitionAnswer {
  readonly partitionIndex: number;
  readonly lowWatermark: number;
  readonly errorCode: ErrorNumber;
}

/** Up to the high watermark. */
const everything = -1;

/** Moves the start of logs forward. */
export async function handleDeleteRecords(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(deleteRecords, apiVersion, request.frame, request.bodyStart);
  // One that has to wait for space does not hinder another that makes it.
  const topics = await Promise.all(
    body.topics.map(async ({ name, partitions }) => {
      const topic = findTopic(context.kernel, { name, id: zeroUuid, byId: false });
      const answers = partitions.map((partition) => trim(context, topic, partition));
      return { name, partitions: await Promise.all(answers) };
    }),
  );
  return encodeResponse(deleteRecords, apiVersion, correlationId, { throttleTimeMs: 0, topics });
}

async function trim(
  context: KafkaContext,
  topic: TopicRecord | undefined,
  { partitionIndex, offset }: Asked,
): Promise<PartitionAnswer> {
  const refused = (errorCode: ErrorNumber): PartitionAnswer => ({
    partitionIndex,
    lowWatermark: -1,
    errorCode,
  });
  if (topic === undefined) return refused(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
  const shard = await shardOf(context.kernel, topic, partitionIndex);
  if (typeof shard === 'number') return refused(shard);
  try {
    const lowWatermark = await context.kernel.trim(
      shard,
      offset === everything ? shard.highWatermark : offset,
    );
    return { partitionIndex, lowWatermark, errorCode: errorCodes.NONE };
  } catch (error) {
    return refused(errorNumber(error));
  }
}
