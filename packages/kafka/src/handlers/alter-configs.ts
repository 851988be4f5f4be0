import { alterConfigs, decodeRequest, encodeResponse, errorCodes, zeroUuid } from '@robustmq/kafka-codec';
import type { RequestOf } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { changeTopic, invalid, resourceTypes } from '../configs.ts';
import type { ConfigOutcome } from '../configs.ts';
import { findTopic } from '../partitions.ts';

type Asked = RequestOf<typeof alterConfigs>['resources'][number];

/** Replaces all configuration of topics: what is not named goes back to its default. */
export async function handleAlterConfigs(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(alterConfigs, apiVersion, request.frame, request.bodyStart);
  const responses: (ConfigOutcome & { resourceType: number; resourceName: string })[] = [];
  for (const asked of body.resources) {
    const { resourceType, resourceName } = asked;
    responses.push({ ...(await replace(context, asked, body.validateOnly)), resourceType, resourceName });
  }
  return encodeResponse(alterConfigs, apiVersion, correlationId, { throttleTimeMs: 0, responses });
}

async function replace(context: KafkaContext, asked: Asked, validateOnly: boolean): Promise<ConfigOutcome> {
  if (asked.resourceType !== resourceTypes.topic) {
    return { errorCode: errorCodes.INVALID_REQUEST, errorMessage: 'only topics can be changed' };
  }
  const topic = findTopic(context.kernel, { name: asked.resourceName, id: zeroUuid, byId: false });
  const changes = new Map<string, string | null>();
  for (const name of topic?.config.keys() ?? []) changes.set(name, null);
  for (const { name, value } of asked.configs) {
    if (value === null) return invalid(`${name} has no value`);
    changes.set(name, value);
  }
  return changeTopic(context, asked.resourceName, { changes, validateOnly });
}
