import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { apiVersions } from '@robustmq/kafka-codec';
import { metricOf, RawPeer } from './hostile-siege.ts';
import { KafkaClient } from './kafka-client.ts';
import { MqttClient } from './mqtt-client.ts';
import { ServerProcess } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const mebibyte = 1024 * 1024;
const partialRequestMs = 10_000;
const attackMib = 300;

let server: ServerProcess;

beforeAll(async () => {
  server = await ServerProcess.start({
    config: {
      limits: { memory: { bytes: 400 * mebibyte, pausePercent: 40, refusePercent: 50 } },
      kafka: { partialRequestMs },
    },
  });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

it('when memory is short publishers wait, then new connections are refused, and all goes on afterwards', async () => {
  const { mqtt, kafka, mqttWebSocket } = server.ports;
  const { client: publisher } = await MqttClient.connect(mqtt, 5);
  const { client: subscriber } = await MqttClient.connect(mqtt, 5);
  const consumer = await KafkaClient.connect({ host: '127.0.0.1', port: kafka });
  await subscriber.subscribe('t', 1);
  expect(await publisher.publishAcknowledged({ topic: 't', payload: '0' })).toBe(0);
  await subscriber.receive(1);

  const peers = await Promise.all(Array.from({ length: attackMib / 50 }, () => RawPeer.open(kafka)));
  const chunk = Buffer.alloc(mebibyte);
  // All of it first: while buffers grow a collection may free enough for publishers to go on.
  await Promise.all(
    peers.map((peer) => {
      peer.send(Buffer.from([0x05, 0, 0, 0]));
      return peer.pour(Array.from({ length: 49 }, () => chunk));
    }),
  );
  await waitUntil(async () => (await metricOf(server, 'robustmq_server_publishers_paused')) === 1);
  // Whoever connects now is let go before a byte is read; the admin listener answers.
  for (const port of [mqtt, kafka, mqttWebSocket]) {
    await waitUntil(async () => {
      const late = await RawPeer.open(port);
      late.send(Buffer.of(0));
      await late.whenClosed().catch(() => undefined);
      return late.livedMs < 1000;
    });
  }
  expect(await metricOf(server, 'robustmq_server_connections_over_memory_total')).toBeGreaterThanOrEqual(3);
  // Those that are there are served, but for what publishers send; one read of each may be on its way.
  publisher.publish({ topic: 't', qos: 1, packetId: 1, payload: '1' });
  const early = await subscriber.settled();
  publisher.publish({ topic: 't', qos: 1, packetId: 2, payload: '2' });
  early.push(...(await subscriber.settled()));
  expect(early.length).toBeLessThan(2);
  expect((await consumer.send(apiVersions, 0, {})).errorCode).toBe(0);
  expect(publisher.pending.length).toBeLessThan(2);

  // What fills the memory ends when its time is over; nobody else was closed for it.
  await Promise.all(peers.map((peer) => peer.whenClosed(30_000)));
  await waitUntil(async () => (await metricOf(server, 'robustmq_server_publishers_paused')) === 0, {
    timeoutMs: 30_000,
  });
  await waitUntil(() => publisher.pending.length === 2);
  const texts = early.map((packet) => (packet.type === 'publish' ? packet.payload.toString() : packet.type));
  expect([...texts, ...(await subscriber.receiveTexts(2 - early.length))]).toEqual(['1', '2']);
  const { client: late } = await MqttClient.connect(mqtt, 5);
  for (const client of [late, publisher, subscriber]) client.drop();
  consumer.close();
});
