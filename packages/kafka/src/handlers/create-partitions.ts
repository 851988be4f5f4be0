import { RobustError } from '@robustmq/core';
import { createPartitions, decodeRequest, encodeResponse, errorCodes, zeroUuid } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { findTopic } from '../partitions.ts';

const partitionsMax = 10_000;

interface Result {
  readonly errorCode: ErrorNumber;
  readonly errorMessage: string | null;
}

/** Grows topics. The default topic and bound topics keep their count, as a subject's place depends on it. */
export async function handleCreatePartitions(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(createPartitions, apiVersion, request.frame, request.bodyStart);
  const { validateOnly } = body;
  /** By name; null for one that is named twice. */
  const counts = new Map<string, number | null>();
  for (const { name, count } of body.topics) counts.set(name, counts.has(name) ? null : count);
  const results: (Result & { name: string })[] = [];
  for (const [name, count] of counts) {
    const twice = {
      errorCode: errorCodes.INVALID_REQUEST,
      errorMessage: 'the request names the topic twice',
    };
    results.push({ name, ...(count === null ? twice : await grow(context, name, { count, validateOnly })) });
  }
  return encodeResponse(createPartitions, apiVersion, correlationId, { throttleTimeMs: 0, results });
}

async function grow(
  context: KafkaContext,
  name: string,
  { count, validateOnly }: { count: number; validateOnly: boolean },
): Promise<Result> {
  const { topics } = context.kernel;
  const topic = findTopic(context.kernel, { name, id: zeroUuid, byId: false });
  if (topic === undefined) return { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: null };
  const refused = (errorMessage: string): Result => ({
    errorCode: errorCodes.INVALID_PARTITIONS,
    errorMessage,
  });
  if (topics.retains(topic)) return refused('the number of partitions of this topic is fixed');
  const now = topic.shards.length;
  if (count <= now) return refused(`the topic has ${now} partitions, and the number can only grow`);
  if (count > partitionsMax) return refused(`a topic has at most ${partitionsMax} partitions`);
  try {
    if (!validateOnly) await topics.grow(topic, count);
    return { errorCode: errorCodes.NONE, errorMessage: null };
  } catch (error) {
    return {
      errorCode: errorNumber(error),
      errorMessage: error instanceof RobustError ? error.message : null,
    };
  }
}
