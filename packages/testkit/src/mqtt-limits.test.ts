import { encodePacket } from '@robustmq/mqtt-codec';
import type { ConnectPacket, Packet, ProtocolVersion, PublishPacket } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const packetBytesMax = 100_000;

let broker: MqttBroker;

beforeAll(async () => {
  broker = await MqttBroker.start({
    limits: {
      packetBytesMax,
      connectPacketBytes: 2000,
      topicAliasMaximum: 7,
      keepAliveMax: 100,
      sessionExpiryMax: 50,
    },
  });
});

afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

const bytesOf = (packet: Packet): number => encodePacket(5, packet).length;

/** A QoS 0 PUBLISH of exactly `bytes` bytes. */
function publishOf(version: ProtocolVersion, topic: string, bytes: number): PublishPacket {
  const packet: PublishPacket = {
    type: 'publish',
    topic,
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    payload: Buffer.alloc(bytes),
    properties: {},
  };
  for (let payload = bytes; payload >= 0; payload--) {
    packet.payload = Buffer.alloc(payload);
    if (encodePacket(version, packet).length === bytes) return packet;
  }
  throw new Error('no such packet');
}

describe('what CONNACK says', () => {
  it('names the limits, and leaves out what is the default (59)', async () => {
    const { connack } = await broker.connectWith(5, { clientId: 'plain', keepAlive: 30 });
    expect(connack.properties).toEqual({
      receiveMaximum: 1024,
      maximumPacketSize: packetBytesMax,
      topicAliasMaximum: 7,
      sharedSubscriptionsAvailable: false,
    });
  });

  it('assigns a client id that is new each time and can be used', async () => {
    const first = await broker.connectWith(5, { clientId: '' });
    const second = await broker.connectWith(5, { clientId: '' });
    const id = first.connack.properties.assignedClientId!;
    expect(id.length).toBeGreaterThan(10);
    expect(second.connack.properties.assignedClientId).not.toBe(id);
    await broker.connectWith(5, { clientId: id });
    expect((await first.client.next('disconnect')).reasonCode).toBe(0x8e);
  });

  it('an empty client id: assigned to version 3.1.1 if clean, refused otherwise, and to 3.1 always', async () => {
    await broker.connect(4, { clientId: '', cleanStart: true });
    for (const [version, cleanStart] of [
      [4, false],
      [3, true],
    ] as const) {
      const client = await broker.open(version);
      client.sendConnect({ clientId: '', cleanStart });
      expect((await client.next('connack')).reasonCode).toBe(2);
      await client.whenClosed();
    }
  });

  it('shortens keep alive and session expiry to what is allowed, and says so', async () => {
    const { connack } = await broker.connectWith(5, {
      clientId: 'long',
      keepAlive: 1000,
      properties: { sessionExpiry: 1000 },
    });
    expect(connack.properties).toMatchObject({ serverKeepAlive: 100, sessionExpiry: 50 });
  });

  it('fits a small Maximum Packet Size, or the connection is closed (55)', async () => {
    const small = await broker.connectWith(5, {
      clientId: 'small',
      keepAlive: 9,
      properties: { maximumPacketSize: 20 },
    });
    expect(bytesOf(small.connack)).toBeLessThanOrEqual(20);
    const smaller = await broker.open(5);
    smaller.sendConnect({ clientId: 'smaller', properties: { maximumPacketSize: 10 } });
    await smaller.whenClosed();
    expect(smaller.pending).toEqual([]);
  });

  it('client ids may hold wildcards and slashes (54)', async () => {
    for (const clientId of ['a/b', 'a+b', '#', '$x', 'é']) {
      const client = await broker.connect(5, { clientId });
      await client.subscribe('own', 1, { noLocal: true });
      await client.publishAcknowledged({ topic: 'own' });
      expect(await client.settled()).toEqual([]);
      client.drop();
    }
  });

  it('a client id is at most 256 bytes', async () => {
    await broker.connect(5, { clientId: 'x'.repeat(256) });
    const client = await broker.open(5);
    client.sendConnect({ clientId: 'x'.repeat(257) });
    expect((await client.next('connack')).reasonCode).toBe(0x85);
  });

  it('a user name is at most 256 bytes, a password at most 16,384', async () => {
    // The broker of the other tests takes no CONNECT of that size.
    await using roomy = await MqttBroker.start();
    for (const version of [3, 4, 5] as const) {
      const codeOf = async (usernameBytes: number, passwordBytes: number): Promise<number> => {
        const client = await roomy.open(version);
        const username = 'u'.repeat(usernameBytes);
        client.sendConnect({ clientId: 'secret', username, password: Buffer.alloc(passwordBytes, 'p') });
        return (await client.next('connack')).reasonCode;
      };
      const refused = version === 5 ? 0x86 : 4;
      expect(await codeOf(256, 16_384)).toBe(0);
      expect(await codeOf(256, 16_385)).toBe(refused);
      expect(await codeOf(257, 16_384)).toBe(refused);
    }
  });

  it('every other protocol level is refused with a word that its client knows (1)', async () => {
    const connect = (name: string, level: number): Buffer => {
      const body = Buffer.concat([
        Buffer.from([0, name.length]),
        Buffer.from(name),
        Buffer.from([level, 2, 0, 0, 0, 0]),
      ]);
      return Buffer.concat([Buffer.from([0x10, body.length]), body]);
    };
    for (const [name, level, version, code] of [
      ['MQTT', 6, 5, 0x84],
      ['MQTT', 3, 4, 1],
      ['MQIsdp', 4, 4, 1],
    ] as const) {
      const client = await broker.open(version);
      client.sendBytes(connect(name, level));
      expect((await client.next('connack')).reasonCode, `${name} ${level}`).toBe(code);
      await client.whenClosed();
    }
  });

  it('enhanced authentication is not there', async () => {
    const client = await broker.open(5);
    client.sendConnect({ clientId: 'auth', properties: { authenticationMethod: 'SCRAM-SHA-1' } });
    expect((await client.next('connack')).reasonCode).toBe(0x8c);
    await client.whenClosed();
  });
});

describe('maximum packet size of the server (22)', () => {
  for (const version of [3, 4, 5] as const) {
    it(`a packet of exactly that size passes, one byte more does not, version ${version}`, async () => {
      const topic = `size/${version}`;
      const reader = await broker.connect(5, { clientId: 'size-reader' });
      await reader.subscribe(topic, 0);
      const client = await broker.connect(version, { clientId: 'size' });
      client.send(publishOf(version, topic, packetBytesMax));
      await reader.next('publish');
      client.send(publishOf(version, topic, packetBytesMax + 1));
      if (version === 5) expect((await client.next('disconnect')).reasonCode).toBe(0x95);
      await client.whenClosed();
      expect(await reader.settled()).toEqual([]);
    });
  }

  it('is lower for CONNECT, whose version is not known yet: it is closed without a word', async () => {
    const client = await broker.open(5);
    client.sendConnect({ clientId: 'c', username: 'x'.repeat(3000) });
    await client.whenClosed();
    expect(client.pending).toEqual([]);
  });
});

describe('maximum packet size of a client (13, 22, 23)', () => {
  for (const aliases of [0, 10]) {
    it(`is kept to the byte, with ${aliases} topic aliases; what is too large counts as delivered`, async () => {
      const name = 'a/topic/of/some/length';
      const max = 200;
      const reader = await broker.connect(5, {
        clientId: `limited${aliases}`,
        properties: { maximumPacketSize: max, receiveMaximum: 1, topicAliasMaximum: aliases },
      });
      await reader.subscribe([name, 'b'], 1);
      const client = await broker.connect(5, { clientId: 'limited-p' });
      const sizes: number[] = [];
      // Around the limit in steps of one byte, twice, so that the alias is known the second time.
      for (const topic of [name, 'b', name, 'b']) {
        for (let bytes = max - 12 - topic.length; bytes < max; bytes++) {
          await client.publishAcknowledged({ topic, payload: Buffer.alloc(bytes, 65) });
          sizes.push(topic.length + bytes);
        }
      }
      await client.publishAcknowledged({ topic: name, payload: 'end' });
      let largest = 0;
      let count = 0;
      let read = reader.receivedBytes;
      for (;;) {
        const message = await reader.next('publish');
        read = reader.receivedBytes - read;
        largest = Math.max(largest, bytesOf(message));
        read = reader.receivedBytes;
        reader.ack('puback', message.packetId);
        if (Buffer.from(message.payload).toString() === 'end') break;
        count++;
      }
      expect(largest).toBe(max);
      // Fixed header 3, length of the name 2, packet id 2, length of the properties 1.
      const fit = sizes.filter((bytes) => bytes + 8 <= max).length;
      expect(count).toBe(fit);
    });
  }

  it('QoS 0, 1 and 2 and retained ones that are too large are dropped and counted', async () => {
    const reader = await broker.connect(5, { clientId: 'too', properties: { maximumPacketSize: 100 } });
    await reader.subscribe('too/#', 2);
    const client = await broker.connect(5, { clientId: 'too-p' });
    const before = broker.adapter.counters.droppedTooLarge;
    const payload = Buffer.alloc(200);
    client.publish({ topic: 'too/0', payload });
    client.publish({ topic: 'too/1', payload, qos: 1, packetId: 1, retain: true });
    client.publish({ topic: 'too/2', payload, qos: 2, packetId: 2 });
    await client.next('puback');
    await client.next('pubrec');
    await client.publishAcknowledged({ topic: 'too/fits' });
    expect((await reader.receive(1))[0]!.topic).toBe('too/fits');
    expect(broker.adapter.counters.droppedTooLarge - before).toBe(3);
    await reader.subscribe('too/1', 1, 2);
    expect(await reader.settled()).toEqual([]);
    expect(broker.adapter.counters.droppedTooLarge - before).toBe(4);
  });

  it('an answer that does not fit goes without its reason string', async () => {
    const client = await broker.connect(5, { clientId: 'reason', properties: { maximumPacketSize: 25 } });
    client.publish({ topic: '$x', qos: 1, packetId: 1 });
    expect(await client.next('puback')).toMatchObject({ reasonCode: 0x90, properties: {} });
    client.sendBytes(Buffer.from([0xc1, 0]));
    const goodbye = await client.next('disconnect');
    expect(goodbye.reasonCode).toBe(0x81);
    expect(bytesOf(goodbye)).toBeLessThanOrEqual(25);
  });
});

describe('reason strings (27)', () => {
  it('come with every refusal, and with none if the client does not want them (MQTT-3.1.2-29)', async () => {
    for (const wanted of [true, false]) {
      const client = await broker.connect(5, {
        clientId: 'reasons',
        properties: { requestProblemInformation: wanted },
      });
      const check = (packet: { properties: { reasonString?: string } }): void =>
        expect(packet.properties.reasonString !== undefined).toBe(wanted);
      client.publish({ topic: '$x', qos: 1, packetId: 1 });
      check(await client.next('puback'));
      client.publish({
        topic: 'x',
        qos: 2,
        packetId: 2,
        payload: Buffer.from([0xff]),
        properties: { payloadFormat: 1 },
      });
      const refused = await client.next('pubrec');
      expect(refused.reasonCode).toBe(0x99);
      check(refused);
      // The id is free again.
      client.publish({ topic: 'x', qos: 2, packetId: 2 });
      expect((await client.next('pubrec')).reasonCode).toBe(0);
      client.send({
        type: 'subscribe',
        packetId: 3,
        subscriptions: [
          { filter: '$share/a/b', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 },
        ],
        properties: {},
      });
      check(await client.next('suback'));
      client.sendConnect({ clientId: 'reasons' });
      const goodbye = await client.next('disconnect');
      expect(goodbye.reasonCode).toBe(0x82);
      check(goodbye);
    }
  });
});

/** Reads and acknowledges until it has `count` texts or the connection ends. */
async function drainTexts(client: MqttClient, count: number): Promise<string[]> {
  return (await client.receive(count)).map((message) => Buffer.from(message.payload).toString().trimEnd());
}

describe('a subscriber that stops reading', () => {
  const unsentBytesMax = 256 * 1024;
  const wide = 8 * 1024;
  const pad = (at: number): string => `${at}`.padEnd(wide);

  for (const version of [4, 5] as const) {
    it(`mqtt defect 7, 46, 50: costs others nothing, leaves the live path, and gets its QoS 1 messages in order, version ${version}`, async () => {
      await using own = await MqttBroker.start({ limits: { unsentBytesMax, inflightMax: 5000 } });
      const slow = await own.connect(version, { clientId: 'slow' });
      const fast = await own.connect(5, { clientId: 'fast' });
      await slow.subscribe(['s/1'], 1, 1);
      await slow.subscribe(['s/0'], 0, 2);
      await fast.subscribe('s/#', 1);
      slow.stall();
      const publisher = await own.connect(5, { clientId: 'p' });
      // Beyond what the system's own buffers take.
      const many = 1500;
      for (let at = 0; at < many; at++) {
        publisher.publish({ topic: 's/0', payload: pad(at) });
        await publisher.publishAcknowledged({ topic: 's/1', payload: pad(at) });
        await fast.receive(2);
      }
      expect(own.adapter.counters.droppedFull).toBeGreaterThan(0);
      slow.resume();
      let last = -1;
      let zeros = 0;
      while (last < many - 1) {
        const [message] = await slow.receive(1);
        if (message!.qos === 0) {
          zeros++;
          continue;
        }
        expect(Number(Buffer.from(message!.payload).toString())).toBe(last + 1);
        last++;
      }
      expect(zeros).toBeLessThan(many);
      expect(zeros + own.adapter.counters.droppedFull).toBe(many);
      // Back on the live path.
      await publisher.publishAcknowledged({ topic: 's/1', payload: 'live' });
      expect(await drainTexts(slow, 1)).toEqual(['live']);
      expect(own.kernel.catchUp.waiting).toBe(0);
    }, 60_000);
  }

  it('mqtt defect 50: is closed when it has taken nothing for so long, and not while it takes something', async () => {
    await using own = await MqttBroker.start({ limits: { unsentBytesMax, stalledMs: 1500 } });
    const stuck = await own.connect(4, { clientId: 'stuck', will: null });
    const slow = await own.connect(4, { clientId: 'slow' });
    await stuck.subscribe('s', 0);
    await slow.subscribe('s', 0);
    const from = performance.now();
    stuck.stall();
    slow.stall();
    const publisher = await own.connect(5, { clientId: 'p' });
    let sip: NodeJS.Timeout | undefined;
    const sipping = setInterval(() => {
      slow.resume();
      sip = setTimeout(() => slow.stall(), 5);
    }, 200);
    const publishing = setInterval(() => {
      for (let at = 0; at < 20; at++) publisher.publish({ topic: 's', payload: pad(at) });
    }, 5);
    await waitUntil(() => own.adapter.sessions.connected === 2, { timeoutMs: 15_000 });
    expect(performance.now() - from).toBeGreaterThan(1500);
    clearInterval(publishing);
    // Time for another whole deadline (1.5 s) of the one that takes something.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    clearInterval(sipping);
    // A sip that has begun would end in a stall that nothing ends.
    clearTimeout(sip);
    slow.resume();
    await slow.settled();
    expect(slow.closed).toBe(false);
  }, 30_000);
});

describe('bounds of connections', () => {
  it('a connection beyond the most is closed at once, and others go on', async () => {
    await using own = await MqttBroker.start({ limits: { connectionsMax: 3 } });
    const clients = [];
    for (let at = 0; at < 3; at++) clients.push(await own.connect(4, { clientId: `c${at}` }));
    const more = await own.open(4);
    await more.whenClosed();
    await clients[0]!.settled();
    clients[1]!.drop();
    await waitUntil(() => own.adapter.counters.connections === 2);
    await own.connect(4, { clientId: 'again' });
  });

  it('10,000 connects leave no counter behind (16)', async () => {
    await using own = await MqttBroker.start();
    const connect: ConnectPacket = {
      type: 'connect',
      version: 5,
      cleanStart: true,
      keepAlive: 60,
      clientId: 'again',
      username: null,
      password: null,
      will: null,
      properties: {},
    };
    const bytes = encodePacket(5, connect);
    for (let round = 0; round < 1000; round++) {
      const clients = await Promise.all(Array.from({ length: 10 }, () => own.open(5)));
      for (const client of clients) client.sendBytes(bytes);
      await Promise.all(clients.map((client) => client.next('connack').catch(() => undefined)));
      for (const client of clients) client.drop();
    }
    await waitUntil(() => own.adapter.counters.connections === 0);
    expect(own.adapter.sessions).toEqual({ connected: 0, offline: 0 });
    expect(own.kernel.router.subscriptionCount).toBe(0);
  }, 60_000);
});
