import { setTimeout as delay } from 'node:timers/promises';
import { apiVersions, metadata, responseCorrelationId } from '@robustmq/kafka-codec';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  batchOf,
  framed,
  outcomeOf,
  produceTo,
  RawKafka,
  requestBytes,
  startKafka,
} from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { sampleRequests } from './kafka-requests.ts';
import type { SampleRequest } from './kafka-requests.ts';

let kafka: KafkaFixture;
let samples: SampleRequest[];
const rejections: unknown[] = [];
const note = (reason: unknown): void => void rejections.push(reason);

beforeAll(async () => {
  process.on('unhandledRejection', note);
  kafka = await startKafka({
    maxRequestBytes: 8 * 1024 * 1024,
    partialRequestMs: 1500,
    groups: { initialDelayMs: 0, sessionTimeoutMinMs: 1 },
  });
  const { id } = await kafka.kernel.topics.create('t', 2);
  samples = sampleRequests('t', id);
});

afterAll(async () => {
  process.off('unhandledRejection', note);
  expect(kafka.failures).toEqual([]);
  expect(rejections).toEqual([]);
  await kafka.stop();
});

const probeId = 77_777;
const probe = requestBytes(apiVersions, 0, {}, probeId);

const interesting = [0, 1, 0x7f, 0x80, 0xff];

/** Anywhere in a request: the part of it that lies before. */
const place = fc.noBias(fc.nat(9999)).map((parts) => parts / 10_000);

/** What is done to the bytes of a request behind its length: positions are parts of the whole. */
const mutation = fc.oneof(
  fc.record({
    kind: fc.constant('byte'),
    at: place,
    value: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({
    kind: fc.constant('byte'),
    at: place,
    value: fc.constantFrom(...interesting),
  }),
  fc.record({
    kind: fc.constant('int32'),
    at: place,
    value: fc.constantFrom(-1, 0, 0x7fffffff, -0x80000000, 0x10000),
  }),
  fc.record({
    kind: fc.constant('cut'),
    at: place,
    value: fc.constant(0),
  }),
  fc.record({
    kind: fc.constant('insert'),
    at: place,
    value: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({
    kind: fc.constant('repeat'),
    at: place,
    value: fc.integer({ min: 1, max: 64 }),
  }),
);

function mutate(body: Buffer, { kind, at, value }: { kind: string; at: number; value: number }): Buffer {
  const position = Math.min(body.length, Math.floor(at * body.length));
  const copy = Buffer.from(body);
  switch (kind) {
    case 'byte':
      if (position < copy.length) copy[position] = value;
      return copy;
    case 'int32':
      if (position + 4 <= copy.length) copy.writeInt32BE(value, position);
      return copy;
    case 'cut':
      return copy.subarray(0, position);
    case 'insert':
      return Buffer.concat([copy.subarray(0, position), Buffer.from([value]), copy.subarray(position)]);
    default:
      return Buffer.concat([
        copy.subarray(0, position),
        copy.subarray(position, position + value),
        copy.subarray(position),
      ]);
  }
}

it('10,000 damaged requests end in an answer or a close, while another client is served', async () => {
  let over = false;
  let slowest = 0;
  const healthy = (async () => {
    while (!over) {
      const from = performance.now();
      await produceTo(kafka.client, 't', batchOf(['served']));
      await kafka.client.send(metadata, 9, { topics: [{ name: 't' }] });
      slowest = Math.max(slowest, performance.now() - from);
      await delay(10);
    }
  })();
  let raw = await RawKafka.connect(kafka.kafka);
  let waits = 0;
  const property = fc.asyncProperty(
    fc.nat(),
    fc.array(mutation, { minLength: 1, maxLength: 4 }),
    async (index, mutations) => {
      const sample = samples[index % samples.length]!;
      const body = mutations.reduce(mutate, sample.bytes.subarray(4));
      if (raw.closed) raw = await RawKafka.connect(kafka.kafka);
      raw.frames.length = 0;
      raw.send(Buffer.concat([framed(body), probe]));
      for (;;) {
        const answer = await raw.answer(200);
        if (answer === null) return;
        if (answer === undefined) {
          // A long poll, or a member that waits for others: allowed, and ended by leaving.
          waits++;
          raw.close();
          await raw.whenClosed();
          return;
        }
        if (answer.length >= 4 && responseCorrelationId(answer) === probeId) return;
      }
    },
  );
  try {
    await fc.assert(property, { numRuns: 10_000, seed: 20_261_124 });
  } finally {
    over = true;
    await healthy;
    raw.close();
  }
  expect(waits).toBeLessThan(500);
  expect(slowest).toBeLessThan(2000);
}, 240_000);

it('damaged streams of requests close their connections only', async () => {
  const all = Buffer.concat(samples.map(({ bytes }) => bytes));
  const mutations = fc.sample(fc.array(mutation, { minLength: 1, maxLength: 3 }), { numRuns: 300, seed: 7 });
  const streams = mutations.map((each) => each.reduce(mutate, all)).filter(({ length }) => length > 0);
  const outcomes = await Promise.all(streams.map((stream) => outcomeOf(kafka.kafka, stream)));
  expect(outcomes).not.toContain('waits');
  expect(outcomes).toContain('closed');
}, 60_000);
