import { SimClock } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const hourMs = 3_600_000;
const hour = 3600;

let clock: SimClock;
let broker: MqttBroker;
let watcher: MqttClient;

beforeEach(async () => {
  clock = new SimClock();
  broker = await MqttBroker.start({ clock });
  watcher = await broker.connect(5, { clientId: 'watcher' });
  await watcher.subscribe('will', 0);
});

afterEach(async () => {
  await broker[Symbol.asyncDispose]();
});

/** Passes virtual time in steps, so that what falls due can reach the network between. */
async function pass(seconds: number): Promise<void> {
  const steps = 20;
  for (let at = 0; at < steps; at++) await clock.advance((seconds * 1000) / steps);
  await new Promise((resolve) => setTimeout(resolve, 5));
}

async function present(clientId: string, sessionExpiry: number): Promise<boolean> {
  const { client, connack } = await broker.connectWith(5, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiry },
  });
  await client.disconnect();
  return connack.sessionPresent;
}

async function leave(clientId: string, sessionExpiry: number, willDelay: number | null): Promise<void> {
  const properties = { willDelay: willDelay ?? 0 };
  const will = { topic: 'will', payload: Buffer.from(clientId), qos: 1, retain: false, properties } as const;
  const input = { clientId, properties: { sessionExpiry } };
  const client = await broker.connect(5, willDelay === null ? input : { ...input, will });
  const { connections } = broker.adapter.counters;
  client.drop();
  await waitUntil(() => broker.adapter.counters.connections < connections);
}

async function wills(): Promise<string[]> {
  const packets = await watcher.settled();
  return packets.map((packet) =>
    packet.type === 'publish' ? Buffer.from(packet.payload).toString() : packet.type,
  );
}

describe('a jump of the wall clock by an hour', () => {
  it('forward ends no session and sends no will before its time', async () => {
    // The will is sent in between, and the rest of the time of the session is worked out again.
    await leave('traveller', 2 * hour, 60);
    await leave('patient', 2 * hour, 3 * 60);
    clock.shiftWall(hourMs);
    await pass(50);
    expect(await wills()).toEqual([]);
    await pass(15);
    expect(await wills()).toEqual(['traveller']);
    await pass(120);
    expect(await wills()).toEqual(['patient']);
    await pass(1.5 * hour);
    expect(await present('traveller', 2 * hour)).toBe(true);
    expect(await present('patient', 2 * hour)).toBe(true);
  });

  it('back keeps no session and no will beyond its time', async () => {
    await leave('traveller', 60, 30);
    await leave('kept', 60, null);
    clock.shiftWall(-hourMs);
    await pass(25);
    expect(await wills()).toEqual([]);
    await pass(10);
    expect(await wills()).toEqual(['traveller']);
    expect(await present('kept', 60)).toBe(true);
    await pass(65);
    expect(await present('kept', 60)).toBe(false);
    expect(await present('traveller', 60)).toBe(false);
  });

  it('back while the process is down keeps a session for what is left of its time at most', async () => {
    await leave('kept', 60, null);
    clock.shiftWall(-hourMs);
    await broker.restart();
    await pass(65);
    expect(await present('kept', 60)).toBe(false);
  });

  it.each([hourMs, -hourMs])('closes no connection and leaves records in order: %d ms', async (shift) => {
    const client = await broker.connect(5, { clientId: 'alive', keepAlive: 60 });
    const reader = await broker.connect(5, { clientId: 'reads', keepAlive: 0 });
    await reader.subscribe('t', 1);
    expect(await client.publishAcknowledged({ topic: 't', payload: 'before' })).toBe(0);
    clock.shiftWall(shift);
    await pass(45);
    expect(await client.publishAcknowledged({ topic: 't', payload: 'after' })).toBe(0);
    expect(await reader.receiveTexts(2)).toEqual(['before', 'after']);
    await pass(80);
    expect([client.closed, reader.closed]).toEqual([false, false]);
  });
});
