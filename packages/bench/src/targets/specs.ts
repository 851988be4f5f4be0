import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Endpoint } from '../job.ts';
import { freePort, spawnTarget } from './spawned.ts';
import type { TargetSpec } from './target.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
/** Both `src/targets` and `dist/targets` lie four levels below the repository's root. */
const packages = join(here, '..', '..', '..');
const serverMain = join(packages, 'server', 'dist', 'main.js');
const peersFolder = join(here, '..', 'peers');

/** The server of this repository, standalone, with an empty data folder. */
export function robustmqSpec(): TargetSpec {
  return {
    name: 'robustmq',
    protocols: ['mqtt', 'kafka'],
    startRuns: 3,
    open: async (folder) => {
      if (!existsSync(serverMain)) throw new Error('packages/server is not built');
      mkdirSync(folder, { recursive: true });
      const mqttPort = await freePort();
      const kafkaPort = await freePort();
      const adminPort = await freePort();
      const configPath = join(folder, 'robustmq.yaml');
      writeFileSync(
        configPath,
        [
          `dataDir: ${JSON.stringify(join(folder, 'data'))}`,
          'listeners:',
          `  mqtt: { port: ${mqttPort} }`,
          `  mqttWebSocket: { port: ${await freePort()} }`,
          `  kafka: { port: ${kafkaPort} }`,
          `admin: { port: ${adminPort} }`,
          '',
        ].join('\n'),
      );
      const args = [serverMain, 'start', '--config', configPath];
      const ports = { mqttPort, kafkaPort, adminPort };
      return spawnTarget({ name: 'robustmq', folder, command: process.execPath, args, ...ports });
    },
  };
}

export interface RunningServer {
  readonly mqtt: Endpoint | null;
  readonly kafka: Endpoint | null;
  readonly pids: readonly number[];
}

/** A server that runs already. */
export function runningSpec(server: RunningServer): TargetSpec {
  const protocols: TargetSpec['protocols'] = [
    ...(server.mqtt === null ? [] : (['mqtt'] as const)),
    ...(server.kafka === null ? [] : (['kafka'] as const)),
  ];
  return {
    name: 'robustmq',
    protocols,
    startRuns: 0,
    open: async () => ({
      name: 'robustmq',
      mqtt: server.mqtt,
      kafka: server.kafka,
      admin: null,
      pids: server.pids,
      startMs: null,
      restart: null,
      stop: async () => undefined,
    }),
  };
}

/** Eclipse Mosquitto without persistence. */
export function mosquittoSpec(command: string): TargetSpec {
  return {
    name: 'mosquitto',
    protocols: ['mqtt'],
    startRuns: 3,
    open: async (folder) => {
      mkdirSync(folder, { recursive: true });
      const mqttPort = await freePort();
      const configPath = join(folder, 'mosquitto.conf');
      writeFileSync(
        configPath,
        `listener ${mqttPort} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type error\n`,
      );
      return spawnTarget({ name: 'mosquitto', folder, command, args: ['-c', configPath], mqttPort });
    },
  };
}

/** aedes with its in-memory persistence, in a process of its own. */
export function aedesSpec(): TargetSpec {
  return {
    name: 'aedes',
    protocols: ['mqtt'],
    startRuns: 3,
    open: async (folder) => {
      const mqttPort = await freePort();
      const args = [join(peersFolder, 'aedes-main.js'), String(mqttPort)];
      return spawnTarget({ name: 'aedes', folder, command: process.execPath, args, mqttPort });
    },
  };
}

/** The trivial broker that shows how much the generators can do. */
export function echoSpec(): TargetSpec {
  return {
    name: 'echo',
    protocols: ['mqtt', 'kafka'],
    startRuns: 3,
    open: async (folder) => {
      const mqttPort = await freePort();
      const kafkaPort = await freePort();
      const args = [join(peersFolder, 'echo-main.js'), String(mqttPort), String(kafkaPort)];
      return spawnTarget({ name: 'echo', folder, command: process.execPath, args, mqttPort, kafkaPort });
    },
  };
}
