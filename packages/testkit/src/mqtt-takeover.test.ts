import { Socket } from 'node:net';
import { SimClock } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
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

/** One call of a socket of the broker: what kind of packet it writes, or that it ends. */
interface SocketCall {
  readonly peer: number | undefined;
  readonly call: 'connack' | 'disconnect' | 'other' | 'end';
  /** Connections that the broker has at that time. */
  readonly connections: number;
}

/**
 * Calls of the broker's sockets, in order, until the test is over. Which of two connections heard first can not be seen at
 * their other ends: the system may tell of both at once.
 */
function watchSockets(): SocketCall[] {
  const calls: SocketCall[] = [];
  const note = (socket: Socket, call: SocketCall['call']): void => {
    if (socket.localPort !== broker.port) return;
    // What has ended is destroyed later.
    if (call === 'end' && calls.some((before) => before.call === 'end' && before.peer === socket.remotePort))
      return;
    calls.push({ peer: socket.remotePort, call, connections: broker.adapter.counters.connections });
  };
  const { write, end, destroy } = Socket.prototype;
  type Write = (this: Socket, ...args: Parameters<Socket['write']>) => boolean;
  type End = (this: Socket, ...args: Parameters<Socket['end']>) => Socket;
  const watchedWrite: Write = function (...args) {
    const [bytes] = args;
    const kind = typeof bytes === 'string' ? 0 : (bytes[0] ?? 0);
    note(this, kind === 0x20 ? 'connack' : kind === 0xe0 ? 'disconnect' : 'other');
    return write.apply(this, args);
  };
  const watchedEnd: End = function (...args) {
    note(this, 'end');
    return end.apply(this, args);
  };
  vi.spyOn(Socket.prototype, 'write').mockImplementation(watchedWrite);
  vi.spyOn(Socket.prototype, 'end').mockImplementation(watchedEnd);
  vi.spyOn(Socket.prototype, 'destroy').mockImplementation(function (this: Socket, ...args) {
    note(this, 'end');
    return destroy.apply(this, args);
  });
  onTestFinished(() => void vi.restoreAllMocks());
  return calls;
}

describe('mqtt defect 14, 37: takeover', () => {
  for (const version of [3, 4, 5] as const) {
    it(`closes the old connection with 0x8E before the new CONNACK, old one of version ${version}`, async () => {
      const calls = watchSockets();
      const first = await broker.connect(version, { clientId: 'twin', cleanStart: false });
      const old = calls.at(-1)!.peer;
      calls.length = 0;
      const packets: number[] = [];
      let closed = false;
      first.listen(
        (packet) => packet.type === 'disconnect' && packets.push(packet.reasonCode),
        () => (closed = true),
      );
      const second = await broker.open(5);
      second.sendConnect({ clientId: 'twin', cleanStart: false });
      await second.next('connack');
      expect(broker.adapter.sessions.connected).toBe(2);
      // Up to the CONNACK the broker has spoken to the old connection alone, and it has that one no longer.
      const until = calls.slice(0, calls.findIndex(({ call }) => call === 'connack') + 1);
      const goodbye = version === 5 ? (['disconnect', 'end'] as const) : (['end'] as const);
      expect(until.map(({ call }) => call)).toEqual([...goodbye, 'connack']);
      expect(until.map(({ peer }) => peer === old)).toEqual([...goodbye.map(() => true), false]);
      expect(until.at(-1)!.connections).toBe(2);
      await waitUntil(() => closed);
      expect(packets).toEqual(version === 5 ? [0x8e] : []);
      expect(broker.adapter.counters.takeovers).toBe(1);
    });
  }

  it('semantics 5.2: sends a will without delay, cancels a delayed one when the session goes on, sends it at clean start', async () => {
    const session = { clientId: 'twin', cleanStart: false, properties: { sessionExpiry: 100 } };
    await broker.connect(5, { ...session, will: will() });
    await broker.connect(5, { ...session, will: delayed(10) });
    expect(await willsSeen(watcher)).toEqual(['gone']);
    await broker.connect(5, { ...session, will: delayed(10) });
    await pass(clock, 30);
    expect(await willsSeen(watcher)).toEqual([]);
    await broker.connect(5, { clientId: 'twin', cleanStart: true });
    expect(await willsSeen(watcher)).toEqual(['gone']);
  });

  it('mqtt defect 29: loses no message that comes meanwhile', async () => {
    const session = { clientId: 'twin', cleanStart: false, properties: { sessionExpiry: 100 } };
    let current = await broker.connect(5, session);
    await current.subscribe('busy/#', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    const seen = new Set<string>();
    for (let round = 0; round < 20; round++) {
      for (let at = 0; at < 20; at++) {
        publisher.publish({ topic: 'busy/t', qos: 1, packetId: at + 1, payload: `${round}/${at}` });
      }
      const next = await broker.open(5);
      next.sendConnect(session);
      expect((await next.next('connack')).sessionPresent).toBe(true);
      for (let at = 0; at < 20; at++) await publisher.next('puback');
      for (const packet of current.pending) {
        if (packet.type === 'publish') seen.add(Buffer.from(packet.payload).toString());
      }
      current = next;
    }
    const texts = new Set<string>();
    while (texts.size < 400) {
      const [message] = await current.receive(1);
      texts.add(Buffer.from(message!.payload).toString());
    }
    expect(texts.size).toBe(400);
  });

  it('ends what the old connection had published before the new one may send it again', async () => {
    const session = { clientId: 'twin', cleanStart: false, properties: { sessionExpiry: 100 } };
    const first = await broker.connect(5, session);
    await watcher.subscribe('once', 2);
    first.publish({ topic: 'once', qos: 2, packetId: 1, payload: 'zero' });
    await first.next('pubrec');
    first.ack('pubrel', 1);
    await first.next('pubcomp');
    broker.storage.journal.hold();
    first.publish({ topic: 'once', qos: 2, packetId: 1, payload: 'one' });
    await first.settled();
    const second = await broker.open(5);
    second.sendConnect(session);
    second.publish({ topic: 'once', qos: 2, packetId: 1, dup: true, payload: 'one' });
    expect(await second.nothingWithin(50)).toBeNull();
    broker.storage.journal.release();
    await second.next('connack');
    await second.next('pubrec');
    expect(await watcher.receiveTexts(2)).toEqual(['zero', 'one']);
    expect(await willsSeen(watcher)).toEqual([]);
  });
});
