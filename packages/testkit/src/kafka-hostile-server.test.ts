import { setTimeout as delay } from 'node:timers/promises';
import { constants, deflateSync, gzipSync } from 'node:zlib';
import {
  apiVersions,
  createTopics,
  describeLogDirs,
  errorCodes,
  fetch as fetchApi,
  initProducerId,
  joinGroup,
  listGroups,
  metadata,
  produce,
  syncGroup,
} from '@robustmq/kafka-codec';
import { batchHeaderBytes, codecs, loadZstd, compressBatch } from '@robustmq/record';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { metricOf, printFigures, RawPeer, Siege } from './hostile-siege.ts';
import type { Damage } from './hostile-siege.ts';
import { KafkaClient } from './kafka-client.ts';
import { altered, batchOf, fetchFrom, framed, produceTo, requestBytes } from './kafka-fixture.ts';
import { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const mebibyte = 1024 * 1024;
/** What an attack may cost (scorecard S2); the time is that of a busy machine with two cores. */
const growthMibMax = 32;
const p99MsMax = 4000;
/** What a request of any length may make a connection hold when its first bytes come: the reader's first step. */
const firstStepMib = 128 / 1024;
/** What buffers may take beside that. */
const bufferMibMax = 4;
const partialRequestMs = 1500;
const deadlineMs = 6000;
/** One batch may give so much, and there is one at a time. */
const outputMib = 64;

let siege: Siege;
let client: KafkaClient;

beforeAll(async () => {
  await loadZstd();
  siege = await Siege.start({ kafka: { partialRequestMs, partialBytesMax: 64 * mebibyte } });
  client = await KafkaClient.connect({ host: '127.0.0.1', port: port() });
});

afterAll(async () => {
  client.close();
  await siege[Symbol.asyncDispose]();
});

const port = (): number => siege.server.ports.kafka;

function harmless(damage: Damage, growthMib = growthMibMax): void {
  printFigures(expect.getState().currentTestName ?? '', damage);
  expect(damage.rounds).toBeGreaterThan(0);
  expect(damage.growthMib).toBeLessThan(growthMib);
  expect(damage.p99Ms).toBeLessThan(p99MsMax);
}

/**
 * Harmless, and no buffer was made by a length or a count that was only said, but `mib` of them: resident memory shows none
 * that nobody wrote to.
 */
function allocatesOnly(mib: number, damage: Damage): void {
  harmless(damage);
  expect(damage.bufferMib).toBeLessThan(mib + bufferMibMax);
}

/** Sends `bytes` on `count` connections; resolves when the server has closed all, with the longest life, ms. */
async function allClosed(count: number, bytes: Buffer): Promise<number> {
  const peers = await Promise.all(Array.from({ length: count }, () => RawPeer.open(port())));
  for (const peer of peers) peer.send(bytes);
  await Promise.all(peers.map((peer) => peer.whenClosed()));
  expect(peers.every(({ received }) => received.length === 0)).toBe(true);
  return Math.max(...peers.map((peer) => peer.livedMs));
}

/** Batches so far that were stored, wanted by a subscriber, and could not be decoded for it. */
const undecodable = (): Promise<number> =>
  metricOf(siege.server, 'robustmq_kernel_undecodable_batches_total');

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

const varint = (value: number): Buffer => {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
};

/** A request frame: api key, version, correlation id, client id, body. */
function requestOf(apiKey: number, version: number, body: Buffer): Buffer {
  const head = Buffer.alloc(10);
  head.writeInt16BE(apiKey, 0);
  head.writeInt16BE(version, 2);
  head.writeInt16BE(-1, 8);
  return framed(Buffer.concat([head, body]));
}

describe('declared length far above what comes', () => {
  /** `request` up to three bytes of the field that begins with `mark`; its length, of `size` bytes, is `length` instead. */
  const lying = (request: Buffer, mark: string, length: Buffer, size = length.length): Buffer => {
    const at = request.indexOf(mark);
    return framed(Buffer.concat([request.subarray(4, at - size), length, request.subarray(at, at + 3)]));
  };
  const named = (version: number): Buffer => requestBytes(metadata, version, { topics: [{ name: 'tttt' }] });
  const joining = (version: number): Buffer => {
    const protocols = [{ name: 'range', metadata: Buffer.from('mmmm') }];
    const timing = { sessionTimeoutMs: 10_000, protocolType: 'consumer' };
    return requestBytes(joinGroup, version, { groupId: 'gggg', memberId: '', ...timing, protocols });
  };
  const syncing = (version: number): Buffer => {
    const assignments = [{ memberId: 'm', assignment: Buffer.from('aaaa') }];
    return requestBytes(syncGroup, version, { groupId: 'g', memberId: 'm', generationId: 1, assignments });
  };
  const most = varint(0xffffffff);
  const lies: readonly (readonly [name: string, bytes: Buffer])[] = [
    ['the longest request that is taken', int32(100 * mebibyte)],
    ['the same and three bytes', Buffer.concat([int32(100 * mebibyte), Buffer.alloc(3)])],
    ['2 GiB', int32(0x7fffffff)],
    ['a negative length', int32(-1)],
    ['a text that says 32,767 bytes', requestOf(10, 0, Buffer.from([0x7f, 0xff, 0x61]))],
    ['a client id that says 32,767 bytes', lying(named(4), 'raw', Buffer.of(0x7f, 0xff))],
    ['a topic that says 4 GiB, compact', lying(named(9), 'tttt', most, 1)],
    ['a group that says 4 GiB, compact', lying(joining(6), 'gggg', most, 1)],
    ['metadata of JoinGroup that say 2 GiB', lying(joining(4), 'mmmm', int32(0x7fffffff))],
    ['metadata of JoinGroup that say 4 GiB, compact', lying(joining(6), 'mmmm', most, 1)],
    ['an assignment that says 2 GiB', lying(syncing(3), 'aaaa', int32(0x7fffffff))],
    ['an assignment that says 4 GiB, compact', lying(syncing(4), 'aaaa', most, 1)],
    [
      'records that say 2 GiB',
      requestOf(
        0,
        3,
        Buffer.from('ffff0001000003e800000001000174000000010000000 07fffffff'.replace(' ', ''), 'hex'),
      ),
    ],
  ];
  it('costs nothing and ends in time, on 100 connections each', async () => {
    // Only three bytes of a request of 100 MiB are kept; whatever else lies is closed, or waited for without a buffer.
    allocatesOnly(
      100 * firstStepMib,
      await siege.withstand(async () => {
        const ended = await Promise.all(
          lies.map(async ([name, bytes]) => [name, (await allClosed(100, bytes)) < deadlineMs] as const),
        );
        expect(ended).toEqual(lies.map(([name]) => [name, true]));
      }),
    );
  });
});

describe('count amplification', () => {
  const zeros = Buffer.alloc(1000);
  const flexible = (body: Buffer): Buffer => Buffer.concat([Buffer.of(0), body]);
  const counts: readonly (readonly [name: string, bytes: Buffer])[] = [
    ['2^31-1 topics of Metadata', requestOf(3, 4, Buffer.concat([int32(0x7fffffff), zeros]))],
    ['2^32-1 topics, compact', requestOf(3, 9, flexible(Buffer.concat([varint(0xffffffff), zeros])))],
    ['a count of -2', requestOf(3, 4, Buffer.concat([int32(-2), zeros]))],
    ['1,001 topics in 1,000 bytes', requestOf(3, 4, Buffer.concat([int32(1001), zeros]))],
    [
      'nested arrays, each as large as the rest allows',
      requestOf(
        9,
        1,
        Buffer.concat([
          Buffer.from([0, 1, 0x67]),
          int32(1),
          Buffer.from([0, 1, 0x74]),
          int32(0x7fffffff),
          zeros,
        ]),
      ),
    ],
    ['65 tagged fields', requestOf(18, 3, Buffer.concat([varint(65), Buffer.alloc(200)]))],
    ['a tagged field of 4 GiB', requestOf(18, 3, Buffer.concat([varint(1), varint(99), varint(0xffffffff)]))],
    ['2^32-1 tagged fields', requestOf(18, 3, Buffer.concat([varint(0xffffffff), zeros]))],
    [
      '300,000 empty names in one request',
      requestOf(3, 4, Buffer.concat([int32(300_000), Buffer.alloc(600_001)])),
    ],
  ];
  for (const [name, bytes] of counts) {
    it(`${name}: refused before anything is made for it`, async () => {
      // What came is held once, and once more while it grows.
      allocatesOnly(
        (2 * 20 * bytes.length) / mebibyte,
        await siege.withstand(async () => {
          expect(await allClosed(20, bytes)).toBeLessThan(deadlineMs);
        }),
      );
    });
  }
});

describe('batches', () => {
  const topic = 'batches';

  async function makeTopic(name: string): Promise<void> {
    const topics = [{ name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }];
    await client.send(createTopics, 4, { topics, timeoutMs: 5000 });
    const asked = { topics: [{ name }] };
    await waitUntil(async () => (await client.send(metadata, 9, asked)).topics[0]!.errorCode === 0);
  }

  /** A batch with one record's header and any section behind it, its length and checksum right. */
  function batchAround(section: Buffer, codec: number, count = 1): Buffer {
    const head = batchOf(['x']).subarray(0, batchHeaderBytes);
    const whole = Buffer.concat([head, section]);
    return altered(whole, (batch) => {
      batch.writeInt32BE(batch.length - 12, 8);
      batch.writeInt16BE(codec, 21);
      batch.writeInt32BE(count - 1, 23);
      batch.writeInt32BE(count, 57);
    });
  }

  /** Of one byte over and over: 768 MiB, 1 GiB (so it says), 240 MiB and 5 GiB when they are unpacked. */
  const bombs: readonly (readonly [name: string, codec: number, make: () => Buffer])[] = [
    ['gzip', codecs.gzip, () => gzipBomb(48)],
    ['snappy', codecs.snappy, () => snappyBomb()],
    ['lz4', codecs.lz4, () => lz4Bomb(60)],
    ['zstd', codecs.zstd, () => zstdBomb(5000)],
  ];

  /** Members of 16 MiB, one behind the other. */
  function gzipBomb(members: number): Buffer {
    const member = gzipSync(Buffer.alloc(16 * mebibyte), { level: constants.Z_BEST_COMPRESSION });
    return Buffer.concat(Array.from({ length: members }, () => member));
  }

  /** A block that says it holds 1 GiB, and copies its one byte over and over. */
  function snappyBomb(): Buffer {
    const literal = Buffer.from([0x00, 0x61]);
    // Copies of 64 bytes at distance 1: three bytes each.
    const copies = Buffer.alloc(3 * 300_000);
    for (let at = 0; at < copies.length; at += 3) {
      copies[at] = ((64 - 1) << 2) | 2;
      copies[at + 1] = 1;
    }
    return Buffer.concat([Buffer.from([0x80, 0x80, 0x80, 0x80, 0x04]), literal, copies]);
  }

  /** Blocks of 4 MiB of one byte. */
  function lz4Bomb(blocks: number): Buffer {
    const size = 4 * mebibyte;
    const match = size - 1 - 4 - 15 - 5;
    const lengths = Buffer.alloc(Math.floor(match / 255) + 1, 255);
    lengths[lengths.length - 1] = match % 255;
    const block = Buffer.concat([
      Buffer.from([0x1f, 0x61, 1, 0]),
      lengths,
      Buffer.from([0x50, 0x61, 0x61, 0x61, 0x61, 0x61]),
    ]);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(block.length);
    // Magic, version 1 with independent blocks, 4 MiB, and the header's checksum.
    const frame = Buffer.from('04224d18607073', 'hex');
    return Buffer.concat([
      frame,
      ...Array.from({ length: blocks }, () => Buffer.concat([head, block])),
      Buffer.alloc(4),
    ]);
  }

  /** Blocks of 128 KiB of one byte, four bytes each. */
  function zstdBomb(mib: number): Buffer {
    const block = (last: boolean): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUIntLE((last ? 1 : 0) | (1 << 1) | ((128 * 1024) << 3), 0, 3);
      return bytes;
    };
    const many = mib * 8;
    return Buffer.concat([
      Buffer.from('28b52ffd0058', 'hex'),
      ...Array.from({ length: many }, (_, at) => block(at === many - 1)),
    ]);
  }

  for (const [name, codec, make] of bombs) {
    it(`a bomb in ${name} with a right checksum is skipped by subscribers, at a growth below ${2 * outputMib + growthMibMax} MiB`, async () => {
      const own = `bomb-${name}`;
      await makeTopic(own);
      const bomb = batchAround(make(), codec);
      expect(bomb.length).toBeLessThan(1_048_588);
      const { client: subscriber } = await MqttClient.connect(siege.server.ports.mqtt, 5);
      await subscriber.subscribe(own, 1);
      const before = await undecodable();
      const damage = await siege.withstand(async () => {
        expect((await produceTo(client, own, bomb)).errorCode).toBe(errorCodes.NONE);
        expect((await produceTo(client, own, batchOf(['after']))).errorCode).toBe(errorCodes.NONE);
        expect(await subscriber.receiveTexts(1)).toEqual(['after']);
      });
      harmless(damage, 2 * outputMib + growthMibMax);
      expect(await undecodable()).toBe(before + 1);
      subscriber.drop();
      // A Kafka reader gets what the producer sent.
      const { records } = await fetchFrom(client, own, 0, { partitionMaxBytes: 4 * mebibyte });
      expect(records!.subarray(16, bomb.length).equals(bomb.subarray(16))).toBe(true);
    });
  }

  it('a bomb that nobody subscribes to is never unpacked', async () => {
    await makeTopic('bomb-unread');
    const bomb = batchAround(zstdBomb(5000), codecs.zstd);
    harmless(
      await siege.withstand(async () => {
        for (let at = 0; at < 20; at++) {
          expect((await produceTo(client, 'bomb-unread', bomb)).errorCode).toBe(errorCodes.NONE);
        }
      }),
    );
  });

  it('with lying counts and right checksums are refused, or skipped and counted', async () => {
    await makeTopic(topic);
    const { client: subscriber } = await MqttClient.connect(siege.server.ports.mqtt, 5);
    await subscriber.subscribe(topic, 1);
    const one = batchOf(['x']).subarray(batchHeaderBytes);
    /** Of what is not compressed the length says how many there may be; of the rest only how many there ever are. */
    const lying: readonly (readonly [count: number, plain: number, compressed: number])[] = [
      [2, errorCodes.INVALID_RECORD, errorCodes.NONE],
      [1000, errorCodes.INVALID_RECORD, errorCodes.NONE],
      [9_000_000, errorCodes.INVALID_RECORD, errorCodes.NONE],
      [0x7fffffff, errorCodes.INVALID_RECORD, errorCodes.INVALID_RECORD],
      [0, errorCodes.INVALID_RECORD, errorCodes.INVALID_RECORD],
      [-1, errorCodes.INVALID_RECORD, errorCodes.INVALID_RECORD],
    ];
    const before = await undecodable();
    let stored = 0;
    harmless(
      await siege.withstand(async () => {
        for (const [count, plain, compressed] of lying) {
          for (const codec of Object.values(codecs)) {
            const isPlain = codec === codecs.none;
            const section = isPlain ? one : compressBatch(codec, batchOf(['x'])).subarray(batchHeaderBytes);
            const { errorCode } = await produceTo(client, topic, batchAround(section, codec, count));
            if (errorCode === errorCodes.NONE) stored++;
            expect([count, codec, errorCode]).toEqual([count, codec, isPlain ? plain : compressed]);
          }
        }
        // One record that has room for two: what is in it is not looked at.
        const wide = batchOf(['x'.repeat(100)]).subarray(batchHeaderBytes);
        expect((await produceTo(client, topic, batchAround(wide, codecs.none, 2))).errorCode).toBe(0);
        stored++;
        expect((await produceTo(client, topic, batchOf(['after']))).errorCode).toBe(0);
        expect(await subscriber.receiveTexts(1)).toEqual(['after']);
      }),
    );
    expect(stored).toBe(3 * 4 + 1);
    expect(await undecodable()).toBe(before + stored);
    subscriber.drop();
  });

  it('of unknown compression are refused (76), and more than one codec bit is no codec', async () => {
    await makeTopic(topic);
    for (const codec of [5, 6, 7]) {
      const { errorCode } = await produceTo(client, topic, batchAround(Buffer.alloc(50), codec));
      expect(errorCode).toBe(errorCodes.UNSUPPORTED_COMPRESSION_TYPE);
    }
  });

  it('compressed with what is not their codec are skipped and counted', async () => {
    await makeTopic('wrong-codec');
    const before = await undecodable();
    const { client: subscriber } = await MqttClient.connect(siege.server.ports.mqtt, 5);
    await subscriber.subscribe('wrong-codec', 1);
    for (const codec of Object.values(codecs).filter((each) => each !== codecs.none)) {
      for (const section of [deflateSync(Buffer.alloc(1000)), Buffer.alloc(1000, 0xff), Buffer.alloc(1)]) {
        expect((await produceTo(client, 'wrong-codec', batchAround(section, codec))).errorCode).toBe(0);
      }
    }
    await produceTo(client, 'wrong-codec', batchOf(['after']));
    expect(await subscriber.receiveTexts(1)).toEqual(['after']);
    expect(await undecodable()).toBe(before + 3 * 4);
    subscriber.drop();
  });
});

describe('incomplete requests', () => {
  it('of 200 connections together hold no more than `kafka.partialBytesMax`', async () => {
    const connections = 200;
    const held = (): Promise<number> => metricOf(siege.server, 'robustmq_kafka_partial_request_bytes');
    let most = 0;
    let mostBuffersMib = 0;
    let over = false;
    const watch = async (): Promise<void> => {
      for (; !over; await delay(10)) most = Math.max(most, await held());
    };
    // Of buffers the garbage of all that was sent counts too, so it is collected before each look.
    const watchBuffers = async (): Promise<void> => {
      for (; !over; await delay(200)) {
        mostBuffersMib = Math.max(mostBuffersMib, await siege.liveBufferMib());
      }
    };
    const attack = async (): Promise<void> => {
      const peers = await Promise.all(Array.from({ length: connections }, () => RawPeer.open(port())));
      const chunk = Buffer.alloc(mebibyte);
      await Promise.all(
        peers.map(async (peer) => {
          peer.send(int32(90 * mebibyte));
          await peer.pour(Array.from({ length: 8 }, () => chunk));
        }),
      );
      // 1.6 GiB were sent; who holds most is closed first, the others when their time is over.
      await Promise.all(peers.map((peer) => peer.whenClosed()));
    };
    const ended = (): void => {
      over = true;
    };
    const damage = await siege.withstand(() =>
      Promise.all([attack().finally(ended), watch(), watchBuffers()]),
    );
    printFigures('incomplete requests', { mostMib: most / mebibyte, mostBuffersMib });
    // A buffer has room for as much again as came, or for 1 MiB: of that nothing is resident before it is written to.
    const liveMib = 2 * 64 + connections;
    // A fast client makes garbage faster than it is collected.
    harmless(damage, liveMib + 128);
    expect(most).toBeGreaterThan(32 * mebibyte);
    expect(most).toBeLessThanOrEqual(64 * mebibyte);
    expect(mostBuffersMib).toBeLessThan(liveMib);
    expect(await held()).toBe(0);
  });

  it('dripped a byte at a time end when their time is over', async () => {
    const peer = await RawPeer.open(port());
    peer.send(int32(1000));
    const drip = setInterval(() => peer.send(Buffer.of(0)), 100);
    await peer.whenClosed();
    clearInterval(drip);
    expect(peer.livedMs).toBeLessThan(deadlineMs);
  });
});

it('a client that asks and does not read gets one answer beyond what its socket takes', async () => {
  const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 16 * mebibyte }];
  const one = requestBytes(fetchApi, 11, {
    maxWaitMs: 0,
    minBytes: 1,
    maxBytes: 1 << 30,
    topics: [{ topic: 'bomb-unread', partitions }],
  });
  harmless(
    await siege.withstand(async () => {
      const peers = await Promise.all(Array.from({ length: 10 }, () => RawPeer.open(port())));
      for (const peer of peers) {
        peer.socket.pause();
        peer.send(Buffer.concat(Array.from({ length: 50 }, () => one)));
      }
      await waitUntil(async () => (await metricOf(siege.server, 'robustmq_kafka_unsent_bytes')) > 0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      for (const peer of peers) peer.drop();
    }),
    64,
  );
});

it('garbage in the name of every API closes its connection, unless it is a request, and others are served', async () => {
  const garbage = Buffer.alloc(300, 0xff);
  const answered: number[] = [];
  for (let apiKey = -1; apiKey < 100; apiKey++) {
    const peer = await RawPeer.open(port());
    peer.send(requestOf(apiKey, 1, garbage));
    await waitUntil(() => peer.closed || peer.received.length > 0, { what: `API ${apiKey}` });
    if (peer.received.length > 0) answered.push(apiKey);
    peer.drop();
  }
  // A length of -1 asks for all topics, all folders and no transaction; two have nothing to ask for.
  const asking = [metadata, initProducerId, listGroups, apiVersions, describeLogDirs];
  expect(new Set(answered)).toEqual(new Set(asking.map(({ key }) => key)));
  expect((await client.send(apiVersions, 0, {})).errorCode).toBe(0);
  expect(produce.key).toBe(0);
});
