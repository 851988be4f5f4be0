import { decodeRequest, describeConfigs, encodeResponse, errorCodes } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { brokerConfigs, configSources, resourceTypes, topicConfigs } from '../configs.ts';
import type { ConfigEntry, ConfigOutcome } from '../configs.ts';

/** Configuration of topics and of this broker, with where each value comes from. */
export function handleDescribeConfigs(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(describeConfigs, apiVersion, request.frame, request.bodyStart);
  // Each resource once, with the keys that were asked for last: answers are many times the size of questions.
  const asked = new Map(body.resources.map((each) => [`${each.resourceType}/${each.resourceName}`, each]));
  const results = [...asked.values()].map(({ resourceType, resourceName, configurationKeys }) => {
    const found = entriesOf(context, resourceType, resourceName);
    if (!Array.isArray(found)) return { ...found, resourceType, resourceName, configs: [] };
    // No key asks for all, as null does.
    const keys = new Set(configurationKeys);
    const configs = found
      .filter(({ name }) => keys.size === 0 || keys.has(name))
      .map((entry) => shown(entry, body.includeSynonyms));
    return { errorCode: errorCodes.NONE, errorMessage: null, resourceType, resourceName, configs };
  });
  return encodeResponse(describeConfigs, apiVersion, correlationId, { throttleTimeMs: 0, results });
}

function entriesOf(context: KafkaContext, type: number, name: string): ConfigEntry[] | ConfigOutcome {
  if (type === resourceTypes.topic) return topicConfigs(context, name);
  if (type === resourceTypes.broker) return brokerConfigs(context, name);
  return {
    errorCode: errorCodes.INVALID_REQUEST,
    errorMessage: 'only topics and brokers have configuration',
  };
}

function shown(entry: ConfigEntry, includeSynonyms: boolean) {
  return {
    name: entry.name,
    value: entry.value,
    readOnly: entry.readOnly,
    isDefault: entry.source === configSources.default,
    configSource: entry.source,
    isSensitive: false,
    synonyms: includeSynonyms ? entry.synonyms : [],
    configType: entry.type,
    documentation: null,
  };
}
