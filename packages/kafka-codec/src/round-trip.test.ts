import { RobustError } from '@robustmq/core';
import { describe, expect, test } from 'vitest';
import { type Api, api, Message, request, response } from './api.ts';
import { fetch } from './apis/fetch.ts';
import { produce } from './apis/produce.ts';
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse, requestElementsMax } from './codec.ts';
import { FetchRequestColumns } from './fetch-request-columns.ts';
import { ProduceRequestCursor } from './produce-request-cursor.ts';
import { apis } from './registry.ts';
import { decodeRequestHeader } from './request-header.ts';
import { type Decoded, type Field, type Fields, type FieldType, int32, string } from './schema.ts';
import { inVersions } from './versions.ts';
import { maxInt64, zeroUuid } from './wire.ts';

/** A small generator with a seed, so that a failure repeats. */
function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Source = () => number;

function pick<T>(next: Source, values: readonly T[]): T {
  return values[Math.floor(next() * values.length)] as T;
}

const longText = 'é'.repeat(90);

/** A value that the version can carry, extremes more often than chance would have it. */
function valueOf(type: FieldType, version: number, next: Source): unknown {
  switch (type.kind) {
    case 'int8':
      return pick(next, [0, 1, -1, 127, -128]);
    case 'int16':
      return pick(next, [0, 1, -1, 32767, -32768, 300]);
    case 'uint16':
      return pick(next, [0, 1, 65535, 300]);
    case 'int32':
      return pick(next, [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 70000]);
    case 'int64':
      return pick(next, [0, 1, -1, maxInt64, Number.MIN_SAFE_INTEGER, 2 ** 32, -(2 ** 32), 2 ** 40 + 5]);
    case 'float64':
      return pick(next, [0, 1.5, -2.25e100]);
    case 'bool':
      return next() < 0.5;
    case 'string':
      return pick(next, ['', 'a', 'topic-name', '\u{1F600}x', longText]);
    case 'uuid':
      return pick(next, [zeroUuid, '00112233445566778899aabbccddeeff']);
    case 'bytes':
    case 'records':
      return Buffer.alloc(pick(next, [0, 1, 5, 130]), Math.floor(next() * 256));
    case 'struct':
      return structOf(type.fields, version, next);
    case 'array':
      return Array.from({ length: pick(next, [0, 1, 2, 3]) }, () => valueOf(type.element, version, next));
  }
}

function fieldOf(field: Field, version: number, next: Source): unknown {
  if (!inVersions(field.versions, version) || next() < 0.1) return absentOf(field, version, next);
  const nullable = field.nullable !== undefined && inVersions(field.nullable, version);
  return nullable && next() < 0.3 ? null : valueOf(field.type, version, next);
}

function absentOf(field: Field, version: number, next: Source): unknown {
  const present = inVersions(field.versions, version);
  const nullable = field.nullable !== undefined && inVersions(field.nullable, version);
  if (present && field.fallback === null && !nullable) return valueOf(field.type, version, next);
  return field.fallback;
}

function structOf(fields: Fields, version: number, next: Source): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, fieldOf(field, version, next)]),
  );
}

interface Case {
  readonly api: Api;
  readonly message: Message;
  readonly version: number;
}

const cases: Case[] = [...apis.values()].flatMap((one) =>
  [one.request, one.response].flatMap((message) =>
    Array.from({ length: one.versions.max - one.versions.min + 1 }, (_, i) => ({
      api: one,
      message,
      version: one.versions.min + i,
    })),
  ),
);

function encode(one: Case, value: unknown): Buffer {
  const body = value as Decoded<Fields>;
  const pieces =
    one.message === one.api.request
      ? encodeRequest(one.api, { version: one.version, correlationId: 9, clientId: 'me' }, body)
      : encodeResponse(one.api, one.version, 9, body);
  return Buffer.concat(pieces).subarray(4);
}

function decode(one: Case, frame: Buffer): unknown {
  if (one.message === one.api.response) return decodeResponse(one.api, one.version, frame);
  return decodeRequest(one.api, one.version, frame, decodeRequestHeader(frame).bodyStart);
}

function label(one: Case): string {
  return `${one.message.name} ${one.version}`;
}

const refusals = new Set([
  'KAFKA_CODEC_TRUNCATED',
  'KAFKA_CODEC_MALFORMED',
  'KAFKA_CODEC_LIMIT_EXCEEDED',
  'KAFKA_CODEC_INT64_UNSAFE',
]);

/** The code with which `run` refuses its input; fails on any other kind of error. */
function refusal(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (!(error instanceof RobustError) || !refusals.has(error.code)) throw error;
    return error.code;
  }
}

describe('every API, version and direction', () => {
  test('decoding gives back what was encoded', () => {
    for (const one of cases) {
      for (let seed = 1; seed <= 8; seed++) {
        const value = structOf(one.message.fields, one.version, random(seed));
        expect(decode(one, encode(one, value)), `${label(one)}, seed ${seed}`).toEqual(value);
      }
    }
  });

  test('every message that is cut short is refused', () => {
    for (const one of cases) {
      const frame = encode(one, structOf(one.message.fields, one.version, random(3)));
      for (let length = 0; length < frame.length; length++) {
        const code = refusal(() => decode(one, frame.subarray(0, length)));
        if (code === undefined) expect.fail(`${label(one)} was read from ${length} of ${frame.length} bytes`);
      }
    }
  });

  test('a damaged message is read or refused, never anything else', () => {
    let refused = 0;
    for (const one of cases) {
      const next = random(one.version + 100);
      const frame = encode(one, structOf(one.message.fields, one.version, next));
      const bodyStart = one.message === one.api.request ? 12 : 4;
      for (let round = 0; round < 60; round++) {
        const damaged = Buffer.from(frame);
        for (let hit = pick(next, [1, 2, 4]); hit > 0; hit--) {
          const at = bodyStart + Math.floor(next() * Math.max(1, frame.length - bodyStart));
          damaged[at] = pick(next, [0, 1, 0x7f, 0x80, 0xff, Math.floor(next() * 256)]);
        }
        if (refusal(() => decode(one, damaged)) !== undefined) refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });

  test('tagged fields that this codec does not know are skipped at every level', () => {
    for (const one of cases) {
      if (one.version < one.api.flexible) continue;
      const later = new Message(one.message.name, extended(one.message.fields, one.api.flexible), {
        versions: one.message.versions,
        flexible: one.message.flexible,
      });
      const isRequest = one.message === one.api.request;
      const extendedApi: Api = { ...one.api, [isRequest ? 'request' : 'response']: later };
      const value = structOf(one.message.fields, one.version, random(5));
      const known: FieldType = { kind: 'struct', fields: one.message.fields };
      const sent = withUnknown(value, known, one.version);
      const frame = encode({ api: extendedApi, message: later, version: one.version }, sent);
      expect(frame.includes('later')).toBe(true);
      expect(decode(one, frame), label(one)).toEqual(value);
    }
  });
});

/** The fields as a later release might have them: two more tagged fields in every structure. */
function extended(fields: Fields, flexible: number): Fields {
  const own = Object.entries(fields).map(([name, field]) => [
    name,
    { ...field, type: extendedType(field.type, flexible) },
  ]);
  return {
    ...Object.fromEntries(own),
    unknownText: string(`${flexible}+`, { tag: 40 }),
    unknownNumber: int32(`${flexible}+`, { tag: 5000 }),
  };
}

function extendedType(type: FieldType, flexible: number): FieldType {
  if (type.kind === 'struct') return { kind: 'struct', fields: extended(type.fields, flexible) };
  if (type.kind === 'array') return { kind: 'array', element: extendedType(type.element, flexible) };
  return type;
}

/** Fills the unknown fields of every structure that the version has. */
function withUnknown(value: unknown, type: FieldType, version: number): unknown {
  if (value === null) return null;
  if (type.kind === 'array')
    return (value as unknown[]).map((each) => withUnknown(each, type.element, version));
  if (type.kind !== 'struct') return value;
  const members = Object.entries(type.fields).map(([name, field]) => {
    const member = (value as Record<string, unknown>)[name];
    return [name, inVersions(field.versions, version) ? withUnknown(member, field.type, version) : member];
  });
  return { ...Object.fromEntries(members), unknownText: `later ${longText}`, unknownNumber: 1 };
}

describe('limits', () => {
  function bare(name: string, fields: Fields, flexible: boolean): Message {
    return new Message(name, fields, { versions: { min: 0, max: 0 }, flexible: flexible ? 0 : Infinity });
  }

  test('a count that the message cannot hold is refused before anything is allocated', () => {
    for (const one of cases) {
      for (const [name, field] of Object.entries(one.message.fields)) {
        const { version } = one;
        if (field.type.kind !== 'array' || !inVersions(field.versions, version)) continue;
        const flexible = version >= one.api.flexible;
        const fields = { [name]: { ...field, tag: undefined } };
        const versions = { min: version, max: version };
        const alone = new Message(name, fields, { versions, flexible: one.api.flexible });
        const count = Buffer.from(flexible ? 'ffffffff0f00000000' : '7fffffff00000000', 'hex');
        expect(
          refusal(() => alone.decoder(version)(count, 0, Infinity)),
          name,
        ).toBe('KAFKA_CODEC_LIMIT_EXCEEDED');
      }
    }
  });

  test('a frame full of the smallest elements does not become more objects than the limit', () => {
    const metadata = apis.get(3) as Api;
    const body = Buffer.alloc(3 + 2 * (requestElementsMax + 1) + 3);
    const count = requestElementsMax + 2;
    body.set([(count & 127) | 128, ((count >> 7) & 127) | 128, count >> 14], 0);
    for (let i = 3; i < body.length; i++) body[i] = (i - 3) % 2 === 0 ? 1 : 0;
    expect(refusal(() => decodeRequest(metadata, 9, body, 0))).toBe('KAFKA_CODEC_LIMIT_EXCEEDED');
  });

  test('64 tagged fields are skipped, 65 refused', () => {
    const empty = bare('empty', {}, true);
    const tags = (count: number): Buffer =>
      Buffer.concat([
        Buffer.from([count]),
        ...Array.from({ length: count }, (_, i) => Buffer.from([i, 1, 7])),
      ]);
    expect(empty.decoder(0)(tags(64), 0, 0)).toEqual({});
    expect(refusal(() => empty.decoder(0)(tags(65), 0, 0))).toBe('KAFKA_CODEC_LIMIT_EXCEEDED');
  });

  test('a known tagged field must have the size that it states', () => {
    const message = bare('tagged', { value: int32('0+', { tag: 0 }) }, true);
    expect(message.decoder(0)(Buffer.from('01000400000009', 'hex'), 0, 0)).toEqual({ value: 9 });
    for (const wrong of ['0100050000000900', '010003000000', '01000300000009'])
      expect(
        refusal(() => message.decoder(0)(Buffer.from(wrong, 'hex'), 0, 0)),
        wrong,
      ).toBeDefined();
  });

  test('a varint of more than 32 bits is refused', () => {
    const empty = bare('empty', {}, true);
    for (const wrong of ['ffffffff1f', 'ffffffffff01', '8080808080808000'])
      expect(refusal(() => empty.decoder(0)(Buffer.from(wrong, 'hex'), 0, 0))).toBe('KAFKA_CODEC_MALFORMED');
  });
});

describe('the hot paths read what the generated decoders read', () => {
  const produces = cases.filter((one) => one.message === produce.request);
  const fetches = cases.filter((one) => one.message === fetch.request);

  test('Produce', () => {
    const cursor = new ProduceRequestCursor();
    for (const one of produces) {
      for (let seed = 1; seed <= 30; seed++) {
        const value = structOf(produce.request.fields, one.version, random(seed)) as Decoded<
          typeof produce.request.fields
        >;
        const frame = encode(one, value);
        cursor.open(one.version, frame, decodeRequestHeader(frame).bodyStart);
        const { transactionalId, acks, timeoutMs, topicCount } = cursor;
        expect({ transactionalId, acks, timeoutMs, topicCount }).toEqual({
          transactionalId: value.transactionalId,
          acks: value.acks,
          timeoutMs: value.timeoutMs,
          topicCount: value.topicData.length,
        });
        const rows = value.topicData.flatMap((topic, topicIndex) =>
          topic.partitionData.map((p) => [topicIndex, topic.name, topic.topicId, p.index, p.records]),
        );
        expect(cursor.partitionCount).toBe(rows.length);
        const seen: unknown[] = [];
        while (cursor.next())
          seen.push([
            cursor.topicIndex,
            cursor.topicName,
            cursor.topicId,
            cursor.partitionIndex,
            cursor.records,
          ]);
        expect(seen).toEqual(rows);
        expect(cursor.next()).toBe(false);
      }
    }
  });

  test('Produce refuses a request that is cut short before it yields anything', () => {
    const cursor = new ProduceRequestCursor();
    for (const one of produces) {
      const frame = encode(one, structOf(produce.request.fields, one.version, random(3)));
      const { bodyStart } = decodeRequestHeader(frame);
      for (let length = bodyStart; length < frame.length; length++) {
        const code = refusal(() => cursor.open(one.version, frame.subarray(0, length), bodyStart));
        if (code === undefined) expect.fail(`${label(one)} was read from ${length} of ${frame.length} bytes`);
      }
    }
  });

  test('Fetch', () => {
    const columns = new FetchRequestColumns();
    for (const one of fetches) {
      for (let seed = 1; seed <= 30; seed++) {
        const value = structOf(fetch.request.fields, one.version, random(seed)) as Decoded<
          typeof fetch.request.fields
        >;
        const frame = encode(one, value);
        columns.decode(one.version, frame, decodeRequestHeader(frame).bodyStart);
        const { maxWaitMs, minBytes, maxBytes, isolationLevel, sessionId, sessionEpoch, rackId } = columns;
        expect(value).toMatchObject({
          maxWaitMs,
          minBytes,
          maxBytes,
          isolationLevel,
          sessionId,
          sessionEpoch,
          rackId,
        });
        expect(columns.replicaId).toBe(one.version < 15 ? value.replicaId : value.replicaState.replicaId);
        const names = value.topics.map((topic) => (one.version < 13 ? topic.topic : topic.topicId));
        expect(columns.topics).toEqual(names);
        expect(rowsOf(columns)).toEqual(
          value.topics.flatMap((topic, t) =>
            topic.partitions.map((p) => [
              t,
              p.partition,
              p.currentLeaderEpoch,
              p.fetchOffset,
              p.partitionMaxBytes,
            ]),
          ),
        );
        const forgotten = value.forgottenTopicsData;
        expect(columns.forgottenTopics).toEqual(
          forgotten.map((f) => (one.version < 13 ? f.topic : f.topicId)),
        );
        expect([...columns.forgottenPartition.subarray(0, columns.forgottenCount)]).toEqual(
          forgotten.flatMap((f) => f.partitions),
        );
        expect([...columns.forgottenTopicOf.subarray(0, columns.forgottenCount)]).toEqual(
          forgotten.flatMap((f, t) => f.partitions.map(() => t)),
        );
      }
    }
  });

  test('Fetch grows for a large request, refuses a cut one, and gives memory back', () => {
    const columns = new FetchRequestColumns();
    const partition = { partition: 1, fetchOffset: 5, partitionMaxBytes: 7 };
    const body = {
      maxWaitMs: 1,
      minBytes: 1,
      topics: [{ topic: 't', partitions: new Array(40_000).fill(partition) }],
      forgottenTopicsData: [{ topic: 'f', partitions: new Array(300).fill(4) }],
    };
    const pieces = encodeRequest(fetch, { version: 7, correlationId: 1, clientId: null }, body);
    const frame = Buffer.concat(pieces).subarray(4);
    columns.decode(7, frame, 10);
    expect([columns.partitionCount, columns.forgottenCount, columns.fetchOffset[39_999]]).toEqual([
      40_000, 300, 5,
    ]);
    expect(refusal(() => columns.decode(7, frame.subarray(0, 1000), 10))).toBe('KAFKA_CODEC_LIMIT_EXCEEDED');
    expect(columns.partition.length).toBeLessThan(1000);
    for (const one of fetches) {
      const whole = encode(one, structOf(fetch.request.fields, one.version, random(3)));
      const { bodyStart } = decodeRequestHeader(whole);
      for (let length = bodyStart; length < whole.length; length++)
        expect(
          refusal(() => columns.decode(one.version, whole.subarray(0, length), bodyStart)),
        ).toBeDefined();
    }
  });

  function rowsOf(columns: FetchRequestColumns): unknown[] {
    return Array.from({ length: columns.partitionCount }, (_, i) => [
      columns.topicOf[i],
      columns.partition[i],
      columns.currentLeaderEpoch[i],
      columns.fetchOffset[i],
      columns.partitionMaxBytes[i],
    ]);
  }
});

test('an API may be defined outside the registry', () => {
  const ping = api(
    { key: 900, name: 'Ping', versions: '0' },
    request({ text: string() }),
    response({ text: string() }),
  );
  const frame = Buffer.concat(encodeResponse(ping, 0, 5, { text: 'x' })).subarray(4);
  expect(decodeResponse(ping, 0, frame)).toEqual({ text: 'x' });
});
