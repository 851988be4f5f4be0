import { decodeRequest, describeLogDirs, encodeResponse, errorCodes } from '@robustmq/kafka-codec';
import type { TopicRecord } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** All partitions share the log, so there is one directory to name. */
const logDir = 'journal';

/** Bytes of the sealed segments of each partition; the open one is not counted until it is sealed. */
export function handleDescribeLogDirs(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(describeLogDirs, apiVersion, request.frame, request.bodyStart);
  const { topics } = context.kernel;
  const wanted: { topic: TopicRecord; partitions: readonly number[] }[] = [];
  if (body.topics === null) {
    for (const topic of topics.list()) wanted.push({ topic, partitions: [...topic.shards.keys()] });
  } else {
    for (const [name, { partitions }] of new Map(body.topics.map((asked) => [asked.topic, asked]))) {
      const topic = topics.byName(name);
      if (topic !== undefined) wanted.push({ topic, partitions: [...new Set(partitions)] });
    }
  }
  const described = wanted.map(({ topic, partitions }) => ({
    name: topic.name,
    partitions: partitions
      .filter((partition) => topic.shards[partition] !== undefined)
      .map((partitionIndex) => ({
        partitionIndex,
        partitionSize: sizeOf(context, topic, partitionIndex),
        offsetLag: 0,
        isFutureKey: false,
      })),
  }));
  return encodeResponse(describeLogDirs, apiVersion, correlationId, {
    throttleTimeMs: 0,
    results: [{ errorCode: errorCodes.NONE, logDir, topics: described }],
  });
}

function sizeOf(context: KafkaContext, topic: TopicRecord, partition: number): number {
  const record = context.kernel.modules.metadata.image.shards.get(topic.shards[partition]!);
  let bytes = 0;
  for (const segment of record?.segments ?? []) if (segment.state === 'sealed') bytes += segment.bytes;
  return bytes;
}
