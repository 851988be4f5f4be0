import { readFileSync } from 'node:fs';
import { RobustError } from '@robustmq/core';
import { parse } from 'yaml';
import { z } from 'zod';

/** What is wrong with the configuration, in words that name the key. */
export type ConfigErrorCode = 'CONFIG_INVALID' | 'CONFIG_UNREADABLE';

const port = z.number().int().min(0).max(65_535);
const listener = (defaultPort: number) =>
  z
    .strictObject({
      /** Address to bind; one of the loopback addresses unless `allowAnonymous` is set. */
      host: z.string().default('127.0.0.1'),
      /** 0 takes a free port. */
      port: port.default(defaultPort),
      enabled: z.boolean().default(true),
    })
    .prefault({});

const schema = z.strictObject({
  /** Folder of all state of this process. */
  dataDir: z.string().min(1).default('./data'),
  nodeId: z
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(1),
  /** Needed for any listener that is not on a loopback address: until authentication exists everybody may do all. */
  allowAnonymous: z.boolean().default(false),
  listeners: z
    .strictObject({
      mqtt: listener(1883),
      mqttWebSocket: listener(8083),
      kafka: listener(9092),
    })
    .prefault({}),
  /** What clients are told to connect to, where that differs from the bound address. */
  advertised: z.strictObject({ kafka: z.string().optional() }).prefault({}),
  admin: listener(58_080),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
    })
    .prefault({}),
  storage: z
    .strictObject({
      /** Size of one file of the journal's write-ahead log, and of all of them. */
      walFileBytes: z
        .number()
        .int()
        .min(1024 * 1024)
        .default(32 * 1024 * 1024),
      walBytesMax: z
        .number()
        .int()
        .min(4 * 1024 * 1024)
        .default(512 * 1024 * 1024),
      /** Space that stays free; new data is refused before it is used. */
      reserveBytes: z
        .number()
        .int()
        .min(1024 * 1024)
        .default(64 * 1024 * 1024),
    })
    .prefault({}),
});

/** The whole configuration of a process, every value filled in. */
export type Config = z.infer<typeof schema>;

/**
 * Reads the file (null: none), lays environment variables `ROBUSTMQ_...` over it, and checks the result. Throws
 * CONFIG_UNREADABLE, CONFIG_INVALID.
 */
export function loadConfig(path: string | null, env: ReadonlyMap<string, string>): Config {
  const values = path === null ? {} : readYaml(path);
  for (const [name, text] of env) {
    if (name.startsWith('ROBUSTMQ_')) setPath(values, keyPath(name.slice('ROBUSTMQ_'.length)), parse(text));
  }
  const result = schema.safeParse(values);
  if (!result.success) throw invalid(z.prettifyError(result.error));
  const config = result.data;
  for (const [name, { host, enabled }] of Object.entries({ ...config.listeners, admin: config.admin })) {
    if (!enabled || isLoopback(host) || config.allowAnonymous) continue;
    throw invalid(
      `listener ${name} on ${host} can be reached from outside this machine, where anybody could read and write ` +
        'everything. Bind it to 127.0.0.1, or set allowAnonymous: true if that is what you want.',
    );
  }
  return config;
}

/** Whether an address can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function readYaml(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new RobustError<ConfigErrorCode>(
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

function invalid(problem: string): RobustError<ConfigErrorCode> {
  return new RobustError('CONFIG_INVALID', problem);
}
