import { describe, expect, test } from 'vitest';
import type { ResponseInput } from './api.ts';
import { api, request, response } from './api.ts';
import { fetch } from './apis/fetch.ts';
import { findCoordinator } from './apis/find-coordinator.ts';
import { listOffsets } from './apis/list-offsets.ts';
import { metadata } from './apis/metadata.ts';
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse, encodeResponseInto } from './codec.ts';
import { gatherBytesMin } from './piece-writer.ts';
import { array, bytes, float64, int32, int64, records, string, struct, uint16 } from './schema.ts';
import { maxInt64 } from './wire.ts';

function fetched(slices: Buffer | Buffer[] | null, host = 'h') {
  return {
    responses: [
      {
        topic: 't',
        partitions: [
          { partitionIndex: 0, errorCode: 0, highWatermark: 1, abortedTransactions: null, records: slices },
        ],
      },
    ],
    nodeEndpoints: [{ nodeId: 1, host, port: 1 }],
  };
}

function recordsOf(frame: Buffer, version: number): Buffer | null | undefined {
  return decodeResponse(fetch, version, frame).responses[0]?.partitions[0]?.records;
}

describe('responses as pieces', () => {
  const large = Buffer.alloc(gatherBytesMin, 1);
  const small = Buffer.alloc(gatherBytesMin - 1, 2);

  test('large slices are pieces of their own, not copies; small ones are copied together', () => {
    for (const version of [11, 16]) {
      const body = fetched([large, small, small, large, large]);
      const pieces = encodeResponse(fetch, version, 1, version < 16 ? { ...body, nodeEndpoints: [] } : body);
      // Only the flexible version has bytes behind the last records.
      expect(pieces).toHaveLength(version < 16 ? 5 : 6);
      expect([pieces[1], pieces[3], pieces[4]].every((piece) => piece === large)).toBe(true);
      expect(pieces[2]).toEqual(Buffer.concat([small, small]));
      const all = Buffer.concat(pieces);
      expect(all.readInt32BE(0)).toBe(all.length - 4);
      expect(recordsOf(all.subarray(4), version)).toEqual(Buffer.concat([large, small, small, large, large]));
    }
  });

  test('small records leave the response in one piece; empty and null stay apart', () => {
    const pieces = encodeResponse(fetch, 12, 1, { ...fetched(small), nodeEndpoints: [] });
    expect(pieces).toHaveLength(1);
    const none = (value: Buffer[] | null) =>
      recordsOf(Buffer.concat(encodeResponse(fetch, 16, 1, fetched(value))).subarray(4), 16);
    expect(none([])).toEqual(Buffer.alloc(0));
    expect(none(null)).toBeNull();
  });

  test('the slab may grow before, between and behind gathered records', () => {
    const slices = [large, Buffer.alloc(4000, 3), large, Buffer.alloc(4000, 4), Buffer.alloc(4000, 5), large];
    const body = fetched(slices, 'h'.repeat(20_000));
    const all = Buffer.concat(encodeResponse(fetch, 16, 1, body));
    const read = decodeResponse(fetch, 16, all.subarray(4));
    expect(read.responses[0]?.partitions[0]?.records).toEqual(Buffer.concat(slices));
    expect(read.nodeEndpoints[0]?.host).toHaveLength(20_000);
  });

  test('the slab follows the size of the last response within bounds', () => {
    const brokers = [{ nodeId: 1, host: 'h'.repeat(100_000), port: 1 }];
    encodeResponse(metadata, 9, 1, { brokers, topics: [] });
    expect(metadata.response.slabBytes).toBe(64 * 1024);
    encodeResponse(metadata, 9, 1, { brokers: [], topics: [] });
    expect(metadata.response.slabBytes).toBe(256);
  });
});

describe('values that cannot be written', () => {
  const envelope = { version: 0, correlationId: 1, clientId: 'me' };

  test('a field that the version lacks must not carry a value, unless it may be ignored', () => {
    expect(() => encodeRequest(findCoordinator, envelope, { key: 'g', keyType: 1 })).toThrow(
      expect.objectContaining({ code: 'KAFKA_CODEC_FIELD_UNSUPPORTED' }),
    );
    const body = { responses: [], sessionId: 3 };
    expect(() => encodeResponse(fetch, 4, 1, body)).toThrow(/FetchResponse\.sessionId/);
    expect(() => encodeResponse(fetch, 4, 1, { ...body, sessionId: 0, errorCode: 70 })).not.toThrow();
    const redirect = { responses: [], nodeEndpoints: [{ nodeId: 1, host: 'h', port: 1 }] };
    expect(() => encodeResponse(fetch, 15, 1, redirect)).toThrow(/nodeEndpoints/);
  });

  test('null, ranges and lengths are checked, and the error names the field', () => {
    const refused = (body: object, path: string): void => {
      const attempt = () => encodeRequest(metadata, envelope, body as never);
      expect(attempt).toThrow(expect.objectContaining({ code: 'KAFKA_CODEC_VALUE_INVALID' }));
      expect(attempt).toThrow(path);
    };
    refused({ topics: null }, 'MetadataRequest.topics');
    refused({}, 'MetadataRequest.topics');
    refused({ topics: [{ name: null }] }, 'MetadataRequest.topics.name');
    refused({ topics: [{ name: 7 }] }, 'MetadataRequest.topics.name');
    refused({ topics: [{ name: 'x'.repeat(32_768) }] }, 'MetadataRequest.topics.name');
    expect(() => encodeRequest(metadata, { ...envelope, version: 1 }, {} as never)).toThrow(
      'MetadataRequest.topics',
    );
    const id = { ...envelope, version: 12 };
    for (const topicId of ['', 'zz'.repeat(16), 'a'.repeat(33)])
      expect(() => encodeRequest(metadata, id, { topics: [{ topicId, name: null }] })).toThrow(
        'topics.topicId',
      );
    const row = { partitionIndex: 0, errorCode: 0 };
    for (const bad of [
      { ...row, errorCode: 40_000 },
      { ...row, partitionIndex: 1.5 },
      { ...row, offset: 2 ** 53 },
    ])
      expect(() => encodeResponse(listOffsets, 1, 1, { topics: [{ name: 't', partitions: [bad] }] })).toThrow(
        expect.objectContaining({ code: 'KAFKA_CODEC_VALUE_INVALID' }),
      );
  });
});

test('the maximum int64 has a stand-in, other unsafe ones are refused', () => {
  const body = {
    replicaId: -1,
    topics: [{ name: 't', partitions: [{ partitionIndex: 0, timestamp: maxInt64 }] }],
  };
  const pieces = encodeRequest(listOffsets, { version: 1, correlationId: 1, clientId: null }, body);
  const frame = Buffer.concat(pieces).subarray(4);
  expect(frame.subarray(-8).toString('hex')).toBe('7fffffffffffffff');
  expect(decodeRequest(listOffsets, 1, frame, 10).topics[0]?.partitions[0]?.timestamp).toBe(maxInt64);
  frame.write('7ffffffffffffffe', frame.length - 8, 'hex');
  expect(() => decodeRequest(listOffsets, 1, frame, 10)).toThrow(
    expect.objectContaining({ code: 'KAFKA_CODEC_INT64_UNSAFE' }),
  );
});

test('types that the first APIs do not use', () => {
  const inner = { id: int32(), note: string('0+', { nullable: '1+', default: null }) };
  const sample = api(
    { key: 901, name: 'Sample', versions: '0-1', flexible: 1 },
    request({}),
    response({
      place: struct(inner, '0+', { nullable: '0+' }),
      ratio: float64(),
      port: uint16(),
      lists: array(array(int64())),
      blob: bytes('1+', { tag: 3 }),
      batch: records('0+', { nullable: '0+' }),
      deep: struct(inner, '1+', { tag: 1, nullable: '1+', default: null }),
    }),
  );
  const base = { ratio: 0.1, port: 65_535, lists: [[1, -1], [], [2 ** 40]], batch: null };
  const shapes = [
    { ...base, place: null },
    { ...base, place: { id: 7, note: null } },
  ];
  const frame = (version: number, body: ResponseInput<typeof sample>) =>
    Buffer.concat(encodeResponse(sample, version, 1, body)).subarray(4);
  for (const body of shapes) {
    const absent = { blob: Buffer.alloc(0), deep: null };
    expect(decodeResponse(sample, 1, frame(1, body))).toEqual({ ...body, ...absent });
  }
  const filled = {
    ...base,
    place: { id: 1, note: 'x' },
    blob: Buffer.alloc(20_000, 7),
    deep: { id: 2, note: 'y' },
  };
  expect(decodeResponse(sample, 1, frame(1, filled))).toEqual(filled);
});

describe('a response that is encoded into memory of the caller', () => {
  const hosts = ['', 'h', 'host.example', 'é'.repeat(20), 'x'.repeat(47), 'x'.repeat(48), 'x'.repeat(49)];

  test('is the same bytes wherever it begins, and says when there is too little room', () => {
    for (const version of [4, 12, 16]) {
      for (const host of hosts) {
        const body =
          version < 16 ? { ...fetched(Buffer.alloc(9, 7)), nodeEndpoints: [] } : fetched(null, host);
        const whole = Buffer.concat(encodeResponse(fetch, version, 5, body));
        for (let room = 0; room <= whole.length + 2; room++) {
          const bytes = Buffer.alloc(3 + room, 0xee);
          const end = encodeResponseInto(fetch, version, 5, body, { bytes, at: 3 });
          expect(end).toBe(room < whole.length ? -1 : 3 + whole.length);
          if (end < 0) continue;
          expect(bytes.subarray(3, end).equals(whole)).toBe(true);
          expect(bytes.subarray(0, 3).every((byte) => byte === 0xee)).toBe(true);
          expect(bytes.subarray(end).every((byte) => byte === 0xee)).toBe(true);
        }
      }
    }
  });

  test('is not put there when it gathers slices', () => {
    const target = { bytes: Buffer.alloc(64 * 1024), at: 0 };
    expect(encodeResponseInto(fetch, 16, 5, fetched(Buffer.alloc(gatherBytesMin)), target)).toBe(-1);
  });
});
