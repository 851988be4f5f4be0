import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Endpoint, Job } from '../job.ts';
import { createEchoKafka } from '../peers/echo-kafka.ts';
import { createEchoMqtt } from '../peers/echo-mqtt.ts';
import { MqttScanner } from '../wire/mqtt-scanner.ts';
import { runJob } from './run-job.ts';

const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

function listen(server: Server): Promise<Endpoint> {
  servers.push(server);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (typeof address === 'object' && address !== null) resolve({ host: '127.0.0.1', port: address.port });
    });
  });
}

function timing(endpoint: Endpoint) {
  return { endpoint, pids: [process.pid], prefix: 'test', warmupMs: 50, seconds: 0.2 };
}

describe('MQTT loads', () => {
  it('delivers every QoS 0 message to each subscriber and times the server', async () => {
    const endpoint = await listen(createEchoMqtt());
    const job: Job = {
      ...timing(endpoint),
      kind: 'mqtt-qos0',
      payloadBytes: 64,
      subscribers: 5,
      inFlightMax: 400,
    };
    const result = await runJob(job);
    expect(result.count).toBeGreaterThan(300);
    expect(result.bytes).toBe(result.count * 64);
    expect(result.arrived).toBe(result.expected);
    expect(result.expected).toBeGreaterThanOrEqual(result.count);
    expect(result.seconds).toBeGreaterThan(0.19);
  });

  it('numbers and acknowledges every QoS 1 message', async () => {
    const endpoint = await listen(createEchoMqtt());
    const job: Job = {
      ...timing(endpoint),
      kind: 'mqtt-qos1',
      payloadBytes: 64,
      pairs: 3,
      window: 20,
      looped: false,
    };
    const result = await runJob(job);
    expect(result.count).toBeGreaterThan(300);
    expect([result.arrived, result.disordered]).toEqual([result.expected, 0]);
  });

  it.each([0, 1] as const)('times messages at QoS %i at a steady rate', async (qos) => {
    const endpoint = await listen(createEchoMqtt());
    const shape = {
      kind: 'mqtt-latency',
      payloadBytes: 64,
      pairs: 2,
      subscribers: 3,
      perSecond: 6000,
    } as const;
    const result = await runJob({ ...timing(endpoint), ...shape, qos, seconds: 0.5 });
    // A busy machine may delay the ticks; it may never make them more.
    expect(result.count).toBeGreaterThan(300);
    expect(result.count).toBeLessThan(3700);
    expect(result.arrived).toBe(result.expected);
    const { p50 = 0, max = 0, rateReached = 0 } = result.latency ?? {};
    expect(p50).toBeGreaterThan(0);
    expect(max).toBeGreaterThanOrEqual(p50);
    expect(rateReached).toBeGreaterThan(0.1);
    expect(rateReached).toBeLessThan(1.25);
  });

  it('counts what a broker drops at QoS 0 and goes on', async () => {
    const endpoint = await listen(createLossyMqtt());
    const job: Job = {
      ...timing(endpoint),
      kind: 'mqtt-qos0',
      payloadBytes: 64,
      subscribers: 1,
      inFlightMax: 100,
    };
    const result = await runJob({ ...job, seconds: 1 });
    expect(result.arrived).toBeGreaterThan(0);
    expect(result.arrived).toBeLessThan(result.expected);
    // More than the one window that a stalled publisher would have sent.
    expect(result.expected).toBeGreaterThan(200);
  });

  it('opens idle connections', async () => {
    const endpoint = await listen(createEchoMqtt());
    const result = await runJob({ ...timing(endpoint), kind: 'mqtt-idle', connections: 100 });
    expect(result.arrived).toBe(100);
  });

  it('fails when the server closes a connection', async () => {
    const endpoint = await listen(createServer((socket) => socket.once('data', () => socket.destroy())));
    const job: Job = { ...timing(endpoint), kind: 'mqtt-idle', connections: 1 };
    await expect(runJob(job)).rejects.toThrow('closed a connection');
  });
});

describe('Kafka loads', () => {
  it('produces on every lane, each answer in turn', async () => {
    const endpoint = await listen(createEchoKafka());
    const shape = {
      kind: 'kafka-produce',
      topic: 't',
      valueBytes: 100,
      recordsPerBatch: 3,
      connections: 4,
      partitions: 8,
      inFlight: 5,
    } as const;
    const result = await runJob({ ...timing(endpoint), ...shape });
    expect(result.count).toBeGreaterThan(100);
    expect(result.bytes).toBe(result.count * 100);
    expect(result.arrived).toBe(result.expected);
    const ends = result.acknowledged?.partitions?.ends ?? [];
    expect(ends.length).toBe(8);
    expect(Math.min(...ends)).toBeGreaterThan(0);
    expect(ends.reduce((sum, end) => sum + end, 0)).toBe(result.expected);
    expect(result.latency?.p50).toBeGreaterThan(0);
  });

  it('produces and fetches at a steady rate', async () => {
    const endpoint = await listen(createEchoKafka());
    const produce = { kind: 'kafka-produce', topic: 't', valueBytes: 1024, recordsPerBatch: 3 } as const;
    const shape = { ...produce, connections: 2, partitions: 2, inFlight: 5, perSecond: 6000 };
    const result = await runJob({ ...timing(endpoint), ...shape, seconds: 0.5 });
    // A busy machine may delay the ticks; it may never make them more.
    expect(result.count).toBeGreaterThan(300);
    expect(result.count).toBeLessThan(3700);
    expect(result.latency?.count).toBeGreaterThan(100);
    const range = { startOffset: 0, endOffset: 300, valueBytes: 1024, fetchBytes: 10_240 };
    const fetched = await runJob({
      ...timing(endpoint),
      kind: 'kafka-fetch',
      topic: 't',
      ...range,
      perSecond: 5000,
      seconds: 0.5,
    });
    expect(fetched.latency?.count).toBeGreaterThan(25);
    expect(fetched.latency?.count).toBeLessThan(310);
  });

  it('writes one record into each of many shards', async () => {
    const endpoint = await listen(createEchoKafka());
    const result = await runJob({ ...timing(endpoint), kind: 'kafka-idle', topic: 't', shards: 123 });
    expect([result.count, result.arrived]).toEqual([123, 123]);
  });

  it('fills a topic and reads it round and round', async () => {
    const endpoint = await listen(createEchoKafka());
    const filled = await runJob({
      ...timing(endpoint),
      kind: 'kafka-fill',
      topic: 't',
      valueBytes: 1024,
      recordsPerBatch: 63,
      records: 6300,
    });
    expect(filled.offsets).toEqual({ start: 0, end: 6300 });
    const result = await runJob({
      ...timing(endpoint),
      kind: 'kafka-fetch',
      topic: 't',
      valueBytes: 1024,
      fetchBytes: 1024 * 1024,
      startOffset: 10,
      endOffset: 6300,
    });
    expect(result.arrived).toBeGreaterThan(6300);
  });
});

/** Answers the handshake, then passes on at most half of each chunk of publishes. */
function createLossyMqtt(): Server {
  let subscriber: Socket | null = null;
  return createServer((socket) => {
    const scanner = new MqttScanner((first) => {
      if (first === 0x10) socket.write(Buffer.from([0x20, 2, 0, 0]));
      if (first === 0x82) {
        subscriber = socket;
        socket.write(Buffer.from([0x90, 3, 0, 1, 0]));
      }
    });
    let passed = 0;
    socket.on('data', (chunk) => {
      scanner.push(chunk);
      const due = Math.floor(scanner.published / 2);
      // `t` and nothing else: the load counts publishes, not bytes.
      for (; passed < due; passed++) subscriber?.write(Buffer.from([0x30, 3, 0, 1, 0x74]));
    });
  });
}
