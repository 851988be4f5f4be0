import { connect } from 'node:net';
import { encodePacket } from '@robustmq/mqtt-codec';
import type { Packet } from '@robustmq/mqtt-codec';
import { SimRandom } from '@robustmq/sim';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { MqttBroker } from './mqtt-broker.ts';
import { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

let broker: MqttBroker;

beforeAll(async () => {
  broker = await MqttBroker.start({ webSocket: true, limits: { packetBytesMax: 70_000 } });
});

afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('malformed packets close their own connection (17, 53, 58)', () => {
  const bad: readonly (readonly [name: string, bytes: Buffer, code: number])[] = [
    ['packet type 0', hex('00 00'), 0x82],
    ['flags of PINGREQ', hex('c1 00'), 0x81],
    ['PUBLISH at QoS 3', hex('36 05 0001 61 0001'), 0x81],
    ['PUBLISH with DUP at QoS 0', hex('38 04 0001 61 00'), 0x81],
    ['PUBLISH with packet id 0', hex('32 06 0001 61 0000 00'), 0x82],
    ['PUBLISH to a name with a wildcard', hex('30 04 0001 23 00'), 0x81],
    ['PUBLISH to a name that is no UTF-8', hex('30 04 0001 ff 00'), 0x81],
    ['PUBLISH to a name with U+0000', hex('30 04 0001 00 00'), 0x81],
    ['PUBLISH without a name', hex('30 03 0000 00'), 0x82],
    ['PUBLISH whose properties are cut off', hex('30 05 0001 61 05 01'), 0x81],
    ['a property twice', hex('30 08 0001 61 04 0100 0101'), 0x82],
    ['a property that is not of PUBLISH', hex('30 09 0001 61 05 1100000001'), 0x82],
    ['a remaining length of five bytes', hex('30 ff ff ff ff 01'), 0x81],
    ['a remaining length that is not the shortest', hex('c0 80 00'), 0x81],
    ['SUBSCRIBE without filters', hex('82 03 0001 00'), 0x82],
    ['SUBSCRIBE with reserved options', hex('82 07 0001 00 0001 61 c0'), 0x81],
    ['SUBSCRIBE with flags 0', hex('80 07 0001 00 0001 61 00'), 0x81],
    ['SUBSCRIBE to a filter with # in the middle', hex('82 09 0001 00 0003 612f23 00'), 0],
    ['PUBREL with flags 0', hex('60 02 0001'), 0x81],
    ['CONNACK from a client', hex('20 03 00 00 00'), 0x82],
    ['SUBACK from a client', hex('90 04 0001 00 00'), 0x82],
    ['UNSUBACK from a client', hex('b0 04 0001 00 00'), 0x82],
    ['PINGRESP from a client', hex('d0 00'), 0x82],
    ['AUTH out of the blue', hex('f0 00'), 0x82],
    ['PINGREQ with a body', hex('c0 01 00'), 0x81],
  ];

  it('while another client is served without a gap', async () => {
    const other = await broker.connect(5, { clientId: 'other' });
    await other.subscribe('steady', 1);
    const found: [string, number][] = [];
    for (const [name, bytes, code] of bad) {
      const client = await broker.connect(5, { clientId: 'bad' });
      client.sendBytes(bytes);
      if (code === 0) {
        // `a/#` is a filter: this one is well formed, to know that the others fail for what they are.
        await client.next('suback');
        continue;
      }
      const goodbye = await client.next('disconnect');
      found.push([name, goodbye.reasonCode]);
      await client.whenClosed();
      await other.publishAcknowledged({ topic: 'elsewhere' });
    }
    expect(found).toEqual(bad.filter(([, , code]) => code !== 0).map(([name, , code]) => [name, code]));
    await other.subscribe('steady', 1);
    expect(other.closed).toBe(false);
  });

  it('and closes a version 3 client without a word (52)', async () => {
    for (const bytes of [hex('c1 00'), hex('36 05 0001 61 0001'), hex('d0 00')]) {
      const client = await broker.connect(4, { clientId: 'bad' });
      client.sendBytes(bytes);
      await client.whenClosed();
      expect(client.pending).toEqual([]);
    }
  });

  it('what comes before CONNECT is refused without a word', async () => {
    for (const bytes of [
      hex('c0 00'),
      hex('30 03 0001 61'),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      hex('10 00'),
    ]) {
      const client = await broker.open(5);
      client.sendBytes(bytes);
      await client.whenClosed();
      expect(client.pending.filter(({ type }) => type !== 'connack')).toEqual([]);
    }
  });

  it('a second CONNECT ends the connection (MQTT-3.1.0-2)', async () => {
    for (const version of [4, 5] as const) {
      const client = await broker.connect(version, { clientId: 'twice' });
      client.sendConnect({ clientId: 'twice' });
      await client.whenClosed();
    }
  });

  it('invalid text in any place of CONNECT is refused (3)', async () => {
    const will = { topic: 'w', payload: Buffer.alloc(0), qos: 0 as const, retain: false, properties: {} };
    const good: Packet = {
      type: 'connect',
      version: 5,
      cleanStart: true,
      keepAlive: 0,
      clientId: 'CCCC',
      username: 'UUUU',
      password: null,
      will: { ...will, topic: 'TTTT' },
      properties: {},
    };
    for (const field of ['CCCC', 'UUUU', 'TTTT']) {
      for (const wrong of ['00000000', 'c0afc0af', 'eda08041']) {
        const bytes = encodePacket(5, good);
        Buffer.from(wrong, 'hex').copy(bytes, bytes.indexOf(field));
        const client = await broker.open(5);
        client.sendBytes(bytes);
        await client.whenClosed();
        for (const packet of client.pending) expect(packet).toMatchObject({ type: 'connack' });
      }
    }
  });

  it('truncated properties in any packet never end the process (2)', async () => {
    const properties = { userProperties: [['name', 'value']] as [string, string][] };
    const packets: Packet[] = [
      {
        type: 'publish',
        topic: 't',
        qos: 1,
        retain: false,
        dup: false,
        packetId: 1,
        payload: Buffer.alloc(0),
        properties,
      },
      { type: 'puback', packetId: 1, reasonCode: 0, properties },
      { type: 'pubrel', packetId: 1, reasonCode: 0, properties },
      {
        type: 'subscribe',
        packetId: 1,
        subscriptions: [{ filter: 'f', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
        properties,
      },
      { type: 'unsubscribe', packetId: 1, filters: ['f'], properties },
      { type: 'disconnect', reasonCode: 0, properties },
    ];
    for (const packet of packets) {
      const whole = encodePacket(5, packet);
      for (let length = 2; length < whole.length; length++) {
        const bytes = Buffer.from(whole.subarray(0, length));
        bytes[1] = length - 2;
        const client = await broker.connect(5, { clientId: 'cut' });
        client.sendBytes(bytes);
        client.send({ type: 'disconnect', reasonCode: 0, properties: {} });
        await client.whenClosed();
      }
    }
  }, 60_000);

  it('1,000 malformed connections cost nobody anything (58)', async () => {
    const other = await broker.connect(4, { clientId: 'steady' });
    const random = new SimRandom(7);
    const { protocolErrors } = broker.adapter.counters;
    for (let round = 0; round < 100; round++) {
      await Promise.all(
        Array.from({ length: 10 }, async (_, at) => {
          const client =
            at % 2 === 0 ? await broker.open(5) : await broker.connect(5, { clientId: `m${round}/${at}` });
          const noise = random.bytes(1 + random.below(300));
          // PUBREL with flags that it can't have: none is the beginning of something that may yet come.
          noise[0] = (noise[0]! & 0x0f) | 0x61;
          client.sendBytes(noise);
          await client.whenClosed();
        }),
      );
    }
    expect(broker.adapter.counters.protocolErrors).toBe(protocolErrors + 1000);
    expect(await other.publishAcknowledged({ topic: 'after' })).toBe(0);
    await broker.connect(5, { clientId: 'new' });
  }, 60_000);

  it('a packet in single bytes is as good as a whole one', async () => {
    const client = await broker.connect(5, { clientId: 'bytes' });
    const bytes = encodePacket(5, {
      type: 'publish',
      topic: 'single',
      qos: 1,
      retain: false,
      dup: false,
      packetId: 9,
      payload: Buffer.from('x'),
      properties: {},
    });
    for (const byte of bytes) {
      client.sendBytes(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await client.next('puback')).packetId).toBe(9);
  });

  it('an endless flow behind a bad packet is cut off', async () => {
    const socket = connect(broker.port, '127.0.0.1');
    socket.on('error', () => undefined);
    let sent = 0;
    const noise = Buffer.alloc(64 * 1024, 0xff);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    const flow = setInterval(() => {
      sent += noise.length;
      socket.write(noise);
    }, 5);
    await closed;
    clearInterval(flow);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });
});

describe('WebSocket', () => {
  const url = (path: string): string => broker.webSocketUrl.replace(/\/mqtt$/, path);

  for (const [version, protocol] of [
    [5, 'mqtt'],
    [4, 'mqtt'],
    [3, 'mqttv3.1'],
  ] as const) {
    it(`serves version ${version} under ${protocol}, on both paths`, async () => {
      for (const path of ['/mqtt', '/', '/mqtt?token=1']) {
        const { client, socket } = await MqttClient.openWebSocket(url(path), version, protocol);
        expect(socket.protocol).toBe(protocol);
        client.sendConnect({ clientId: 'ws' });
        expect((await client.next('connack')).reasonCode).toBe(0);
        await client.subscribe('ws/#', 2);
        client.publish({ topic: 'ws/a', qos: 2, packetId: 1, payload: Buffer.alloc(60_000, 1) });
        await waitUntil(() => client.pending.length === 2);
        expect(client.pending.map(({ type }) => type).sort()).toEqual(['publish', 'pubrec']);
        await client.disconnect();
      }
    });
  }

  it('is not spoken on other paths, without its subprotocol, or as plain HTTP', async () => {
    await expect(MqttClient.openWebSocket(url('/other'), 5)).rejects.toThrow('404');
    // The library refuses what answers with another subprotocol than it offered.
    await expect(MqttClient.openWebSocket(url('/mqtt'), 5, 'amqp')).rejects.toThrow();
    const response = await fetch(url('/mqtt').replace('ws:', 'http:'));
    expect(response.status).toBe(426);
    await response.text();
  });

  it('a client that resets a refused connection does not end the process', async () => {
    const { port } = broker.adapter.webSocket!;
    for (let count = 0; count < 20; count++) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      const request =
        'GET /wrong HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
      await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
      socket.write(request);
      if (count % 2 === 0) socket.resetAndDestroy();
      else setTimeout(() => socket.resetAndDestroy(), count % 5);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    await broker.connect(5, { clientId: 'after' });
  });

  it('a text message is refused, and nothing after it is read (MQTT-6.0.0-1)', async () => {
    const reader = await broker.connect(5, { clientId: 'text-reader' });
    await reader.subscribe('text', 0);
    const { client, socket } = await MqttClient.openWebSocket(url('/mqtt'), 5);
    client.sendConnect({ clientId: 'text' });
    await client.next('connack');
    const closed = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
    socket.send('text');
    client.publish({ topic: 'text', payload: 'after' });
    expect(await closed).toBe(1003);
    expect(await reader.settled()).toEqual([]);
  });

  it('packets may be joined in one message and split over many (MQTT-6.0.0-2)', async () => {
    const { client, socket } = await MqttClient.openWebSocket(url('/mqtt'), 4);
    const packet = (input: Packet): Buffer => encodePacket(4, input);
    const joined = Buffer.concat([
      packet({
        type: 'connect',
        version: 4,
        cleanStart: true,
        keepAlive: 0,
        clientId: 'joined',
        username: null,
        password: null,
        will: null,
        properties: {},
      }),
      packet({ type: 'pingreq' }),
      packet({
        type: 'publish',
        topic: 'j',
        qos: 1,
        retain: false,
        dup: false,
        packetId: 1,
        payload: Buffer.from('x'),
        properties: {},
      }),
    ]);
    socket.send(joined);
    await client.next('connack');
    await client.next('pingresp');
    await client.next('puback');
    for (const byte of packet({ type: 'pingreq' })) socket.send(Buffer.from([byte]));
    await client.next('pingresp');
    // One message in several frames.
    const ping = packet({ type: 'pingreq' });
    socket.send(ping.subarray(0, 1), { fin: false });
    socket.send(ping.subarray(1), { fin: true });
    await client.next('pingresp');
    client.drop();
  });

  it('malformed packets, frames and messages that are too large close their own connection', async () => {
    for (const bytes of [Buffer.from([0x00, 0x00]), Buffer.alloc(300_000, 0xc0)]) {
      const { client, socket } = await MqttClient.openWebSocket(url('/mqtt'), 5);
      client.sendConnect({ clientId: 'wide' });
      await client.next('connack');
      socket.send(bytes);
      await client.whenClosed();
    }
    const { socket } = await MqttClient.openWebSocket(url('/mqtt'), 5);
    const raw = (socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket;
    // A frame that is not masked.
    raw.write(Buffer.from([0x82, 0x01, 0x00]));
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await broker.connect(5, { clientId: 'still' });
  });

  it('a slow reader is bounded as over TCP, and a kept session goes on over TCP', async () => {
    await using own = await MqttBroker.start({ webSocket: true, limits: { unsentBytesMax: 64 * 1024 } });
    const { client } = await MqttClient.openWebSocket(own.webSocketUrl, 5);
    client.sendConnect({ clientId: 'slow', cleanStart: false, properties: { sessionExpiry: 60 } });
    await client.next('connack');
    await client.subscribe('s', 1);
    client.stall();
    const publisher = await own.connect(5, { clientId: 'p' });
    const many = 800;
    for (let at = 0; at < many; at++) {
      await publisher.publishAcknowledged({ topic: 's', payload: `${at}`.padEnd(16_384) });
    }
    client.resume();
    const texts = (await client.receiveTexts(many / 2)).map(Number);
    expect(texts).toEqual(Array.from({ length: many / 2 }, (_, at) => at));
    await client.settled();
    client.drop();
    const tcp = await own.connect(5, {
      clientId: 'slow',
      cleanStart: false,
      properties: { sessionExpiry: 60 },
    });
    const seen = new Set<number>();
    while (!seen.has(many - 1)) for (const value of await tcp.receiveTexts(1)) seen.add(Number(value));
    for (let at = many / 2; at < many; at++) expect(seen.has(at)).toBe(true);
    expect([...seen]).toEqual([...seen].sort((a, b) => a - b));
  }, 30_000);
});

describe('every timer and connection ends', () => {
  it('stop closes what is open, half open and refused', async () => {
    const own = await MqttBroker.start({ webSocket: true });
    await own.connect(5, { clientId: 'a' });
    await own.open(5);
    const http = connect(own.adapter.webSocket!.port, '127.0.0.1');
    http.on('error', () => undefined);
    await new Promise<void>((resolve) => http.once('connect', () => resolve()));
    http.write('GET /mqtt HTTP/1.1\r\nHost: x\r\n');
    const socket = new WebSocket(own.webSocketUrl, 'mqtt');
    await new Promise<void>((resolve) => socket.once('open', () => resolve()));
    const started = performance.now();
    await own.adapter.stop();
    expect(performance.now() - started).toBeLessThan(4000);
    await waitUntil(() => socket.readyState === socket.CLOSED);
    http.destroy();
    await own[Symbol.asyncDispose]();
  });
});
