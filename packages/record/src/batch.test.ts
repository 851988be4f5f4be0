import { crc32c } from '@robustmq/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchEncoder, emptyBatch } from './batch-encoder.ts';
import type { BatchProblem } from './batch-header.ts';
import {
  attributeBits,
  batchHasAppendTime,
  batchHeaderBytes,
  batchMaxTimestamp,
  nextBatch,
  patchBaseOffset,
  patchLeaderEpoch,
  readBatchFields,
  stampAppendTime,
  validateBatch,
  writeBatchHeader,
} from './batch-header.ts';
import { HeaderCursor } from './header-cursor.ts';
import { HeaderEncoder } from './header-encoder.ts';
import { findOffsetByTimestamp, readRecords } from './read-records.ts';
import { RecordInput } from './record-input.ts';
import { RecordTable } from './record-table.ts';

interface PlainRecord {
  timestamp: number;
  key: Buffer | null;
  value: Buffer | null;
  headers: [Buffer, Buffer | null][];
}

function encode(
  records: readonly PlainRecord[],
  encoder = new BatchEncoder({ batchBytesMax: 1 << 24 }),
): BatchEncoder {
  const input = new RecordInput();
  const headers = new HeaderEncoder(8);
  for (const record of records) {
    headers.reset();
    for (const [name, value] of record.headers) headers.add(name, value);
    input.clear().setKey(record.key).setValue(record.value).setHeaders(headers);
    input.timestamp = record.timestamp;
    if (!encoder.append(input)) throw new Error('the records of a test fit into one batch');
  }
  return encoder;
}

function decode(batch: Buffer, table = new RecordTable()): PlainRecord[] {
  readRecords(table, batch, 0);
  const cursor = new HeaderCursor();
  return Array.from({ length: table.count }, (_, row) => {
    const headers: [Buffer, Buffer | null][] = [];
    table.headers(row, cursor);
    while (cursor.next()) {
      const name = Buffer.from(table.buffer.subarray(cursor.nameStart, cursor.nameEnd));
      const value = cursor.valueStart < 0 ? null : table.buffer.subarray(cursor.valueStart, cursor.valueEnd);
      headers.push([name, value === null ? null : Buffer.from(value)]);
    }
    const [key, value] = [table.key(row), table.value(row)];
    return {
      timestamp: table.timestamp(row),
      key: key === null ? null : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      headers,
    };
  });
}

const text = (value: string): Buffer => Buffer.from(value);
const three: PlainRecord[] = [
  {
    timestamp: 1_700_000_000_000,
    key: text('k1'),
    value: text('hello'),
    headers: [
      [text('a'), text('1')],
      [text('b'), text('two')],
    ],
  },
  { timestamp: 1_700_000_001_000, key: null, value: text('world'), headers: [] },
  { timestamp: 1_699_999_999_995, key: text('k3'), value: null, headers: [] },
];
/** `three` as the encoder of kafkajs 2.2.4 writes it, transactional, of producer 77, epoch 3, sequence 9. */
const vector = Buffer.from(
  '00000000000000000000005fffffffff02c00ee9650010000000020000018bcfe568000000018bcfe56be8000000000000004d' +
    '000300000009000000032e000000046b310a68656c6c6f040261023102620674776f1800d00f02010a776f726c6400100009' +
    '04046b330100',
  'hex',
);

const plainRecord: fc.Arbitrary<PlainRecord> = fc.record({
  timestamp: fc.oneof(fc.integer({ min: 0, max: 2 ** 40 }), fc.constantFrom(0, 1, 2 ** 41)),
  key: fc.option(fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes))),
  value: fc.option(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))),
  headers: fc.array(
    fc.tuple(
      fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
      fc.option(fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes))),
    ),
    { maxLength: 4 },
  ),
});

describe('record batch v2: bytes', () => {
  it('are those of another implementation', () => {
    const fields = {
      producerId: 77,
      producerEpoch: 3,
      baseSequence: 9,
      attributes: attributeBits.transactional,
    };
    expect(encode(three).finish(fields).toString('hex')).toBe(vector.toString('hex'));
    expect(decode(vector)).toEqual(three);
    expect(validateBatch(vector, 0, vector.length)).toBeNull();
    expect(readBatchFields(vector, 0)).toMatchObject({
      lastOffsetDelta: 2,
      recordCount: 3,
      maxTimestamp: 1_700_000_001_000,
      ...fields,
    });
  });

  it('come back as they went in, whatever the records', () => {
    const encoder = new BatchEncoder({ batchBytesMax: 1 << 24, initialBytes: 1 });
    const table = new RecordTable();
    fc.assert(
      fc.property(fc.array(plainRecord, { minLength: 1, maxLength: 80 }), fc.nat(), (records, baseOffset) => {
        const batch = encode(records, encoder).finish({ baseOffset });
        expect(validateBatch(batch, 0, batch.length)).toBeNull();
        expect(decode(batch, table)).toEqual(records);
        expect([table.offset(0), table.offset(records.length - 1)]).toEqual([
          baseOffset,
          baseOffset + records.length - 1,
        ]);
        expect(batchMaxTimestamp(batch, 0)).toBe(Math.max(...records.map((record) => record.timestamp)));
      }),
      { numRuns: 60 },
    );
  });

  it('a row goes into another batch as it is', () => {
    const from = new RecordTable();
    readRecords(from, vector, 0);
    const encoder = new BatchEncoder();
    const input = new RecordInput();
    for (let row = 0; row < from.count; row++) expect(encoder.append(from.toInput(row, input))).toBe(true);
    expect(decode(encoder.finish())).toEqual(three);
  });

  it('of long keys, many records and far timestamps use longer integers', () => {
    const long = Array.from({ length: 9000 }, (_, at) => ({
      timestamp: at % 2 === 0 ? 0 : 2 ** 51,
      key: at % 1000 === 0 ? Buffer.alloc(70_000, at) : text(`${at}`),
      value: null,
      headers: [],
    }));
    const encoder = new BatchEncoder({ batchBytesMax: 1 << 24 });
    const batch = encode(long, encoder).finish();
    const found = decode(batch);
    for (const at of [0, 1, 63, 64, 8191, 8192, 8999]) expect(found[at]).toEqual(long[at]);
    expect(encode(found, encoder).finish().equals(batch)).toBe(true);
  });
});

describe('BatchEncoder', () => {
  const input = (bytes: number, timestamp = 1): RecordInput => {
    const record = new RecordInput().setValue(Buffer.alloc(bytes));
    record.timestamp = timestamp;
    return record;
  };

  it('refuses the record that would not fit, with nothing changed, and takes one larger record alone', () => {
    const encoder = new BatchEncoder({ batchBytesMax: 500 });
    expect(encoder.append(input(300))).toBe(true);
    const { bytes } = encoder;
    expect(encoder.append(input(300))).toBe(false);
    expect([encoder.bytes, encoder.count]).toEqual([bytes, 1]);
    expect(encoder.finish()).toHaveLength(bytes);
    expect(encoder.append(input(5000))).toBe(true);
    expect(encoder.append(input(0))).toBe(false);
    expect(decode(encoder.finish())).toHaveLength(1);
  });

  it('fills a batch to exactly its limit', () => {
    for (let size = 100; size < 140; size++) {
      const encoder = new BatchEncoder({ batchBytesMax: 1000, initialBytes: 200 });
      while (encoder.append(input(size)));
      const { count } = encoder;
      const batch = encoder.finish();
      expect(batch.length).toBeLessThanOrEqual(1000);
      expect(batch.length + size + 20).toBeGreaterThan(1000);
      expect(validateBatch(batch, 0, batch.length)).toBeNull();
      expect(readBatchFields(batch, 0).recordCount).toBe(count);
    }
  });

  it('gives away bytes that it never touches again', () => {
    const encoder = new BatchEncoder({ initialBytes: 200 });
    const batches: [Buffer, string][] = [];
    for (const size of [10, 4000, 1, 30_000, 5, 5, 5, 2000]) {
      encoder.append(input(size));
      const batch = encoder.finish();
      batches.push([batch, batch.toString('hex')]);
    }
    for (const [batch, hex] of batches) expect(batch.toString('hex')).toBe(hex);
  });

  it('refuses records that are too large, and timestamps that are no safe distance apart', () => {
    const encoder = new BatchEncoder({ recordBytesMax: 1000 });
    expect(() => encoder.append(input(2000))).toThrow(expect.objectContaining({ code: 'RECORD_TOO_LARGE' }));
    for (const timestamp of [0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
      expect(() => encoder.append(input(1, timestamp))).toThrow(
        expect.objectContaining({ code: 'RECORD_TIMESTAMP' }),
      );
    }
    expect(encoder.append(input(1, 0))).toBe(true);
    expect(() => encoder.append(input(1, 2 ** 52))).toThrow(
      expect.objectContaining({ code: 'RECORD_TIMESTAMP' }),
    );
    expect(decode(encoder.finish())).toHaveLength(1);
  });

  it('reset drops what was appended', () => {
    const encoder = encode(three);
    encoder.reset();
    expect([encoder.count, encoder.baseTimestamp, encoder.maxTimestamp]).toEqual([0, -1, -1]);
    expect(decode(encode(three.slice(1), encoder).finish())).toEqual(three.slice(1));
  });
});

describe('validateBatch', () => {
  function resealed(change: (batch: Buffer) => void): Buffer {
    const batch = Buffer.from(vector);
    change(batch);
    batch.writeUInt32BE(crc32c(batch.subarray(21)), 17);
    return batch;
  }

  const cases: [string, Buffer, BatchProblem | null][] = [
    ['a sound batch', vector, null],
    ['another magic', resealed((batch) => batch.writeInt8(1, 16)), 'BATCH_MAGIC'],
    ['a length below a header', resealed((batch) => batch.writeInt32BE(40, 8)), 'BATCH_LENGTH'],
    ['a negative length', resealed((batch) => batch.writeInt32BE(-1, 8)), 'BATCH_LENGTH'],
    ['a length beyond the bytes', resealed((batch) => batch.writeInt32BE(1000, 8)), 'BATCH_TRUNCATED'],
    ['bytes behind it', Buffer.concat([vector, Buffer.alloc(1)]), 'BATCH_TRAILING'],
    ['an unknown codec', resealed((batch) => batch.writeInt16BE(5, 21)), 'BATCH_CODEC'],
    ['a count of zero', resealed((batch) => batch.writeInt32BE(0, 57)), 'BATCH_COUNT'],
    ['a negative count', resealed((batch) => batch.writeInt32BE(-3, 57)), 'BATCH_COUNT'],
    [
      'a count that the bytes can’t hold',
      resealed((batch) => {
        batch.writeInt32BE(1_000_000, 57);
        batch.writeInt32BE(999_999, 23);
      }),
      'BATCH_COUNT',
    ],
    ['a last offset that is not the count’s', resealed((batch) => batch.writeInt32BE(5, 23)), 'BATCH_COUNT'],
    [
      'a base offset above the safe integers',
      resealed((batch) => batch.writeInt32BE(0x20_0000, 0)),
      'BATCH_RANGE',
    ],
    ['a timestamp above them', resealed((batch) => batch.writeInt32BE(0x7fff_ffff, 35)), 'BATCH_RANGE'],
    ['a producer id below them', resealed((batch) => batch.writeInt32BE(-0x7fff_ffff, 43)), 'BATCH_RANGE'],
  ];
  for (const [title, batch, problem] of cases) {
    it(`${title}: ${problem ?? 'nothing wrong'}`, () => {
      expect(validateBatch(batch, 0, batch.length)).toBe(problem);
      const inside = Buffer.concat([Buffer.alloc(5), batch, Buffer.alloc(5)]);
      expect(validateBatch(inside, 5, 5 + batch.length)).toBe(problem);
    });
  }

  it('finds any flipped bit that its checksum covers, and never throws', () => {
    for (let bit = 17 * 8; bit < vector.length * 8; bit++) {
      const batch = Buffer.from(vector);
      batch[bit >> 3] = batch[bit >> 3]! ^ (1 << (bit & 7));
      expect(validateBatch(batch, 0, batch.length)).toBe('BATCH_CRC');
    }
  });

  it('never throws on any bytes or any cut, and takes only whole batches', () => {
    for (let length = 0; length < vector.length; length++) {
      expect(validateBatch(vector.subarray(0, length), 0, length)).toBe('BATCH_TRUNCATED');
      expect(nextBatch(vector, 0, length)).toBe(-1);
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 200 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        expect(validateBatch(buffer, 0, buffer.length)).not.toBeNull();
        nextBatch(buffer, 0);
      }),
    );
  });

  it('a sparse batch may have fewer records than offsets, a dense one not', () => {
    const empty = emptyBatch({ lastOffsetDelta: 4, baseOffset: 10, producerId: 5 });
    expect(validateBatch(empty, 0, empty.length)).toBe('BATCH_COUNT');
    expect(validateBatch(empty, 0, empty.length, 'sparse')).toBeNull();
    expect(decode(empty)).toEqual([]);
  });

  it('offset and epoch are patched without breaking the checksum, the time of append with a new one', () => {
    const batch = Buffer.from(vector);
    patchBaseOffset(batch, 0, 2 ** 40);
    patchLeaderEpoch(batch, 0, 12);
    expect(validateBatch(batch, 0, batch.length)).toBeNull();
    expect(readBatchFields(batch, 0)).toMatchObject({ baseOffset: 2 ** 40, leaderEpoch: 12 });
    stampAppendTime(batch, 0, 5000);
    expect([validateBatch(batch, 0, batch.length), batchHasAppendTime(batch, 0)]).toEqual([null, true]);
    expect(decode(batch).map((record) => record.timestamp)).toEqual([5000, 5000, 5000]);
  });

  it('batches in a row are visited one by one', () => {
    const row = Buffer.concat([vector, vector, vector.subarray(0, 70)]);
    const starts: number[] = [];
    for (let at = 0, next = nextBatch(row, 0); next !== -1; at = next, next = nextBatch(row, at))
      starts.push(at);
    expect(starts).toEqual([0, vector.length]);
  });
});

describe('RecordTable: what the network may send', () => {
  const malformed = expect.objectContaining({ code: 'RECORD_MALFORMED' }) as Error;
  const section = vector.subarray(batchHeaderBytes);

  function read(bytes: Buffer, count: number, lastOffsetDelta?: number): RecordTable {
    const frame = lastOffsetDelta === undefined ? { count } : { count, lastOffsetDelta };
    return new RecordTable().read(bytes, 0, bytes.length, frame);
  }

  it('a count that lies is refused, before anything is allocated for it', () => {
    for (const count of [-1, 0, 1, 2, 4, 5, 2 ** 31 - 1]) {
      expect(() => read(section, count), `${count}`).toThrow(malformed);
    }
    expect(read(section, 3).count).toBe(3);
    expect(() => read(section, 3, 1)).toThrow(malformed);
    expect(() => new RecordTable({ recordsMax: 2 }).read(section, 0, section.length, { count: 3 })).toThrow(
      expect.objectContaining({ code: 'BATCH_TOO_MANY_RECORDS' }),
    );
  });

  it('a section that is cut anywhere is refused', () => {
    for (let length = 0; length < section.length; length++) {
      expect(() => read(section.subarray(0, length), 3), `${length}`).toThrow(malformed);
    }
  });

  it('any changed byte is read as other records or refused; nothing else happens, and a failed table is empty', () => {
    for (let at = 0; at < section.length; at++) {
      for (const value of [0, 1, 2, 3, 0x7f, 0x80, 0xff]) {
        const bytes = Buffer.from(section);
        bytes[at] = value;
        const table = new RecordTable();
        try {
          table.read(bytes, 0, bytes.length, { count: 3 });
        } catch (error) {
          expect(error).toEqual(malformed);
          expect(table.count).toBe(0);
          continue;
        }
        for (let row = 0; row < 3; row++) {
          const cursor = table.headers(row, new HeaderCursor());
          let headers = 0;
          while (cursor.next()) headers++;
          expect(headers).toBe(table.headerCount[row]);
          for (const part of [table.key(row), table.value(row)]) {
            if (part !== null)
              expect(part.byteOffset + part.length).toBeLessThanOrEqual(bytes.byteOffset + bytes.length);
          }
        }
      }
    }
  });

  it('any bytes at all are read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.integer({ min: 0, max: 12 }), (bytes, count) => {
        const buffer = Buffer.from(bytes);
        try {
          read(buffer, count);
        } catch (error) {
          expect(error).toEqual(malformed);
        }
      }),
      { numRuns: 2000 },
    );
  });

  for (const [title, hex] of [
    ['offsets that do not rise', '0c000000010000' + '0c000000010000'],
    ['a record longer than its fields', '0e00000001000000'],
    ['a negative record length', '01000000010000'],
    ['a key length below -1', '0c000000030100'],
    ['a negative header count', '0c000000010101'],
    ['a header count above its bytes', '0c0000000101fe'],
    ['a header with a null name', '10000000010102' + '0100'],
    ['a header that is cut off', '10000000010102' + '0a61'],
    ['an integer of six bytes', 'ffffffffff0f000000010000'],
  ] as const) {
    it(`${title} is refused`, () => {
      const bytes = Buffer.from(hex, 'hex');
      expect(() => read(bytes, title.startsWith('offsets') ? 2 : 1)).toThrow(malformed);
    });
  }

  it('a table that was large is given back, and used again meanwhile', () => {
    const table = new RecordTable();
    const many = Array.from({ length: 70_000 }, () => three[1]!);
    readRecords(table, encode(many).finish(), 0);
    expect(table.keyStart.length).toBeGreaterThanOrEqual(70_000);
    const kept = table.keyStart;
    readRecords(table, encode(many.slice(0, 20_000)).finish(), 0);
    expect(table.keyStart).toBe(kept);
    readRecords(table, vector, 0);
    expect(table.keyStart.length).toBeLessThanOrEqual(65_536);
    expect(decode(vector, table)).toEqual(three);
  });
});

describe('HeaderCursor', () => {
  const encoder = new HeaderEncoder(2);
  encoder
    .addText('x', '1')
    .addText('y', null)
    .addText('x', '2')
    .addText('', '')
    .addText('long', 'v'.repeat(200));

  it('walks headers in order, duplicates and nulls kept, and finds by name behind where it stands', () => {
    const cursor = new HeaderCursor().open(encoder.buffer, 0, encoder.length, encoder.count);
    const found: [string, string | null][] = [];
    while (cursor.next()) {
      const value =
        cursor.valueStart < 0 ? null : encoder.buffer.toString('utf8', cursor.valueStart, cursor.valueEnd);
      found.push([encoder.buffer.toString('utf8', cursor.nameStart, cursor.nameEnd), value]);
    }
    expect(found).toEqual([
      ['x', '1'],
      ['y', null],
      ['x', '2'],
      ['', ''],
      ['long', 'v'.repeat(200)],
    ]);
    cursor.open(encoder.buffer, 0, encoder.length, encoder.count);
    const values: string[] = [];
    while (cursor.find(text('x')))
      values.push(encoder.buffer.toString('utf8', cursor.valueStart, cursor.valueEnd));
    expect(values).toEqual(['1', '2']);
    expect(cursor.next()).toBe(false);
  });

  it('a block that is cut anywhere is refused, not read beyond', () => {
    for (let end = 0; end < encoder.length; end++) {
      const cursor = new HeaderCursor().open(encoder.buffer, 0, end, encoder.count);
      expect(() => {
        while (cursor.next());
      }).toThrow(expect.objectContaining({ code: 'RECORD_MALFORMED' }));
    }
  });
});

describe('findOffsetByTimestamp', () => {
  it('gives the first record that is young enough, in the order of offsets', () => {
    const table = new RecordTable();
    const batch = Buffer.from(vector);
    patchBaseOffset(batch, 0, 100);
    readRecords(table, batch, 0);
    expect(findOffsetByTimestamp(table, 0)).toEqual({ offset: 100, timestamp: 1_700_000_000_000 });
    expect(findOffsetByTimestamp(table, 1_700_000_000_001)).toEqual({
      offset: 101,
      timestamp: 1_700_000_001_000,
    });
    expect(findOffsetByTimestamp(table, 1_700_000_001_001)).toBeNull();
  });
});

describe('writeBatchHeader', () => {
  it('writes what readBatchFields reads', () => {
    fc.assert(
      fc.property(
        fc.record({
          baseOffset: fc.maxSafeNat(),
          leaderEpoch: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
          attributes: fc.integer({ min: 0, max: 0x7f }),
          lastOffsetDelta: fc.nat(),
          baseTimestamp: fc.maxSafeInteger(),
          maxTimestamp: fc.maxSafeInteger(),
          producerId: fc.integer({ min: -1 }),
          producerEpoch: fc.integer({ min: -1, max: 0x7fff }),
          baseSequence: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
          recordCount: fc.nat(),
        }),
        (fields) => {
          const bytes = Buffer.alloc(batchHeaderBytes + 10, 9);
          writeBatchHeader(bytes, 3, 3 + batchHeaderBytes, fields);
          expect(readBatchFields(bytes, 3)).toEqual(fields);
          expect(
            [bytes.subarray(0, 3), bytes.subarray(-7)].every((part) => part.every((byte) => byte === 9)),
          ).toBe(true);
        },
      ),
    );
  });
});
