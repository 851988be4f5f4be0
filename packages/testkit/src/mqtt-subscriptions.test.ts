import type { Packet, Qos, UserProperty } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { append, clientBatch } from './kernel-fixture.ts';
import { MqttBroker } from './mqtt-broker.ts';
import type { ConnectInput, MqttClient } from './mqtt-client.ts';
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

describe('mqtt defect 35: wildcards', () => {
  const cases: readonly (readonly [filter: string, name: string, matches: boolean])[] = [
    ['#', 'a/b', true],
    ['#', '/', true],
    ['+', 'a', true],
    ['+', 'a/b', false],
    ['a/#', 'a', true],
    ['a/#', 'a/', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['a/+', 'a', false],
    ['a/+', 'a/', true],
    ['+/+', '/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['a//b', 'a//b', true],
    ['a/+/b', 'a//b', true],
    ['a/b', 'a//b', false],
    ['a.b', 'axb', false],
    ['a.b', 'a.b', true],
    ['a/(b|c)*', 'a/(b|c)*', true],
    ['A', 'a', false],
    ['a/+/#', 'a', false],
    ['a/+/#', 'a/b', true],
    ['a/+/#', 'a/b/c/d', true],
    [' a', 'a', false],
  ];
  for (const [filter, name, matches] of cases) {
    it(`${filter} ${matches ? 'matches' : 'does not match'} ${name}`, async () => {
      const client = await broker.connect(5, { clientId: 'w' });
      await client.subscribe(filter, 1);
      await publish(publisher, name, 'x');
      expect((await all(client)).map(({ topic }) => topic)).toEqual(matches ? [name] : []);
      client.drop();
    });
  }

  it('names that begin with $ are not to be published to, keys that do are no names, and what follows is served', async () => {
    const client = await broker.connect(5, { clientId: 'dollar' });
    await client.subscribe(['#', '+/x', '$SYS/#'], 1);
    expect(await publisher.publishAcknowledged({ topic: '$SYS/x' })).toBe(0x90);
    const old = await broker.connect(4, { clientId: 'old' });
    await old.publishAcknowledged({ topic: '$SYS/x' });
    old.publish({ topic: '$SYS/x', qos: 2, packetId: 3 });
    await old.next('pubrec');
    old.ack('pubrel', 3);
    await old.next('pubcomp');
    const { kernel } = broker;
    const shard = await kernel.openShard(kernel.topics.byName('mqtt')!.shards[0]!);
    for (const key of ['$SYS/x', '$', 'dollar/x']) await append(shard, clientBatch(['of Kafka'], { key }));
    await old.publishAcknowledged({ topic: 'dollar/y' });
    const come = await all(client, ({ length }) => length === 2);
    expect(come.map(({ topic }) => topic).sort()).toEqual(['dollar/x', 'dollar/y']);
    client.drop();
  });
});

describe('overlapping filters', () => {
  it('mqtt defect 10, 26: one copy with the highest QoS and all identifiers', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'overlap' });
    await client.subscribe(`${top}/#`, 0, { id: 1, packetId: 1 });
    await client.subscribe(`${top}/1`, 1, { id: 2, packetId: 2 });
    await client.subscribe(`${top}/+`, 2, { id: 268_435_455, packetId: 3 });
    await publish(publisher, `${top}/1`, 'x', 1);
    const messages = await all(client);
    expect(messages).toHaveLength(1);
    expect(messages[0]!.qos).toBe(1);
    expect([...messages[0]!.properties.subscriptionIdentifiers!].sort()).toEqual([1, 2, 268_435_455]);
  });

  it('mqtt defect 5: at QoS 0 and 1 the message comes once, at QoS 1, to a version 3 client as well', async () => {
    const top = tree();
    const client = await broker.connect(4, { clientId: 'overlap4' });
    await client.subscribe(`${top}/#`, 0, 1);
    await client.subscribe(`${top}/1`, 1, 2);
    await publish(publisher, `${top}/1`, 'x', 2);
    expect((await all(client)).map(({ qos }) => qos)).toEqual([1]);
  });

  it('a subscription made while messages are on their way does not double them', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'bridge' });
    await client.subscribe(`${top}/#`, 0, 1);
    broker.storage.journal.hold();
    for (let at = 0; at < 5; at++) publisher.publish({ topic: `${top}/1`, payload: String(at) });
    await publisher.settled();
    const five = await all(client, (messages) => messages.length >= 5);
    expect(five.map(text)).toEqual(['0', '1', '2', '3', '4']);
    await client.subscribe(`${top}/+`, 0, 2);
    publisher.publish({ topic: `${top}/1`, payload: 'retained', retain: true });
    publisher.publish({ topic: `${top}/1`, payload: 'unacknowledged', qos: 1, packetId: 9 });
    await publisher.settled();
    const late = await broker.connect(5, { clientId: 'bridge-late' });
    await late.subscribe(`${top}/1`, 0, 1);
    publisher.publish({ topic: `${top}/1`, payload: '5' });
    await publisher.settled();
    broker.storage.journal.release();
    await publisher.next('puback');
    await publish(publisher, `${top}/1`, '6', 1);
    const inOrder = ['retained', 'unacknowledged', '5', '6'];
    expect((await all(client, (messages) => messages.length >= 4)).map(text)).toEqual(inOrder);
    // It began between what was sent and what is committed. What was QoS 0 and not retained is over; what is
    // about to be retained, or acknowledged, is not.
    const rest = await all(late, (messages) => messages.length >= 4);
    expect(rest.map(text)).toEqual(inOrder);
    client.drop();
  });

  it('SUBSCRIBE again while messages are on their way gives them once', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'again' });
    await client.subscribe(top, 0, 1);
    broker.storage.journal.hold();
    publisher.publish({ topic: top, payload: '0' });
    await publisher.settled();
    await client.next('publish');
    await client.subscribe(top, 0, 2);
    publisher.publish({ topic: top, payload: '1' });
    await publisher.settled();
    broker.storage.journal.release();
    await publish(publisher, top, '2', 0);
    expect((await all(client, (messages) => messages.length >= 2)).map(text)).toEqual(['1', '2']);
  });

  it('a lowered QoS loses nothing that is on its way (MQTT-3.8.4-4)', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'lower' });
    await client.subscribe(top, 1, 1);
    broker.storage.journal.hold();
    publisher.publish({ topic: top, qos: 1, packetId: 1, payload: '0' });
    await publisher.settled();
    await client.subscribe(top, 0, 2);
    broker.storage.journal.release();
    await publisher.next('puback');
    expect((await all(client, (messages) => messages.length >= 1)).map(text)).toEqual(['0']);
  });
});

describe('subscription options', () => {
  it('no local keeps a client from its own messages, and not from those of others', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'local' });
    await client.subscribe(top, 1, { noLocal: true, packetId: 1 });
    await client.subscribe(`${top}/both`, 0, { noLocal: true, packetId: 2 });
    await client.subscribe(`${top}/+`, 1, { packetId: 3, id: 9 });
    await client.publishAcknowledged({ topic: top, payload: 'mine' });
    client.publish({ topic: `${top}/both`, payload: 'mine too' });
    await publish(publisher, top, 'theirs');
    const messages = await all(client);
    expect(messages.map(text)).toEqual(['mine too', 'theirs']);
    expect(messages[0]!.properties.subscriptionIdentifiers).toEqual([9]);
  });

  it('retain as published keeps the flag; otherwise a live message has RETAIN 0', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'rap' });
    await client.subscribe(`${top}/a`, 1, { retainAsPublished: true });
    await client.subscribe(`${top}/b`, 1, { packetId: 2 });
    for (const qos of [0, 1] as const) {
      await publish(publisher, `${top}/a`, 'x', qos, true);
      await publish(publisher, `${top}/b`, 'x', qos, true);
      await publish(publisher, `${top}/a`, 'x', qos, false);
    }
    const flags = (await all(client)).map(({ topic, retain }) => `${topic.at(-1)}${retain}`);
    expect(flags.sort()).toEqual(['atrue', 'atrue', 'bfalse', 'bfalse', 'afalse', 'afalse'].sort());
  });

  it('mqtt defect 42, 45: shared subscriptions are refused as announced, and the filters beside them granted', async () => {
    const { client, connack } = await broker.connectWith(5, { clientId: 'share' });
    expect(connack.properties.sharedSubscriptionsAvailable).toBe(false);
    expect(await client.subscribe(['$share/g/a', 'a/ok'], 1)).toEqual([0x9e, 1]);
    const old = await broker.connect(4, { clientId: 'share4' });
    expect(await old.subscribe('$share/g/a', 1)).toEqual([0x80]);
  });

  it('UNSUBSCRIBE acts at once, and says what it did not know', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'unsub' });
    await client.subscribe(top, 1);
    client.send({ type: 'unsubscribe', packetId: 2, filters: [top, 'never'], properties: {} });
    expect((await client.next('unsuback')).reasonCodes).toEqual([0, 0x11]);
    await publish(publisher, top, 'x');
    expect(await all(client)).toEqual([]);
  });
});

describe('what changes the filters of a kept session is acknowledged when it is durable', () => {
  const kept = (version: 4 | 5): ConnectInput => ({
    clientId: 'kept',
    cleanStart: false,
    properties: version === 5 ? { sessionExpiry: 600 } : {},
  });
  const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const subscribe: Packet = {
    type: 'subscribe',
    packetId: 2,
    subscriptions: [{ filter: 'new', ...options }],
    properties: {},
  };
  const unsubscribe: Packet = { type: 'unsubscribe', packetId: 3, filters: ['old'], properties: {} };
  const silenceMs = 80;

  /** Which of the two filters the session has, by what comes when something is published for each. */
  async function filtersOf(own: MqttBroker, version: 4 | 5): Promise<string[]> {
    const { client, connack } = await own.connectWith(version, kept(version));
    expect(connack.sessionPresent).toBe(true);
    const other = await own.connect(5, { clientId: 'other' });
    for (const topic of ['old', 'new']) await other.publishAcknowledged({ topic });
    return (await all(client, (messages) => messages.length > 0)).map(({ topic }) => topic);
  }

  for (const version of [4, 5] as const) {
    it(`semantics 3.4: SUBACK and UNSUBACK wait for their commits, those of another session for nothing, version ${version}`, async () => {
      await using own = await MqttBroker.start();
      const stays = await own.connect(version, kept(version));
      const passing = await own.connect(version, { clientId: 'passing' });
      for (const client of [stays, passing]) expect(await client.subscribe('old', 1)).toEqual([1]);
      for (const [packet, answer] of [
        [subscribe, 'suback'],
        [unsubscribe, 'unsuback'],
      ] as const) {
        own.storage.journal.hold();
        stays.send(packet);
        passing.send(packet);
        expect(await passing.next(answer)).toMatchObject({ packetId: packet.packetId });
        expect(await stays.nothingWithin(silenceMs), answer).toBeNull();
        own.storage.journal.release();
        const { packetId, reasonCodes } = await stays.next(answer);
        expect(packetId).toBe(packet.packetId);
        if (version === 5) expect(reasonCodes).toEqual([answer === 'suback' ? 1 : 0]);
      }
      await own.crash();
      expect(await filtersOf(own, version)).toEqual(['new']);
    });

    it.each([
      ['SUBSCRIBE', subscribe, ['old', 'new']],
      ['UNSUBSCRIBE', unsubscribe, []],
    ] as const)(
      `a %s that is not stored in time ends the connection and is stored all the same, version ${version}`,
      async (_name, packet, filters) => {
        await using own = await MqttBroker.start({ limits: { publishTimeoutMs: 500 } });
        const client = await own.connect(version, kept(version));
        await client.subscribe('old', 1);
        own.storage.journal.hold();
        client.send(packet);
        client.send({ type: 'pingreq' });
        if (version === 5) expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x83 });
        await vi.waitFor(() => expect(client.closed).toBe(true), { timeout: 5000 });
        own.storage.journal.release();
        expect(await filtersOf(own, version)).toEqual(filters);
      },
    );

    it.each([
      ['SUBSCRIBE', subscribe],
      ['UNSUBSCRIBE', unsubscribe],
    ] as const)(
      `semantics 3.4: a %s that a crash kept from being written was not acknowledged, version ${version}`,
      async (_name, packet) => {
        await using own = await MqttBroker.start();
        const client = await own.connect(version, kept(version));
        await client.subscribe('old', 1);
        own.storage.journal.fuse.blowAfter(0);
        client.send(packet);
        expect(await client.nothingWithin(silenceMs)).toBeNull();
        await own.crash();
        expect(await filtersOf(own, version)).toEqual(['old']);
      },
    );
  }
});

describe('what a message carries', () => {
  it('user properties in order with duplicates, and all else, at every QoS', async () => {
    const top = tree();
    const client = await broker.connect(5, { clientId: 'carries' });
    await client.subscribe(top, 2);
    const userProperties: UserProperty[] = [
      ['z', ''],
      ['', 'empty name'],
      ['z', 'again'],
      ['ü', '€'],
      ['content-type', 'of a header'],
      ['mq', 'x'],
    ];
    const properties = {
      payloadFormat: 1,
      contentType: 'a/b',
      responseTopic: 'answer/here',
      correlationData: Buffer.from([0, 1, 255]),
      userProperties,
    };
    publisher.publish({ topic: top, payload: 'ä', properties });
    await publisher.publishAcknowledged({ topic: top, payload: 'ä', properties });
    for (const message of await client.receive(2)) expect(message.properties).toEqual(properties);
  });

  it('a request is answered', async () => {
    const top = tree();
    const asker = await broker.connect(5, { clientId: 'asker' });
    const responder = await broker.connect(5, { clientId: 'responder' });
    await asker.subscribe(`${top}/answers/asker`, 1);
    await responder.subscribe(`${top}/requests`, 1);
    const correlationData = Buffer.from('42');
    await asker.publishAcknowledged({
      topic: `${top}/requests`,
      payload: 'what?',
      properties: { responseTopic: `${top}/answers/asker`, correlationData },
    });
    const [request] = await responder.receive(1);
    await responder.publishAcknowledged({
      topic: request!.properties.responseTopic!,
      payload: 'that',
      properties: { correlationData: request!.properties.correlationData! },
    });
    const [answer] = await asker.receive(1);
    expect(answer).toMatchObject({ properties: { correlationData } });
    expect(text(answer!)).toBe('that');
  });

  it('nothing of version 5 reaches a version 3 client', async () => {
    const top = tree();
    const old = await broker.connect(4, { clientId: 'plain' });
    await old.subscribe(top, 1);
    await publisher.publishAcknowledged({ topic: top, payload: 'x', properties: { contentType: 'a/b' } });
    expect((await old.receive(1))[0]).toMatchObject({ properties: {} });
  });
});

describe('topic aliases', () => {
  it('of a client stand for names, until they are set anew', async () => {
    const top = tree();
    const { client, connack } = await broker.connectWith(5, { clientId: 'aliases' });
    const most = connack.properties.topicAliasMaximum!;
    expect(most).toBe(32);
    const reader = await broker.connect(5, { clientId: 'alias-reader' });
    await reader.subscribe(`${top}/#`, 1);
    client.publish({ topic: `${top}/a`, payload: '1', properties: { topicAlias: most } });
    client.publish({ topic: '', payload: '2', properties: { topicAlias: most } });
    client.publish({ topic: '', payload: '3', qos: 1, packetId: 1, properties: { topicAlias: most } });
    client.publish({ topic: `${top}/b`, payload: '4', properties: { topicAlias: most } });
    client.publish({ topic: '', payload: '5', properties: { topicAlias: most } });
    const messages = (await reader.receive(5)).map((message) => `${message.topic.at(-1)}${text(message)}`);
    expect(messages.sort()).toEqual(['a1', 'a2', 'a3', 'b4', 'b5']);
  });

  it('of a client above the maximum, 0 or unknown close it', async () => {
    for (const [topic, topicAlias, code] of [
      ['x', 33, 0x94],
      ['x', 0, 0x94],
      ['', 5, 0x82],
    ] as const) {
      const client = await broker.connect(5, { clientId: 'bad-alias' });
      client.publish({ topic, properties: { topicAlias } });
      expect((await client.next('disconnect')).reasonCode).toBe(code);
      await client.whenClosed();
    }
  });

  it('mqtt defect 11: to a client name the topic once, then stand for it, at every QoS and for held packets', async () => {
    const top = tree();
    const reader = await broker.connect(5, {
      clientId: 'alias-out',
      cleanStart: false,
      properties: { topicAliasMaximum: 2, sessionExpiry: 60 },
    });
    await reader.subscribe(`${top}/#`, 2);
    const names = [`${top}/first`, `${top}/second`, `${top}/third`];
    for (let round = 0; round < 4; round++) {
      for (const name of names) await publish(publisher, name, `${round}`, (round % 3) as Qos);
    }
    const known = new Map<number, string>();
    const seen = new Map<string, string[]>();
    const messages = await all(reader);
    for (const message of messages) {
      const alias = message.properties.topicAlias;
      if (alias !== undefined && message.topic !== '') known.set(alias, message.topic);
      const name = message.topic === '' ? known.get(alias!)! : message.topic;
      seen.set(name, [...(seen.get(name) ?? []), text(message)]);
    }
    expect(messages).toHaveLength(12);
    expect(known.size).toBeLessThanOrEqual(2);
    expect(Math.max(...known.keys())).toBeLessThanOrEqual(2);
    for (const name of names) expect(seen.get(name)?.sort()).toEqual(['0', '1', '2', '3']);
    expect(messages.filter(({ topic }) => topic === '').length).toBeGreaterThan(0);
    await reader.disconnect(0);
  });

  it('are not used towards a client that takes none', async () => {
    const top = tree();
    const reader = await broker.connect(5, { clientId: 'no-alias' });
    await reader.subscribe(`${top}/#`, 0);
    for (let at = 0; at < 3; at++) await publish(publisher, `${top}/same`, 'x', 0);
    for (const message of await all(reader)) {
      expect(message).toMatchObject({ topic: `${top}/same`, properties: {} });
    }
  });
});
