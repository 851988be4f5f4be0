import { decodeRequest, encodeResponse, errorCodes, incrementalAlterConfigs } from '@robustmq/kafka-codec';
import type { RequestOf } from '@robustmq/kafka-codec';
import { topicConfigKeys } from '@robustmq/kernel';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { changeTopic, invalid, resourceTypes, topicConfigs } from '../configs.ts';
import type { ConfigOutcome } from '../configs.ts';

type Asked = RequestOf<typeof incrementalAlterConfigs>['resources'][number];
type Operation = Asked['configs'][number];

const operations = { set: 0, remove: 1, append: 2, subtract: 3 } as const;

/** Changes single values of topics; those of a broker are set in its own file. */
export async function handleIncrementalAlterConfigs(
  context: KafkaContext,
  request: Request,
): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(incrementalAlterConfigs, apiVersion, request.frame, request.bodyStart);
  const responses: (ConfigOutcome & { resourceType: number; resourceName: string })[] = [];
  for (const asked of body.resources) {
    const { resourceType, resourceName } = asked;
    responses.push({ ...(await change(context, asked, body.validateOnly)), resourceType, resourceName });
  }
  return encodeResponse(incrementalAlterConfigs, apiVersion, correlationId, { throttleTimeMs: 0, responses });
}

async function change(context: KafkaContext, asked: Asked, validateOnly: boolean): Promise<ConfigOutcome> {
  if (asked.resourceType !== resourceTypes.topic) {
    return { errorCode: errorCodes.INVALID_REQUEST, errorMessage: 'only topics can be changed' };
  }
  const current = topicConfigs(context, asked.resourceName);
  if (!Array.isArray(current)) return current;
  const values = new Map(current.map(({ name, value }) => [name, value]));
  const changes = new Map<string, string | null>();
  for (const operation of asked.configs) {
    const { name } = operation;
    if (changes.has(name)) {
      return { errorCode: errorCodes.INVALID_REQUEST, errorMessage: `${name} is named twice` };
    }
    const outcome = newValue(operation, values.get(name) ?? '');
    if (typeof outcome === 'object' && outcome !== null) return outcome;
    changes.set(name, outcome);
  }
  return changeTopic(context, asked.resourceName, { changes, validateOnly });
}

function newValue(
  { name, configOperation, value }: Operation,
  current: string,
): string | null | ConfigOutcome {
  if (configOperation === operations.remove) return null;
  if (value === null) return invalid(`${name} has no value`);
  if (configOperation === operations.set) return value;
  if (configOperation !== operations.append && configOperation !== operations.subtract) {
    return { errorCode: errorCodes.INVALID_REQUEST, errorMessage: 'an unknown operation' };
  }
  if (topicConfigKeys.find((key) => key.name === name)?.type !== 'list') return invalid(`${name} is no list`);
  const items = new Set(current.split(',').map((item) => item.trim()));
  for (const item of value.split(',')) {
    if (configOperation === operations.append) items.add(item.trim());
    else items.delete(item.trim());
  }
  return [...items].join(',');
}
