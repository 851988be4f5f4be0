import { SimClock } from '@robustmq/sim';
import type { PublishPacket } from '@robustmq/mqtt-codec';
import { expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';

const kept = { clientId: 's', cleanStart: false, properties: { sessionExpiry: 600 } };
/** So many of these are less than 64 MiB, and with eight more they are more. */
const large = Buffer.alloc(1_000_000);
const many = 60;

/** Entries in all shards of `__sessions`. */
function sessionEntries({ storage: { metadata, journal } }: MqttBroker): number {
  const topic = [...metadata.image.topics.values()].find(({ name }) => name === '__sessions')!;
  const segments = topic.shards.flatMap((shard) => metadata.image.shards.get(shard)!.segments);
  return segments.reduce((entries, { id }) => entries + journal.entriesOf(id).length, 0);
}

/** Publishes messages, one after the other, and has each received and acknowledged. */
async function exchange(
  clients: { readonly publisher: MqttClient; readonly subscriber: MqttClient },
  count: number,
  payload: Buffer | string,
): Promise<void> {
  for (let at = 0; at < count; at++) {
    expect(await clients.publisher.publishAcknowledged({ topic: 'floor/a', payload })).toBe(0);
    await clients.subscriber.receive(1);
  }
  await clients.subscriber.settled();
}

it('storage 4.4: floors are written before their 10 s when 64 MiB were sent, and a crash repeats none of these', async () => {
  const clock = new SimClock();
  await using broker = await MqttBroker.start({ clock });
  const subscriber = await broker.connect(5, kept);
  await subscriber.subscribe('floor/#', 1);
  const publisher = await broker.connect(5, { clientId: 'p' });
  const clients = { publisher, subscriber };
  await exchange(clients, 1, 'opens the shards');
  const before = sessionEntries(broker);
  const written = async (): Promise<number> => {
    await clock.advance(300);
    await subscriber.settled();
    return sessionEntries(broker) - before;
  };
  await exchange(clients, many, large);
  expect(await written()).toBe(0);
  await exchange(clients, 8, large);
  expect(await written()).toBe(1);
  // It counts from there anew.
  await exchange(clients, 8, large);
  expect(await written()).toBe(1);
  await exchange(clients, many, large);
  expect(await written()).toBe(2);
  await exchange(clients, 3, 'after the floor');
  await broker.crash();
  const back = await broker.connect(5, kept);
  const again: PublishPacket[] = [];
  for (let packets = await back.settled(); packets.length > 0; packets = await back.settled()) {
    for (const packet of packets) {
      if (packet.type !== 'publish') continue;
      again.push(packet);
      back.ack('puback', packet.packetId);
    }
  }
  expect(again.map(({ payload }) => Buffer.from(payload).toString('latin1', 0, 20))).toEqual(
    Array.from({ length: 3 }, () => 'after the floor'),
  );
});
