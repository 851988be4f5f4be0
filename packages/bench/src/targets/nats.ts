import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, spawnTarget } from './spawned.ts';
import type { TargetSpec } from './target.ts';

/** NATS with its MQTT listener; QoS 1 goes through JetStream's file store, which does not fsync each message. */
export function natsSpec(command: string): TargetSpec {
  return {
    name: 'nats',
    protocols: ['mqtt'],
    startRuns: 3,
    open: async (folder) => {
      mkdirSync(folder, { recursive: true });
      const mqttPort = await freePort();
      const configPath = join(folder, 'nats.conf');
      writeFileSync(
        configPath,
        [
          'server_name: bench',
          `listen: 127.0.0.1:${await freePort()}`,
          `jetstream { store_dir: ${JSON.stringify(join(folder, 'data'))} }`,
          `mqtt { listen: 127.0.0.1:${mqttPort} }`,
          '',
        ].join('\n'),
      );
      return spawnTarget({ name: 'nats', folder, command, args: ['-c', configPath], mqttPort });
    },
  };
}
