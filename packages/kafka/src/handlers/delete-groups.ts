import { decodeRequest, deleteGroups, encodeResponse } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** Deletes groups without members, and their offsets. */
export async function handleDeleteGroups(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(deleteGroups, apiVersion, request.frame, request.bodyStart);
  const results = await Promise.all(
    body.groupsNames.map(async (groupId) => ({
      groupId,
      errorCode: await context.groups.deleteGroup(groupId),
    })),
  );
  return encodeResponse(deleteGroups, apiVersion, correlationId, { throttleTimeMs: 0, results });
}
