import type { ProtocolVersion, Qos } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';

const versions: readonly ProtocolVersion[] = [3, 4, 5];
const quiet = 80;

let broker: MqttBroker;

beforeAll(async () => {
  broker = await MqttBroker.start({ limits: { receiveMaximum: 20 } });
});

afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

/** Publishes to the end of its exchange. */
async function publish(client: MqttClient, topic: string, qos: Qos, payload: string): Promise<void> {
  client.publish({ topic, qos, packetId: qos === 0 ? 0 : 7, payload });
  if (qos === 1) expect(await client.next('puback')).toMatchObject({ packetId: 7, reasonCode: 0 });
  if (qos < 2) return;
  expect(await client.next('pubrec')).toMatchObject({ packetId: 7, reasonCode: 0 });
  client.ack('pubrel', 7);
  expect(await client.next('pubcomp')).toMatchObject({ packetId: 7, reasonCode: 0 });
}

/** Publishes all of them before it waits, and then for the end of each exchange. */
async function publishAtOnce(
  client: MqttClient,
  messages: readonly { topic: string; qos: Qos; packetId: number; payload: string }[],
): Promise<void> {
  for (const message of messages) client.publish({ ...message, packetId: message.qos && message.packetId });
  for (const { qos, packetId } of messages) {
    if (qos > 0) expect(await client.next(qos === 1 ? 'puback' : 'pubrec')).toMatchObject({ packetId });
  }
  const received = messages.filter(({ qos }) => qos === 2);
  for (const { packetId } of received) client.ack('pubrel', packetId);
  for (const { packetId } of received) expect(await client.next('pubcomp')).toMatchObject({ packetId });
}

for (const version of versions) {
  describe(`QoS in MQTT version ${version}`, () => {
    for (const published of [0, 1, 2] as const) {
      for (const granted of [0, 1, 2] as const) {
        const effective = Math.min(published, granted);
        it(`mqtt defect 32: delivers at ${effective} what is published at ${published} and granted at ${granted}`, async () => {
          const topic = `qos/${version}/${published}/${granted}`;
          const subscriber = await broker.connect(version, { clientId: `s${version}${published}${granted}` });
          const publisher = await broker.connect(version, { clientId: `p${version}${published}${granted}` });
          expect(await subscriber.subscribe(topic, granted)).toEqual([granted]);
          await publish(publisher, topic, published, 'once');
          const message = await subscriber.next('publish');
          expect(message).toMatchObject({ topic, qos: effective, dup: false, retain: false });
          expect(Buffer.from(message.payload).toString()).toBe('once');
          expect(message.packetId > 0).toBe(effective > 0);
          if (effective === 1) subscriber.ack('puback', message.packetId);
          if (effective === 2) {
            subscriber.ack('pubrec', message.packetId);
            expect(await subscriber.next('pubrel')).toMatchObject({ packetId: message.packetId });
            subscriber.ack('pubcomp', message.packetId);
          }
          expect(await subscriber.settled()).toEqual([]);
          subscriber.drop();
          publisher.drop();
        });
      }
    }

    it('semantics 4.1: sends no more than the window while nothing is acknowledged, and goes on in order', async () => {
      const window = 4;
      const subscriber = await broker.connect(version, {
        clientId: `window${version}`,
        properties: version === 5 ? { receiveMaximum: window } : {},
      });
      const publisher = await broker.connect(version, { clientId: `filler${version}` });
      const topic = `window/${version}`;
      await subscriber.subscribe(topic, 1);
      const count = version === 5 ? 40 : 1100;
      for (let at = 0; at < count; at++) {
        await publisher.publishAcknowledged({ topic, payload: String(at) });
      }
      const most = version === 5 ? window : 1024;
      const first = await subscriber.settled();
      expect(first).toHaveLength(most);
      // Acknowledgements come in any order; here the last first.
      for (const packet of first.reverse()) {
        if (packet.type === 'publish') subscriber.ack('puback', packet.packetId);
      }
      const rest = await subscriber.receiveTexts(count - most);
      expect(rest).toEqual(Array.from({ length: count - most }, (_, at) => String(most + at)));
    });

    /** The QoS of the message in each place; a publisher may change it from one message to the next. */
    const mixtures = [
      ['QoS 0', () => 0],
      ['QoS 1', () => 1],
      ['QoS 2', () => 2],
      ['QoS 1 and 2 in turn', (at: number) => 1 + (at % 2)],
    ] as const;
    it.each(mixtures)(
      'mqtt defect 48: keeps the order of one publisher at %s, over all shards',
      async (name, of) => {
        const topics = `order/${version}/${name.replaceAll(' ', '-')}`;
        const subscriber = await broker.connect(version, { clientId: `order${version}` });
        const publisher = await broker.connect(version, { clientId: `order-p${version}` });
        await subscriber.subscribe(`${topics}/#`, 2);
        const all = Array.from({ length: 210 }, (_, at) => {
          const topic = `${topics}/${at % 7}`;
          return { topic, qos: of(at) as Qos, packetId: at + 1, payload: String(at) };
        });
        for (let at = 0; at < 210; at += 15) await publishAtOnce(publisher, all.slice(at, at + 15));
        const messages = await subscriber.receive(210);
        const shards = new Set<number>();
        for (let subject = 0; subject < 7; subject++) {
          const topic = `${topics}/${subject}`;
          const mine = messages.filter((message) => message.topic === topic);
          const numbers = mine.map((message) => Number(Buffer.from(message.payload).toString()));
          expect(numbers).toEqual(Array.from({ length: 30 }, (_, at) => at * 7 + subject));
          for (const { qos, payload } of mine) expect(qos).toBe(of(Number(Buffer.from(payload).toString())));
          shards.add(broker.kernel.subjects.forPublish(topic).shard);
        }
        expect(shards.size).toBeGreaterThan(1);
        publisher.drop();
        subscriber.drop();
      },
    );
  });
}

describe('acknowledgements', () => {
  it('come in the order of the publishes, whichever shard commits first', async () => {
    const client = await broker.connect(5, { clientId: 'acks' });
    for (let id = 1; id <= 20; id++) client.publish({ topic: `acks/${id}`, qos: 1, packetId: id });
    for (let id = 1; id <= 20; id++) expect((await client.next('puback')).packetId).toBe(id);
  });

  it('never precede the commit (6)', async () => {
    const client = await broker.connect(5, { clientId: 'hold' });
    broker.storage.journal.hold();
    client.publish({ topic: 'held', qos: 1, packetId: 1 });
    client.publish({ topic: 'held', qos: 2, packetId: 2 });
    expect(await client.settled()).toEqual([]);
    broker.storage.journal.release();
    await client.next('puback');
    await client.next('pubrec');
    broker.storage.journal.hold();
    client.ack('pubrel', 2);
    // This client's session is not kept, so its exchange ends in memory.
    await client.next('pubcomp');
    broker.storage.journal.release();
  });

  it('semantics 4.2: PUBCOMP of a kept session waits for the commit of the release', async () => {
    const client = await broker.connect(5, { clientId: 'kept', properties: { sessionExpiry: 60 } });
    client.publish({ topic: 'held', qos: 2, packetId: 2 });
    await client.next('pubrec');
    broker.storage.journal.hold();
    client.ack('pubrel', 2);
    expect(await client.settled()).toEqual([]);
    broker.storage.journal.release();
    expect((await client.next('pubcomp')).reasonCode).toBe(0);
  });

  it('semantics 4.2, mqtt defect 18: a second PUBLISH with an open packet id gets another PUBREC and is no second message', async () => {
    const subscriber = await broker.connect(5, { clientId: 'again-s' });
    await subscriber.subscribe('again', 2);
    const client = await broker.connect(5, { clientId: 'again' });
    client.publish({ topic: 'again', qos: 2, packetId: 9, payload: 'one' });
    await client.next('pubrec');
    client.publish({ topic: 'again', qos: 2, packetId: 9, dup: true, payload: 'one' });
    await client.next('pubrec');
    client.ack('pubrel', 9);
    await client.next('pubcomp');
    client.publish({ topic: 'again', qos: 2, packetId: 9, payload: 'two' });
    await client.next('pubrec');
    expect(await subscriber.receiveTexts(2)).toEqual(['one', 'two']);
    expect((await subscriber.settled()).filter(({ type }) => type === 'publish')).toEqual([]);
  });

  it('a retained message at QoS 1 that is sent again is retained again, over one at QoS 2 that came behind it', async () => {
    const kept = { clientId: 'repeats', cleanStart: false, properties: { sessionExpiry: 60 } };
    const first = { topic: 'repeats', qos: 1, retain: true, packetId: 1, payload: 'first' } as const;
    const second = { topic: 'repeats', qos: 2, retain: true, packetId: 2, payload: 'second' } as const;
    const before = await broker.connect(5, kept);
    before.publish(first);
    before.publish(second);
    await before.next('puback');
    await before.next('pubrec');
    // To the client both acknowledgements are lost.
    before.drop();
    const again = await broker.connect(5, kept);
    again.publish({ ...first, dup: true });
    again.publish({ ...second, dup: true });
    await again.next('puback');
    await again.next('pubrec');
    again.ack('pubrel', 2);
    await again.next('pubcomp');
    const subscriber = await broker.connect(5, { clientId: 'repeats-s' });
    await subscriber.subscribe('repeats', 1);
    expect(await subscriber.receiveTexts(1)).toEqual(['first']);
  });

  it('PUBREL for an unknown id is told as such', async () => {
    const client = await broker.connect(5, { clientId: 'unknown' });
    client.ack('pubrel', 99);
    expect(await client.next('pubcomp')).toMatchObject({ packetId: 99, reasonCode: 0x92 });
    const old = await broker.connect(4, { clientId: 'unknown4' });
    old.ack('pubrel', 99);
    expect(await old.next('pubcomp')).toMatchObject({ packetId: 99 });
  });

  it('PUBREC with an error ends a message', async () => {
    const subscriber = await broker.connect(5, { clientId: 'refuser', properties: { receiveMaximum: 1 } });
    await subscriber.subscribe('refused', 2);
    const client = await broker.connect(5, { clientId: 'refused-p' });
    await publish(client, 'refused', 2, 'one');
    await publish(client, 'refused', 2, 'two');
    const first = await subscriber.next('publish');
    subscriber.ack('pubrec', first.packetId, 0x80);
    const second = await subscriber.next('publish');
    expect(Buffer.from(second.payload).toString()).toBe('two');
  });
});

describe('Receive Maximum of the server', () => {
  it('mqtt defect 21: is announced, and one more publish closes a version 5 client with 0x93', async () => {
    const { client, connack } = await broker.connectWith(5, { clientId: 'greedy' });
    expect(connack.properties.receiveMaximum).toBe(20);
    broker.storage.journal.hold();
    for (let id = 1; id <= 21; id++)
      client.publish({ topic: 'greedy', qos: id % 2 === 0 ? 1 : 2, packetId: id });
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x93 });
    await client.whenClosed();
    broker.storage.journal.release();
  });

  it('counts exchanges until PUBCOMP', async () => {
    const client = await broker.connect(5, { clientId: 'greedy2' });
    for (let id = 1; id <= 20; id++) client.publish({ topic: 'greedy', qos: 2, packetId: id });
    for (let id = 1; id <= 20; id++) await client.next('pubrec');
    client.ack('pubrel', 1);
    await client.next('pubcomp');
    client.publish({ topic: 'greedy', qos: 2, packetId: 1 });
    await client.next('pubrec');
    client.publish({ topic: 'greedy', qos: 1, packetId: 30 });
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x93 });
  });

  it('semantics 4.3: pauses a version 3 client, which loses nothing and is not closed', async () => {
    const client = await broker.connect(4, { clientId: 'paused', keepAlive: 1 });
    broker.storage.journal.hold();
    const count = 500;
    for (let id = 1; id <= count; id++) {
      client.publish({ topic: 'paused', qos: 1, packetId: id, payload: Buffer.alloc(1000) });
    }
    expect(await client.nothingWithin(2500)).toBeNull();
    expect(client.closed).toBe(false);
    broker.storage.journal.release();
    for (let id = 1; id <= count; id++) expect((await client.next('puback')).packetId).toBe(id);
  }, 30_000);
});

describe('semantics 4.3: behind a publish that gets no answer', () => {
  for (const version of [4, 5] as const) {
    for (const qos of [1, 2] as const) {
      it(`regression: another one at QoS ${qos} of version ${version} was stored first, when the disk had room again`, async () => {
        await using own = await MqttBroker.start({ limits: { publishTimeoutMs: 500 } });
        const reader = await own.connect(5, { clientId: 'reader' });
        await reader.subscribe('full', qos);
        const kept = {
          clientId: 'kept',
          cleanStart: false,
          properties: version === 5 ? { sessionExpiry: 600 } : {},
        };
        const client = await own.connect(version, kept);
        const send = (to: typeof client, numbers: readonly number[]): void => {
          for (const number of numbers)
            to.publish({ topic: 'full', qos, packetId: number, payload: String(number) });
        };
        send(client, [1]);
        await client.next(qos === 1 ? 'puback' : 'pubrec');
        own.storage.journal.admit(false);
        send(client, [2]);
        expect(await client.nothingWithin(quiet)).toBeNull();
        own.storage.journal.admit(true);
        send(client, [3, 4]);
        await vi.waitFor(() => expect(client.closed).toBe(true), { timeout: 5000 });
        const again = await own.connect(version, kept);
        send(again, [2, 3, 4]);
        for (const packetId of [2, 3, 4]) {
          expect(await again.next(qos === 1 ? 'puback' : 'pubrec')).toMatchObject({ packetId });
        }
        for (const number of ['1', '2', '3', '4']) {
          expect(Buffer.from((await reader.next('publish')).payload).toString()).toBe(number);
        }
      });
    }
  }
});

describe('a receiver that never acknowledges', () => {
  it('mqtt defect 56: still gets PINGRESP and SUBACK', async () => {
    const subscriber = await broker.connect(5, { clientId: 'mute', properties: { receiveMaximum: 2 } });
    await subscriber.subscribe('mute', 1);
    const client = await broker.connect(5, { clientId: 'mute-p' });
    for (let at = 0; at < 10; at++) await client.publishAcknowledged({ topic: 'mute' });
    expect(await subscriber.settled()).toHaveLength(2);
    expect(await subscriber.subscribe('mute/other', 1, { packetId: 2 })).toEqual([1]);
    expect(await subscriber.nothingWithin(quiet)).toBeNull();
  });
});
