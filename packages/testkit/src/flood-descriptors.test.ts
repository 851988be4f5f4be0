import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { adminRequest } from './admin-request.ts';
import { hasCommand } from './command.ts';
import { metricOf, printFigures, RawPeer, Siege } from './hostile-siege.ts';
import { KafkaClient } from './kafka-client.ts';
import { batchOf, fetchFrom, produceTo } from './kafka-fixture.ts';
import { MqttClient } from './mqtt-client.ts';
import { descriptorCount } from './process-status.ts';
import type { ServerProcess } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const prlimit = hasCommand('prlimit', ['--version']);
const openFiles = 16;
/** Topics that begin while the flood stands, with four shards each: 80 files, and 24 more of segments that are full. */
const small = Array.from({ length: 20 }, (_, at) => `small-${at}`);
const full = Array.from({ length: 6 }, (_, at) => `full-${at}`);
const shards = 4;
const segmentBytes = 1024 * 1024;
/** The fourth begins a second segment. */
const batchesOfFull = 4;

/** What is produced to a shard as its nth batch. */
function batchFor(topic: string, partition: number, at: number): Buffer {
  const bytes = topic.startsWith('full') ? segmentBytes / 3 : 100;
  return batchOf([`${topic}/${partition}/${at}`.padEnd(bytes, '.')]);
}

const segmentFiles = (server: ServerProcess): number =>
  readdirSync(`${server.dataDir}/journal/segments`).filter((name) => name.endsWith('.seg')).length;

/** Makes topics, writes to every shard, and reads from each what was written first, when it is in files. */
async function useFiles(server: ServerProcess, client: KafkaClient): Promise<void> {
  for (const name of [...small, ...full]) {
    const config = name.startsWith('full') ? { 'segment.bytes': String(segmentBytes) } : {};
    // Rejects unless the admin listener answers with success.
    await adminRequest(server, 'POST', '/api/v1/topics', { name, shards, config });
  }
  const ofEach = async (use: (topic: string, partition: number) => Promise<void>): Promise<void> => {
    for (const topic of [...small, ...full]) {
      for (let partition = 0; partition < shards; partition++) await use(topic, partition);
    }
  };
  await ofEach(async (topic, partition) => {
    const count = topic.startsWith('full') ? batchesOfFull : 1;
    for (let at = 0; at < count; at++) {
      const { errorCode } = await produceTo(client, topic, batchFor(topic, partition, at), { partition });
      expect([topic, partition, errorCode]).toEqual([topic, partition, 0]);
    }
  });
  // A shard has its file when its first records are written behind, after a second.
  const filesLeast = (small.length + 2 * full.length) * shards;
  await waitUntil(() => segmentFiles(server) >= filesLeast, { what: `${filesLeast} segment files` });
  await ofEach(async (topic, partition) => {
    const { errorCode, records } = await fetchFrom(client, topic, 0, { partition });
    expect([topic, partition, errorCode]).toEqual([topic, partition, 0]);
    const first = batchFor(topic, partition, 0);
    // All but its offset and epoch, which the log gives, and its time with the checksum over it.
    const from = first.indexOf(topic);
    expect(records!.subarray(from, first.length).equals(first.subarray(from))).toBe(true);
  });
  const listed = JSON.parse(await adminRequest(server, 'GET', '/api/v1/topics')) as { name: string }[];
  expect(listed.map(({ name }) => name)).toEqual(expect.arrayContaining([...small, ...full]));
}

it.skipIf(!prlimit)(
  `a flood that would take every descriptor leaves those that storage and the admin listener need${prlimit ? '' : ' (prlimit is not installed)'}`,
  async () => {
    // Who is let in stays, though it says nothing.
    await using siege = await Siege.start({ storage: { openFiles }, mqtt: { connectTimeoutMs: 60_000 } });
    const { server } = siege;
    // A flood lets no new client in.
    const client = await KafkaClient.connect({ host: '127.0.0.1', port: server.ports.kafka });
    const limit = 700;
    execFileSync('prlimit', ['--pid', String(server.pid), `--nofile=${limit}:${limit}`]);
    // The limit is looked up once a second.
    await delay(1100);
    const peers: RawPeer[] = [];
    let descriptors = 0;
    const damage = await siege.withstand(async () => {
      while (peers.length < 1500) {
        const more = Array.from({ length: 100 }, () => RawPeer.open(server.ports.mqtt));
        peers.push(...(await Promise.all(more)));
      }
      await delay(500);
      const standing = descriptorCount(server.pid);
      await useFiles(server, client);
      descriptors = descriptorCount(server.pid);
      // The flood stood meanwhile.
      expect(descriptors).toBeGreaterThanOrEqual(standing - openFiles);
    });
    const open = await metricOf(server, 'robustmq_journal_open_files');
    printFigures('a flood at the limit of descriptors', { ...damage, limit, descriptors, open });
    expect(open).toBeLessThanOrEqual(openFiles);
    expect(await metricOf(server, 'robustmq_server_connections_over_descriptors_total')).toBeGreaterThan(500);
    for (const peer of peers) peer.drop();
    await waitUntil(async () => (await metricOf(server, 'robustmq_mqtt_connections')) === 2);
    const { client: late } = await MqttClient.connect(server.ports.mqtt, 5);
    late.drop();
    client.close();
  },
);
