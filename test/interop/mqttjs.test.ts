import { ServerProcess, waitUntil } from '@robustmq/testkit';
import mqtt, { connectAsync } from 'mqtt';
import type { IClientOptions, IPublishPacket, MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

let server: ServerProcess;
const open: MqttClient[] = [];

beforeAll(async () => {
  server = await ServerProcess.start();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((client) => client.endAsync(true)));
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

interface Received {
  readonly topic: string;
  readonly text: string;
  readonly packet: IPublishPacket;
}

/** A client that keeps what it receives. */
async function connect(
  url: string,
  options: IClientOptions,
): Promise<{ client: MqttClient; received: Received[] }> {
  const client = mqtt.connect(url, { reconnectPeriod: 100, ...options });
  open.push(client);
  const received: Received[] = [];
  // Before CONNACK: a session that is resumed gets its messages right behind it.
  client.on('message', (topic, payload, packet) => {
    received.push({ topic, text: payload.toString(), packet });
  });
  await new Promise((resolve) => client.once('connect', resolve));
  return { client, received };
}

const range = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => String(from + index));

const transports = [
  ['TCP', () => `mqtt://${server.address('mqtt')}`],
  ['WebSocket', () => `ws://${server.address('mqttWebSocket')}/mqtt`],
] as const;

for (const [transport, url] of transports) {
  for (const protocolVersion of [4, 5] as const) {
    describe(`MQTT.js, version ${protocolVersion} over ${transport}`, () => {
      const options = (clientId: string): IClientOptions => ({
        protocolVersion,
        clientId: `${clientId}-${protocolVersion}-${transport}`,
      });
      const top = `js/${protocolVersion}/${transport}`;

      it('publishes and receives at every QoS, large payloads too', async () => {
        const { client, received } = await connect(url(), options('qos'));
        const granted = await client.subscribeAsync({
          [`${top}/0`]: { qos: 0 },
          [`${top}/1`]: { qos: 1 },
          [`${top}/2`]: { qos: 2 },
        });
        expect(granted.map(({ qos }) => qos)).toEqual([0, 1, 2]);
        const large = 'x'.repeat(900_000);
        for (const qos of [0, 1, 2] as const) {
          await client.publishAsync(`${top}/${qos}`, `at ${qos}`, { qos });
          await client.publishAsync(`${top}/${qos}`, large, { qos });
        }
        await waitUntil(() => received.length === 6);
        for (const qos of [0, 1, 2]) {
          const mine = received.filter(({ topic }) => topic === `${top}/${qos}`);
          expect(mine.map(({ text }) => text.length)).toEqual([4, large.length]);
          expect(mine.map(({ packet }) => packet.qos)).toEqual([qos, qos]);
        }
      });

      it('gets retained messages and a will', async () => {
        const { client } = await connect(url(), options('writer'));
        await client.publishAsync(`${top}/state`, 'kept', { qos: 1, retain: true });
        const { client: reader, received } = await connect(url(), options('reader'));
        await reader.subscribeAsync(`${top}/#`, { qos: 1 });
        await waitUntil(() => received.length === 1);
        expect(received[0]).toMatchObject({ text: 'kept', packet: { retain: true, qos: 1 } });
        const { client: mortal } = await connect(url(), {
          ...options('mortal'),
          reconnectPeriod: 0,
          will: { topic: `${top}/will`, payload: Buffer.from('gone'), qos: 1, retain: false },
        });
        mortal.stream.destroy();
        await waitUntil(() => received.length === 2);
        expect(received[1]).toMatchObject({ topic: `${top}/will`, text: 'gone' });
      });

      it('keeps a session over a kill -9 of the server: subscriptions, queued and new messages', async () => {
        const session: IClientOptions = {
          ...options('kept'),
          clean: false,
          ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {}),
        };
        const first = await connect(url(), session);
        await first.client.subscribeAsync({ [`${top}/1/+`]: { qos: 1 }, [`${top}/2/+`]: { qos: 2 } });
        await first.client.endAsync();
        const { client: writer } = await connect(url(), options('writer'));
        for (const text of range(0, 50)) {
          await writer.publishAsync(`${top}/1/a`, text, { qos: 1 });
          await writer.publishAsync(`${top}/2/a`, text, { qos: 2 });
        }
        await server.kill();
        await server.start();
        const back = await connect(url(), session);
        await waitUntil(() => back.received.length >= 100);
        const texts = (topic: string): string[] =>
          back.received.filter((message) => message.topic === topic).map(({ text }) => text);
        expect(texts(`${top}/1/a`)).toEqual(range(0, 50));
        expect(texts(`${top}/2/a`)).toEqual(range(0, 50));
        // The connected client comes back by itself and goes on with the session that it has.
        await server.kill();
        await server.start();
        await waitUntil(() => back.client.connected && writer.connected);
        for (const text of range(50, 60)) await writer.publishAsync(`${top}/2/a`, text, { qos: 2 });
        await waitUntil(() => texts(`${top}/2/a`).length >= 60);
        expect(texts(`${top}/2/a`)).toEqual(range(0, 60));
      }, 60_000);
    });
  }
}

describe('MQTT.js, version 5', () => {
  const url = (): string => `mqtt://${server.address('mqtt')}`;

  it('sees what CONNACK announces and takes messages by topic alias', async () => {
    const client = (
      await connect(url(), { protocolVersion: 5, clientId: 'alias', properties: { topicAliasMaximum: 5 } })
    ).client;
    const texts: string[] = [];
    client.on('message', (topic, payload) => texts.push(`${topic}=${payload.toString()}`));
    await client.subscribeAsync('alias/#', { qos: 1 });
    const writer = await connectAsync(url(), {
      protocolVersion: 5,
      clientId: 'alias-w',
      autoAssignTopicAlias: true,
    });
    open.push(writer);
    for (const text of range(0, 20)) await writer.publishAsync(`alias/${Number(text) % 3}`, text, { qos: 1 });
    await waitUntil(() => texts.length === 20);
    expect([...texts].sort()).toEqual(
      range(0, 20)
        .map((text) => `alias/${Number(text) % 3}=${text}`)
        .sort(),
    );
  });

  it('is asked and answers with response topic, correlation data and user properties', async () => {
    const { client: asker, received } = await connect(url(), { protocolVersion: 5, clientId: 'asker' });
    const { client: responder } = await connect(url(), { protocolVersion: 5, clientId: 'responder' });
    await asker.subscribeAsync('answers/1', { qos: 1 });
    await responder.subscribeAsync('questions', { qos: 1 });
    responder.on('message', (_topic, payload, packet) => {
      const { responseTopic, correlationData } = packet.properties!;
      responder.publish(responseTopic!, `answer to ${payload.toString()}`, {
        qos: 1,
        properties: { correlationData: correlationData!, userProperties: { a: ['1', '2'] } },
      });
    });
    await asker.publishAsync('questions', 'why', {
      qos: 1,
      properties: { responseTopic: 'answers/1', correlationData: Buffer.from('id') },
    });
    await waitUntil(() => received.length === 1);
    expect(received[0]!.text).toBe('answer to why');
    expect(received[0]!.packet.properties!.correlationData!.toString()).toBe('id');
    expect({ ...received[0]!.packet.properties!.userProperties }).toEqual({ a: ['1', '2'] });
  });

  it('hears why it is closed when another takes its session', async () => {
    const { client } = await connect(url(), { protocolVersion: 5, clientId: 'twin', reconnectPeriod: 0 });
    const goodbye = new Promise<number | undefined>((resolve) =>
      client.once('disconnect', (packet) => resolve(packet.reasonCode)),
    );
    await connect(url(), { protocolVersion: 5, clientId: 'twin' });
    expect(await goodbye).toBe(0x8e);
  });
});
