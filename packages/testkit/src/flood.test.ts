import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { encodePacket } from '@robustmq/mqtt-codec';
import { apiVersions } from '@robustmq/kafka-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { memoryOf, metricOf, printFigures, quantile, RawPeer, Siege } from './hostile-siege.ts';
import { requestBytes } from './kafka-fixture.ts';
import { MqttClient } from './mqtt-client.ts';
import type { ListenerName } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

// Real processes with thousands of connections, on a machine that other tests use too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

/** Connections that are being opened at one time: what a system's queue of new ones holds. */
const openingMax = 200;
/** One address has some 28,000 ports. */
const addresses = ['127.0.0.11', '127.0.0.12', '127.0.0.13'];

const connectBytes = encodePacket(4, {
  type: 'connect',
  version: 4,
  cleanStart: true,
  keepAlive: 0,
  clientId: '',
  username: null,
  password: null,
  will: null,
  properties: {},
});

/** Opens `count` connections and sends `first` on each. */
async function flood(port: number, count: number, first: Uint8Array): Promise<RawPeer[]> {
  const peers: RawPeer[] = [];
  while (peers.length < count) {
    const batch = Array.from({ length: Math.min(openingMax, count - peers.length) }, (_, at) =>
      RawPeer.open(port, addresses[at % addresses.length]),
    );
    for (const peer of await Promise.all(batch)) {
      if (first.length > 0) peer.send(first);
      peers.push(peer);
    }
  }
  return peers;
}

/** Descriptors that a process may open. */
function descriptorsMax(): number {
  return Number(/Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0);
}

let siege: Siege;

beforeAll(async () => {
  siege = await Siege.start();
});

afterAll(async () => {
  await siege[Symbol.asyncDispose]();
});

describe('connection floods', () => {
  const listeners: readonly ListenerName[] = ['mqtt', 'mqttWebSocket', 'kafka', 'admin'];
  const burst = 60;

  it('of one address are cut off on every listener together, and another address is served', async () => {
    await using rated = await Siege.start({
      limits: { connections: { loopback: true, perSecond: 1, burst } },
    });
    const { server } = rated;
    const from = '127.0.0.9';
    const taken = async (listener: ListenerName, count: number): Promise<RawPeer[]> => {
      const peers = await Promise.all(
        Array.from({ length: count }, () => RawPeer.open(server.ports[listener], from)),
      );
      // Whoever is refused is refused before a byte is read.
      for (const peer of peers) peer.send(Buffer.of(0x10));
      await waitUntil(() => peers.filter(({ closed }) => !closed).length <= burst);
      await delay(300);
      return peers.filter(({ closed }) => !closed);
    };
    const damage = await rated.withstand(async () => {
      const first = await taken('mqtt', 500);
      expect(first.length).toBeGreaterThanOrEqual(burst);
      // A few seconds have passed, each of which allows one more.
      expect(first.length).toBeLessThan(burst + 10);
      for (const listener of listeners) expect((await taken(listener, 100)).length).toBeLessThan(20);
      for (const peer of first) peer.drop();
    });
    printFigures('a flood of 900 connections of one address', damage);
    expect(damage.growthMib).toBeLessThan(32);
    expect(damage.p99Ms).toBeLessThan(4000);
    expect(await metricOf(server, 'robustmq_server_connections_over_rate_total')).toBeGreaterThan(700);
  });

  it('from this machine are served, unless it is asked otherwise', async () => {
    const { server } = siege;
    const peers = await flood(server.ports.kafka, 1500, Buffer.alloc(0));
    await waitUntil(async () => (await metricOf(server, 'robustmq_kafka_connections')) > 1500);
    expect(peers.filter(({ closed }) => closed)).toEqual([]);
    expect(await metricOf(server, 'robustmq_server_connections_over_rate_total')).toBe(0);
    for (const peer of peers) peer.drop();
    await waitUntil(async () => (await metricOf(server, 'robustmq_kafka_connections')) === 1);
  });

  it('above `connectionsMax` are closed at once, over WebSocket as over TCP', async () => {
    await using narrow = await Siege.start({ mqtt: { connectionsMax: 20 }, kafka: { connectionsMax: 20 } });
    const { server } = narrow;
    for (const [listener, open] of [
      ['mqtt', 18],
      ['kafka', 19],
      ['mqttWebSocket', 20],
    ] as const) {
      const peers = await flood(server.ports[listener], 200, Buffer.alloc(0));
      await waitUntil(() => peers.filter(({ closed }) => !closed).length <= open, { what: listener });
      expect(peers.filter(({ closed }) => !closed)).toHaveLength(open);
      for (const peer of peers) peer.drop();
    }
  });
});

describe('half-open connections', () => {
  const ticksPerSecond = 100;
  /** Ports of the peers of `port` that the system will probe -> when it begins, seconds from now. */
  const probed = (port: number): Map<number, number> => {
    const found = new Map<number, number>();
    for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1)) {
      const [, local, remote, , , timer] = line.trim().split(/\s+/);
      if (local === undefined || Number.parseInt(local.split(':')[1]!, 16) !== port) continue;
      // 02: the keep-alive timer runs; behind it the ticks that are left.
      const [kind, ticks] = timer!.split(':');
      if (kind !== '02') continue;
      found.set(Number.parseInt(remote!.split(':')[1]!, 16), Number.parseInt(ticks!, 16) / ticksPerSecond);
    }
    return found;
  };

  it('are watched by the system after a minute on every protocol, and end where the client ends its half', async () => {
    const { mqtt, mqttWebSocket, kafka } = siege.server.ports;
    for (const port of [mqtt, mqttWebSocket, kafka]) {
      const peers = await flood(port, 100, port === mqtt ? connectBytes : Buffer.alloc(0));
      await waitUntil(() => {
        const watched = probed(port);
        return peers.every(({ socket }) => watched.has(socket.localPort!));
      });
      const watched = probed(port);
      const dueIn = peers.map(({ socket }) => watched.get(socket.localPort!) ?? Infinity);
      // The system's own default is two hours.
      expect(Math.max(...dueIn)).toBeLessThan(62);
      expect(Math.min(...dueIn)).toBeGreaterThan(20);
      for (const peer of peers) peer.socket.end();
      await waitUntil(() => peers.every(({ closed }) => closed));
    }
    const connections = async (): Promise<number[]> => [
      await metricOf(siege.server, 'robustmq_mqtt_connections'),
      await metricOf(siege.server, 'robustmq_kafka_connections'),
    ];
    await waitUntil(async () => (await connections()).join(' ') === '2 1');
  });

  it('a client that is silent for one and a half keep alive intervals is let go', async () => {
    const since = performance.now();
    const { client } = await MqttClient.connect(siege.server.ports.mqtt, 5, { keepAlive: 1 });
    expect((await client.next('disconnect')).reasonCode).toBe(0x8d);
    expect(performance.now() - since).toBeGreaterThan(1400);
    expect(performance.now() - since).toBeLessThan(5000);
  });
});

describe('slow-loris', () => {
  const deadlineMs = 4000;
  const each = 1250;

  it(`${4 * each} connections that say hardly anything are let go in time, and others connect meanwhile`, async () => {
    await using impatient = await Siege.start({
      mqtt: { connectTimeoutMs: deadlineMs },
      kafka: { partialRequestMs: deadlineMs, idleMs: deadlineMs },
    });
    const { server } = impatient;
    const { mqtt, mqttWebSocket, kafka } = server.ports;
    const silent = Buffer.alloc(0);
    const kinds: readonly (readonly [port: number, first: Buffer, drips: boolean])[] = [
      [mqtt, silent, false],
      [mqtt, connectBytes.subarray(0, 1), true],
      [mqttWebSocket, Buffer.from('GET /mqtt HTTP/1.1\r\nHost: x\r\nX: '), true],
      [kafka, Buffer.from([0, 1, 0, 0]), true],
    ];
    const connects: number[] = [];
    const peers: RawPeer[] = [];
    const dripping: RawPeer[] = [];
    const damage = await impatient.withstand(async () => {
      let over = false;
      const legitimate = (async () => {
        while (!over) {
          const since = performance.now();
          const { client } = await MqttClient.connect(mqtt, 5);
          connects.push(performance.now() - since);
          client.drop();
          await delay(20);
        }
      })();
      for (const [port, first, drips] of kinds) {
        const some = await flood(port, each, first);
        peers.push(...some);
        if (drips) dripping.push(...some);
      }
      const drops = setInterval(() => {
        for (const peer of dripping) peer.send(Buffer.from('a'));
      }, 1000);
      await waitUntil(() => peers.every(({ closed }) => closed), { timeoutMs: 10 * deadlineMs });
      clearInterval(drops);
      over = true;
      await legitimate;
    });
    const connectP99Ms = quantile(connects, 0.99);
    const livedMs = Math.max(...peers.map((peer) => peer.livedMs));
    printFigures(`${4 * each} slow-loris connections`, { ...damage, connectP99Ms, livedMs });
    // Deadlines are looked for at half of them, and the client's clock starts before the server's.
    expect(livedMs).toBeLessThan(deadlineMs * 2);
    expect(connectP99Ms).toBeLessThan(4000);
    expect(damage.p99Ms).toBeLessThan(4000);
    // 24 KiB a connection.
    expect(damage.growthMib).toBeLessThan(120);
    // A request that says 64 KiB has a buffer of that size from its first byte, though nobody wrote to it.
    expect(damage.bufferMib).toBeLessThan((each * 64) / 1024 + 16);
    expect(await metricOf(server, 'robustmq_mqtt_connections_overdue_total')).toBe(2 * each);
  });
});

describe('idle clients', () => {
  const mqttClients = 10_000;
  const kafkaClients = 2000;
  const needed = mqttClients + kafkaClients + 500;
  const reason = descriptorsMax() >= needed ? '' : ` (a process may open ${descriptorsMax()} files only)`;

  it.skipIf(reason !== '')(
    `${mqttClients} of MQTT and ${kafkaClients} of Kafka cost little memory, and others nothing${reason}`,
    async () => {
      const { server } = siege;
      const quiet = await siege.withstand(() => delay(1000));
      const before = memoryOf(server.pid).residentMib;
      const since = performance.now();
      const idle = await flood(server.ports.mqtt, mqttClients, connectBytes);
      await waitUntil(() => idle.every(({ received }) => received.length === 4));
      const mqttMib = memoryOf(server.pid).residentMib - before;
      const asked = requestBytes(apiVersions, 0, {});
      const kafka = await flood(server.ports.kafka, kafkaClients, asked);
      await waitUntil(() => kafka.every(({ received }) => received.length > 0));
      const connectSeconds = (performance.now() - since) / 1000;
      const kafkaMib = memoryOf(server.pid).residentMib - before - mqttMib;
      const beside = await siege.withstand(() => delay(2000));
      const figures = {
        mqttKib: (mqttMib * 1024) / mqttClients,
        kafkaKib: (kafkaMib * 1024) / kafkaClients,
        connectSeconds,
        p99MsBefore: quiet.p99Ms,
        p99MsBeside: beside.p99Ms,
      };
      printFigures('idle clients', figures);
      expect(await metricOf(server, 'robustmq_mqtt_connections')).toBe(mqttClients + 2);
      expect(figures.mqttKib).toBeLessThan(24);
      expect(figures.kafkaKib).toBeLessThan(48);
      expect(beside.p99Ms).toBeLessThan(Math.max(500, 5 * quiet.p99Ms));
      for (const peer of [...idle, ...kafka]) peer.drop();
      await waitUntil(async () => (await metricOf(server, 'robustmq_mqtt_connections')) === 2);
    },
  );
});
