import { readFileSync } from 'node:fs';
import { RobustError } from '@robustmq/core';
import { encodePacket } from '@robustmq/mqtt-codec';
import type { ConnectPacket, Packet, ProtocolVersion, Subscription } from '@robustmq/mqtt-codec';
import { SimClock } from '@robustmq/sim';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const versions = [3, 4, 5] as const;
const packetBytesMax = 10_000;
/** How long a new client may wait until it has connected, subscribed and received. */
const atOnceMs = 250;

let broker: MqttBroker;
/** A client beside those that misbehave. */
let steady: MqttClient;

beforeAll(async () => {
  broker = await MqttBroker.start({ limits: { packetBytesMax } });
  steady = await broker.connect(5, { clientId: 'steady' });
});

afterAll(async () => {
  expect(await steady.settled()).toEqual([]);
  await broker[Symbol.asyncDispose]();
});

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** A packet with one text in it replaced by other bytes of that length. */
function spoilt(packet: Packet, text: string, bytes: string): Buffer {
  const whole = encodePacket(5, packet);
  hex(bytes).copy(whole, whole.indexOf(text));
  return whole;
}

/** Descriptors that this process may have; of Linux. */
function openFilesMax(): number {
  return Number(/^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))![1]);
}

function connectOf(input: Partial<ConnectPacket> = {}): ConnectPacket {
  return {
    type: 'connect',
    version: 5,
    cleanStart: true,
    keepAlive: 0,
    clientId: 'c',
    username: null,
    password: null,
    will: null,
    properties: {},
    ...input,
  };
}

function publishOf(topic: string, payload = ''): Packet {
  const bytes = Buffer.from(payload);
  return {
    type: 'publish',
    topic,
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    payload: bytes,
    properties: {},
  };
}

function subscribeOf(...filters: string[]): Packet {
  const options = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const subscriptions = filters.map((filter): Subscription => ({ filter, ...options }));
  return { type: 'subscribe', packetId: 1, subscriptions, properties: {} };
}

/** Sends bytes on a connection that was accepted; the code of the goodbye, or null where there was none. */
async function goodbyeAfter(bytes: Buffer, version: ProtocolVersion = 5): Promise<number | null> {
  const client = await broker.connect(version, { clientId: 'bad' });
  client.sendBytes(bytes);
  await client.whenClosed();
  const [goodbye, ...more] = client.pending;
  expect(more).toEqual([]);
  if (goodbye === undefined) return null;
  if (goodbye.type !== 'disconnect') throw new Error(`${goodbye.type} came`);
  return goodbye.reasonCode;
}

describe('who is served', () => {
  it.each(versions)('mqtt defect 1: a client of version %i', async (version) => {
    const { client, connack } = await broker.connectWith(version, { clientId: `v${version}` });
    expect(connack.properties.receiveMaximum).toBe(version === 5 ? 1024 : undefined);
    expect(await client.subscribe('served', 1)).toEqual([1]);
    client.publish({ topic: 'served', qos: 1, packetId: 7, payload: 'x' });
    const came = [await client.nothingWithin(1000), await client.nothingWithin(1000)];
    expect(came.map((packet) => packet?.type).sort()).toEqual(['puback', 'publish']);
  });

  it.each(['a/b', '+', '#', 'a+#/', '$x'])(
    'mqtt defect 54: a client id and user name %j, whose session is kept and whose will is sent',
    async (name) => {
      const will = {
        topic: 'will/of',
        payload: Buffer.from(name),
        qos: 1,
        retain: false,
        properties: {},
      } as const;
      const input = { clientId: name, username: name, will, properties: { sessionExpiry: 60 } };
      const watcher = await broker.connect(5, { clientId: 'watcher' });
      await watcher.subscribe('will/of', 1);
      const client = await broker.connect(5, input);
      await client.subscribe('kept', 1);
      client.drop();
      expect(await watcher.receiveTexts(1)).toEqual([name]);
      await steady.publishAcknowledged({ topic: 'kept', payload: 'queued' });
      const back = await broker.connectWith(5, { ...input, cleanStart: false, will: null });
      expect(back.connack.sessionPresent).toBe(true);
      expect(await back.client.receiveTexts(1)).toEqual(['queued']);
      await back.client.disconnect(0);
      watcher.drop();
    },
  );
});

describe('what CONNACK says', () => {
  it('mqtt defect 55: fits 20 bytes, whatever there is to say', async () => {
    const properties = { maximumPacketSize: 20, sessionExpiry: 60 };
    const small = await broker.open(5);
    small.sendConnect({ clientId: 'small', cleanStart: false, properties });
    expect(await small.next('connack')).toMatchObject({ reasonCode: 0 });
    expect(small.receivedBytes).toBeLessThanOrEqual(20);
    await small.disconnect(0);
    // What does not fit without what must be said is not sent, nor is a part of it.
    const nameless = await broker.open(5);
    nameless.sendConnect({ clientId: '', properties });
    await nameless.whenClosed();
    expect(nameless.receivedBytes).toBe(0);
  });

  it('mqtt defect 59: no Maximum QoS, and QoS 2 is granted', async () => {
    const { client, connack } = await broker.connectWith(5, { clientId: 'qos' });
    expect(connack.properties).not.toHaveProperty('maximumQos');
    expect(await client.subscribe('a', 2)).toEqual([2]);
  });
});

describe('packets that no client should send', () => {
  const userProperty = '26 0003 616263 0001 78';
  const protocol = '0004 4d515454 05';
  it.each([
    ['CONNECT', `${protocol} 02 0000 0b`],
    ['the will of CONNECT', `${protocol} 06 0000 00 0001 63 0b`],
  ])('mqtt defect 2: properties of %s that are cut off', async (_name, head) => {
    const body = Buffer.concat([hex(head), hex(userProperty).subarray(0, -1)]);
    const client = await broker.open(5);
    client.sendBytes(Buffer.concat([Buffer.from([0x10, body.length]), body]));
    await client.whenClosed();
    expect(client.pending).toMatchObject([{ type: 'connack', reasonCode: 0x81 }]);
  });

  it.each([
    ['PUBLISH', '32', '0001 74 0001'],
    ['PUBACK', '40', '0001 00'],
    ['PUBREL', '62', '0001 00'],
    ['SUBSCRIBE', '82', '0001'],
    ['UNSUBSCRIBE', 'a2', '0001'],
    ['DISCONNECT', 'e0', '00'],
    ['AUTH', 'f0', '18'],
  ])('mqtt defect 2: properties of %s that are cut off at any byte', async (_name, first, head) => {
    const before = hex(head);
    const property = hex(userProperty);
    for (let length = 1; length < property.length; length++) {
      // The length of the properties is right, or says that there are more than the packet has.
      for (const said of [length, property.length]) {
        const body = Buffer.concat([before, Buffer.from([said]), property.subarray(0, length)]);
        const bytes = Buffer.concat([hex(first), Buffer.from([body.length]), body]);
        expect([0x81, 0x82]).toContain(await goodbyeAfter(bytes));
      }
    }
  });

  const will = { topic: 'TTTT', payload: Buffer.alloc(0), qos: 0, retain: false, properties: {} } as const;
  const asked = connectOf({ clientId: 'CCCC', username: 'UUUU', will });
  describe.each([
    ['U+0000', '41004141'],
    ['bytes that are no UTF-8', '41ff4141'],
    ['a surrogate', '41eda080'],
    ['an overlong form', '4141c0af'],
  ])('mqtt defect 3: %s', (_name, bytes) => {
    it.each(['CCCC', 'UUUU', 'TTTT'])('in CONNECT for %s', async (text) => {
      const client = await broker.open(5);
      client.sendBytes(spoilt(asked, text, bytes));
      await client.whenClosed();
      expect(client.pending).toMatchObject([{ type: 'connack', reasonCode: 0x81 }]);
    });

    it('in topic names and filters', async () => {
      const unsubscribe: Packet = { type: 'unsubscribe', packetId: 1, filters: ['NNNN'], properties: {} };
      for (const packet of [publishOf('NNNN'), subscribeOf('NNNN'), unsubscribe]) {
        expect(await goodbyeAfter(spoilt(packet, 'NNNN', bytes))).toBe(0x81);
      }
    });
  });

  it.each([
    ['flags of PUBREL that are not 2', '60 02 0001', '60 02 0001', 0x81],
    ['flags of PINGREQ', 'c4 00', 'c4 00', 0x81],
    ['QoS 3', '36 06 0001 61 0001 00', '36 05 0001 61 0001', 0x81],
    ['packet id 0 in PUBLISH', '32 06 0001 61 0000 00', '32 05 0001 61 0000', 0x82],
    ['packet id 0 in SUBSCRIBE', '82 07 0000 00 0001 61 00', '82 06 0000 0001 61 00', 0x82],
    ['a length that is not the shortest', 'c0 80 00', 'c0 80 00', 0x81],
    ['text that is no UTF-8', '30 04 0001 ff 00', '30 03 0001 ff', 0x81],
  ])('mqtt defect 17: %s', async (_name, bytes, older, code) => {
    expect(await goodbyeAfter(hex(bytes))).toBe(code);
    expect(await goodbyeAfter(hex(older), 4)).toBe(null);
  });

  describe.each(versions)('mqtt defect 53: in version %i', (version) => {
    it.each([
      ['CONNACK', version === 5 ? '20 03 00 00 00' : '20 02 00 00'],
      ['SUBACK', version === 5 ? '90 04 0001 00 00' : '90 03 0001 00'],
      ['UNSUBACK', version === 5 ? 'b0 04 0001 00 00' : 'b0 02 0001'],
      ['PINGRESP', 'd0 00'],
    ])('%s', async (_name, bytes) => {
      expect(await goodbyeAfter(hex(bytes), version)).toBe(version === 5 ? 0x82 : null);
    });
  });

  it('mqtt defect 58: ten thousand malformed packets cost only the connections that they come on, and a new client is served at once', async () => {
    const bytes = hex('36 06 0001 61 0001 00');
    const { protocolErrors } = broker.adapter.counters;
    // Both ends of a connection are in this process.
    const many = Math.max(100, Math.min(1500, (openFilesMax() - 500) / 2));
    const served: number[] = [];
    let sent = 0;
    for (let round = 0; sent < 10_000; round++) {
      const clients: MqttClient[] = [];
      while (clients.length < many) {
        const more = Array.from({ length: 100 }, (_, at) =>
          broker.connect(5, { clientId: `m${round}/${clients.length + at}` }),
        );
        clients.push(...(await Promise.all(more)));
      }
      for (const client of clients) client.sendBytes(bytes);
      await Promise.all(clients.map((client) => client.whenClosed()));
      const from = performance.now();
      const after = await broker.connect(4, { clientId: 'after' });
      expect(await after.subscribe('t', 1)).toEqual([1]);
      expect(await steady.publishAcknowledged({ topic: 't' })).toBe(0);
      expect(await after.receive(1)).toHaveLength(1);
      served.push(performance.now() - from);
      after.drop();
      sent += clients.length;
      expect(broker.adapter.counters.protocolErrors).toBe(protocolErrors + sent);
    }
    // Busy moments of the machine do not count; were it slower with each of them, the last ones would be slow.
    expect(Math.min(...served.slice(-2))).toBeLessThan(atOnceMs);
  }, 60_000);
});

describe('mqtt defect 52: DISCONNECT', () => {
  const causes: readonly (readonly [name: string, cause: (client: MqttClient) => unknown])[] = [
    ['a malformed packet', (client) => client.sendBytes(hex('c4 00'))],
    ['a packet of a server', (client) => client.sendBytes(hex('d0 00'))],
    ['a packet that is too large', (client) => client.publish({ topic: 't', payload: Buffer.alloc(20_000) })],
    ['another connection', (client) => broker.connect(client.version, { clientId: 'told' })],
  ];
  it.each(causes)('is sent to a client of MQTT 5 for %s, and to no older one', async (_name, cause) => {
    for (const version of versions) {
      const client = await broker.connect(version, { clientId: 'told' });
      await cause(client);
      await client.whenClosed();
      expect(client.pending.map(({ type }) => type)).toEqual(version === 5 ? ['disconnect'] : []);
    }
  });

  it('is not sent to a client of MQTT 5 that was not let in', async () => {
    const first: Buffer[] = [
      encodePacket(5, connectOf({ clientId: 'x'.repeat(300) })),
      encodePacket(5, connectOf({ properties: { authenticationMethod: 'x' } })),
      encodePacket(5, subscribeOf('a')),
      spoilt(connectOf({ clientId: 'CCCC' }), 'CCCC', '00ff00ff'),
      hex('c0 00'),
    ];
    for (const bytes of first) {
      const client = await broker.open(5);
      client.sendBytes(bytes);
      await client.whenClosed();
      for (const packet of client.pending) {
        expect(packet).toMatchObject({ type: 'connack' });
        expect(packet.type === 'connack' && packet.reasonCode).toBeGreaterThanOrEqual(0x80);
      }
    }
  });
});

describe('sizes', () => {
  const sizeOf = (packet: Packet): number => encodePacket(5, packet).length;

  it('mqtt defect 22: a packet of exactly the maximum passes in both directions, one byte more does not', async () => {
    const room = packetBytesMax - sizeOf(publishOf('size')) - 1;
    const exact = publishOf('size', 'x'.repeat(room));
    expect(sizeOf(exact)).toBe(packetBytesMax);
    const receive = (clientId: string, maximumPacketSize: number) =>
      broker.connect(5, { clientId, properties: { maximumPacketSize } });
    const fits = await receive('fits', packetBytesMax);
    const tight = await receive('tight', packetBytesMax - 1);
    await fits.subscribe('size', 0);
    await tight.subscribe('size', 0);
    steady.send(exact);
    expect((await fits.receive(1))[0]!.payload).toHaveLength(room);
    expect(await tight.settled()).toEqual([]);
    expect(await goodbyeAfter(encodePacket(5, publishOf('size', 'x'.repeat(room + 1))))).toBe(0x95);
    fits.drop();
    tight.drop();
  });

  it('mqtt defect 13: a client is sent nothing above its maximum', async () => {
    const maximumPacketSize = 30;
    const client = await broker.connect(5, { clientId: 'low', properties: { maximumPacketSize } });
    const sizes: number[] = [];
    let closed = false;
    let before = client.receivedBytes;
    client.listen(
      () => {
        sizes.push(client.receivedBytes - before);
        before = client.receivedBytes;
      },
      () => (closed = true),
    );
    client.send(subscribeOf('low', '$share/g/f'));
    await waitUntil(() => sizes.length === 1);
    client.publish({ topic: '$x', qos: 1, packetId: 1 });
    await waitUntil(() => sizes.length === 2);
    steady.publish({ topic: 'low', payload: 'x'.repeat(100) });
    steady.publish({ topic: 'low', payload: 'y' });
    await waitUntil(() => sizes.length === 3);
    client.sendBytes(hex('d0 00'));
    await waitUntil(() => closed);
    expect(sizes).toHaveLength(4);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(maximumPacketSize);
  });

  it('mqtt defect 13: whose answer does not fit is closed, instead of left to wait for it', async () => {
    const client = await broker.connect(5, { clientId: 'few', properties: { maximumPacketSize: 50 } });
    client.send(subscribeOf(...Array.from({ length: 45 }, (_, at) => `f/${at}`)));
    expect((await client.next('suback')).reasonCodes).toHaveLength(45);
    client.send(subscribeOf(...Array.from({ length: 46 }, (_, at) => `f/${at}`)));
    expect((await client.next('disconnect')).reasonCode).toBe(0x95);
    await client.whenClosed();
  });

  it.each([1, 2] as const)('mqtt defect 23: at QoS %i what is too large keeps no place', async (qos) => {
    const properties = { maximumPacketSize: 100, receiveMaximum: 1 };
    const client = await broker.connect(5, { clientId: `place${qos}`, properties });
    await client.subscribe(`place/${qos}`, qos);
    for (const payload of ['x'.repeat(200), '1', 'x'.repeat(200), '2', 'x'.repeat(200)]) {
      steady.publish({ topic: `place/${qos}`, qos, packetId: 1, payload });
      if (qos === 1) await steady.next('puback');
      else {
        await steady.next('pubrec');
        steady.ack('pubrel', 1);
        await steady.next('pubcomp');
      }
    }
    expect(await client.receiveTexts(2)).toEqual(['1', '2']);
    client.drop();
  });
});

it('mqtt defect 27: a refusal has a reason string, unless it is not wanted or does not fit', async () => {
  for (const [properties, expected] of [
    [{}, true],
    [{ requestProblemInformation: false }, false],
    [{ maximumPacketSize: 25 }, false],
  ] as const) {
    const client = await broker.connect(5, { clientId: 'told', properties: { ...properties } });
    const told: boolean[] = [];
    const see = (packet: { properties: { reasonString?: string } }): void =>
      void told.push(packet.properties.reasonString !== undefined);
    client.publish({ topic: '$x', qos: 1, packetId: 1 });
    see(await client.next('puback'));
    client.publish({ topic: '$x', qos: 2, packetId: 2 });
    see(await client.next('pubrec'));
    client.send(subscribeOf('$share/g/f'));
    see(await client.next('suback'));
    client.sendBytes(hex('d0 00'));
    see(await client.next('disconnect'));
    expect(told).toEqual([expected, expected, expected, expected]);
  }
  const refused = await broker.open(5);
  refused.sendConnect({ clientId: 'told', properties: { authenticationMethod: 'SCRAM-SHA-1' } });
  const connack = await refused.next('connack');
  expect(connack.reasonCode).toBe(0x8c);
  expect(connack.properties.reasonString).toBeDefined();
});

it('mqtt defect 27: SUBACK has the reason of the first filter that is refused', async () => {
  await using own = await MqttBroker.start({ limits: { subscriptionsMax: 2, broadSessionsMax: 0 } });
  const prepare = vi.spyOn(own.kernel.subscriptions, 'prepare');
  const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const refusedBy = async (maximumPacketSize: number, wanted: boolean): Promise<(string | undefined)[]> => {
    const properties = { sessionExpiry: 60, maximumPacketSize, requestProblemInformation: wanted };
    const client = await own.connect(5, { clientId: 'refused', properties });
    const reasons: (string | undefined)[] = [];
    const subscribe = async (code: number, ...filters: string[]): Promise<void> => {
      const subscriptions = filters.map((filter) => ({ filter, ...options }));
      client.send({ type: 'subscribe', packetId: 1, subscriptions, properties: {} });
      const { reasonCodes, properties: told } = await client.next('suback');
      expect(reasonCodes.find((each) => each >= 0x80) ?? 0).toBe(code);
      reasons.push(told.reasonString);
    };
    prepare.mockRejectedValueOnce(new RobustError('SHARD_NOT_OWNED', 'not here'));
    await subscribe(0x83, 'a');
    await subscribe(0x97, '+/broad');
    await subscribe(0x97, 'a', '+/broad', '$share/g/f');
    await subscribe(0x9e, 'a', '$share/g/f', '+/broad');
    await subscribe(0, 'b');
    await subscribe(0x97, 'c');
    return reasons;
  };
  const none = Array.from({ length: 6 }, () => undefined);
  const [unserved, broad, first, shared, granted, full] = await refusedBy(1000, true);
  expect(granted).toBeUndefined();
  expect([first, full]).toEqual([broad, broad]);
  for (const each of [unserved, broad, shared]) expect(each).toMatch(/^\w.+$/);
  expect(new Set([unserved, broad, shared]).size).toBe(3);
  expect(await refusedBy(1000, false)).toEqual(none);
  expect(await refusedBy(20, true)).toEqual(none);
});

it.each([
  ['that take one session over', false],
  ['of a client each', true],
])(
  'mqtt defect 16: ten thousand connections %s leave nothing behind',
  async (_name, ofMany) => {
    const clock = new SimClock();
    await using own = await MqttBroker.start({ clock });
    const timers = clock.pending;
    const atOnce = 200;
    const rounds = 50;
    for (let round = 0; round < rounds; round++) {
      const clients = await Promise.all(Array.from({ length: atOnce }, () => own.open(5)));
      for (const [at, client] of clients.entries()) {
        const clientId = ofMany ? `${round}/${at}` : 'one';
        const kept = at % 2 === 0;
        const options = kept ? { properties: { sessionExpiry: 60 } } : { cleanStart: false, keepAlive: 60 };
        client.sendBytes(encodePacket(5, connectOf({ clientId, ...options })));
      }
      const connected = ofMany ? atOnce : 1;
      await waitUntil(() => own.adapter.sessions.connected === connected);
      await waitUntil(() => clients.filter(({ closed }) => !closed).length === connected);
      for (const client of clients) client.drop();
      await waitUntil(() => own.adapter.counters.connections === 0);
    }
    if (ofMany) expect(own.adapter.sessions.offline).toBe(rounds * (atOnce / 2));
    await clock.advance(120_000);
    expect(own.adapter.sessions).toEqual({ connected: 0, offline: 0 });
    expect(own.kernel.router.subscriptionCount).toBe(0);
    expect(clock.pending).toBeLessThanOrEqual(timers + 2);
  },
  60_000,
);
