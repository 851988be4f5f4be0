import { setTimeout as delay } from 'node:timers/promises';
import { encodePacket } from '@robustmq/mqtt-codec';
import type { ProtocolVersion } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { cpuMsOf, metricOf, printFigures, RawPeer, Siege } from './hostile-siege.ts';
import type { Damage, LastingDamage } from './hostile-siege.ts';
import { MqttClient } from './mqtt-client.ts';
import type { ConnectInput } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

/** What an attack may cost (scorecard S2); the time is that of a busy machine with two cores. */
const growthMibMax = 32;
const p99MsMax = 4000;
/** What buffers may take beside 200 to 1,300 connections that only say how long they are; 100 of 64 KiB are more. */
const bufferMibMax = 4;
/** What may be in use afterwards more than before; one small object for each of 100,000 operations is more. */
const leftMibMax = 2;
const connectTimeoutMs = 1500;
const partialPacketMs = 1000;
const deadlineMs = 5000;
const mebibyte = 1024 * 1024;
/** Pings for a server that reads all of them; one that stops has read 8 to 10 MiB, and less than the buffers of both ends have. */
const pingBytesMax = 256 * mebibyte;
const pingBytesTaken = 80 * mebibyte;
/** After so long without taking any more the server has stopped reading. */
const pingStallMs = 2000;
const many = 1_000_000;
const manyAnswered = 100_000;
const wills = 3000;
/** Wills are stored, and the log's tail is more or less full: 3,000 left 0.8 to 2.5, 18,000 2.1. Kept, 3,000 would be 22. */
const willsLeftMibMax = 4;

let siege: Siege;

beforeAll(async () => {
  siege = await Siege.start({ mqtt: { connectTimeoutMs, partialPacketMs } });
});

afterAll(async () => {
  await siege[Symbol.asyncDispose]();
});

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const port = (): number => siege.server.ports.mqtt;

function connectBytes(version: ProtocolVersion, input: ConnectInput = {}): Buffer {
  return encodePacket(version, {
    type: 'connect',
    version,
    cleanStart: true,
    keepAlive: 0,
    clientId: '',
    username: null,
    password: null,
    will: null,
    properties: {},
    ...input,
  });
}

function subscribeBytes(filter: string): Buffer {
  const options = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  return encodePacket(5, {
    type: 'subscribe',
    packetId: 1,
    subscriptions: [{ filter, ...options }],
    properties: {},
  });
}

async function connected(version: ProtocolVersion, input: ConnectInput = {}): Promise<MqttClient> {
  return (await MqttClient.connect(port(), version, input)).client;
}

function harmless(damage: Damage): void {
  const { growthMib, p99Ms, rounds } = damage;
  printFigures(expect.getState().currentTestName ?? '', damage);
  expect(rounds).toBeGreaterThan(0);
  expect(growthMib).toBeLessThan(growthMibMax);
  expect(p99Ms).toBeLessThan(p99MsMax);
}

/** Harmless, and no buffer was made by a length that was only said: resident memory shows none that nobody wrote to. */
function allocatesNothing(damage: Damage): void {
  harmless(damage);
  expect(damage.bufferMib).toBeLessThan(bufferMibMax);
}

/** Harmless, and nothing is left of it. */
function leavesNothing(damage: LastingDamage, leftMib = leftMibMax): void {
  harmless(damage);
  expect(damage.leftMib).toBeLessThan(leftMib);
}

/** Opens `count` connections that send `bytes`; resolves when the server has closed all, with the longest life, ms. */
async function allClosed(count: number, bytes: Buffer): Promise<number> {
  const peers = await Promise.all(Array.from({ length: count }, () => RawPeer.open(port())));
  for (const peer of peers) peer.send(bytes);
  await Promise.all(peers.map((peer) => peer.whenClosed()));
  return Math.max(...peers.map((peer) => peer.livedMs));
}

describe('declared length far above what comes', () => {
  const before: readonly (readonly [name: string, bytes: Buffer])[] = [
    ['the largest remaining length', hex('10 ff ff ff 7f 00 04 4d')],
    ['a remaining length just above 64 KiB', hex('10 80 80 04 00 04 4d')],
    ['a remaining length below 64 KiB, and no more', hex('10 f0 ff 03 00 04 4d')],
    ['a remaining length that never ends', hex('10 ff ff')],
    ['a protocol name of 65,535 bytes', hex('10 20 ff ff 4d 51')],
    ['a property length of 268 MB', hex('10 13 0004 4d515454 05 02 0000 ff ff ff 7f 26 0001 61')],
  ];
  it('before CONNECT: costs nothing and ends in time, on 100 connections each', async () => {
    allocatesNothing(
      await siege.withstand(async () => {
        const lives = await Promise.all(
          before.map(async ([name, bytes]) => [name, (await allClosed(100, bytes)) < deadlineMs] as const),
        );
        expect(lives).toEqual(before.map(([name]) => [name, true]));
      }),
    );
  });

  /** `packet` whose length in front of `mark` says 65,535 bytes. */
  const lyingText = (packet: Buffer, mark: string): Buffer => {
    const bytes = Buffer.from(packet);
    bytes.writeUInt16BE(65_535, bytes.indexOf(mark) - 2);
    return bytes;
  };
  /** `packet` whose properties, behind `mark`, say 268 MB. */
  const lyingProperties = (packet: Buffer, mark: string): Buffer => {
    const at = packet.indexOf(mark) + mark.length;
    const bytes = Buffer.concat([packet.subarray(0, at), hex('ff ff ff 7f'), packet.subarray(at + 1)]);
    bytes[1]! += 3;
    return bytes;
  };
  const properties = {
    contentType: 'tttt',
    responseTopic: 'rrrr',
    correlationData: Buffer.from('dddd'),
    userProperties: [['nnnn', 'vvvv']] as [string, string][],
  };
  const inProperties = ['tttt', 'rrrr', 'dddd', 'nnnn', 'vvvv'];
  const will = { topic: 'wwww', payload: Buffer.from('pppp'), qos: 0 as const, retain: false, properties };
  const own = { userProperties: [['mmmm', 'xxxx']] as [string, string][] };
  const credentials = { clientId: 'cccc', username: 'uuuu', password: Buffer.from('ssss') };
  const connect = connectBytes(5, { ...credentials, will, properties: own });
  const message = { qos: 0 as const, retain: false, dup: false, packetId: 0, payload: Buffer.alloc(0) };
  const publish = encodePacket(5, { type: 'publish', topic: 'oooo', ...message, properties });
  const refused = (): Promise<number> => metricOf(siege.server, 'robustmq_mqtt_protocol_errors_total');

  it('every length of CONNECT: refused by it, and nothing is made, on 100 connections each', async () => {
    await connected(5, { ...credentials, will, properties: own }).then((client) => client.drop());
    const texts = ['cccc', 'uuuu', 'ssss', 'wwww', 'pppp', 'mmmm', 'xxxx', ...inProperties];
    const lies = texts.map((mark) => lyingText(connect, mark));
    // Those of the will are behind the client id.
    lies.push(lyingProperties(connect, 'cccc'));
    allocatesNothing(
      await siege.withstand(async () => {
        for (const [at, bytes] of lies.entries()) {
          const before = await refused();
          await allClosed(100, bytes);
          expect([at, (await refused()) - before]).toEqual([at, 100]);
        }
      }),
    );
  });

  it('every length of PUBLISH, and of a filter: refused by it, and nothing is made, on 100 connections each', async () => {
    const lies = ['oooo', ...inProperties].map((mark) => lyingText(publish, mark));
    lies.push(lyingProperties(publish, 'oooo'), lyingText(subscribeBytes('ffff'), 'ffff'));
    allocatesNothing(
      await siege.withstand(async () => {
        for (const [at, bytes] of lies.entries()) {
          const clients = await Promise.all(Array.from({ length: 100 }, () => connected(5)));
          for (const client of clients) client.sendBytes(bytes);
          const ends = await Promise.all(clients.map((client) => client.next('disconnect')));
          expect([at, ...new Set(ends.map(({ reasonCode }) => reasonCode))]).toEqual([at, 0x81]);
        }
      }),
    );
  });

  it('before CONNECT: a packet above 64 KiB is refused by its length, one of 64 KiB is waited for', async () => {
    const figures = async (): Promise<number[]> => [
      await metricOf(siege.server, 'robustmq_mqtt_protocol_errors_total'),
      await metricOf(siege.server, 'robustmq_mqtt_connections_overdue_total'),
    ];
    const [errors, overdue] = await figures();
    // 65,533 bytes and a header of four are one too many.
    await allClosed(10, hex('10 fd ff 03 00 04 4d'));
    expect(await figures()).toEqual([errors! + 10, overdue]);
    await allClosed(10, hex('10 fc ff 03 00 04 4d'));
    expect(await figures()).toEqual([errors! + 10, overdue! + 10]);
  });

  it('after CONNECT: 200 packets of 1 MB of which three bytes come cost what came, and end in time', async () => {
    allocatesNothing(
      await siege.withstand(async () => {
        const since = performance.now();
        const clients = await Promise.all(Array.from({ length: 200 }, () => connected(5)));
        for (const client of clients) client.sendBytes(hex('30 80 80 40 00 01 61'));
        const ends = await Promise.all(clients.map((client) => client.next('disconnect')));
        expect(new Set(ends.map(({ reasonCode }) => reasonCode))).toEqual(new Set([0x83]));
        expect(performance.now() - since).toBeLessThan(deadlineMs);
      }),
    );
  });

  it('after CONNECT: a packet above Maximum Packet Size is refused by its length (0x95)', async () => {
    const client = await connected(5);
    client.sendBytes(hex('30 ff ff ff 7f'));
    expect((await client.next('disconnect')).reasonCode).toBe(0x95);
    await client.whenClosed();
  });
});

describe('slow-loris', () => {
  it('CONNECT a byte at a time is cut off when its time is over', async () => {
    const peer = await RawPeer.open(port());
    const bytes = connectBytes(4, { clientId: 'x'.repeat(250) });
    for (const byte of bytes) {
      if (!peer.send(Buffer.of(byte)) && peer.closed) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
      if (peer.closed) break;
    }
    await peer.whenClosed();
    expect(peer.livedMs).toBeLessThan(deadlineMs);
    expect(peer.received).toHaveLength(0);
  });

  for (const version of [4, 5] as const) {
    it(`a packet a byte at a time is cut off, whatever the keep alive, version ${version}`, async () => {
      const client = await connected(version, { keepAlive: version === 4 ? 0 : 60 });
      client.sendBytes(hex('30 80 80 40'));
      const drip = setInterval(() => client.sendBytes(Buffer.of(0)), 50);
      if (version === 5) expect((await client.next('disconnect')).reasonCode).toBe(0x83);
      await client.whenClosed();
      clearInterval(drip);
    });
  }

  it('whole packets, however slow one after the other, are served', async () => {
    const client = await connected(4);
    const packet = encodePacket(4, {
      type: 'publish',
      topic: 'slow/but/sound',
      qos: 1,
      retain: false,
      dup: false,
      packetId: 7,
      payload: Buffer.from('x'),
      properties: {},
    });
    const since = performance.now();
    // Each packet takes two thirds of its time, and its end comes with the beginning of the next.
    client.sendBytes(packet.subarray(0, 3));
    while (performance.now() - since < 3 * partialPacketMs) {
      await new Promise((resolve) => setTimeout(resolve, (partialPacketMs * 2) / 3));
      client.sendBytes(Buffer.concat([packet.subarray(3), packet.subarray(0, 3)]));
      expect((await client.next('puback')).packetId).toBe(7);
    }
    client.drop();
  });
});

describe('topics', () => {
  const names: readonly (readonly [name: string, topic: string])[] = [
    ['65,400 slashes', '/'.repeat(65_400)],
    ['10,000 levels', 'a/'.repeat(10_000)],
    ['129 levels', `${'a/'.repeat(128)}a`],
    ['4,097 bytes', 'a'.repeat(4097)],
  ];
  for (const [name, topic] of names) {
    it(`of ${name} are refused, as names and as filters, at no cost`, async () => {
      const cpu = cpuMsOf(siege.server.pid);
      const publisher = await connected(5);
      publisher.publish({ topic, qos: 1, packetId: 1 });
      const refused = await publisher.next('disconnect');
      expect(refused.reasonCode).toBe(0x90);
      const subscriber = await connected(5);
      subscriber.sendBytes(subscribeBytes(topic));
      expect((await subscriber.next('disconnect')).reasonCode).toBe(0x8f);
      expect(cpuMsOf(siege.server.pid) - cpu).toBeLessThan(2000);
    });
  }

  it('with alternating wildcards match in time that follows their length', async () => {
    const levels = 128;
    const filters = Array.from({ length: 100 }, (_, at) =>
      Array.from({ length: levels }, (__, level) => ((level + at) % 2 === 0 ? '+' : 'a')).join('/'),
    );
    harmless(
      await siege.withstand(async () => {
        const subscriber = await connected(5);
        expect(new Set(await subscriber.subscribe(filters, 0))).toEqual(new Set([0]));
        const publisher = await connected(5);
        const cpu = cpuMsOf(siege.server.pid);
        for (let at = 0; at < 200; at++) {
          // Never the same name twice: every one is matched anew.
          const topic = `${'a/'.repeat(levels - 1)}a${at}`;
          publisher.publish({ topic, qos: 1, packetId: 1 });
          await publisher.next('puback');
        }
        expect(cpuMsOf(siege.server.pid) - cpu).toBeLessThan(5000);
        subscriber.drop();
        publisher.drop();
      }),
    );
  });
});

describe('legal sequences that must not leave anything behind', () => {
  /** Sends `packet` over and over, and waits until the server has read all. */
  async function loop(client: MqttClient, packets: readonly Buffer[], times: number): Promise<void> {
    const cycle = Buffer.concat(packets);
    const perChunk = Math.max(1, Math.floor(60_000 / cycle.length));
    const chunk = Buffer.concat(Array.from({ length: perChunk }, () => cycle));
    const answered = new Promise<void>((resolve, reject) => {
      client.listen(
        ({ type }) => {
          if (type === 'pingresp') resolve();
        },
        () => reject(new Error('the connection was closed')),
      );
    });
    for (let sent = 0; sent < times; sent += perChunk) await client.sendWhenRead(chunk);
    await client.sendWhenRead(encodePacket(client.version, { type: 'pingreq' }));
    await answered;
  }

  const publish = (packetId: number): Buffer =>
    encodePacket(5, {
      type: 'publish',
      topic: 'twice',
      qos: 2,
      retain: false,
      dup: true,
      packetId,
      payload: Buffer.alloc(0),
      properties: {},
    });
  const subscribe = subscribeBytes('again/#');
  const unsubscribe = encodePacket(5, {
    type: 'unsubscribe',
    packetId: 2,
    filters: ['again/#'],
    properties: {},
  });
  const pubrel = encodePacket(5, { type: 'pubrel', packetId: 9, reasonCode: 0, properties: {} });

  /** `roundsMin`: how often the others are served meanwhile at least, where each packet waits for its answer. */
  const cases: readonly (readonly [
    name: string,
    packets: readonly Buffer[],
    times: number,
    roundsMin: number,
  ])[] = [
    ['QoS 2 with one packet id and no PUBREL', [publish(7)], many, 1],
    ['PUBREL of a packet id that is not open', [pubrel], many, 1],
    ['SUBSCRIBE and UNSUBSCRIBE', [subscribe, unsubscribe], manyAnswered, 5],
    ['SUBSCRIBE of the same filter', [subscribe], manyAnswered, 5],
  ];
  for (const [name, packets, times, roundsMin] of cases) {
    it(`${name}, ${times.toLocaleString('en')} times`, async () => {
      const attack = async (count: number): Promise<void> => {
        const client = await connected(5, { clientId: 'again', cleanStart: true });
        await loop(client, packets, count);
        expect(client.closed).toBe(false);
        client.drop();
      };
      const damage = await siege.outlive(
        () => attack(times / 10),
        () => attack(times),
      );
      leavesNothing(damage);
      expect(damage.rounds).toBeGreaterThanOrEqual(roundsMin);
    });
  }

  it(`CONNECT with will and properties, dropped, ${wills.toLocaleString('en')} times`, async () => {
    const will = {
      topic: 'will/again',
      payload: Buffer.alloc(1000),
      qos: 0 as const,
      retain: false,
      properties: { userProperties: Array.from({ length: 20 }, () => ['n', 'v'] as [string, string]) },
    };
    const atOnce = 20;
    const attack = async (count: number): Promise<void> => {
      for (let done = 0; done < count; done += atOnce) {
        const clients = await Promise.all(
          Array.from({ length: atOnce }, (_, at) => connected(5, { clientId: `will${at}`, will })),
        );
        for (const client of clients) client.drop();
      }
    };
    leavesNothing(
      await siege.outlive(
        () => attack(wills),
        () => attack(wills),
      ),
      willsLeftMibMax,
    );
  });
});

describe('quantities', () => {
  it('65 user properties, or more than 8 KiB of them, are refused (0x97)', async () => {
    const pair = (name: string, value: string): [string, string] => [name, value];
    for (const userProperties of [
      Array.from({ length: 65 }, () => pair('n', 'v')),
      [pair('n', 'v'.repeat(8 * 1024))],
    ]) {
      const client = await connected(5);
      client.publish({ topic: 'quantities', properties: { userProperties } });
      expect((await client.next('disconnect')).reasonCode).toBe(0x97);
    }
  });

  it('filters beyond `mqtt.subscriptionsMax` get 0x97, and the first ones stay', async () => {
    const client = await connected(5);
    const codes: number[] = [];
    for (let from = 0; from < 10_010; from += 1001) {
      codes.push(
        ...(await client.subscribe(
          Array.from({ length: 1000 }, (_, at) => `s/${from + at}`),
          0,
        )),
      );
    }
    const more = await client.subscribe(['s/more/1', 's/more/2'], 0);
    expect([codes.filter((code) => code === 0).length, more]).toEqual([10_000, [0x97, 0x97]]);
    client.drop();
  });

  it('a client that publishes above Receive Maximum is told (0x93)', async () => {
    const client = await connected(5);
    const chunk = Array.from({ length: 1100 }, (_, at) =>
      encodePacket(5, {
        type: 'publish',
        topic: 'window',
        qos: 2,
        retain: false,
        dup: false,
        packetId: at + 1,
        payload: Buffer.alloc(0),
        properties: {},
      }),
    );
    let end: number | null = null;
    client.listen(
      (packet) => {
        if (packet.type === 'disconnect') end = packet.reasonCode;
      },
      () => undefined,
    );
    client.sendBytes(Buffer.concat(chunk));
    await client.whenClosed();
    expect(end).toBe(0x93);
  });

  it('a client that pings and does not read is not read either, and is answered when it reads again', async () => {
    const pings = Buffer.concat(Array.from({ length: 30_000 }, () => hex('c0 00')));
    let taken = 0;
    const damage = await siege.withstand(async () => {
      const peer = await RawPeer.open(port());
      peer.send(connectBytes(4));
      await waitUntil(() => peer.received.length > 0);
      let answered = 0;
      peer.socket.on('data', (chunk: Buffer) => void (answered += chunk.length));
      peer.socket.pause();
      let sent = 0;
      // The system takes what the server reads, and what its own buffers hold.
      const isTaken = (): Promise<boolean> => {
        sent += pings.length;
        const written = new Promise<boolean>((resolve) => {
          peer.socket.write(pings, (error) => resolve(!error));
        });
        return Promise.race([written, delay(pingStallMs).then(() => false)]);
      };
      while (taken < pingBytesMax && (await isTaken())) taken = sent;
      expect(peer.closed).toBe(false);
      expect(taken).toBeLessThan(pingBytesTaken);
      peer.socket.resume();
      await waitUntil(() => answered >= sent, { timeoutMs: 60_000, what: 'every ping is answered' });
      expect(answered).toBe(sent);
      peer.drop();
    });
    printFigures('pings to which nobody reads the answers', { takenMib: taken / mebibyte });
    allocatesNothing(damage);
  });
});
