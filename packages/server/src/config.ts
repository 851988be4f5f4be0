import { readFileSync } from 'node:fs';
import { RobustError } from '@robustmq/core';
import { parse } from 'yaml';
import { describeProblems } from './config-problems.ts';
import type { Config } from './config-schema.ts';
import { configSchema } from './config-schema.ts';
import type { ServerErrorCode } from './errors.ts';
import { isLoopback, isWildcard } from './listen-hosts.ts';

const prefix = 'ROBUSTMQ_';

/**
 * Reads the file (null: none), lays environment variables `ROBUSTMQ_...` over it, and checks the result. Throws
 * CONFIG_UNREADABLE, CONFIG_INVALID.
 */
export function loadConfig(path: string | null, env: ReadonlyMap<string, string>): Config {
  const values = path === null ? {} : readYaml(path);
  const variables = new Map<string, string>();
  for (const [name, text] of env) {
    if (!name.startsWith(prefix)) continue;
    const keys = keyPath(name.slice(prefix.length));
    setPath(values, keys, readValue(name, text));
    variables.set(keys.join('.'), name);
  }
  const result = configSchema.safeParse(values);
  if (!result.success) throw invalid(describeProblems(result.error, { file: path, variables }));
  const config = result.data;
  for (const [name, { host, enabled }] of Object.entries({ ...config.listeners, admin: config.admin })) {
    if (!enabled || isLoopback(host) || config.allowAnonymous) continue;
    throw invalid(
      `listener ${name} on ${host} can be reached from outside this machine, where anybody could read and write ` +
        'everything. Bind it to localhost, or set allowAnonymous: true if that is what you want.',
    );
  }
  checkAdvertised(config);
  return config;
}

/** Clients of the listener are told where to connect, which must be an address that they can use. */
function checkAdvertised(config: Config): void {
  const { enabled, host, advertised } = config.listeners.kafka;
  if (!enabled || advertised !== undefined || !isWildcard(host)) return;
  throw invalid(
    `listeners.kafka.host is ${host}, which no client can connect to. Say what clients should be told, for example ` +
      'listeners.kafka.advertised: broker.example.org:9092.',
  );
}

function readYaml(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new RobustError<ServerErrorCode>(
      'CONFIG_UNREADABLE',
      `${path} can not be read: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw invalid(`${path} holds no mapping of keys to values`);
  return value as Record<string, unknown>;
}

/** A variable's text is read as YAML, so that numbers, words and lists are what they are in the file. */
function readValue(name: string, text: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new RobustError<ServerErrorCode>(
      'CONFIG_INVALID',
      `${name} is no YAML: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}

/** `LISTENERS__MQTT__PORT` -> `listeners.mqtt.port`: levels are apart by two underscores, words by one. */
function keyPath(name: string): string[] {
  return name
    .split('__')
    .map((level) =>
      level.toLowerCase().replace(/_([a-z0-9])/g, (_all, letter: string) => letter.toUpperCase()),
    );
}

function setPath(values: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = values;
  for (const level of path.slice(0, -1)) {
    const next = Object.hasOwn(at, level) ? at[level] : undefined;
    if (typeof next === 'object' && next !== null) at = next as Record<string, unknown>;
    else {
      const made: Record<string, unknown> = {};
      Object.defineProperty(at, level, { value: made, enumerable: true, writable: true, configurable: true });
      at = made;
    }
  }
  const last = path.at(-1)!;
  Object.defineProperty(at, last, { value, enumerable: true, writable: true, configurable: true });
}

function invalid(problem: string): RobustError<ServerErrorCode> {
  return new RobustError('CONFIG_INVALID', problem);
}
