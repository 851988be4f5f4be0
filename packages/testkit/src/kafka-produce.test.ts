import { gzipSync } from 'node:zlib';
import {
  apiVersions,
  decodeResponse,
  errorCodes,
  initProducerId,
  listOffsets,
  metadata,
  produce,
  responseCorrelationId,
} from '@robustmq/kafka-codec';
import { codecs, compressBatch, loadZstd } from '@robustmq/record';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  altered,
  baseOffsets,
  batchOf,
  fetchFrom,
  produceTo,
  RawKafka,
  requestBytes,
  startKafka,
} from './kafka-fixture.ts';
import type { BatchSpec, KafkaFixture } from './kafka-fixture.ts';
import { waitUntil } from './wait-until.ts';

let kafka: KafkaFixture;
let names = 0;

beforeAll(async () => {
  await loadZstd();
  kafka = await startKafka();
});

afterAll(async () => {
  expect(kafka.failures).toEqual([]);
  await kafka.stop();
});

async function newTopic(config: Record<string, string> = {}): Promise<string> {
  const name = `p${names++}`;
  await kafka.kernel.topics.create(name, 1, new Map(Object.entries(config)));
  return name;
}

async function highWatermark(topic: string): Promise<number> {
  return (await fetchFrom(kafka.client, topic, 0)).highWatermark;
}

/** A message of format 0 or 1, as old producers sent it: offset, size, crc, magic, attributes, no key, no value. */
function oldMessage(magic: 0 | 1): Buffer {
  const body = Buffer.alloc(magic === 0 ? 14 : 22, 0xff);
  body[4] = magic;
  body[5] = 0;
  const head = Buffer.alloc(12);
  head.writeInt32BE(body.length, 8);
  return Buffer.concat([head, body]);
}

const good = batchOf(['one', 'two', 'three']);
const hour = 3_600_000;

/** What a partition may be sent, and what it is answered. */
const refusals: [string, Buffer | null, number][] = [
  ['null', null, errorCodes.INVALID_RECORD],
  ['nothing', Buffer.alloc(0), errorCodes.INVALID_RECORD],
  ['one byte', Buffer.from([1]), errorCodes.CORRUPT_MESSAGE],
  ['a header without its end', good.subarray(0, 60), errorCodes.CORRUPT_MESSAGE],
  ['a batch without its end', good.subarray(0, -1), errorCodes.CORRUPT_MESSAGE],
  ['a batch with a byte behind', Buffer.concat([good, Buffer.from([0])]), errorCodes.INVALID_RECORD],
  ['two batches', Buffer.concat([good, good]), errorCodes.INVALID_RECORD],
  ['a negative length', patched(good, (batch) => batch.writeInt32BE(-1, 8)), errorCodes.CORRUPT_MESSAGE],
  [
    'the least length',
    patched(good, (batch) => batch.writeInt32BE(-0x80000000, 8)),
    errorCodes.CORRUPT_MESSAGE,
  ],
  ['a length of 0', patched(good, (batch) => batch.writeInt32BE(0, 8)), errorCodes.CORRUPT_MESSAGE],
  [
    'the greatest length',
    patched(good, (batch) => batch.writeInt32BE(0x7fffffff, 8)),
    errorCodes.CORRUPT_MESSAGE,
  ],
  ['a message of format 0', oldMessage(0), errorCodes.INVALID_RECORD],
  ['a message of format 1', oldMessage(1), errorCodes.INVALID_RECORD],
  ['format 3', altered(good, (batch) => void (batch[16] = 3)), errorCodes.INVALID_RECORD],
  ['a wrong checksum', patched(good, (batch) => void (batch[17]! ^= 1)), errorCodes.CORRUPT_MESSAGE],
  [
    'a changed value',
    patched(good, (batch) => void (batch[batch.length - 2]! ^= 1)),
    errorCodes.CORRUPT_MESSAGE,
  ],
  ['no records', altered(good, (batch) => counts(batch, 0, -1)), errorCodes.INVALID_RECORD],
  ['fewer than no records', altered(good, (batch) => counts(batch, -1, -2)), errorCodes.INVALID_RECORD],
  [
    'a count and a last delta that differ',
    altered(good, (batch) => counts(batch, 3, 5)),
    errorCodes.INVALID_RECORD,
  ],
  [
    'more records than bytes',
    altered(good, (batch) => counts(batch, 1e6, 1e6 - 1)),
    errorCodes.INVALID_RECORD,
  ],
  [
    'a compressed batch with more records than 64 MiB hold',
    altered(good, (batch) => {
      counts(batch, 0x7fffffff, 0x7ffffffe);
      batch.writeInt16BE(codecs.gzip, 21);
    }),
    errorCodes.INVALID_RECORD,
  ],
  ['a control batch', batchOf(['x'], { attributes: 0x20 }), errorCodes.INVALID_RECORD],
  [
    'a transactional batch',
    batchOf(['x'], { attributes: 0x10, ...idempotent(1) }),
    errorCodes.INVALID_TXN_STATE,
  ],
  ['a time of append', batchOf(['x'], { attributes: 0x08 }), errorCodes.INVALID_TIMESTAMP],
  [
    'a time two hours ahead',
    batchOf(['x'], { timestamps: [Date.now() + 2 * hour] }),
    errorCodes.INVALID_TIMESTAMP,
  ],
  ['codec 5', batchOf(['x'], { attributes: 5 }), errorCodes.UNSUPPORTED_COMPRESSION_TYPE],
  ['codec 7', batchOf(['x'], { attributes: 7 }), errorCodes.UNSUPPORTED_COMPRESSION_TYPE],
  ['more than max.message.bytes', batchOf(['x'.repeat(1_048_588)]), errorCodes.MESSAGE_TOO_LARGE],
  [
    'a producer without a sequence',
    batchOf(['x'], { producerId: 5, producerEpoch: 0 }),
    errorCodes.INVALID_RECORD,
  ],
  [
    'a producer without an epoch',
    batchOf(['x'], { producerId: 5, baseSequence: 0 }),
    errorCodes.INVALID_RECORD,
  ],
  [
    'an offset that no number holds',
    patched(good, (batch) => void batch.writeBigInt64BE(2n ** 60n, 0)),
    errorCodes.INVALID_RECORD,
  ],
  [
    'a timestamp that no number holds',
    altered(good, (batch) => void batch.writeBigInt64BE(2n ** 62n, 35)),
    errorCodes.INVALID_RECORD,
  ],
];

function patched(batch: Buffer, change: (batch: Buffer) => void): Buffer {
  const copy = Buffer.from(batch);
  change(copy);
  return copy;
}

function counts(batch: Buffer, count: number, lastDelta: number): void {
  batch.writeInt32BE(lastDelta, 23);
  batch.writeInt32BE(count, 57);
}

function idempotent(producerId: number, baseSequence = 0, producerEpoch = 0): BatchSpec {
  return { producerId, producerEpoch, baseSequence };
}

describe('produce refuses', () => {
  it.each(refusals)('%s, and stores nothing', async (_, records, errorCode) => {
    const topic = await newTopic();
    expect(await produceTo(kafka.client, topic, records)).toEqual({ errorCode, baseOffset: -1 });
    expect(await highWatermark(topic)).toBe(0);
  });

  it.each([
    [6, errorCodes.UNSUPPORTED_COMPRESSION_TYPE],
    [7, errorCodes.NONE],
  ])('zstd below version 7: version %i', async (version, errorCode) => {
    const records = compressBatch(codecs.zstd, good);
    expect((await produceTo(kafka.client, await newTopic(), records, { version })).errorCode).toBe(errorCode);
  });

  it.each([2, -2, 3, 0x7fff])('acks %i', async (acks) => {
    const answer = await produceTo(kafka.client, await newTopic(), good, { acks });
    expect(answer.errorCode).toBe(errorCodes.INVALID_REQUIRED_ACKS);
  });

  it('a transactional id', async () => {
    const topicData = [{ name: await newTopic(), partitionData: [{ index: 0, records: good }] }];
    const asked = { transactionalId: 'x', acks: -1, timeoutMs: 30_000, topicData };
    const answer = await kafka.client.send(produce, 9, asked);
    const { errorCode } = answer.responses[0]!.partitionResponses[0]!;
    expect(errorCode).toBe(errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  });

  it('one partition and stores the other', async () => {
    const name = await newTopic();
    const partitionData = [
      { index: 0, records: good },
      { index: 1, records: good },
      { index: -1, records: good },
      { index: 0, records: null },
    ];
    const answer = await kafka.client.send(produce, 9, {
      acks: -1,
      timeoutMs: 30_000,
      topicData: [{ name, partitionData }],
    });
    expect(answer.responses[0]!.partitionResponses).toMatchObject([
      { errorCode: 0, baseOffset: 0 },
      { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION },
      { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION },
      { errorCode: errorCodes.INVALID_RECORD },
    ]);
  });

  it('regression: a topic without a partition ended the connection when another stood behind it', async () => {
    const [none, first, second] = [await newTopic(), await newTopic(), await newTopic()];
    const records = [0, 1].map(() => ({ index: 0, records: good }));
    const topicData = [
      { name: none, partitionData: [] },
      { name: first, partitionData: records },
      { name: none, partitionData: [] },
      { name: second, partitionData: records },
    ];
    const answer = await kafka.client.send(produce, 9, { acks: -1, timeoutMs: 30_000, topicData });
    const stored = [
      { errorCode: 0, baseOffset: 0 },
      { errorCode: 0, baseOffset: 3 },
    ];
    expect(answer.responses).toMatchObject([
      { name: first, partitionResponses: stored },
      { name: second, partitionResponses: stored },
    ]);
  });
});

describe('the timeout of a request', () => {
  /** Produces three records of a producer, to be stored within so many ms. */
  async function within(topic: string, timeoutMs: number, partition = 0): Promise<[number, number]> {
    const records = batchOf(['a', 'b', 'c'], { producerId: 4242, producerEpoch: 0, baseSequence: 0 });
    const partitionData = [{ index: partition, records }];
    const topicData = [{ name: topic, partitionData }];
    const answer = await kafka.client.send(produce, 9, { acks: -1, timeoutMs, topicData });
    const { errorCode, baseOffset } = answer.responses[0]!.partitionResponses[0]!;
    return [errorCode, baseOffset];
  }

  it('is kept to: what is not stored by then is answered as timed out, and repeated it is there once', async () => {
    const topic = await newTopic();
    expect((await produceTo(kafka.client, topic, good)).baseOffset).toBe(0);
    const { journal } = kafka.storage;
    journal.hold();
    const since = performance.now();
    expect(await within(topic, 300)).toEqual([errorCodes.REQUEST_TIMED_OUT, -1]);
    expect(performance.now() - since).toBeGreaterThanOrEqual(300);
    // One that waits longer is answered with the same batch when that is stored.
    const again = within(topic, 30_000);
    journal.release();
    expect(await again).toEqual([0, 3]);
    expect(await highWatermark(topic)).toBe(6);
  });

  it('of one partition leaves the answer of the others as they are', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, good);
    kafka.storage.journal.hold();
    const partitionData = [
      { index: 0, records: good },
      { index: 7, records: good },
    ];
    const topicData = [{ name: topic, partitionData }];
    const answer = await kafka.client.send(produce, 9, { acks: 1, timeoutMs: 1, topicData });
    kafka.storage.journal.release();
    expect(answer.responses[0]!.partitionResponses.map(({ errorCode }) => errorCode)).toEqual([
      errorCodes.REQUEST_TIMED_OUT,
      errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    ]);
  });
});

describe('acks 0', () => {
  const request = (topic: string, records: Buffer): Buffer =>
    requestBytes(produce, 9, {
      acks: 0,
      timeoutMs: 1,
      topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
    });

  it('is not answered; what follows is', async () => {
    const topic = await newTopic();
    const raw = await RawKafka.connect(kafka.kafka);
    raw.send(Buffer.concat([request(topic, good), requestBytes(apiVersions, 0, {}, 9)]));
    expect((await raw.answer())!.readInt32BE(0)).toBe(9);
    expect(await highWatermark(topic)).toBe(3);
    raw.close();
  });

  it('closes the connection when it fails', async () => {
    const raw = await RawKafka.connect(kafka.kafka);
    expect(await raw.send(request('absent', good)).answer()).toBeNull();
  });
});

describe('batches whose records are not what their header says', () => {
  /** Says 3 records and holds other bytes in their place. */
  const lying = altered(good, (batch) => void batch.fill(0xff, 61));

  it('are stored, and a search by time begins at them: it failed for the whole partition', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, batchOf(['before'], { timestamps: [1000] }));
    expect((await produceTo(kafka.client, topic, lying)).errorCode).toBe(0);
    const ask = async (timestamp: number): Promise<unknown> => {
      const partitions = [{ partitionIndex: 0, timestamp }];
      const answer = await kafka.client.send(listOffsets, 7, {
        replicaId: -1,
        topics: [{ name: topic, partitions }],
      });
      return answer.topics[0]!.partitions[0];
    };
    expect(await ask(1000)).toMatchObject({ errorCode: 0, offset: 0, timestamp: 1000 });
    expect(await ask(1001)).toMatchObject({ errorCode: 0, offset: 1 });
    expect(await ask(-3)).toMatchObject({ errorCode: 0, offset: 1 });
  });

  it('may be 900 KB that decompress to 900 MB: stored as they are, and never held', async () => {
    const topic = await newTopic();
    const member = gzipSync(Buffer.alloc(1024 * 1024));
    const section = Buffer.concat(Array.from({ length: 900 }, () => member));
    const bomb = altered(Buffer.concat([good.subarray(0, 61), section]), (batch) => {
      batch.writeInt32BE(batch.length - 12, 8);
      batch.writeInt16BE(codecs.gzip, 21);
    });
    expect(bomb.length).toBeLessThan(1_048_588);
    expect((await produceTo(kafka.client, topic, bomb)).errorCode).toBe(0);
    const before = process.memoryUsage().arrayBuffers;
    const partitions = [{ partitionIndex: 0, timestamp: 1 }];
    const answer = await kafka.client.send(listOffsets, 7, {
      replicaId: -1,
      topics: [{ name: topic, partitions }],
    });
    expect(answer.topics[0]!.partitions[0]).toMatchObject({ errorCode: 0, offset: 0 });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(200 * 1024 * 1024);
  }, 30_000);
});

describe('an idempotent producer', () => {
  it('gets the offset of the first time for each of its last five batches, and 45 for older ones', async () => {
    const topic = await newTopic();
    const send = (sequence: number) =>
      produceTo(kafka.client, topic, batchOf(['a', 'b'], idempotent(100, sequence)));
    for (let index = 0; index < 6; index++) {
      expect(await send(index * 2)).toEqual({ errorCode: 0, baseOffset: index * 2 });
    }
    for (let index = 1; index < 6; index++) {
      expect(await send(index * 2)).toEqual({ errorCode: 0, baseOffset: index * 2 });
    }
    expect((await send(0)).errorCode).toBe(errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(await highWatermark(topic)).toBe(12);
  });

  it('must continue where it was', async () => {
    const topic = await newTopic();
    const send = async (sequence: number, epoch: number, values = ['a']): Promise<number> =>
      (await produceTo(kafka.client, topic, batchOf(values, idempotent(101, sequence, epoch)))).errorCode;
    // Without a state any sequence is a beginning: what came before may have been deleted.
    expect(await send(7, 1)).toBe(0);
    expect(await send(9, 1)).toBe(errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER);
    // A repetition with another number of records is none.
    expect(await send(7, 1, ['a', 'b'])).toBe(errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(await send(8, 0)).toBe(errorCodes.INVALID_PRODUCER_EPOCH);
    expect(await send(8, 2)).toBe(errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(await send(0, 2)).toBe(0);
    expect(await send(8, 1)).toBe(errorCodes.INVALID_PRODUCER_EPOCH);
    expect(await send(1, 2)).toBe(0);
    expect(await highWatermark(topic)).toBe(3);
  });

  it('goes on at 0 behind the sequence 2^31 - 1', async () => {
    const topic = await newTopic();
    const send = (sequence: number) =>
      produceTo(kafka.client, topic, batchOf(['a', 'b', 'c'], idempotent(102, sequence)));
    expect((await send(2 ** 31 - 2)).errorCode).toBe(0);
    expect((await send(1)).errorCode).toBe(0);
    expect(await send(2 ** 31 - 2)).toEqual({ errorCode: 0, baseOffset: 0 });
    expect((await send(0)).errorCode).toBe(errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER);
  });

  it('that repeats a batch in flight learns its outcome, and it is stored once', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, batchOf(['first']));
    kafka.storage.journal.hold();
    const both = [0, 0].map((sequence) =>
      produceTo(kafka.client, topic, batchOf(['x'], idempotent(103, sequence))),
    );
    await waitUntil(() => kafka.kernel.appender.inflightBytes > 0);
    kafka.storage.journal.release();
    expect(await Promise.all(both)).toEqual([
      { errorCode: 0, baseOffset: 1 },
      { errorCode: 0, baseOffset: 1 },
    ]);
    expect(await highWatermark(topic)).toBe(2);
  });

  it('is known by its partition: another partition or id begins anew', async () => {
    const [one, two] = [await newTopic(), await newTopic()];
    expect((await produceTo(kafka.client, one, batchOf(['x'], idempotent(104, 0)))).errorCode).toBe(0);
    expect((await produceTo(kafka.client, two, batchOf(['x'], idempotent(104, 0)))).errorCode).toBe(0);
    expect(await produceTo(kafka.client, one, batchOf(['x'], idempotent(105, 0)))).toEqual({
      errorCode: 0,
      baseOffset: 1,
    });
  });

  it('gets an id that nobody had', async () => {
    const asked = { transactionalId: null, transactionTimeoutMs: 0 };
    const all = await Promise.all(
      Array.from({ length: 50 }, () => kafka.client.send(initProducerId, 4, asked)),
    );
    expect(new Set(all.map(({ producerId }) => producerId)).size).toBe(50);
  });

  it('with a negative epoch leaves the shard alive: its snapshot broke every new segment', async () => {
    const topic = await newTopic({ 'segment.bytes': '1048576' });
    const batch = batchOf(['x'], { producerId: 5, producerEpoch: -1, baseSequence: 0 });
    expect((await produceTo(kafka.client, topic, batch)).errorCode).toBe(errorCodes.INVALID_RECORD);
    const large = batchOf(['x'.repeat(700_000)]);
    for (let count = 0; count < 5; count++) {
      expect((await produceTo(kafka.client, topic, large)).errorCode).toBe(0);
    }
  });
});

describe('requests that overlap', () => {
  it('keep their order while the shard is being opened, and with other requests between them', async () => {
    for (let round = 0; round < 10; round++) {
      const topic = await newTopic();
      const raw = await RawKafka.connect(kafka.kafka);
      const many = 60;
      for (let sequence = 0; sequence < many; sequence++) {
        const records = batchOf(['x'], idempotent(200, sequence));
        const topicData = [{ name: topic, partitionData: [{ index: 0, records }] }];
        raw.send(requestBytes(produce, 9, { acks: -1, timeoutMs: 30_000, topicData }, sequence));
        if (sequence % 7 === round) raw.send(requestBytes(metadata, 9, { topics: [{ name: topic }] }, 1000));
        if (sequence % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      let next = 0;
      while (next < many) {
        const frame = (await raw.answer())!;
        if (responseCorrelationId(frame) === 1000) continue;
        const answer = decodeResponse(produce, 9, frame).responses[0]!.partitionResponses[0]!;
        expect([responseCorrelationId(frame), answer.errorCode, answer.baseOffset]).toEqual([next, 0, next]);
        next++;
      }
      raw.close();
    }
  });

  it('may hold 100,000 batches for one partition; others are served meanwhile', async () => {
    const topic = await newTopic();
    const partitionData = Array.from({ length: 100_000 }, () => ({ index: 0, records: batchOf(['x']) }));
    const asked = { acks: -1, timeoutMs: 30_000, topicData: [{ name: topic, partitionData }] };
    const other = await RawKafka.connect(kafka.kafka);
    const storm = kafka.client.send(produce, 9, asked);
    other.send(requestBytes(apiVersions, 0, {}, 3));
    expect((await other.answer())!.readInt32BE(0)).toBe(3);
    const answer = await storm;
    const given = answer.responses[0]!.partitionResponses.map(({ baseOffset }) => baseOffset);
    expect(given.every((offset, index) => offset === index)).toBe(true);
    expect(await highWatermark(topic)).toBe(100_000);
    other.close();
  }, 30_000);
});

describe('a topic with the time of append', () => {
  it('answers it, stamps it, and takes any time of the client', async () => {
    const topic = await newTopic({ 'message.timestamp.type': 'LogAppendTime' });
    const records = batchOf(['x'], { timestamps: [Date.now() + 24 * hour] });
    const from = Date.now();
    const topicData = [{ name: topic, partitionData: [{ index: 0, records }] }];
    const answer = await kafka.client.send(produce, 9, { acks: -1, timeoutMs: 30_000, topicData });
    const { logAppendTimeMs } = answer.responses[0]!.partitionResponses[0]!;
    expect(logAppendTimeMs).toBeGreaterThanOrEqual(from);
    const stored = (await fetchFrom(kafka.client, topic, 0)).records!;
    expect(Number(stored.readBigInt64BE(35))).toBe(logAppendTimeMs);
    expect(stored.readInt16BE(21) & 0x08).toBe(0x08);
    expect(altered(stored, () => undefined)).toEqual(stored);
  });
});

it('kafka defect 13: max.message.bytes of the topic is enforced as it is configured', async () => {
  const topic = await newTopic({ 'max.message.bytes': '2000' });
  expect((await produceTo(kafka.client, topic, batchOf(['x'.repeat(1900)]))).errorCode).toBe(0);
  expect((await produceTo(kafka.client, topic, batchOf(['x'.repeat(2000)]))).errorCode).toBe(
    errorCodes.MESSAGE_TOO_LARGE,
  );
});

it('batches come back byte for byte, compressed or not, with their offset and epoch', async () => {
  const topic = await newTopic();
  const sent: Buffer[] = [];
  for (const codec of Object.values(codecs)) {
    sent.push(compressBatch(codec, good));
    expect((await produceTo(kafka.client, topic, sent.at(-1)!)).errorCode).toBe(0);
  }
  const { records } = await fetchFrom(kafka.client, topic, 0);
  expect(baseOffsets(records)).toEqual([0, 3, 6, 9, 12]);
  const bodies = Buffer.concat(sent.map((batch) => batch.subarray(16)));
  let at = 0;
  const got = sent.map((batch) => records!.subarray(at + 16, (at += batch.length)));
  expect(Buffer.concat(got)).toEqual(bodies);
});
