import { decodeRequest, describeGroups, encodeResponse, errorCodes } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

/** From here on a group that does not exist is an error; before it is shown as dead. */
const notFoundVersion = 6;

export function handleDescribeGroups(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(describeGroups, apiVersion, request.frame, request.bodyStart);
  const groups = [...new Set(body.groups)].map((groupId) => {
    const view = context.groups.describe(groupId);
    if (view === undefined) {
      const errorCode = apiVersion >= notFoundVersion ? errorCodes.GROUP_ID_NOT_FOUND : errorCodes.NONE;
      return { errorCode, groupId, groupState: 'Dead', protocolType: '', protocolData: '', members: [] };
    }
    return {
      errorCode: errorCodes.NONE,
      groupId,
      groupState: view.state,
      protocolType: view.protocolType,
      protocolData: view.protocolName,
      members: view.members.map(({ id, instanceId, clientId, clientHost, assignment }) => ({
        memberId: id,
        groupInstanceId: instanceId,
        clientId,
        clientHost: `/${clientHost}`,
        memberMetadata: view.metadataOf(id),
        memberAssignment: assignment,
      })),
    };
  });
  return encodeResponse(describeGroups, apiVersion, correlationId, { groups });
}
