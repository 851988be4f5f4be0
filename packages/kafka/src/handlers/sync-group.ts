import { decodeRequest, encodeResponse, syncGroup } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** Hands in the leader's assignment, and gives every member its own when the generation is durable. */
export async function handleSyncGroup(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(syncGroup, apiVersion, request.frame, request.bodyStart);
  const { memberId, groupInstanceId: instanceId, generationId: generation, assignments } = body;
  const { protocolType, protocolName } = body;
  const asked = { memberId, instanceId, generation, protocolType, protocolName, assignments };
  const answer = await context.groups.sync(body.groupId, asked, request.peer);
  return encodeResponse(syncGroup, apiVersion, correlationId, answer);
}
