import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { hasCommand } from './command.ts';
import { metricOf, printFigures, RawPeer, Siege } from './hostile-siege.ts';
import { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const prlimit = hasCommand('prlimit', ['--version']);
const openFiles = 16;

it.skipIf(!prlimit)(
  `a flood that would take every descriptor leaves those that storage needs${prlimit ? '' : ' (prlimit is not installed)'}`,
  async () => {
    await using siege = await Siege.start({ storage: { openFiles } });
    const { server } = siege;
    const limit = 700;
    execFileSync('prlimit', ['--pid', String(server.pid), `--nofile=${limit}:${limit}`]);
    // The limit is looked up once a second.
    await delay(1100);
    const peers: RawPeer[] = [];
    const damage = await siege.withstand(async () => {
      while (peers.length < 1500) {
        const more = Array.from({ length: 100 }, () => RawPeer.open(server.ports.mqtt));
        peers.push(...(await Promise.all(more)));
      }
      await delay(500);
      // Files are opened while it lasts: every new name of a bound topic has a shard of its own.
      const api = `http://${server.address('admin')}/api/v1/topics`;
      for (let at = 0; at < 20; at++) {
        const body = JSON.stringify({ name: `files-${at}`, shards: 4 });
        const headers = { 'content-type': 'application/json' };
        await fetch(api, { method: 'POST', body, headers });
      }
      await delay(1000);
    });
    printFigures('a flood at the limit of descriptors', { ...damage, limit });
    expect(await metricOf(server, 'robustmq_server_connections_over_descriptors_total')).toBeGreaterThan(500);
    for (const peer of peers) peer.drop();
    await waitUntil(async () => (await metricOf(server, 'robustmq_mqtt_connections')) === 2);
    const { client } = await MqttClient.connect(server.ports.mqtt, 5);
    client.drop();
  },
);
