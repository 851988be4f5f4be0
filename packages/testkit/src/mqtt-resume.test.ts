import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const session = { clientId: 'hasty', cleanStart: false, properties: { sessionExpiry: 600 } };
const messages = 20;
let broker: MqttBroker;

/** A kept session is away while `messages` are published below `t/`, whose shards are live for another client. */
beforeEach(async () => {
  broker = await MqttBroker.start();
  const hasty = await broker.connect(5, session);
  await hasty.subscribe('t/#', 1);
  const other = await broker.connect(5, { clientId: 'other' });
  await other.subscribe('t/#', 1);
  await hasty.disconnect();
  const writer = await broker.connect(5, { clientId: 'writer' });
  for (let number = 1; number <= messages; number++) {
    writer.publish({ topic: `t/${number}`, qos: 1, packetId: number, payload: Buffer.from(String(number)) });
    await writer.next('puback');
  }
});

afterEach(async () => {
  await broker[Symbol.asyncDispose]();
});

/** Sends CONNECT for the session and does not wait for the answer. */
async function sendConnect(): Promise<MqttClient> {
  const client = await broker.open(5);
  client.sendConnect(session);
  return client;
}

async function allGone(before: number): Promise<void> {
  await waitUntil(() => broker.adapter.counters.connections <= before);
}

/** The session gets everything that was published while it was away. */
async function expectEverything(): Promise<void> {
  const client = await broker.connect(5, session);
  const numbers = new Set<number>();
  while (numbers.size < messages) {
    const packet = await client.next('publish');
    numbers.add(Number(Buffer.from(packet.payload).toString()));
    client.send({ type: 'puback', packetId: packet.packetId, reasonCode: 0, properties: {} });
  }
  expect(numbers.size).toBe(messages);
}

describe('a kept session whose client is gone while it is being resumed', () => {
  it('skips nothing when the connection is lost right behind CONNECT', async () => {
    const { connections } = broker.adapter.counters;
    for (let round = 0; round < 5; round++) {
      (await sendConnect()).drop();
      await allGone(connections);
    }
    await expectEverything();
  });

  it('skips nothing when the connection is lost right behind CONNACK', async () => {
    const { connections } = broker.adapter.counters;
    for (let round = 0; round < 5; round++) {
      const client = await sendConnect();
      await client.next('connack');
      client.drop();
      await allGone(connections);
    }
    await expectEverything();
  });

  it('skips nothing when others take the session over at once', async () => {
    const clients = await Promise.all(Array.from({ length: 5 }, sendConnect));
    await Promise.all(clients.slice(0, -1).map((client) => client.whenClosed()));
    await expectEverything();
  });
});

it('a PUBREL that is sent again after its PUBCOMP was lost is answered as the first one', async () => {
  const publisher = { ...session, clientId: 'publisher' };
  const first = await broker.connect(5, publisher);
  first.publish({ topic: 'once', qos: 2, packetId: 7 });
  await first.next('pubrec');
  first.ack('pubrel', 7);
  await first.next('pubcomp');
  first.drop();
  const again = await broker.connect(5, publisher);
  again.ack('pubrel', 7);
  expect(await again.next('pubcomp')).toMatchObject({ packetId: 7, reasonCode: 0 });
});
