import { decodeRequest, encodeResponse, errorCodes, leaveGroup } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** From here on a request names several members. */
const membersVersion = 3;

export function handleLeaveGroup(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const { groups } = context;
  const body = decodeRequest(leaveGroup, apiVersion, request.frame, request.bodyStart);
  if (apiVersion < membersVersion) {
    const errorCode = groups.leave(body.groupId, { memberId: body.memberId, instanceId: null });
    return encodeResponse(leaveGroup, apiVersion, correlationId, { errorCode });
  }
  const errorCode = body.groupId === '' ? errorCodes.INVALID_GROUP_ID : errorCodes.NONE;
  const members = body.members.map(({ memberId, groupInstanceId }) => ({
    memberId,
    groupInstanceId,
    errorCode: groups.leave(body.groupId, { memberId, instanceId: groupInstanceId }),
  }));
  return encodeResponse(leaveGroup, apiVersion, correlationId, { errorCode, members });
}
