import { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from './errors.ts';
import type { TopicConfigValues } from './ports/metadata.ts';

/** Typed view of a topic's configuration with its defaults. Bytes, ms; -1 means no bound. */
export interface TopicConfig {
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly segmentBytes: number;
  readonly segmentMs: number;
  readonly maxMessageBytes: number;
  readonly compact: boolean;
  readonly deleteOld: boolean;
  readonly timestampType: 'create' | 'append';
  readonly timestampAfterMaxMs: number;
  readonly subjectBind: boolean;
  readonly subjectWildcard: boolean;
  readonly capture: 'all' | 'qos1';
  readonly storage: 'journal' | 'memory';
  readonly flush: 'always' | 'interval';
  readonly flushIntervalMs: number;
  /** It came about by its use, and counts against the bound on those. */
  readonly autoCreated: boolean;
}

/** How one key is written, checked and shown. */
export interface TopicConfigKey {
  readonly name: string;
  readonly type: 'long' | 'int' | 'boolean' | 'string' | 'list';
  readonly default: string;
  /** Allowed words of a string or list. */
  readonly words?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  /** Can only be set when the topic is created or while it is empty. */
  readonly fixed?: boolean;
}

const mebibyte = 1024 * 1024;

/** The closed list of topic keys: what is accepted is enforced. */
export const topicConfigKeys: readonly TopicConfigKey[] = [
  { name: 'retention.ms', type: 'long', default: String(7 * 24 * 3600 * 1000), min: -1 },
  { name: 'retention.bytes', type: 'long', default: '-1', min: -1 },
  { name: 'segment.bytes', type: 'int', default: String(64 * mebibyte), min: mebibyte, max: 1024 * mebibyte },
  { name: 'segment.ms', type: 'long', default: String(24 * 3600 * 1000), min: 1000 },
  { name: 'max.message.bytes', type: 'int', default: '1048588', min: 1024, max: 1_900_000 },
  { name: 'cleanup.policy', type: 'list', default: 'delete', words: ['delete', 'compact'] },
  {
    name: 'message.timestamp.type',
    type: 'string',
    default: 'CreateTime',
    words: ['CreateTime', 'LogAppendTime'],
  },
  { name: 'message.timestamp.after.max.ms', type: 'long', default: '3600000', min: 0 },
  { name: 'subject.bind', type: 'boolean', default: 'false', fixed: true },
  { name: 'subject.wildcard', type: 'boolean', default: 'false' },
  { name: 'capture', type: 'string', default: 'all', words: ['all', 'qos1'] },
  { name: 'storage', type: 'string', default: 'journal', words: ['journal', 'memory'], fixed: true },
  { name: 'flush', type: 'string', default: 'always', words: ['always', 'interval'] },
  { name: 'flush.interval.ms', type: 'int', default: '100', min: 1, max: 60_000 },
  { name: 'auto.created', type: 'boolean', default: 'false' },
];

const keysByName = new Map(topicConfigKeys.map((key) => [key.name, key]));

/** Throws TOPIC_CONFIG_INVALID when a key is unknown or its value is not allowed. */
export function validateTopicConfig(values: TopicConfigValues): void {
  for (const [name, value] of values) {
    const key = keysByName.get(name);
    if (key === undefined) throw invalid(name, value, 'is not a topic configuration of this server');
    const problem = checkValue(key, value);
    if (problem !== null) throw invalid(name, value, problem);
  }
}

function checkValue(key: TopicConfigKey, value: string): string | null {
  switch (key.type) {
    case 'int':
    case 'long': {
      const number = Number(value);
      if (!/^-?\d+$/.test(value) || !Number.isSafeInteger(number)) return 'is not an integer';
      if (number < (key.min ?? -Infinity) || number > (key.max ?? Infinity)) {
        return `is outside ${key.min ?? 'any'}..${key.max ?? 'any'}`;
      }
      return null;
    }
    case 'boolean':
      return value === 'true' || value === 'false' ? null : 'is neither true nor false';
    case 'string':
      return key.words === undefined || key.words.includes(value)
        ? null
        : `is none of ${key.words.join(', ')}`;
    case 'list': {
      const items = value.split(',').map((item) => item.trim());
      const ok = items.every((item) => key.words === undefined || key.words.includes(item));
      return ok ? null : `holds something other than ${key.words?.join(', ')}`;
    }
  }
}

function invalid(name: string, value: string, problem: string): RobustError<KernelErrorCode> {
  return new RobustError('TOPIC_CONFIG_INVALID', `${name}=${value} ${problem}`, { detail: { name, value } });
}

/** The effective configuration of valid values. */
export function parseTopicConfig(values: TopicConfigValues): TopicConfig {
  const text = (name: string): string => values.get(name) ?? keysByName.get(name)!.default;
  const number = (name: string): number => Number(text(name));
  const policies = text('cleanup.policy')
    .split(',')
    .map((policy) => policy.trim());
  return {
    retentionMs: number('retention.ms'),
    retentionBytes: number('retention.bytes'),
    segmentBytes: number('segment.bytes'),
    segmentMs: number('segment.ms'),
    maxMessageBytes: number('max.message.bytes'),
    compact: policies.includes('compact'),
    deleteOld: policies.includes('delete'),
    timestampType: text('message.timestamp.type') === 'LogAppendTime' ? 'append' : 'create',
    timestampAfterMaxMs: number('message.timestamp.after.max.ms'),
    subjectBind: text('subject.bind') === 'true',
    subjectWildcard: text('subject.wildcard') === 'true',
    capture: text('capture') === 'qos1' ? 'qos1' : 'all',
    storage: text('storage') === 'memory' ? 'memory' : 'journal',
    flush: text('flush') === 'interval' ? 'interval' : 'always',
    flushIntervalMs: number('flush.interval.ms'),
    autoCreated: text('auto.created') === 'true',
  };
}
