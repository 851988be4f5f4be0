import { decodeRequest, encodeResponse, heartbeat } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** A member's sign of life; the answer tells it of a rebalance. */
export function handleHeartbeat(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(heartbeat, apiVersion, request.frame, request.bodyStart);
  const { groupId, memberId, groupInstanceId: instanceId, generationId } = body;
  const errorCode = context.groups.heartbeat(groupId, { memberId, instanceId }, generationId);
  return encodeResponse(heartbeat, apiVersion, correlationId, { errorCode });
}
