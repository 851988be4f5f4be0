import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCodes, fetch, listOffsets, metadata } from '@robustmq/kafka-codec';
import { codecs, compressBatch, loadZstd, nextBatch } from '@robustmq/record';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { altered, batchOf, produceTo } from './kafka-fixture.ts';
import { MqttClient } from './mqtt-client.ts';
import { ServerProcess } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

// A real process, killed and started again, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const topic = 'odd';
const mebibyte = 1024 * 1024;

let server: ServerProcess;
let client: KafkaClient;

beforeAll(async () => {
  await loadZstd();
  server = await ServerProcess.start();
  client = await connect();
});

afterAll(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

function connect(): Promise<KafkaClient> {
  return KafkaClient.connect({ host: '127.0.0.1', port: server.ports.kafka });
}

const timestamps = fc.constantFrom(-1n, 0n, -(2n ** 52n), 1_700_000_000_000n, 2n ** 52n);

/** A batch with a right checksum whose fields say anything, records that may be garbage among them. */
const oddBatch = fc
  .record({
    codec: fc.constantFrom(...Object.values(codecs)),
    records: fc.integer({ min: 1, max: 5 }),
    count: fc.option(fc.constantFrom(1, 2, 1000, 9_000_000, 0x7fffffff)),
    attributes: fc.constantFrom(0, 0x40, 0x80, 0x7f80),
    base: fc.option(timestamps),
    newest: fc.option(timestamps),
    producer: fc.option(
      fc.record({
        id: fc.constantFrom(-5n, 0n, 1n, 2n ** 52n),
        epoch: fc.constantFrom(-1, 0, 7, 0x7fff),
        sequence: fc.constantFrom(-1, 0, 5, 0x7fffffff),
      }),
    ),
    garbage: fc.option(
      fc.array(fc.tuple(fc.noBias(fc.nat(200)), fc.nat(255)), { minLength: 1, maxLength: 8 }),
    ),
  })
  .map(({ codec, records, count, attributes, base, newest, producer, garbage }) => {
    const values = Array.from({ length: records }, (_, index) => `odd ${index} ${'x'.repeat(50)}`);
    return altered(compressBatch(codec, batchOf(values)), (batch) => {
      if (count !== null) {
        batch.writeInt32BE(count - 1, 23);
        batch.writeInt32BE(count, 57);
      }
      batch.writeInt16BE(batch.readInt16BE(21) | attributes, 21);
      if (base !== null) batch.writeBigInt64BE(base, 27);
      if (newest !== null) batch.writeBigInt64BE(newest, 35);
      if (producer !== null) {
        batch.writeBigInt64BE(producer.id, 43);
        batch.writeInt16BE(producer.epoch, 51);
        batch.writeInt32BE(producer.sequence, 53);
      }
      for (const [at, value] of garbage ?? []) if (61 + at < batch.length) batch[61 + at] = value;
    });
  });

interface Kept {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** Every batch from the start of the log on, offset and epoch left out. */
async function stored(): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (let offset = 0; ; ) {
    const partitions = [{ partition: 0, fetchOffset: offset, partitionMaxBytes: mebibyte }];
    const asked = { maxWaitMs: 0, minBytes: 1, maxBytes: mebibyte, topics: [{ topic, partitions }] };
    const { errorCode, highWatermark, records } = (await client.send(fetch, 11, asked)).responses[0]!
      .partitions[0]!;
    expect(errorCode).toBe(0);
    for (let at = 0, next = nextBatch(records!, 0); next !== -1; at = next, next = nextBatch(records!, at)) {
      const base = Number(records!.readBigInt64BE(at));
      found.set(base, records!.toString('base64', at + 16, next));
      offset = base + records!.readInt32BE(at + 23) + 1;
    }
    if (offset >= highWatermark) return found;
  }
}

function residentMib(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) / 1024;
}

it('batches that say anything under a right checksum are refused or kept as they are, over kill -9; the rest goes on', async () => {
  const asked = { topics: [{ name: topic }] };
  await waitUntil(async () => (await client.send(metadata, 9, asked)).topics[0]!.errorCode === 0);
  const { client: subscriber } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'reader' });
  await subscriber.subscribe([`${topic}/#`], 1);
  const texts: string[] = [];
  subscriber.listen(
    (packet) => {
      if (packet.type !== 'publish') return;
      texts.push(Buffer.from(packet.payload).toString());
      if (packet.qos > 0) subscriber.ack('puback', packet.packetId);
    },
    () => undefined,
  );
  const batches = fc.sample(oddBatch, { numRuns: 1500, seed: 42 });
  const kept: Kept[] = [];
  const good: string[] = [];
  for (let from = 0; from < batches.length; from += 20) {
    const bytes = batches.slice(from, from + 20);
    const value = `good ${from}`;
    good.push(value);
    const answers = await Promise.all(
      [...bytes, batchOf([value])].map((each) => produceTo(client, topic, each)),
    );
    expect(answers.at(-1)!.errorCode).toBe(0);
    for (const [index, batch] of bytes.entries()) {
      const { errorCode, baseOffset } = answers[index]!;
      if (errorCode === 0) kept.push({ offset: baseOffset, bytes: batch });
      else expect(errorCode).not.toBe(errorCodes.UNKNOWN_SERVER_ERROR);
    }
  }
  expect(kept.length).toBeGreaterThan(100);
  const received = () => texts.filter((text) => text.startsWith('good'));
  await waitUntil(() => received().length >= good.length);
  expect(received()).toEqual(good);
  // What repeats a sequence was answered with the offset of the first.
  const expected = new Map(kept.reverse().map(({ offset, bytes }) => [offset, bytes.toString('base64', 16)]));
  const check = async (): Promise<void> => {
    const found = await stored();
    for (const [offset, bytes] of expected) expect(found.get(offset)).toBe(bytes);
    expect(found.size).toBeGreaterThanOrEqual(new Set(expected.keys()).size + good.length);
    for (const timestamp of [0, 1, 1_700_000_000_000, Date.now() - 60_000, -3]) {
      const topics = [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }];
      const answer = await client.send(listOffsets, 7, { replicaId: -1, topics });
      expect(answer.topics[0]!.partitions[0]!.errorCode).toBe(0);
    }
  };
  await check();
  subscriber.drop();
  client.close();
  await server.kill();
  await server.start();
  client = await connect();
  await check();
  expect((await produceTo(client, topic, batchOf(['after']))).errorCode).toBe(0);
  // A stop as it should be writes what a start reads.
  client.close();
  await server.stop();
  await server.start();
  client = await connect();
  await check();
  await delay(100);
  expect(residentMib()).toBeLessThan(400);
});
