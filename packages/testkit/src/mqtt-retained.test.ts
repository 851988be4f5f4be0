import type { PublishPacket, Qos, UserProperty } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { all, publish, text, tree } from './mqtt-messages.ts';

let broker: MqttBroker;
let publisher: MqttClient;

beforeAll(async () => {
  broker = await MqttBroker.start();
  publisher = await broker.connect(5, { clientId: 'publisher' });
});

afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

describe('retained messages', () => {
  it('mqtt defect 33: come with RETAIN, their QoS and the properties of the publisher', async () => {
    const top = tree();
    const userProperties: UserProperty[] = [
      ['b', '1'],
      ['a', '2'],
      ['b', '3'],
    ];
    const properties = { contentType: 'text/plain', userProperties, responseTopic: 'r' };
    await publisher.publishAcknowledged({ topic: `${top}/a`, payload: 'kept', retain: true, properties });
    await publish(publisher, `${top}/b`, 'two', 2, true);
    await publish(publisher, `${top}/c`, 'zero', 0, true);
    const client = await broker.connect(5, { clientId: 'reader' });
    await client.subscribe(`${top}/#`, 1, { id: 4 });
    const messages = (await all(client)).sort((a, b) => a.topic.localeCompare(b.topic));
    expect(messages.map(({ qos, retain }) => [qos, retain])).toEqual([
      [1, true],
      [1, true],
      [0, true],
    ]);
    expect(messages[0]!.properties).toEqual({ ...properties, subscriptionIdentifiers: [4] });
  });

  it('are replaced by the next and cleared by an empty one, which is delivered', async () => {
    const top = tree();
    const live = await broker.connect(4, { clientId: 'live' });
    await live.subscribe(`${top}/a`, 1);
    await publish(publisher, `${top}/a`, '1', 1, true);
    await publish(publisher, `${top}/a`, '2', 1, true);
    const first = await broker.connect(4, { clientId: 'r1' });
    await first.subscribe(`${top}/a`, 1);
    expect((await all(first)).map(text)).toEqual(['2']);
    await publish(publisher, `${top}/a`, '', 1, true);
    const second = await broker.connect(4, { clientId: 'r2' });
    await second.subscribe(`${top}/#`, 1);
    expect(await all(second)).toEqual([]);
    expect((await all(live)).map((message) => [text(message), message.retain])).toEqual([
      ['1', false],
      ['2', false],
      ['', false],
    ]);
  });

  it('retain handling 0 always, 1 with a new subscription, 2 never', async () => {
    const top = tree();
    await publish(publisher, `${top}/a`, 'x', 1, true);
    const client = await broker.connect(5, { clientId: 'handling' });
    const subscribe = async (retainHandling: 0 | 1 | 2): Promise<number> => {
      await client.subscribe(`${top}/#`, 1, { retainHandling });
      return (await all(client)).length;
    };
    expect(await subscribe(2)).toBe(0);
    expect(await subscribe(1)).toBe(0);
    expect(await subscribe(0)).toBe(1);
    expect(await subscribe(0)).toBe(1);
    client.send({ type: 'unsubscribe', packetId: 2, filters: [`${top}/#`], properties: {} });
    await client.next('unsuback');
    expect(await subscribe(1)).toBe(1);
    expect(await subscribe(1)).toBe(0);
  });

  for (const granted of [0, 1, 2] as const) {
    it(`mqtt defect 25: more than the window come completely, before live ones, without a gap, at QoS ${granted}`, async () => {
      const top = tree();
      const many = 300;
      for (let at = 0; at < many; at++) await publish(publisher, `${top}/${at}`, 'old', 1, true);
      const client = await broker.connect(5, {
        clientId: `many${granted}`,
        properties: { receiveMaximum: 5 },
      });
      await client.subscribe(`${top}/#`, granted);
      // Live ones while the hand-over is under way; some replace what is still owed.
      for (let at = 0; at < many; at += 3) {
        await publish(publisher, `${top}/${at}`, 'new', ([0, 1] as const)[at % 2]!, true);
      }
      const last = new Map<string, string>();
      const seen = new Map<string, number>();
      const isNew = (message: PublishPacket): boolean => text(message) === 'new';
      const come = await all(
        client,
        (messages) =>
          messages.filter(isNew).length === 100 && new Set(messages.map(({ topic }) => topic)).size === many,
      );
      for (const message of come) {
        last.set(message.topic, text(message));
        const key = `${message.topic} ${text(message)}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }
      expect(last.size).toBe(many);
      for (let at = 0; at < many; at++) {
        expect(last.get(`${top}/${at}`), `${at}`).toBe(at % 3 === 0 ? 'new' : 'old');
      }
      expect([...seen].filter(([, times]) => times > 1)).toEqual([]);
      // Whatever their names: first what is retained, then what is live, but for what is sent at QoS 0, which waits for no
      // acknowledgement and is kept by nobody until one comes.
      const isLive = ({ retain, qos }: PublishPacket): boolean => !retain && (granted === 0 || qos > 0);
      const retained = come.map(({ retain }) => retain);
      expect(come.filter(isLive)).toHaveLength(granted === 0 ? 100 : 50);
      expect(come.findIndex(isLive)).toBeGreaterThan(retained.lastIndexOf(true));
      expect(come.filter(({ retain }) => !retain).every(isNew)).toBe(true);
      client.drop();
    });
  }

  it('mqtt defect 25: come before what is live while the subscription of a kept session is being stored', async () => {
    await using own = await MqttBroker.start();
    const writer = await own.connect(5, { clientId: 'w' });
    for (const name of ['a', 'b', 'c']) {
      await writer.publishAcknowledged({ topic: `kept/${name}`, payload: 'old', retain: true });
    }
    const client = await own.connect(5, { clientId: 'kept', properties: { sessionExpiry: 60 } });
    const { journal } = own.storage;
    journal.hold();
    // The live one is stored first, and gets its answer before the subscription has one.
    writer.publish({ topic: 'kept/d', payload: 'new', qos: 1, packetId: 1 });
    await writer.settled();
    const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    const subscriptions = [{ filter: 'kept/#', ...options }];
    client.send({ type: 'subscribe', packetId: 1, subscriptions, properties: {} });
    expect(await client.nothingWithin(30)).toBeNull();
    journal.release();
    const come = await all(client, ({ length }) => length === 4);
    expect(come.map(({ retain }) => retain)).toEqual([true, true, true, false]);
  });

  it('that change while SUBSCRIBE is handled are never missed and never older than what came', async () => {
    const top = tree();
    let stop = false;
    const writer = await broker.connect(4, { clientId: 'writer' });
    const writing = (async (): Promise<number> => {
      let at = 0;
      for (; !stop; at++) {
        const qos = ([0, 1] as const)[at % 2]!;
        writer.publish({ topic: `${top}/x`, retain: true, payload: String(at), qos, packetId: qos });
        if (qos === 1) await writer.next('puback');
      }
      await writer.settled();
      return at - 1;
    })();
    const readers: MqttClient[] = [];
    for (let round = 0; round < 40; round++) {
      const client = await broker.connect(4, { clientId: `racer${round}` });
      readers.push(client);
      await client.subscribe(`${top}/x`, (round % 2) as Qos).catch(() => undefined);
    }
    stop = true;
    const newest = await writing;
    for (const [round, client] of readers.entries()) {
      const numbers = (await all(client)).map((message) => Number(text(message)));
      expect(Math.max(...numbers), `reader ${round}`).toBe(newest);
      // At QoS 1 the two paths may cross by what is in flight; at QoS 0 there is one path.
      if (round % 2 === 0) expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
      client.drop();
    }
  });

  it('survive a restart and a crash', async () => {
    await using own = await MqttBroker.start();
    const writer = await own.connect(4, { clientId: 'w' });
    await writer.publishAcknowledged({ topic: 'kept/a', payload: '1', retain: true });
    await writer.publishAcknowledged({ topic: 'kept/b', payload: '2', retain: true });
    await writer.publishAcknowledged({ topic: 'kept/b', payload: '', retain: true });
    for (const how of ['restart', 'crash'] as const) {
      await own[how]();
      const client = await own.connect(4, { clientId: 'r' });
      await client.subscribe('#', 1);
      expect((await all(client)).map(text)).toEqual(['1']);
    }
  });

  it('that are still owed are not lost when the subscription is replaced (MQTT-3.8.4-4)', async () => {
    const top = tree();
    for (let at = 0; at < 20; at++) await publish(publisher, `${top}/${at}`, 'x', 1, true);
    const client = await broker.connect(5, { clientId: 'replaced', properties: { receiveMaximum: 3 } });
    const subscription = { filter: `${top}/#`, qos: 1 as const, noLocal: false, retainAsPublished: false };
    const twice = [
      { ...subscription, retainHandling: 1 as const },
      { ...subscription, retainHandling: 1 as const },
    ];
    client.send({ type: 'subscribe', packetId: 1, subscriptions: twice, properties: {} });
    expect((await client.next('suback')).reasonCodes).toEqual([1, 1]);
    const first: PublishPacket[] = [];
    for (let at = 0; at < 3; at++) first.push(await client.next('publish'));
    client.send({
      type: 'subscribe',
      packetId: 2,
      subscriptions: [{ ...subscription, retainHandling: 2 }],
      properties: { subscriptionIdentifiers: [7] },
    });
    await client.next('suback');
    for (const message of first) client.ack('puback', message.packetId);
    const rest = await all(client, (messages) => messages.length >= 17);
    expect(new Set([...first, ...rest].map(({ topic }) => topic)).size).toBe(20);
    expect(rest.map(({ properties }) => properties.subscriptionIdentifiers)).toEqual(rest.map(() => [7]));
  });

  it('that a kept session is still owed come after it is resumed, once each', async () => {
    const top = tree();
    for (let at = 0; at < 20; at++) await publish(publisher, `${top}/${at}`, 'x', 2, true);
    const session = {
      clientId: 'owed',
      cleanStart: false,
      properties: { sessionExpiry: 60, receiveMaximum: 4 },
    };
    const first = await broker.connect(5, session);
    await first.subscribe(`${top}/#`, 2);
    for (let at = 0; at < 4; at++) await first.next('publish');
    expect(await first.settled()).toEqual([]);
    first.drop();
    const back = await broker.connect(5, session);
    const topics = (await all(back, (messages) => messages.length >= 20)).map(({ topic }) => topic);
    expect(topics).toHaveLength(20);
    expect(new Set(topics).size).toBe(20);
    back.drop();
    const again = await broker.connect(5, session);
    expect(await all(again)).toEqual([]);
    await again.disconnect(0);
  });
});
