import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { onReceived } from './socket-reads.ts';

let server: Server;
let client: Socket;
let accepted: Socket;

beforeEach(async () => {
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connection = once(server, 'connection');
  client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  [accepted] = (await connection) as [Socket];
});

afterEach(async () => {
  client.destroy();
  accepted.destroy();
  await new Promise((resolve) => server.close(resolve));
});

/** Copies what a socket receives, and keeps which memory it was in. */
function gather(socket: Socket) {
  const found = { bytes: Buffer.alloc(0), memory: new Set<ArrayBufferLike>() };
  onReceived(socket, (bytes) => {
    found.bytes = Buffer.concat([found.bytes, bytes]);
    found.memory.add(bytes.buffer);
  });
  return found;
}

describe('what an accepted socket receives', () => {
  it('comes whole and in order, however it is sent, and always in the same memory', async () => {
    const found = gather(accepted);
    const sent = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at * 7));
    for (let at = 0, size = 1; at < sent.length; at += size, size = Math.min(size * 3, 100_000)) {
      client.write(sent.subarray(at, at + size));
      if (size < 1000) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await expect.poll(() => found.bytes.length).toBe(sent.length);
    expect(found.bytes.equals(sent)).toBe(true);
    // Fails where a new Node has nothing to set: then every read has memory of its own, and small requests cost more.
    expect(found.memory.size).toBe(1);
  });

  it('waits while the socket is paused', async () => {
    const found = gather(accepted);
    accepted.pause();
    client.write('later');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(found.bytes.length).toBe(0);
    accepted.resume();
    await expect.poll(() => found.bytes.toString()).toBe('later');
  });

  it('ends with the end of the stream, and the socket closes', async () => {
    const found = gather(accepted);
    const ended = once(accepted, 'end');
    const closed = once(accepted, 'close');
    client.end('last');
    await Promise.all([ended, closed]);
    expect(found.bytes.toString()).toBe('last');
  });

  it('is not told of after the socket was destroyed in the middle of it', async () => {
    let calls = 0;
    onReceived(accepted, () => {
      calls++;
      accepted.destroy();
    });
    client.on('error', () => undefined);
    client.write(Buffer.alloc(200_000));
    await once(accepted, 'close');
    expect(calls).toBe(1);
  });
});

it('takes the events of a socket that has no place for a buffer', () => {
  const heard: string[] = [];
  const listeners: ((bytes: Buffer) => void)[] = [];
  const socket = { on: (_event: 'data', listener: (bytes: Buffer) => void) => listeners.push(listener) };
  onReceived(socket as unknown as Socket, (bytes) => heard.push(bytes.toString()));
  for (const listener of listeners) listener(Buffer.from('data'));
  expect(heard).toEqual(['data']);
});
