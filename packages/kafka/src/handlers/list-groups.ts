import { decodeRequest, encodeResponse, errorCodes, listGroups } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

const groupType = 'classic';

export function handleListGroups(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(listGroups, apiVersion, request.frame, request.bodyStart);
  const states = new Set(body.statesFilter.map((state) => state.toLowerCase()));
  const types = new Set(body.typesFilter.map((type) => type.toLowerCase()));
  const wanted = types.size === 0 || types.has(groupType) ? context.groups.list() : [];
  const groups = wanted
    .filter(({ state }) => states.size === 0 || states.has(state.toLowerCase()))
    .map(({ id, protocolType, state }) => ({ groupId: id, protocolType, groupState: state, groupType }));
  return encodeResponse(listGroups, apiVersion, correlationId, { errorCode: errorCodes.NONE, groups });
}
