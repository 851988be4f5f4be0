import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ProtocolVersion, PublishPacket, Qos } from '@robustmq/mqtt-codec';
import { SimClock } from '@robustmq/sim';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const kept = { cleanStart: false, properties: { sessionExpiry: 600 } };
const text = (message: PublishPacket): string => Buffer.from(message.payload).toString();

/** A kept session of either version. */
function connectKept(
  broker: MqttBroker,
  version: ProtocolVersion,
  clientId: string,
): ReturnType<MqttBroker['connectWith']> {
  return broker.connectWith(version, {
    clientId,
    cleanStart: false,
    properties: version === 5 ? { sessionExpiry: 600 } : {},
  });
}

async function publishAll(
  client: MqttClient,
  topic: string,
  texts: readonly string[],
  qos: Qos = 1,
): Promise<void> {
  for (const payload of texts) {
    client.publish({ topic, qos, packetId: 1, payload });
    if (qos === 1) await client.next('puback');
    if (qos < 2) continue;
    await client.next('pubrec');
    client.ack('pubrel', 1);
    await client.next('pubcomp');
  }
}

/** Memory in use, of heap and buffers: the least of a few looks, since what ends is not gone at once. */
async function inUseBytes(): Promise<number> {
  let least = Infinity;
  for (let look = 0; look < 4; look++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    collect();
    const { heapUsed, external } = process.memoryUsage();
    least = Math.min(least, heapUsed + external);
  }
  return least;
}

/** The most that a socket of the broker holds after a write, because the system did not take it; until the test ends. */
function watchUnsent(port: number): { readonly mostBytes: number } {
  const seen = { mostBytes: 0 };
  const { write, uncork } = Socket.prototype;
  const note = (socket: Socket): void => {
    if (socket.localPort === port) seen.mostBytes = Math.max(seen.mostBytes, socket.writableLength);
  };
  // Not a spy of vitest, which would keep all that is written.
  const watched = {
    write(this: Socket, ...args: Parameters<Socket['write']>): boolean {
      const more = write.apply(this, args);
      if (this.writableCorked === 0) note(this);
      return more;
    },
    uncork(this: Socket): void {
      uncork.call(this);
      note(this);
    },
  };
  Object.assign(Socket.prototype, watched);
  onTestFinished(() => void Object.assign(Socket.prototype, { write, uncork }));
  return seen;
}

for (const how of ['restart', 'crash'] as const) {
  for (const version of [3, 4, 5] as const) {
    describe(`a kept session of version ${version} over a ${how} of the broker`, () => {
      it('mqtt defect 60: has its subscriptions, queued messages and new ones', async () => {
        await using broker = await MqttBroker.start();
        const first = (await connectKept(broker, version, 'client')).client;
        expect(await first.subscribe(['kept/#', 'other'], 1)).toEqual([1, 1]);
        first.drop();
        const publisher = await broker.connect(4, { clientId: 'p' });
        await publishAll(publisher, 'kept/a', ['1', '2', '3']);
        await broker[how]();
        const { client, connack } = await connectKept(broker, version, 'client');
        // MQTT 3.1 has no Session Present.
        expect(connack.sessionPresent).toBe(version > 3);
        expect(await client.receiveTexts(3)).toEqual(['1', '2', '3']);
        const again = await broker.connect(4, { clientId: 'p' });
        await publishAll(again, 'kept/a', ['4']);
        await publishAll(again, 'other', ['5']);
        expect(await client.receiveTexts(2)).toEqual(['4', '5']);
        expect(await client.settled()).toEqual([]);
      });

      for (const qos of [1, 2] as const) {
        it(`semantics 4.1: sends what was in flight at QoS ${qos} again, with DUP, in order, before new messages`, async () => {
          await using broker = await MqttBroker.start();
          const first = (await connectKept(broker, version, 'client')).client;
          await first.subscribe('flight/#', qos);
          const publisher = await broker.connect(4, { clientId: 'p' });
          await publishAll(publisher, 'flight/a', ['1', '2', '3'], qos);
          const sent: PublishPacket[] = [];
          for (let count = 0; count < 3; count++) sent.push(await first.next('publish'));
          first.drop();
          await publishAll(publisher, 'flight/a', ['4'], qos);
          await broker[how]();
          const { client } = await connectKept(broker, version, 'client');
          const messages = await client.receive(4);
          expect(messages.map(text)).toEqual(['1', '2', '3', '4']);
          expect(messages.map(({ dup }) => dup)).toEqual([true, true, true, false]);
          expect(messages.slice(0, 3).map(({ packetId }) => packetId)).toEqual(
            sent.map(({ packetId }) => packetId),
          );
          const rest = await client.settled();
          expect(rest.filter(({ type }) => type !== 'pubrel')).toEqual([]);
        });
      }

      it('answers an inbound QoS 2 exchange to its end: no second message, PUBREL gets PUBCOMP', async () => {
        await using broker = await MqttBroker.start();
        const subscriber = (await connectKept(broker, 5, 'subscriber')).client;
        await subscriber.subscribe('exact', 2);
        const first = (await connectKept(broker, version, 'client')).client;
        first.publish({ topic: 'exact', qos: 2, packetId: 5, payload: 'one' });
        await first.next('pubrec');
        first.publish({ topic: 'exact', qos: 2, packetId: 6, payload: 'two' });
        await first.next('pubrec');
        first.ack('pubrel', 6);
        await first.next('pubcomp');
        first.drop();
        await broker[how]();
        const { client } = await connectKept(broker, version, 'client');
        client.publish({ topic: 'exact', qos: 2, packetId: 5, dup: true, payload: 'one' });
        await client.next('pubrec');
        client.ack('pubrel', 5);
        expect(await client.next('pubcomp')).toMatchObject({ packetId: 5, reasonCode: 0 });
        // The id is free again.
        client.publish({ topic: 'exact', qos: 2, packetId: 5, payload: 'three' });
        await client.next('pubrec');
        client.ack('pubrel', 5);
        await client.next('pubcomp');
        const reader = (await connectKept(broker, 5, 'subscriber')).client;
        expect(await reader.receiveTexts(3)).toEqual(['one', 'two', 'three']);
        expect((await reader.settled()).filter(({ type }) => type === 'publish')).toEqual([]);
      });

      it('goes on with PUBREL where the client had acknowledged with PUBREC', async () => {
        await using broker = await MqttBroker.start();
        const first = (await connectKept(broker, version, 'client')).client;
        await first.subscribe('exact', 2);
        const publisher = await broker.connect(4, { clientId: 'p' });
        await publishAll(publisher, 'exact', ['1'], 2);
        const message = await first.next('publish');
        first.ack('pubrec', message.packetId);
        await first.next('pubrel');
        first.drop();
        await broker[how]();
        const { client } = await connectKept(broker, version, 'client');
        expect(await client.next('pubrel')).toMatchObject({ packetId: message.packetId });
        client.ack('pubcomp', message.packetId);
        expect(await client.settled()).toEqual([]);
      });

      it('mqtt defect 36: ends where it was unsubscribed, and where the session is started clean', async () => {
        await using broker = await MqttBroker.start();
        const first = (await connectKept(broker, version, 'client')).client;
        await first.subscribe(['gone', 'stays'], 1);
        first.send({ type: 'unsubscribe', packetId: 2, filters: ['gone'], properties: {} });
        await first.next('unsuback');
        first.drop();
        await broker[how]();
        const publisher = await broker.connect(4, { clientId: 'p' });
        await publishAll(publisher, 'gone', ['1']);
        await publishAll(publisher, 'stays', ['2']);
        const second = (await connectKept(broker, version, 'client')).client;
        expect(await second.receiveTexts(1)).toEqual(['2']);
        second.drop();
        await publishAll(publisher, 'stays', ['3']);
        const clean = await broker.connectWith(version, { clientId: 'client', cleanStart: true });
        expect(clean.connack.sessionPresent).toBe(false);
        await publishAll(publisher, 'stays', ['4']);
        expect(await clean.client.settled()).toEqual([]);
        clean.client.drop();
        await broker[how]();
        const after = await connectKept(broker, version, 'client');
        expect(after.connack.sessionPresent).toBe(false);
        expect(await after.client.settled()).toEqual([]);
      });
    });
  }
}

describe('QoS 2 over a crash', () => {
  it('semantics 4.1: is delivered once although nothing told the session log of the last acknowledgement', async () => {
    await using broker = await MqttBroker.start();
    const first = (await connectKept(broker, 5, 'client')).client;
    await first.subscribe('exact/#', 2);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'exact/1', ['a', 'b', 'c'], 2);
    expect(await first.receiveTexts(3)).toEqual(['a', 'b', 'c']);
    for (const packet of await first.settled()) {
      if (packet.type === 'pubrel') first.ack('pubcomp', packet.packetId);
    }
    await first.settled();
    await broker.crash();
    const { client } = await connectKept(broker, 5, 'client');
    const rest = await client.settled();
    expect(rest.filter(({ type }) => type === 'publish')).toEqual([]);
  });

  it('semantics 4.2: a PUBLISH whose PUBREC the crash took is no second message when it comes again', async () => {
    await using broker = await MqttBroker.start();
    const subscriber = (await connectKept(broker, 5, 'subscriber')).client;
    await subscriber.subscribe('exact', 2);
    const client = (await connectKept(broker, 5, 'client')).client;
    // The first names the shard; what follows must not need that.
    client.publish({ topic: 'exact', qos: 2, packetId: 1, payload: 'zero' });
    await client.next('pubrec');
    client.ack('pubrel', 1);
    await client.next('pubcomp');
    broker.storage.journal.hold();
    client.publish({ topic: 'exact', qos: 2, packetId: 2, payload: 'one' });
    await client.settled();
    await broker.crash();
    const again = (await connectKept(broker, 5, 'client')).client;
    again.publish({ topic: 'exact', qos: 2, packetId: 2, dup: true, payload: 'one' });
    await again.next('pubrec');
    again.ack('pubrel', 2);
    await again.next('pubcomp');
    const reader = (await connectKept(broker, 5, 'subscriber')).client;
    expect(await reader.receiveTexts(2)).toEqual(['zero', 'one']);
    expect((await reader.settled()).filter(({ type }) => type === 'publish')).toEqual([]);
  });

  it('the same holds for a connection that breaks before the commit and comes back at once', async () => {
    await using broker = await MqttBroker.start();
    const subscriber = await broker.connect(5, { clientId: 'subscriber' });
    await subscriber.subscribe('exact', 2);
    const client = (await connectKept(broker, 5, 'client')).client;
    client.publish({ topic: 'exact', qos: 2, packetId: 1, payload: 'zero' });
    await client.next('pubrec');
    client.ack('pubrel', 1);
    await client.next('pubcomp');
    broker.storage.journal.hold();
    client.publish({ topic: 'exact', qos: 2, packetId: 2, payload: 'one' });
    await client.settled();
    client.drop();
    const back = await broker.open(5);
    back.sendConnect({ clientId: 'client', ...kept });
    back.publish({ topic: 'exact', qos: 2, packetId: 2, dup: true, payload: 'one' });
    await back.nothingWithin(50);
    broker.storage.journal.release();
    expect((await back.next('connack')).sessionPresent).toBe(true);
    await back.next('pubrec');
    back.ack('pubrel', 2);
    expect((await back.next('pubcomp')).reasonCode).toBe(0);
    expect(await subscriber.receiveTexts(2)).toEqual(['zero', 'one']);
    expect((await subscriber.settled()).filter(({ type }) => type === 'publish')).toEqual([]);
  });
});

describe('sessions', () => {
  it('two CONNECTs of one client at once leave one connection, and no session without one', async () => {
    await using broker = await MqttBroker.start();
    for (let round = 0; round < 30; round++) {
      const clients = await Promise.all([broker.open(5), broker.open(5), broker.open(5)]);
      const options = round % 2 === 0 ? kept : { cleanStart: true };
      for (const client of clients) client.sendConnect({ clientId: 'twin', ...options });
      const dropped = round % 3 === 0 ? clients.pop()! : null;
      dropped?.drop();
      // The one that was dropped may come last, and take the session with it.
      const open = () => clients.filter((client) => !client.closed);
      const { counters } = broker.adapter;
      await waitUntil(() => open().length <= 1);
      if (dropped === null) {
        const [last] = open();
        expect((await last!.next('connack')).reasonCode).toBe(0);
        await last!.settled();
      }
      await waitUntil(() => broker.adapter.sessions.connected === open().length);
      for (const client of open()) client.drop();
      await waitUntil(() => counters.connections === 0 && broker.adapter.sessions.connected === 0);
    }
  });

  it('a connection that breaks while its session is opened leaves nothing behind', async () => {
    await using broker = await MqttBroker.start();
    broker.storage.journal.hold();
    for (let count = 0; count < 20; count++) {
      const client = await broker.open(5);
      client.sendConnect({ clientId: `broken${count % 5}`, ...kept });
      await client.nothingWithin(5);
      client.drop();
    }
    broker.storage.journal.release();
    const { client } = await connectKept(broker, 5, 'broken0');
    await client.settled();
    for (let tries = 0; broker.adapter.sessions.connected > 1 && tries < 50; tries++) {
      await client.nothingWithin(20);
    }
    expect(broker.adapter.sessions.connected).toBe(1);
    expect(broker.adapter.counters.connections).toBe(1);
  });

  it('a client that goes while SUBSCRIBE waits for its commit is subscribed when it comes back', async () => {
    await using broker = await MqttBroker.start();
    const client = (await connectKept(broker, 5, 'client')).client;
    broker.storage.journal.hold();
    const subscriptions = [
      {
        filter: 'late',
        qos: 1 as const,
        noLocal: false,
        retainAsPublished: false,
        retainHandling: 0 as const,
      },
    ];
    client.send({ type: 'subscribe', packetId: 1, subscriptions, properties: {} });
    client.send({ type: 'disconnect', reasonCode: 0, properties: {} });
    await client.nothingWithin(50);
    broker.storage.journal.release();
    expect((await client.next('suback')).reasonCodes).toEqual([1]);
    await client.whenClosed();
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'late', ['1']);
    const back = await connectKept(broker, 5, 'client');
    expect(await back.client.receiveTexts(1)).toEqual(['1']);
  });

  it('equal client ids share one session whatever their version', async () => {
    await using broker = await MqttBroker.start();
    const first = (await connectKept(broker, 4, 'same')).client;
    await first.subscribe('shared/topic', 1);
    first.drop();
    const { connack } = await connectKept(broker, 5, 'same');
    expect(connack.sessionPresent).toBe(true);
  });

  it('semantics 3.4: SUBSCRIBE again replaces the options and delivers once', async () => {
    await using broker = await MqttBroker.start();
    const client = (await connectKept(broker, 5, 'client')).client;
    await client.subscribe('again', 1, { id: 1 });
    expect(await client.subscribe('again', 2, { id: 2, packetId: 2 })).toEqual([2]);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'again', ['1'], 2);
    const [message] = await client.receive(1);
    expect(message).toMatchObject({ qos: 2, properties: { subscriptionIdentifiers: [2] } });
    expect((await client.settled()).filter(({ type }) => type === 'publish')).toEqual([]);
  });

  it('semantics 3.1, 3.4: a granted QoS that rises from 0 does not bring back what was delivered at QoS 0, nor does a crash', async () => {
    await using broker = await MqttBroker.start();
    const client = (await connectKept(broker, 5, 'client')).client;
    await client.subscribe('rise', 0);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'rise', ['1', '2']);
    expect(await client.receiveTexts(2)).toEqual(['1', '2']);
    await client.subscribe('rise', 1, { packetId: 2 });
    await broker.crash();
    const back = (await connectKept(broker, 5, 'client')).client;
    expect(await back.settled()).toEqual([]);
  });
});

describe('queued messages of a deleted topic', () => {
  it('do not keep a session from being resumed', async () => {
    await using broker = await MqttBroker.start();
    const topic = await broker.kernel.topics.create('bound', 2, new Map([['subject.bind', 'true']]));
    const client = (await connectKept(broker, 5, 'client')).client;
    await client.subscribe('bound/#', 2);
    const publisher = (await connectKept(broker, 5, 'publisher')).client;
    publisher.publish({ topic: 'bound/a', qos: 2, packetId: 1, payload: 'lost' });
    await publisher.next('pubrec');
    const lost = await client.next('publish');
    client.drop();
    publisher.drop();
    await broker.kernel.topics.delete(topic);
    const back = await connectKept(broker, 5, 'client');
    expect(back.connack.sessionPresent).toBe(true);
    expect(await back.client.next('pubrel')).toMatchObject({ packetId: lost.packetId });
    back.client.ack('pubcomp', lost.packetId);
    const again = await connectKept(broker, 5, 'publisher');
    expect(again.connack.sessionPresent).toBe(true);
    again.client.ack('pubrel', 1);
    expect((await again.client.next('pubcomp')).packetId).toBe(1);
  });
});

describe('a backlog', () => {
  it('mqtt defect 8: reaches a client that keeps its window nearly full, and acknowledges the oldest when the next has come', async () => {
    await using broker = await MqttBroker.start();
    const window = 10;
    const session = {
      clientId: 'slider',
      cleanStart: false,
      properties: { sessionExpiry: 60, receiveMaximum: window },
    };
    const first = await broker.connect(5, session);
    await first.subscribe('slide', 1);
    first.drop();
    const publisher = await broker.connect(5, { clientId: 'p' });
    const all = Array.from({ length: 100 }, (_, at) => String(at));
    await publishAll(publisher, 'slide', all);
    const client = await broker.connect(5, session);
    await waitUntil(() => client.pending.length >= window);
    // It asks for what the broker has sent until now, and acknowledges nothing.
    const held = (await client.settled()) as PublishPacket[];
    const seen = held.map(text);
    expect(seen).toEqual(all.slice(0, window));
    client.ack('puback', held.shift()!.packetId);
    while (seen.length < all.length) {
      const message = await client.next('publish');
      seen.push(text(message));
      held.push(message);
      if (held.length === window) client.ack('puback', held.shift()!.packetId);
    }
    expect(seen).toEqual(all);
  });

  it.each(['in flight', 'queued'] as const)(
    'mqtt defect 8: %s and as large as it may be is sent without more memory than a connection may hold',
    async (where) => {
      const unsentBytesMax = 256 * 1024;
      await using broker = await MqttBroker.start({ limits: { unsentBytesMax } });
      const first = (await connectKept(broker, 5, 'heavy')).client;
      await first.subscribe('heavy/#', 1);
      if (where === 'queued') first.drop();
      const publisher = await broker.connect(5, { clientId: 'p' });
      const bytes = 100_000;
      const many = 150;
      for (let at = 0; at < many; at++) {
        await publishAll(publisher, `heavy/${at % 3}`, [`${at}`.padEnd(bytes)]);
        if (where === 'in flight') await first.next('publish');
      }
      first.drop();
      const sentBefore = broker.adapter.counters.publishesSent;
      const before = await inUseBytes();
      const unsent = watchUnsent(broker.port);
      const client = await broker.open(5);
      client.sendConnect({ clientId: 'heavy', ...kept });
      client.stall();
      await waitUntil(() => unsent.mostBytes > 0);
      const grown = (await inUseBytes()) - before;
      const sent = broker.adapter.counters.publishesSent - sentBefore;
      // What the system takes off our hands comes on top.
      expect(sent).toBeLessThan(many / 2);
      // A connection is full when it holds more than it may: by one message.
      expect(unsent.mostBytes).toBeLessThan(unsentBytesMax + bytes + 1024);
      // Nor does anything else hold of it what would be ten messages.
      expect(grown).toBeLessThan(10 * bytes);
      client.resume();
      await client.next('connack');
      const messages = await client.receive(many);
      expect(messages.every(({ dup }) => dup)).toBe(where === 'in flight');
      for (let name = 0; name < 3; name++) {
        const numbers = messages
          .filter(({ topic }) => topic === `heavy/${name}`)
          .map((message) => Number(text(message)));
        expect(numbers).toEqual(Array.from({ length: many / 3 }, (_, at) => at * 3 + name));
      }
      await publishAll(publisher, 'heavy/0', ['new']);
      expect(await client.receiveTexts(1)).toEqual(['new']);
    },
    30_000,
  );
});

describe('floors', () => {
  it('never pass what a client has not acknowledged, nor what a session has still to read', async () => {
    const clock = new SimClock();
    await using broker = await MqttBroker.start({ clock });
    const pass = async (ms: number): Promise<void> => {
      for (let at = 0; at < ms; at += 250) await clock.advance(250);
    };
    const client = (await connectKept(broker, 5, 'client')).client;
    await client.subscribe('floor/#', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publishAll(publisher, 'floor/a', ['1', '2', '3', '4']);
    for (let count = 0; count < 4; count++) {
      const message = await client.next('publish');
      if (text(message) !== '2') client.ack('puback', message.packetId);
    }
    await client.settled();
    await pass(25_000);
    // Others move the floors of their shards.
    for (let at = 0; at < 40; at++) {
      const other = (await connectKept(broker, 5, `other${at}`)).client;
      await other.subscribe('floor/#', 1);
    }
    await publishAll(publisher, 'floor/b', ['x']);
    await client.next('publish');
    await pass(25_000);
    await broker.crash();
    const back = (await connectKept(broker, 5, 'client')).client;
    const seen = new Set<string>();
    while (!seen.has('2') || !seen.has('x')) for (const each of await back.receiveTexts(1)) seen.add(each);
    // What lies below the oldest that is not acknowledged does not come again.
    expect(seen.has('1')).toBe(false);
  });
});
