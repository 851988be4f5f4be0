import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SocketReads } from './socket-reads.ts';

let server: Server;
let client: Socket;
let accepted: Socket;

beforeEach(async () => {
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  [client, accepted] = await pair();
});

afterEach(async () => {
  client.destroy();
  accepted.destroy();
  await new Promise((resolve) => server.close(resolve));
});

async function pair(): Promise<[Socket, Socket]> {
  const connection = once(server, 'connection');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined);
  const [other] = (await connection) as [Socket];
  return [socket, other];
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));

/** Copies what a socket receives, and keeps which memory it was in. */
function gather(socket: Socket, memory = new Set<ArrayBufferLike>()) {
  const found = { bytes: Buffer.alloc(0), memory };
  const reads = new SocketReads(socket, (bytes) => {
    found.bytes = Buffer.concat([found.bytes, bytes]);
    memory.add(bytes.buffer);
  });
  return { found, reads };
}

function pattern(bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, (_, at) => (at * 7) ^ (at >> 8)));
}

describe('what an accepted socket receives', () => {
  it('comes whole and in order, however it is sent, and of all sockets in the same memory', async () => {
    const { found } = gather(accepted);
    const [second, secondAccepted] = await pair();
    const other = gather(secondAccepted, found.memory).found;
    const sent = pattern(300_000);
    for (let at = 0, size = 1; at < sent.length; at += size, size = Math.min(size * 3, 100_000)) {
      client.write(sent.subarray(at, at + size));
      second.write(sent.subarray(at, at + size));
      if (size < 1000) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await expect.poll(() => found.bytes.length + other.bytes.length).toBe(2 * sent.length);
    expect(found.bytes.equals(sent) && other.bytes.equals(sent)).toBe(true);
    // Fails where a new Node has nothing to set: then every read has memory of its own, and small requests cost more.
    expect(found.memory.size).toBe(1);
    second.destroy();
  });

  it('ends with the end of the stream, and the socket closes', async () => {
    const { found } = gather(accepted);
    const ended = once(accepted, 'end');
    const closed = once(accepted, 'close');
    client.end('last');
    await Promise.all([ended, closed]);
    expect(found.bytes.toString()).toBe('last');
  });

  it('is not told of after the socket was destroyed in the middle of it', async () => {
    let calls = 0;
    const reads = new SocketReads(accepted, () => {
      calls++;
      accepted.destroy();
      reads.pause();
      reads.resume();
    });
    client.write(Buffer.alloc(200_000));
    await once(accepted, 'close');
    await settled();
    expect(calls).toBe(1);
  });
});

describe('a paused socket', () => {
  it('hands over what came meanwhile when it goes on, before what comes later', async () => {
    const { found, reads } = gather(accepted);
    reads.pause();
    for (const each of ['a', 'b', 'c']) {
      client.write(each);
      await settled();
    }
    expect(found.bytes.length).toBe(0);
    reads.resume();
    expect(found.bytes.length).toBe(0);
    client.write('d');
    await expect.poll(() => found.bytes.toString()).toBe('abcd');
  });

  it('takes no more than a chunk, and all of the rest in order afterwards', async () => {
    const { found, reads } = gather(accepted);
    reads.pause();
    const sent = pattern(20_000_000);
    client.write(sent);
    await settled();
    expect(accepted.bytesRead).toBeLessThanOrEqual(80 * 1024);
    expect(client.writableLength).toBeGreaterThan(0);
    reads.resume();
    await expect.poll(() => found.bytes.length, { timeout: 10_000 }).toBe(sent.length);
    expect(found.bytes.equals(sent)).toBe(true);
  });

  it('may be paused again by what it hands over', async () => {
    const taken: string[] = [];
    const reads = new SocketReads(accepted, (bytes) => {
      taken.push(bytes.toString());
      reads.pause();
    });
    for (const each of ['a', 'b', 'c']) {
      client.write(each);
      await settled();
    }
    expect(taken).toEqual(['a']);
    reads.resume();
    await settled();
    expect(taken).toEqual(['a', 'b']);
    reads.resume();
    reads.resume();
    await settled();
    expect(taken).toEqual(['a', 'b', 'c']);
  });

  it('does not hold thousands of single bytes', async () => {
    const { reads } = gather(accepted);
    reads.pause();
    client.setNoDelay(true);
    for (let at = 0; at < 300; at++) {
      client.write('x');
      await new Promise((resolve) => setImmediate(resolve));
    }
    await settled();
    expect(accepted.bytesRead).toBeLessThan(300);
  });

  it.each(['end', 'resetAndDestroy'] as const)('sees that its client is gone (%s)', async (leave) => {
    const { reads } = gather(accepted);
    accepted.on('error', () => undefined);
    reads.pause();
    client.write('unread');
    await settled();
    client[leave]();
    await expect.poll(() => accepted.destroyed).toBe(true);
  });
});

it('takes the events of a socket that has no place for a buffer', () => {
  const heard: string[] = [];
  const listeners: ((bytes: Buffer) => void)[] = [];
  const socket = { on: (_event: 'data', listener: (bytes: Buffer) => void) => listeners.push(listener) };
  new SocketReads(socket as unknown as Socket, (bytes) => heard.push(bytes.toString()));
  for (const listener of listeners) listener(Buffer.from('data'));
  expect(heard).toEqual(['data']);
});
