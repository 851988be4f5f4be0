import { once } from 'node:events';
import { connect } from 'node:net';
import { Kafka, logLevel } from 'kafkajs';
import { ServerProcess } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: ServerProcess;

beforeAll(async () => {
  server = await ServerProcess.start();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Sends bytes; resolves with what came back when the server has closed the connection. */
async function closedAfter(bytes: Buffer): Promise<Buffer> {
  const socket = connect(server.ports.kafka, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  socket.write(bytes);
  await closed;
  return Buffer.concat(chunks);
}

/** A request frame: length, api key, version, correlation id, client id, body. */
function frame(apiKey: number, version: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(14);
  head.writeInt32BE(10 + body.length, 0);
  head.writeInt16BE(apiKey, 4);
  head.writeInt16BE(version, 6);
  head.writeInt32BE(7, 8);
  head.writeInt16BE(-1, 12);
  return Buffer.concat([head, body]);
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

describe('bytes that no client should send', () => {
  const cases: [string, Buffer][] = [
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['a TLS hello', Buffer.from('16030100f8010000f40303', 'hex')],
    ['a negative length', int32(-1)],
    ['a length of 2 GiB', int32(0x7fff_ffff)],
    ['a frame without a header', Buffer.concat([int32(2), Buffer.alloc(2)])],
    ['an unknown request', frame(999, 0)],
    ['a version that is not served', frame(0, 99)],
    ['an array of 2^31 - 1 topics', frame(3, 4, Buffer.concat([int32(0x7fff_ffff), Buffer.alloc(1)]))],
    ['a text beyond its frame', frame(10, 0, Buffer.from([0x7f, 0xff]))],
  ];
  for (const [what, bytes] of cases) {
    it(`${what} ends its connection and no other`, async () => {
      const kafka = new Kafka({ brokers: [server.address('kafka')], logLevel: logLevel.NOTHING });
      const producer = kafka.producer();
      await producer.connect();
      await producer.send({ topic: 'others', messages: [{ value: 'before' }] });
      expect(await closedAfter(bytes)).toHaveLength(0);
      const [answer] = await producer.send({ topic: 'others', messages: [{ value: 'after' }] });
      expect(answer!.errorCode).toBe(0);
      await producer.disconnect();
    });
  }

  it('an ApiVersions request of a later version is told which versions there are', async () => {
    const socket = connect(server.ports.kafka, '127.0.0.1');
    socket.write(frame(18, 99));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    // Length, correlation id, error 35, then the list as version 0 writes it.
    expect(answer.readInt32BE(4)).toBe(7);
    expect(answer.readInt16BE(8)).toBe(35);
    expect(answer.readInt32BE(10)).toBeGreaterThan(20);
    socket.destroy();
  });

  it('a client that never finishes its request holds nobody up', async () => {
    const socket = connect(server.ports.kafka, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(Buffer.concat([int32(50 * 1024 * 1024), Buffer.alloc(1000)]));
    const answer = await fetch(`http://${server.address('admin')}/readyz`);
    expect(answer.status).toBe(200);
    socket.destroy();
  });
});
