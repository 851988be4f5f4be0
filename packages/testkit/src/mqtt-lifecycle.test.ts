import { SimClock } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { delayed, pass, will, willsSeen } from './mqtt-wills.ts';
import { waitUntil } from './wait-until.ts';

let clock: SimClock;
let broker: MqttBroker;
let watcher: MqttClient;

beforeEach(async () => {
  clock = new SimClock();
  broker = await MqttBroker.start({ clock });
  watcher = await broker.connect(5, { clientId: 'watcher' });
  await watcher.subscribe('will/#', 2);
});

afterEach(async () => {
  await broker[Symbol.asyncDispose]();
});

async function lose(client: MqttClient): Promise<void> {
  const { connections } = broker.adapter.counters;
  client.drop();
  await waitUntil(() => broker.adapter.counters.connections < connections);
}

describe('keep alive', () => {
  for (const version of [3, 4, 5] as const) {
    it(`mqtt defect 19: closes a silent client after one and a half periods, not earlier, version ${version}`, async () => {
      const client = await broker.connect(version, { clientId: 'silent', keepAlive: 10, will: will() });
      await pass(clock, 14);
      expect(client.closed).toBe(false);
      await pass(clock, 2);
      if (version === 5) expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x8d });
      await client.whenClosed();
      // MQTT 3 has no DISCONNECT from a server.
      expect(client.pending).toEqual([]);
      expect(await willsSeen(watcher)).toEqual(['gone']);
    });
  }

  it('every packet counts, not only PINGREQ', async () => {
    const client = await broker.connect(4, { clientId: 'busy', keepAlive: 10 });
    for (let at = 0; at < 5; at++) {
      await pass(clock, 12);
      await client.publishAcknowledged({ topic: 'busy' });
    }
    expect(client.closed).toBe(false);
  });

  it('mqtt defect 57: 0 means no timeout', async () => {
    const client = await broker.connect(4, { clientId: 'patient', keepAlive: 0 });
    const { client: told, connack } = await broker.connectWith(5, { clientId: 'told', keepAlive: 0 });
    await pass(clock, 3600);
    expect(await client.settled()).toEqual([]);
    expect(connack.properties.serverKeepAlive).toBe(3600);
    expect(await told.settled()).toEqual([]);
    await pass(clock, 5402);
    expect(await client.settled()).toEqual([]);
    expect((await told.next('disconnect')).reasonCode).toBe(0x8d);
  }, 30_000);

  it('waits for the answer that the broker owes', async () => {
    const client = await broker.connect(5, {
      clientId: 'held',
      keepAlive: 1,
      properties: { sessionExpiry: 60 },
    });
    broker.storage.journal.hold();
    const subscription = { filter: 'a', qos: 1 as const, noLocal: false, retainAsPublished: false };
    client.send({
      type: 'subscribe',
      packetId: 1,
      subscriptions: [{ ...subscription, retainHandling: 0 }],
      properties: {},
    });
    await client.nothingWithin(30);
    await pass(clock, 10);
    expect(client.closed).toBe(false);
    broker.storage.journal.release();
    expect((await client.next('suback')).reasonCodes).toEqual([1]);
    await pass(clock, 3);
    expect((await client.next('disconnect')).reasonCode).toBe(0x8d);
  });

  it('CONNECT is answered in time although its session can not be written, and served again afterwards', async () => {
    broker.storage.journal.hold();
    const client = await broker.open(5);
    const session = { clientId: 'stuck', cleanStart: false, properties: { sessionExpiry: 60 } };
    client.sendConnect(session);
    await client.nothingWithin(30);
    await pass(clock, 18);
    expect(client.pending).toEqual([]);
    await pass(clock, 3);
    expect((await client.next('connack')).reasonCode).toBe(0x88);
    await client.whenClosed();
    broker.storage.journal.release();
    const back = await broker.connect(5, session);
    await back.subscribe('a', 1);
    expect(broker.adapter.sessions.connected).toBe(2);
  });

  it('a connection without CONNECT is closed', async () => {
    const client = await broker.open(5);
    await client.nothingWithin(30);
    await pass(clock, 11);
    await client.whenClosed();
  });
});

describe('will', () => {
  it('mqtt defect 39: is not sent after DISCONNECT 0x00, and is after 0x04', async () => {
    const polite = await broker.connect(5, { clientId: 'polite', will: will() });
    await polite.disconnect();
    expect(await willsSeen(watcher)).toEqual([]);
    const asking = await broker.connect(5, {
      clientId: 'asking',
      will: will({ payload: Buffer.from('asked') }),
    });
    asking.send({ type: 'disconnect', reasonCode: 4, properties: {} });
    await asking.whenClosed();
    await pass(clock, 1);
    expect(await willsSeen(watcher)).toEqual(['asked']);
  });

  for (const version of [3, 4, 5] as const) {
    for (const qos of [0, 1, 2] as const) {
      it(`mqtt defect 39: is sent at QoS ${qos} when the connection of a version ${version} client breaks, once`, async () => {
        const client = await broker.connect(version, { clientId: 'breaks', will: will({ qos }) });
        await lose(client);
        await pass(clock, 1);
        expect(await willsSeen(watcher)).toEqual(['gone']);
        await pass(clock, 60);
        expect(await willsSeen(watcher)).toEqual([]);
        // The record is deleted and its token released: nothing of it is left.
        for (const shard of broker.kernel.topics.defaultTopic.shards) {
          expect(broker.kernel.readyShard(shard)?.tokens.size ?? 0).toBe(0);
        }
      });
    }
  }

  it('mqtt defect 12, 39: keeps its properties, and its delay is not among them', async () => {
    const properties = {
      willDelay: 1,
      payloadFormat: 1,
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from([1, 2]),
      messageExpiry: 300,
      userProperties: [
        ['b', '1'],
        ['a', '2'],
        ['b', '3'],
      ] as [string, string][],
    };
    const client = await broker.connect(5, {
      clientId: 'rich',
      will: will({ properties }),
      properties: { sessionExpiry: 60 },
    });
    await lose(client);
    await pass(clock, 3);
    const { willDelay: _, ...rest } = properties;
    expect((await watcher.next('publish')).properties).toEqual(rest);
  });

  it('is retained if it says so', async () => {
    await lose(await broker.connect(5, { clientId: 'retains', will: will({ retain: true }) }));
    await pass(clock, 1);
    const late = await broker.connect(5, { clientId: 'late' });
    await late.subscribe('will/t', 1);
    expect(await late.next('publish')).toMatchObject({ retain: true, topic: 'will/t' });
  });

  it('comes after malformed bytes as well', async () => {
    const client = await broker.connect(5, { clientId: 'bad', will: will() });
    client.sendBytes(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]));
    await client.whenClosed();
    await pass(clock, 1);
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });

  it('to a topic that can not be published to refuses CONNECT', async () => {
    const client = await broker.open(5);
    client.sendConnect({ clientId: 'wrong', will: will({ topic: '$SYS/x' }) });
    expect((await client.next('connack')).reasonCode).toBe(0x90);
    await client.whenClosed();
  });
});

describe('semantics 5.2: will delay', () => {
  const session = { cleanStart: false, properties: { sessionExpiry: 30 } };

  it("holds the will back, and the session's end sends it earlier", async () => {
    await lose(await broker.connect(5, { clientId: 'c', will: delayed(20), ...session }));
    await pass(clock, 18);
    expect(await willsSeen(watcher)).toEqual([]);
    await pass(clock, 4);
    expect(await willsSeen(watcher)).toEqual(['gone']);
    await lose(await broker.connect(5, { clientId: 'd', will: delayed(100), ...session }));
    await pass(clock, 28);
    expect(await willsSeen(watcher)).toEqual([]);
    await pass(clock, 4);
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });

  it('resuming within it cancels the will', async () => {
    await lose(await broker.connect(5, { clientId: 'c', will: delayed(10), ...session }));
    await pass(clock, 5);
    const back = await broker.connect(5, { clientId: 'c', ...session });
    await pass(clock, 60);
    expect(await willsSeen(watcher)).toEqual([]);
    await back.disconnect();
  });

  it('clean start sends the will at once', async () => {
    await lose(await broker.connect(5, { clientId: 'c', will: delayed(10), ...session }));
    await broker.connect(5, { clientId: 'c', cleanStart: true });
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });

  it('DISCONNECT may shorten the session, and then the will is due', async () => {
    const client = await broker.connect(5, { clientId: 'c', will: delayed(10), ...session });
    client.send({ type: 'disconnect', reasonCode: 4, properties: { sessionExpiry: 0 } });
    await client.whenClosed();
    await pass(clock, 1);
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });

  it('a session without expiry ends with its connection: the will is not held back', async () => {
    await lose(await broker.connect(5, { clientId: 'c', will: delayed(1000) }));
    await pass(clock, 1);
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });
});

describe('semantics 5.2, mqtt defect 28: wills over the death of the broker', () => {
  for (const how of ['restart', 'crash'] as const) {
    it(`wait for the grace after a ${how}, and come once`, async () => {
      await broker.connect(5, { clientId: 'c', will: will(), properties: { sessionExpiry: 1000 } });
      await broker.connect(5, { clientId: 'd', will: will({ payload: Buffer.from('clean') }) });
      await broker[how]();
      watcher = await broker.connect(5, { clientId: 'watcher' });
      await watcher.subscribe('will/#', 2);
      await pass(clock, 8);
      expect(await willsSeen(watcher)).toEqual([]);
      await pass(clock, 4);
      expect((await willsSeen(watcher)).sort()).toEqual(['clean', 'gone']);
      await broker[how]();
      watcher = await broker.connect(5, { clientId: 'watcher' });
      await watcher.subscribe('will/#', 2);
      await pass(clock, 60);
      expect(await willsSeen(watcher)).toEqual([]);
    });

    it(`are cancelled by who comes back within it after a ${how}`, async () => {
      const session = { clientId: 'c', cleanStart: false, will: will() };
      await broker.connect(5, { ...session, properties: { sessionExpiry: 1000 } });
      await broker.connect(4, { ...session, clientId: 'd' });
      await broker[how]();
      watcher = await broker.connect(5, { clientId: 'watcher' });
      await watcher.subscribe('will/#', 2);
      await broker.connect(5, { ...session, properties: { sessionExpiry: 1000 } });
      await broker.connect(4, { ...session, clientId: 'd' });
      await pass(clock, 30);
      expect(await willsSeen(watcher)).toEqual([]);
    });
  }

  it('come with the end of their session, however long their delay', async () => {
    await broker.connect(5, { clientId: 'c', will: delayed(1000), properties: { sessionExpiry: 30 } });
    await broker.connect(5, { clientId: 'd', will: delayed(1000) });
    await broker.crash();
    watcher = await broker.connect(5, { clientId: 'watcher' });
    await watcher.subscribe('will/#', 2);
    await pass(clock, 8);
    expect(await willsSeen(watcher)).toEqual([]);
    // A session without expiry waits for the grace, too: its client may come back.
    await pass(clock, 4);
    expect(await willsSeen(watcher)).toEqual(['gone']);
    await pass(clock, 16);
    expect(await willsSeen(watcher)).toEqual([]);
    await pass(clock, 4);
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });

  it('semantics 4.2: a crash between the will and the note that it was sent does not send it twice', async () => {
    const client = await broker.connect(5, {
      clientId: 'c',
      will: will(),
      properties: { sessionExpiry: 1000 },
    });
    await watcher.subscribe('will/#', 2);
    // The will reaches the journal, and nobody hears of it.
    broker.storage.journal.hold();
    await lose(client);
    await clock.advance(300);
    await watcher.settled();
    await broker.crash();
    const reader = await broker.connect(5, { clientId: 'reader' });
    await reader.subscribe('will/#', 2);
    await pass(clock, 30);
    expect(await willsSeen(reader)).toEqual([]);
    const shards = broker.kernel.topics.defaultTopic.shards;
    const records = await Promise.all(
      shards.map(async (id) => (await broker.kernel.openShard(id)).highWatermark),
    );
    expect(records.reduce((sum, count) => sum + count, 0)).toBe(1);
  });
});

describe('session expiry', () => {
  it('ends a session after its time, not before, whatever restarts meanwhile', async () => {
    const session = { clientId: 'c', cleanStart: false, properties: { sessionExpiry: 60 } };
    await lose(await broker.connect(5, session));
    await pass(clock, 30);
    await broker.restart();
    await pass(clock, 25);
    let back = await broker.connectWith(5, session);
    expect(back.connack.sessionPresent).toBe(true);
    await lose(back.client);
    await pass(clock, 62);
    expect(broker.adapter.counters.sessionsExpired).toBe(1);
    back = await broker.connectWith(5, session);
    expect(back.connack.sessionPresent).toBe(false);
  });

  it('0 or absent ends with the connection; the largest never ends', async () => {
    await lose(await broker.connect(5, { clientId: 'zero', cleanStart: false }));
    await lose(
      await broker.connect(5, {
        clientId: 'ever',
        cleanStart: false,
        properties: { sessionExpiry: 0xffff_ffff },
      }),
    );
    await pass(clock, 3600);
    const options = { cleanStart: false, properties: { sessionExpiry: 10 } };
    expect((await broker.connectWith(5, { clientId: 'zero', ...options })).connack.sessionPresent).toBe(
      false,
    );
    expect((await broker.connectWith(5, { clientId: 'ever', ...options })).connack.sessionPresent).toBe(true);
  }, 30_000);

  it('DISCONNECT changes it, but can not give one to a session without', async () => {
    const options = { cleanStart: false, properties: { sessionExpiry: 10 } };
    const client = await broker.connect(5, { clientId: 'c', ...options });
    await client.disconnect(1000);
    await pass(clock, 100);
    expect((await broker.connectWith(5, { clientId: 'c', ...options })).connack.sessionPresent).toBe(true);
    const without = await broker.connect(5, { clientId: 'd' });
    without.send({ type: 'disconnect', reasonCode: 0, properties: { sessionExpiry: 5 } });
    expect((await without.next('disconnect')).reasonCode).toBe(0x82);
  });

  it('a version 3 session that is not clean stays', async () => {
    await lose(await broker.connect(4, { clientId: 'old', cleanStart: false }));
    await waitUntil(() => broker.adapter.sessions.offline === 1);
    await pass(clock, 3600);
    expect((await broker.connectWith(4, { clientId: 'old', cleanStart: false })).connack.sessionPresent).toBe(
      true,
    );
  }, 30_000);
});

describe('message expiry', () => {
  it('mqtt defect 15, 34: goes down by the time spent in the broker, live, queued and retained', async () => {
    const reader = await broker.connect(5, {
      clientId: 'r',
      cleanStart: false,
      properties: { sessionExpiry: 1000 },
    });
    await reader.subscribe('expires/#', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    const properties = { messageExpiry: 60 };
    await publisher.publishAcknowledged({ topic: 'expires/a', payload: 'a', retain: true, properties });
    expect((await reader.receive(1))[0]!.properties.messageExpiry).toBe(60);
    await lose(reader);
    await publisher.publishAcknowledged({ topic: 'expires/b', properties });
    await pass(clock, 20);
    const back = await broker.connect(5, {
      clientId: 'r',
      cleanStart: false,
      properties: { sessionExpiry: 1000 },
    });
    expect((await back.receive(1))[0]!.properties.messageExpiry).toBe(40);
    const late = await broker.connect(5, { clientId: 'late' });
    await late.subscribe('expires/a', 1);
    expect((await late.receive(1))[0]!.properties.messageExpiry).toBe(40);
  });

  it('of a QoS 2 message that is in flight lets the client forget its packet id', async () => {
    const session = { clientId: 'r', cleanStart: false, properties: { sessionExpiry: 1000 } };
    const reader = await broker.connect(5, session);
    await reader.subscribe('expires/#', 2);
    const publisher = await broker.connect(5, { clientId: 'p' });
    publisher.publish({
      topic: 'expires/a',
      qos: 2,
      packetId: 1,
      payload: 'x',
      properties: { messageExpiry: 10 },
    });
    await publisher.next('pubrec');
    const sent = await reader.next('publish');
    await lose(reader);
    await pass(clock, 12);
    const back = await broker.connect(5, session);
    expect(await back.next('pubrel')).toMatchObject({ packetId: sent.packetId });
    back.ack('pubcomp', sent.packetId, 0x92);
    publisher.publish({ topic: 'expires/a', qos: 2, packetId: 2, payload: 'new' });
    expect(await back.receiveTexts(1)).toEqual(['new']);
  });

  it.each([0, 1] as const)('mqtt defect 24: of 0 keeps a QoS %i message from who is there', async (qos) => {
    const readers = await Promise.all(
      ([0, 1] as const).map(async (granted) => {
        const reader = await broker.connect(5, { clientId: `there${granted}` });
        await reader.subscribe('expires/#', granted);
        return reader;
      }),
    );
    const publisher = await broker.connect(5, { clientId: 'p' });
    const properties = { messageExpiry: 0 };
    for (const payload of ['1', '2']) {
      publisher.publish({ topic: 'expires/a', qos, packetId: 1, payload, properties });
      if (qos === 1) await publisher.next('puback');
    }
    await publisher.publishAcknowledged({ topic: 'expires/a', payload: 'stays' });
    for (const reader of readers) {
      expect(await reader.receiveTexts(1)).toEqual(['stays']);
      expect(await reader.settled()).toEqual([]);
    }
  });

  it('mqtt defect 24: ends a message that is queued or retained, and 0 at once', async () => {
    const session = { clientId: 'r', cleanStart: false, properties: { sessionExpiry: 1000 } };
    const reader = await broker.connect(5, session);
    await reader.subscribe('expires/#', 1);
    await lose(reader);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({
      topic: 'expires/a',
      payload: 'a',
      retain: true,
      properties: { messageExpiry: 10 },
    });
    await publisher.publishAcknowledged({
      topic: 'expires/b',
      payload: 'b',
      retain: true,
      properties: { messageExpiry: 0 },
    });
    await publisher.publishAcknowledged({ topic: 'expires/c', payload: 'stays' });
    await pass(clock, 12);
    const back = await broker.connect(5, session);
    expect(await back.receiveTexts(1)).toEqual(['stays']);
    expect(await back.settled()).toEqual([]);
    const late = await broker.connect(5, { clientId: 'late' });
    await late.subscribe('expires/#', 1);
    expect(await late.settled()).toEqual([]);
    expect(broker.adapter.counters.droppedExpired).toBeGreaterThan(0);
  });
});

describe('stopping', () => {
  it('tells version 5 clients, leaves no timer and no session without its place', async () => {
    const client = await broker.connect(5, {
      clientId: 'c',
      cleanStart: false,
      properties: { sessionExpiry: 100 },
    });
    await client.subscribe('stop', 1);
    await broker.adapter.stop();
    expect((await client.next('disconnect')).reasonCode).toBe(0x8b);
    await client.whenClosed();
    await broker.kernel.stop();
    // Connections that linger, and deadlines that were cancelled, run out and set nothing again.
    await pass(clock, 120);
    expect(clock.pending).toBe(0);
  });
});
