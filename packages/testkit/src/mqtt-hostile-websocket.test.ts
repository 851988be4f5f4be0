import { setTimeout as delay } from 'node:timers/promises';
import { encodePacket } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { cpuMsOf, printFigures, RawPeer, Siege } from './hostile-siege.ts';
import type { Damage } from './hostile-siege.ts';
import { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const mebibyte = 1024 * 1024;
const connectTimeoutMs = 2500;
const partialPacketMs = 1000;
const deadlineMs = 6000;
/** Fewer than by default, so that they are there at once. */
const subscriptionsMax = 100;
const binary = 0x82;
const ping = 0x89;

let siege: Siege;

beforeAll(async () => {
  siege = await Siege.start({ mqtt: { connectTimeoutMs, partialPacketMs, subscriptionsMax } });
});

afterAll(async () => {
  await siege[Symbol.asyncDispose]();
});

const upgrade =
  'GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

const connectBytes = encodePacket(4, {
  type: 'connect',
  version: 4,
  cleanStart: true,
  keepAlive: 0,
  clientId: '',
  username: null,
  password: null,
  will: null,
  properties: {},
});

/** A frame, masked with zeros so that its payload can be read; `length` is what it says of itself. */
function frame(first: number, payload: Uint8Array, length = payload.length): Buffer {
  const head = Buffer.alloc(14);
  head[0] = first;
  let at = 2;
  if (length < 126) head[1] = 0x80 | length;
  else if (length < 65_536) {
    head[1] = 0x80 | 126;
    at = head.writeUInt16BE(length, 2);
  } else {
    head[1] = 0x80 | 127;
    at = head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head.subarray(0, at), Buffer.alloc(4), payload]);
}

/** A connection that was upgraded. */
async function opened(extra = ''): Promise<RawPeer> {
  const peer = await RawPeer.open(siege.server.ports.mqttWebSocket);
  peer.send(Buffer.from(`${upgrade}${extra}\r\n`));
  await waitUntil(() => peer.received.includes('\r\n\r\n'));
  expect(peer.received.toString('latin1')).toContain('101 Switching Protocols');
  return peer;
}

/** A client that was accepted. */
async function connected(): Promise<RawPeer> {
  const peer = await opened();
  const before = peer.received.length;
  peer.send(frame(binary, connectBytes));
  await waitUntil(() => peer.received.length >= before + 6);
  return peer;
}

function harmless(damage: Damage): void {
  printFigures(expect.getState().currentTestName ?? '', damage);
  expect(damage.growthMib).toBeLessThan(32);
  expect(damage.p99Ms).toBeLessThan(4000);
}

/** Harmless, and buffers took no more, whether somebody wrote to them or not: resident memory shows only the former. */
function allocatesAtMost(mib: number, damage: Damage): void {
  harmless(damage);
  expect(damage.bufferMib).toBeLessThan(mib);
}

describe('WebSocket frames', () => {
  const bad: readonly (readonly [name: string, bytes: Buffer])[] = [
    ['without a mask', Buffer.from([binary, 1, 0])],
    ['of 2^53 bytes', frame(binary, Buffer.alloc(3), 2 ** 53)],
    ['of 100 MiB', frame(binary, Buffer.alloc(3), 100 * mebibyte)],
    ['that say they are compressed', frame(0xc2, Buffer.alloc(3))],
    ['of an unknown kind', frame(0x83, Buffer.alloc(3))],
    ['that continue nothing', frame(0x80, Buffer.alloc(3))],
    ['of control, longer than 125 bytes', frame(ping, Buffer.alloc(126))],
    ['of text that is no UTF-8', frame(0x81, Buffer.from([0xff, 0xfe]))],
  ];
  for (const [name, bytes] of bad) {
    it(`${name} end their connection, before CONNECT and after it`, async () => {
      for (const open of [opened, connected]) {
        const peer = await open();
        peer.send(bytes);
        await peer.whenClosed();
      }
    });
  }

  it('that are far longer than what comes of them make no buffer, on 60 connections each', async () => {
    const lengths = [60 * 1024, mebibyte, 100 * mebibyte, 2 ** 31, 2 ** 53];
    for (const open of [opened, connected]) {
      const damage = await siege.withstand(async () => {
        const perLength = await Promise.all(
          lengths.map(async (length) => {
            const peers = await Promise.all(Array.from({ length: 60 }, () => open()));
            for (const peer of peers) peer.send(frame(binary, Buffer.alloc(3), length));
            return peers;
          }),
        );
        await Promise.all(perLength.flat().map((peer) => peer.whenClosed()));
      });
      allocatesAtMost(4, damage);
    }
  });

  it('of one byte, thousands of them in one message, are cut off before they cost much', async () => {
    harmless(
      await siege.withstand(async () => {
        const fragments = Buffer.concat(Array.from({ length: 5000 }, () => frame(0x00, Buffer.of(0))));
        for (let round = 0; round < 5; round++) {
          const peer = await connected();
          peer.send(frame(0x02, Buffer.of(0x30)));
          await peer.pour(Array.from({ length: 10 }, () => fragments));
          await peer.whenClosed();
        }
      }),
    );
  });

  it('of one byte with a whole packet among them are served', async () => {
    const peer = await opened();
    const before = peer.received.length;
    for (const byte of connectBytes) peer.send(frame(binary, Buffer.of(byte)));
    await waitUntil(() => peer.received.length >= before + 6);
    peer.drop();
  });

  it('before CONNECT hold no more than CONNECT may have', async () => {
    // 50 times 64 KiB, and as much again that was read at one time.
    allocatesAtMost(
      2 * 50 * (64 / 1024) + 10,
      await siege.withstand(async () => {
        const peers = await Promise.all(Array.from({ length: 50 }, () => opened()));
        await Promise.all(
          peers.map(async (peer) => {
            peer.send(frame(binary, Buffer.alloc(0), 2 * mebibyte));
            await peer.pour(Array.from({ length: 30 }, () => Buffer.alloc(64 * 1024)));
            await peer.whenClosed();
            expect(peer.livedMs).toBeLessThan(deadlineMs);
          }),
        );
      }),
    );
  });

  it('that never end are cut off when their time is over, a byte at a time or not at all', async () => {
    for (const drips of [true, false]) {
      const peer = await connected();
      peer.send(frame(binary, Buffer.alloc(10), 1000));
      setTimeout(() => peer.send(Buffer.of(0)), 100);
      const drip = setInterval(() => {
        if (drips) peer.send(Buffer.of(0));
      }, 100);
      await peer.whenClosed();
      clearInterval(drip);
    }
  });

  it('of pings to which nobody reads the answers are not answered without end', async () => {
    harmless(
      await siege.withstand(async () => {
        const peer = await connected();
        peer.socket.pause();
        const pings = Buffer.concat(Array.from({ length: 500 }, () => frame(ping, Buffer.alloc(125))));
        await peer.pour(Array.from({ length: 1000 }, () => pings));
        peer.drop();
      }),
    );
  });
});

describe('the way to WebSocket', () => {
  it('has one time for the upgrade and CONNECT together', async () => {
    const peer = await RawPeer.open(siege.server.ports.mqttWebSocket);
    peer.send(Buffer.from(upgrade));
    await new Promise((resolve) => setTimeout(resolve, connectTimeoutMs * 0.7));
    peer.send(Buffer.from('\r\n'));
    await waitUntil(() => peer.received.includes('101'));
    await peer.whenClosed();
    expect(peer.livedMs).toBeLessThan(connectTimeoutMs * 1.5);
  });

  it('does not take compression, however it is offered', async () => {
    const peer = await opened(
      'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=8\r\n',
    );
    expect(peer.received.toString('latin1').toLowerCase()).not.toContain('permessage-deflate');
    peer.drop();
  });

  it('refuses headers above 16 KiB, and what is no upgrade', async () => {
    for (const [request, status] of [
      [`${upgrade}X: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
      [`${upgrade.replace('13', '7')}\r\n`, '400'],
      [`${upgrade.replace('/mqtt', '/../../etc/passwd')}\r\n`, '404'],
      ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '4'],
      ['\u0016\u0003\u0001\u0000\u00f8', '400'],
    ] as const) {
      const peer = await RawPeer.open(siege.server.ports.mqttWebSocket);
      peer.send(Buffer.from(request, 'latin1'));
      await peer.whenClosed();
      expect(peer.received.toString('latin1')).toMatch(new RegExp(`^HTTP/1.1 ${status}`));
    }
  });
});

describe('limits hold over WebSocket as over TCP', () => {
  const levels = 128;
  /** Of the packet that comes next, its code. */
  const cases: readonly (readonly [
    what: string,
    code: number,
    act: (client: MqttClient) => Promise<number>,
  ])[] = [
    [
      'a packet above Maximum Packet Size',
      0x95,
      (client) => {
        client.sendBytes(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
        return ended(client);
      },
    ],
    [
      `a topic of ${levels + 1} levels`,
      0x90,
      (client) => {
        client.publish({ topic: `${'a/'.repeat(levels)}a`, qos: 1, packetId: 1 });
        return ended(client);
      },
    ],
    [
      'a topic of as many levels as may be',
      0,
      (client) => client.publishAcknowledged({ topic: `${'a/'.repeat(levels - 1)}a` }),
    ],
    [
      'a filter beyond `mqtt.subscriptionsMax`',
      0x97,
      async (client) => {
        const filters = Array.from({ length: subscriptionsMax }, (_, at) => `s/${at}`);
        expect(new Set(await client.subscribe(filters, 0))).toEqual(new Set([0]));
        const [code] = await client.subscribe('s/more', 0);
        return code!;
      },
    ],
  ];

  /** The code of DISCONNECT, behind which the connection is closed. */
  async function ended(client: MqttClient): Promise<number> {
    const { reasonCode } = await client.next('disconnect');
    await client.whenClosed();
    return reasonCode;
  }

  for (const [what, code, act] of cases) {
    it(`${what} is answered with ${code}`, async () => {
      const url = `ws://127.0.0.1:${siege.server.ports.mqttWebSocket}/mqtt`;
      const { client } = await MqttClient.openWebSocket(url, 5);
      client.sendConnect();
      expect((await client.next('connack')).reasonCode).toBe(0);
      expect(await act(client)).toBe(code);
      client.drop();
    });
  }
});

it('floods of HTTP/2 on the admin listener and on that of WebSocket end at once, and others are served', async () => {
  // SETTINGS without values, then RST_STREAM of a stream that was never opened.
  const frames = Buffer.from('000000040000000000' + '00000403000000000100000008', 'hex');
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const chunk = Buffer.concat(Array.from({ length: 3000 }, () => frames));
  for (const listener of ['admin', 'mqttWebSocket'] as const) {
    let cpuMs = 0;
    const damage = await siege.withstand(async () => {
      const before = cpuMsOf(siege.server.pid);
      const peers = await Promise.all(
        Array.from({ length: 100 }, () => RawPeer.open(siege.server.ports[listener])),
      );
      const flood = peers.map(async (peer) => {
        await peer.pour([preface, ...Array.from({ length: 1000 }, () => chunk)]);
        await peer.whenClosed();
      });
      const answer = await fetch(`http://${siege.server.address('admin')}/metrics`);
      expect(answer.status).toBe(200);
      (await connected()).drop();
      await Promise.all(flood);
      cpuMs = cpuMsOf(siege.server.pid) - before;
    });
    printFigures(`HTTP/2 on ${listener}`, { cpuMs });
    harmless(damage);
    // Of 6.6 GB that would be sent.
    expect(cpuMs).toBeLessThan(500);
  }
});

describe('the admin listener', () => {
  const url = (path: string): string => `http://${siege.server.address('admin')}${path}`;
  const json = { 'content-type': 'application/json', connection: 'close' };

  it('takes bodies of 256 KiB at most, compressed ones not at all, and none that is deep', async () => {
    const post = async (body: Uint8Array | string, headers: Record<string, string> = {}): Promise<number> =>
      (await fetch(url('/api/v1/topics'), { method: 'POST', body, headers: { ...json, ...headers } })).status;
    harmless(
      await siege.withstand(async () => {
        expect(await post(`{"name":"${'x'.repeat(300_000)}"}`)).toBe(413);
        expect(await post(Buffer.alloc(1000), { 'content-encoding': 'gzip' })).toBeGreaterThanOrEqual(400);
        for (let round = 0; round < 20; round++) expect(await post('['.repeat(200_000))).toBe(400);
        expect(await post(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)).toBe(400);
      }),
    );
  });

  it('makes no buffer for a body that only says how long it is, on 100 connections', async () => {
    const head = `POST /api/v1/topics HTTP/1.1\r\nHost: ${siege.server.address('admin')}\r\nContent-Type: application/json\r\n`;
    const damage = await siege.withstand(async () => {
      const peers = await Promise.all(
        Array.from({ length: 100 }, () => RawPeer.open(siege.server.ports.admin)),
      );
      for (const peer of peers) peer.send(Buffer.from(`${head}Content-Length: ${256 * 1024}\r\n\r\n{"a"`));
      await delay(500);
      for (const peer of peers) peer.drop();
    });
    allocatesAtMost(4, damage);
  });

  it('closes what says more than it sends, and what is no HTTP', async () => {
    for (const request of [
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`,
      'GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n',
      'POST /api/v1/topics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n{',
    ]) {
      const peer = await RawPeer.open(siege.server.ports.admin);
      peer.send(Buffer.from(request));
      await waitUntil(() => peer.received.length > 0 || peer.closed);
      expect(peer.received.toString('latin1')).toMatch(/^HTTP\/1.1 4/);
      peer.drop();
    }
  });
});
