import { topicConfigKeys } from '@robustmq/kernel';
import { z } from 'zod';
import { configSchema } from './config-schema.ts';
import { defaultTopicMessageBytes, defaultTopicShards } from './standalone.ts';

/** What of a JSON Schema the reference shows. */
interface SchemaNode {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
}

/** docs/configuration.md, made of the schema and of the topic keys; a test compares. */
export function configReference(): string {
  const root = z.toJSONSchema(configSchema, { io: 'input' }) as SchemaNode;
  return [
    '# Configuration',
    '',
    'Everything has a default: `robustmq start` needs no file. `robustmq start --config robustmq.yaml` reads one; a key that is',
    'not listed here is an error. Each key can also be set by an environment variable, which counts more than the file: its',
    'text is read as YAML.',
    '',
    '```yaml',
    'dataDir: /var/lib/robustmq',
    'listeners:',
    '  kafka: { host: 0.0.0.0, advertised: "broker.example.org:9092" }',
    'allowAnonymous: true # until authentication exists',
    '```',
    '',
    '## Keys of the server',
    '',
    'Sizes are bytes, times are milliseconds.',
    '',
    '| key | default | allowed | meaning |',
    '|---|---|---|---|',
    ...rows(root, []),
    '',
    'The environment variable of a key is `ROBUSTMQ_` and the key in upper case: levels are apart by two underscores, words by',
    'one. `listeners.mqttWebSocket.port` is `ROBUSTMQ_LISTENERS__MQTT_WEB_SOCKET__PORT`.',
    '',
    '## Keys of a topic',
    '',
    'Set when a topic is created or later, with a Kafka client or over the admin API (`docs/admin-api.md`).',
    '',
    '| key | default | allowed |',
    '|---|---|---|',
    ...topicConfigKeys.map((key) => {
      const range = key.words?.join(', ') ?? rangeOf(key.type, key.min, key.max);
      const when = key.fixed === true ? '; only at creation or while the topic is empty' : '';
      return `| \`${key.name}\` | ${key.default} | ${range}${when} |`;
    }),
    '',
    '-1 means without bound. The default topic `mqtt` is made with a `retention.bytes` (`topics.defaultRetentionBytes`) and a',
    `\`max.message.bytes\` (${defaultTopicMessageBytes}) of its own. It has ${defaultTopicShards} shards, and the bound on bytes counts for each.`,
    '`cleanup.policy=compact` is refused until it exists.',
    '',
  ].join('\n');
}

function rows(node: SchemaNode, path: readonly string[]): string[] {
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([name, child]) => rows(child, [...path, name]));
  }
  const allowed = node.enum?.join(', ') ?? rangeOf(node.type ?? '', node.minimum, node.maximum);
  const fallback = node.default === undefined ? '' : String(node.default);
  return [`| \`${path.join('.')}\` | ${fallback} | ${allowed} | ${node.description ?? ''} |`];
}

function rangeOf(type: string, min: number | undefined, max: number | undefined): string {
  if (type === 'boolean') return 'true, false';
  const low = min !== undefined && min > Number.MIN_SAFE_INTEGER ? String(min) : '';
  const high = max !== undefined && max < Number.MAX_SAFE_INTEGER ? String(max) : '';
  if (low === '' && high === '') return type === 'string' ? 'text' : type;
  return high === '' ? `${low} or more` : `${low} to ${high}`;
}
