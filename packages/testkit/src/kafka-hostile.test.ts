import { setTimeout as delay } from 'node:timers/promises';
import {
  advertised,
  apiVersions,
  decodeResponse,
  describeConfigs,
  describeGroups,
  errorCodes,
  fetch,
  joinGroup,
  listGroups,
  metadata,
  offsetCommit,
  offsetFetch,
  produce,
  responseCorrelationId,
} from '@robustmq/kafka-codec';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
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
import { waitUntil } from './wait-until.ts';

const mebibyte = 1024 * 1024;
const maxRequestBytes = 8 * mebibyte;

let kafka: KafkaFixture;
let samples: SampleRequest[];
const rejections: unknown[] = [];
const note = (reason: unknown): void => void rejections.push(reason);

beforeAll(async () => {
  process.on('unhandledRejection', note);
  kafka = await startKafka({
    maxRequestBytes,
    partialRequestMs: 1500,
    stalledMs: 1000,
    groups: { initialDelayMs: 0, sessionTimeoutMinMs: 1 },
  });
  const { id } = await kafka.kernel.topics.create('t', 2);
  samples = sampleRequests('t', id);
});

afterEach(async () => {
  // Whatever a test did, another client is served, and nothing failed for a reason of ours.
  expect((await kafka.client.send(apiVersions, 0, {})).errorCode).toBe(0);
  expect((await produceTo(kafka.client, 't', batchOf(['healthy']))).errorCode).toBe(0);
  expect(kafka.failures).toEqual([]);
  expect(rejections).toEqual([]);
});

afterAll(async () => {
  process.off('unhandledRejection', note);
  await kafka.stop();
});

const ends = (bytes: Buffer) => outcomeOf(kafka.kafka, bytes);

describe('a request', () => {
  it('kafka defect 20: of every API is answered as it is sent, and with bytes behind it', async () => {
    const sampled = new Set(samples.map(({ api }) => api.key));
    expect(sampled).toEqual(new Set(advertised.map(({ apiKey }) => apiKey)));
    for (const { name, bytes } of samples) {
      expect(`${name} ${await ends(bytes)}`).toBe(`${name} answered`);
      const longer = framed(Buffer.concat([bytes.subarray(4), Buffer.from([1, 2, 3])]));
      expect(`${name} ${await ends(longer)}`).toBe(`${name} answered`);
    }
  }, 60_000);

  it('cut at every byte closes the connection', async () => {
    for (const { name, bytes } of samples) {
      const body = bytes.subarray(4);
      const outcomes = await Promise.all(
        Array.from({ length: body.length }, (_, length) => ends(framed(body.subarray(0, length)))),
      );
      expect(`${name} ${outcomes.findIndex((outcome) => outcome !== 'closed')}`).toBe(`${name} -1`);
    }
  }, 120_000);

  it.each([
    ['negative', -1],
    ['the least there is', -0x80000000],
    ['above the longest request', maxRequestBytes + 1],
    ['the most there is', 0x7fffffff],
  ])('whose length is %s closes the connection', async (_, length) => {
    expect(await ends(framed(Buffer.from([0, 18, 0]), length))).toBe('closed');
  });

  it.each([0, 1, 7])('of %i bytes closes the connection', async (length) => {
    expect(await ends(framed(Buffer.alloc(length)))).toBe('closed');
  });

  it('of an unknown API or version closes the connection', async () => {
    const head = (apiKey: number, version: number): Buffer => {
      const bytes = Buffer.alloc(10);
      bytes.writeInt16BE(apiKey, 0);
      bytes.writeInt16BE(version, 2);
      bytes.writeInt16BE(-1, 8);
      return framed(bytes);
    };
    for (const apiKey of [-1, 4, 7, 17, 24, 29, 68, 93, 1000, 0x7fff]) {
      expect(`${apiKey} ${await ends(head(apiKey, 0))}`).toBe(`${apiKey} closed`);
    }
    for (const { apiKey, serveMin, max } of advertised) {
      if (apiKey === apiVersions.key) continue;
      for (const version of [-1, serveMin - 1, max + 1, 0x7fff]) {
        expect(`${apiKey} ${version} ${await ends(head(apiKey, version))}`).toBe(
          `${apiKey} ${version} closed`,
        );
      }
    }
  });

  it('needs no ApiVersions before it', async () => {
    expect(await ends(requestBytes(metadata, 0, { topics: [{ name: 't' }] }))).toBe('answered');
  });
});

it.each([5, 99, 0x7fff, -1])(
  'ApiVersions v%i is answered in version 0 with error 35 and our ranges',
  async (version) => {
    const bytes = requestBytes(apiVersions, 4, { clientSoftwareName: 'x', clientSoftwareVersion: '1' });
    bytes.writeInt16BE(version, 6);
    const raw = await RawKafka.connect(kafka.kafka);
    const answer = await raw.send(bytes).answer();
    raw.close();
    const { errorCode, apiKeys } = decodeResponse(apiVersions, 0, answer!);
    expect(errorCode).toBe(errorCodes.UNSUPPORTED_VERSION);
    expect(apiKeys).toContainEqual({ apiKey: 18, minVersion: 0, maxVersion: 4 });
  },
);

describe('many requests at once', () => {
  it('are answered in order, thousands in one chunk: a recursion over them filled the stack', async () => {
    const raw = await RawKafka.connect(kafka.kafka);
    const many = 20_000;
    const all = Array.from({ length: many }, (_, index) => requestBytes(apiVersions, 0, {}, index));
    raw.send(Buffer.concat(all));
    await waitUntil(() => raw.frames.length === many);
    expect(raw.frames.every((frame, index) => responseCorrelationId(frame) === index)).toBe(true);
    raw.close();
  });

  it('of every kind are answered in order', async () => {
    const raw = await RawKafka.connect(kafka.kafka);
    const order = Array.from({ length: 1000 }, (_, index) => {
      const bytes = Buffer.from(samples[(index * 7) % samples.length]!.bytes);
      bytes.writeInt32BE(index, 8);
      return bytes;
    });
    raw.send(Buffer.concat(order));
    await waitUntil(() => raw.frames.length === order.length);
    expect(raw.frames.map(responseCorrelationId)).toEqual(order.map((_, index) => index));
    raw.close();
  });
});

it('a connection that is paused for two reasons goes on when both are over: it stayed paused for ever', async () => {
  const { appender } = kafka.kernel;
  const relieved: (() => void)[] = [];
  const produceRequest = (): Buffer => {
    const topicData = [{ name: 't', partitionData: [{ index: 0, records: batchOf(['x']) }] }];
    return requestBytes(produce, 9, { acks: -1, timeoutMs: 30_000, topicData });
  };
  const raw = await RawKafka.connect(kafka.kafka);
  kafka.storage.journal.hold();
  const before = kafka.kafka.counters.requests;
  raw.send(Buffer.concat(Array.from({ length: 100 }, produceRequest)));
  await waitUntil(() => kafka.kafka.counters.requests >= before + 64);
  // Now the log is pressed as well, and stays so until after the answers.
  Object.defineProperty(appender, 'pressed', { configurable: true, value: true });
  Object.defineProperty(appender, 'whenRelieved', {
    configurable: true,
    value: (task: () => void) => void relieved.push(task),
  });
  kafka.storage.journal.release();
  await waitUntil(() => raw.frames.length >= 64);
  raw.send(produceRequest());
  await delay(100);
  Reflect.deleteProperty(appender, 'pressed');
  Reflect.deleteProperty(appender, 'whenRelieved');
  for (const task of relieved) task();
  await waitUntil(() => raw.frames.length === 101);
  raw.close();
});

it('many costly requests at once leave others their turns', async () => {
  const commits = Array.from({ length: 5000 }, (_, index) => {
    const partitions = [{ partitionIndex: 0, committedOffset: 1, committedMetadata: '' }];
    return requestBytes(offsetCommit, 7, { groupId: `many-${index}`, topics: [{ name: 't', partitions }] });
  });
  const raw = await RawKafka.connect(kafka.kafka);
  raw.send(Buffer.concat(commits));
  await waitUntil(() => raw.frames.length === commits.length);
  raw.frames.length = 0;
  // Answers of a few bytes, each with a look at all groups.
  const many = 3000;
  const list = requestBytes(listGroups, 4, { statesFilter: ['Dead'] });
  raw.send(Buffer.concat(Array.from({ length: many }, () => list)));
  let slowest = 0;
  while (raw.frames.length < many) {
    const from = performance.now();
    await kafka.client.send(apiVersions, 0, {});
    slowest = Math.max(slowest, performance.now() - from);
    await delay(1);
  }
  expect(slowest).toBeLessThan(500);
  raw.close();
}, 60_000);

describe('a client that does not read', () => {
  it('is sent no more than one answer beyond what its socket takes, and is closed', async () => {
    const value = 'x'.repeat(500_000);
    for (let count = 0; count < 40; count++)
      await produceTo(kafka.client, 't', batchOf([value]), { partition: 1 });
    const before = kafka.kafka.counters.requests;
    const raw = await RawKafka.connect(kafka.kafka);
    raw.socket.pause();
    const partitions = [{ partition: 1, fetchOffset: 0, partitionMaxBytes: 16 * mebibyte }];
    const one = requestBytes(fetch, 11, {
      maxWaitMs: 0,
      minBytes: 1,
      maxBytes: 1 << 30,
      topics: [{ topic: 't', partitions }],
    });
    raw.send(Buffer.concat(Array.from({ length: 200 }, () => one)));
    await waitUntil(() => kafka.kafka.counters.requests > before + 100);
    await waitUntil(() => kafka.kafka.counters.unsentBytes > 0);
    let most = 0;
    while (kafka.kafka.counters.unsentBytes > 0) {
      most = Math.max(most, kafka.kafka.counters.unsentBytes);
      await delay(20);
    }
    expect(most).toBeLessThan(18 * mebibyte);
    raw.socket.resume();
    await raw.whenClosed();
  });

  it('among fifty leaves the others one batch each when the bound on all is reached', async () => {
    const narrow = await startKafka({ unsentBytesMax: 4 * mebibyte });
    await narrow.kernel.topics.create('t', 1);
    const value = 'x'.repeat(500_000);
    for (let count = 0; count < 12; count++) await produceTo(narrow.client, 't', batchOf([value]));
    const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 64 * mebibyte }];
    const asked = { maxWaitMs: 0, minBytes: 1, maxBytes: 1 << 30, topics: [{ topic: 't', partitions }] };
    const stalled = await Promise.all(Array.from({ length: 50 }, () => RawKafka.connect(narrow.kafka)));
    for (const raw of stalled) {
      raw.socket.pause();
      // Enough that the system's buffers fill.
      for (let count = 0; count < 6; count++) raw.send(requestBytes(fetch, 11, asked));
    }
    await delay(500);
    expect(narrow.kafka.counters.unsentBytes).toBeLessThan(4 * mebibyte + 50 * 600_000);
    const answer = await narrow.client.send(fetch, 11, asked);
    expect(answer.responses[0]!.partitions[0]!.records!.length).toBeGreaterThan(500_000);
    for (const raw of stalled) raw.close();
    await waitUntil(() => narrow.kafka.counters.unsentBytes === 0);
    await narrow.stop();
  });
});

describe('half a request', () => {
  it('for ever closes the connection, whether its length is there or not', async () => {
    const body = Buffer.alloc(100);
    const halves = [Buffer.from([0, 0]), framed(body, 1000), framed(Buffer.alloc(0), 1000)];
    expect(await Promise.all(halves.map(ends))).toEqual(['closed', 'closed', 'closed']);
  });

  it('dripped a byte at a time closes the connection', async () => {
    const raw = await RawKafka.connect(kafka.kafka);
    raw.send(framed(Buffer.alloc(0), 1000));
    while (!raw.closed) {
      raw.send(Buffer.from([0]));
      await delay(20);
    }
  });

  it('on 200 connections costs what was sent, not what was announced', async () => {
    const before = process.memoryUsage().arrayBuffers;
    const raws = await Promise.all(Array.from({ length: 200 }, () => RawKafka.connect(kafka.kafka)));
    for (const raw of raws) raw.send(framed(Buffer.alloc(1000), maxRequestBytes));
    await waitUntil(() => kafka.kafka.counters.partialBytes > 0);
    await delay(100);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * mebibyte);
    await waitUntil(() => raws.every((raw) => raw.closed));
    expect(kafka.kafka.counters.partialBytes).toBe(0);
  });

  it('on many connections closes those that hold most when the bound on all is reached', async () => {
    const narrow = await startKafka({ maxRequestBytes, partialBytesMax: 20 * mebibyte });
    const raws = await Promise.all(Array.from({ length: 8 }, () => RawKafka.connect(narrow.kafka)));
    // Says nothing more, and holds more than any other.
    const silent = await RawKafka.connect(narrow.kafka);
    silent.send(framed(Buffer.alloc(maxRequestBytes - 1), maxRequestBytes));
    await waitUntil(() => narrow.kafka.counters.partialBytes >= maxRequestBytes - 1);
    for (const raw of raws) raw.send(framed(Buffer.alloc(maxRequestBytes - 1), maxRequestBytes));
    await waitUntil(() => silent.closed);
    await waitUntil(() => raws.some((raw) => raw.closed));
    await delay(200);
    expect(narrow.kafka.counters.partialBytes).toBeLessThanOrEqual(20 * mebibyte);
    expect((await narrow.client.send(apiVersions, 0, {})).errorCode).toBe(0);
    for (const raw of raws) raw.close();
    await narrow.stop();
  });
});

describe('a length and a byte', () => {
  it('on many connections take nothing from a producer of large requests', async () => {
    const narrow = await startKafka({ maxRequestBytes, partialBytesMax: 2 * mebibyte });
    const raws = await Promise.all(Array.from({ length: 100 }, () => RawKafka.connect(narrow.kafka)));
    for (const raw of raws) raw.send(framed(Buffer.alloc(1), maxRequestBytes));
    await waitUntil(() => narrow.kafka.counters.partialBytes >= raws.length);
    await narrow.kernel.topics.create('t', 1);
    for (let round = 0; round < 3; round++) {
      const { errorCode } = await produceTo(narrow.client, 't', batchOf(['x'.repeat(900_000)]));
      expect(errorCode).toBe(0);
    }
    expect(raws.some((raw) => raw.closed)).toBe(false);
    for (const raw of raws) raw.close();
    await narrow.stop();
  });
});

it('a client that is gone leaves no long poll behind', async () => {
  const partitions = [{ partition: 0, fetchOffset: 1_000_000_000, partitionMaxBytes: 1000 }];
  const shard = await kafka.kernel.openShard(kafka.kernel.topics.byName('t')!.shards[0]!);
  let taken = 0;
  const onAdvance = shard.onAdvance.bind(shard);
  shard.onAdvance = (wake) => {
    taken++;
    const undo = onAdvance(wake);
    return () => {
      taken--;
      return undo();
    };
  };
  partitions[0]!.fetchOffset = shard.highWatermark;
  const raw = await RawKafka.connect(kafka.kafka);
  raw.send(
    requestBytes(fetch, 11, {
      maxWaitMs: 300_000,
      minBytes: 1,
      maxBytes: 1000,
      topics: [{ topic: 't', partitions }],
    }),
  );
  await waitUntil(() => taken === 1);
  raw.close();
  await waitUntil(() => taken === 0);
});

describe('a request that asks for much', () => {
  it('is answered while others are, or closes its connection', async () => {
    const names = Array.from({ length: 100_000 }, (_, index) => `n${index}`);
    const topics = names.map((name) => ({ name }));
    const costly = [
      requestBytes(describeGroups, 5, { groups: names }),
      requestBytes(metadata, 9, { topics, allowAutoTopicCreation: false }),
      requestBytes(offsetFetch, 8, { groups: names.map((groupId) => ({ groupId, topics: null })) }),
      requestBytes(describeGroups, 5, { groups: Array.from({ length: 200_000 }, (_, index) => `${index}`) }),
    ];
    let over = false;
    let slowest = 0;
    const healthy = (async () => {
      while (!over) {
        const from = performance.now();
        await kafka.client.send(apiVersions, 0, {});
        slowest = Math.max(slowest, performance.now() - from);
        await delay(1);
      }
    })();
    const outcomes: string[] = [];
    for (const bytes of costly) outcomes.push(await ends(bytes));
    over = true;
    await healthy;
    expect(outcomes).toEqual(['answered', 'answered', 'answered', 'closed']);
    expect(slowest).toBeLessThan(2000);
  }, 60_000);

  it('by naming a topic over and over is told of it once', async () => {
    const topics = Array.from({ length: 50_000 }, () => ({ name: 't' }));
    const answer = await kafka.client.send(metadata, 9, { topics });
    expect(answer.topics.map(({ name }) => name)).toEqual(['t']);
    const resources = Array.from({ length: 50_000 }, () => ({
      resourceType: 2,
      resourceName: 't',
      configurationKeys: null,
    }));
    const configs = await kafka.client.send(describeConfigs, 4, { resources });
    expect(configs.results).toHaveLength(1);
  });

  it('of two members with thousands of protocols each is refused: comparing them took minutes', async () => {
    const protocols = Array.from({ length: 50_000 }, (_, index) => ({
      name: `p${index}`,
      metadata: Buffer.alloc(0),
    }));
    const asked = { groupId: 'protocols', memberId: '', sessionTimeoutMs: 10_000, protocolType: 'consumer' };
    const answer = await kafka.client.send(joinGroup, 0, { ...asked, protocols });
    expect(answer.errorCode).toBe(errorCodes.INCONSISTENT_GROUP_PROTOCOL);
  });

  it('with names of a megabyte is refused, and lists of groups can still be encoded in every version', async () => {
    const long = 'g'.repeat(mebibyte);
    const protocols = [{ name: 'range', metadata: Buffer.alloc(0) }];
    const asked = {
      groupId: 'long',
      memberId: '',
      sessionTimeoutMs: 10_000,
      protocolType: 'consumer',
      protocols,
    };
    const join = async (extra: object): Promise<number> =>
      (await kafka.client.send(joinGroup, 9, { ...asked, ...extra })).errorCode;
    expect(await join({ groupId: long })).toBe(errorCodes.INVALID_GROUP_ID);
    expect(await join({ protocolType: long })).toBe(errorCodes.INCONSISTENT_GROUP_PROTOCOL);
    expect(await join({ protocols: [{ name: long, metadata: Buffer.alloc(0) }] })).toBe(
      errorCodes.INCONSISTENT_GROUP_PROTOCOL,
    );
    expect(await join({ groupInstanceId: long })).toBe(errorCodes.INVALID_REQUEST);
    expect((await kafka.client.send(listGroups, 0, {})).errorCode).toBe(0);
  });
});

it('a produce request on a topic that no object can hold names nothing of ours', async () => {
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    const answer = await kafka.client.send(produce, 9, {
      acks: -1,
      timeoutMs: 1000,
      topicData: [{ name, partitionData: [{ index: 0, records: batchOf(['x']) }] }],
    });
    expect(answer.responses[0]!.partitionResponses[0]!.errorCode).toBe(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
  }
});
