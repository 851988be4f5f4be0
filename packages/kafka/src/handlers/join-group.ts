import { decodeRequest, encodeResponse, joinGroup } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** From here on a member is told its id before it may enter. */
const idRequiredVersion = 4;
const protocolTypeVersion = 7;
const skipVersion = 9;
/** As much of a client's id is kept with a member, UTF-16 units; it may be as long as a text of the protocol. */
const clientIdKept = 1024;

/** Enters a group; answered when the rebalance has gathered its members. */
export async function handleJoinGroup(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(joinGroup, apiVersion, request.frame, request.bodyStart);
  const { sessionTimeoutMs, rebalanceTimeoutMs, memberId, protocolType, protocols } = body;
  const asked = {
    memberId,
    instanceId: body.groupInstanceId,
    clientId: request.clientId.slice(0, clientIdKept).toWellFormed(),
    clientHost: request.peer.host,
    sessionTimeoutMs,
    rebalanceTimeoutMs: rebalanceTimeoutMs < 0 ? sessionTimeoutMs : rebalanceTimeoutMs,
    protocolType,
    protocols,
    idRequired: apiVersion >= idRequiredVersion,
    canSkipAssignment: apiVersion >= skipVersion,
  };
  const answer = await context.groups.join(body.groupId, asked, request.peer);
  return encodeResponse(joinGroup, apiVersion, correlationId, {
    errorCode: answer.errorCode,
    generationId: answer.generation,
    protocolType: answer.protocolType,
    protocolName: apiVersion < protocolTypeVersion ? (answer.protocolName ?? '') : answer.protocolName,
    leader: answer.leader,
    ...(apiVersion >= skipVersion ? { skipAssignment: answer.skipAssignment } : undefined),
    memberId: answer.memberId,
    members: answer.members,
  });
}
