import { crc32c } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import { correlationAt, createTopicFrame, fetchFrame, produceFrame } from './kafka-frames.ts';
import { readFetch } from './kafka-responses.ts';
import { KafkaScanner } from './kafka-scanner.ts';
import {
  batchChecksumHolds,
  batchHeaderBytes,
  recordBatch,
  recordBatchBytes,
  eachValue,
  recordsThatFit,
} from './record-batch.ts';
import { markPayload, readMark } from './payload-mark.ts';

describe('record batch', () => {
  it('has the layout of version 2', () => {
    const bytes = recordBatch(Buffer.from('v'), 2, 0x0102030405);
    expect(bytes.toString('hex', 0, 17)).toBe('0000000000000000' + '00000041' + '00000000' + '02');
    expect(bytes.readUInt32BE(17)).toBe(crc32c(bytes.subarray(21)));
    expect(bytes.toString('hex', 21, batchHeaderBytes)).toBe(
      '0000' + '00000001' + '0000000102030405'.repeat(2) + 'ff'.repeat(14) + '00000002',
    );
    // Length 7, attributes, timestamp delta, offset delta, null key, one byte of value, no headers.
    expect(bytes.toString('hex', batchHeaderBytes)).toBe('0e00000001027600' + '0e00000201027600');
    expect(batchChecksumHolds(bytes, 0, bytes.length)).toBe(true);
    bytes[bytes.length - 1] = 1;
    expect(batchChecksumHolds(bytes, 0, bytes.length)).toBe(false);
  });

  it('knows its size, and how many records fill a batch', () => {
    for (const count of [1, 63, 64, 65, 100]) {
      expect(recordBatch(Buffer.alloc(100), count, 0).length).toBe(recordBatchBytes(100, count));
    }
    const fit = recordsThatFit(1024, 65_536);
    expect(recordBatchBytes(1024, fit)).toBeLessThanOrEqual(65_536);
    expect(recordBatchBytes(1024, fit + 1)).toBeGreaterThan(65_536);
    expect(recordsThatFit(1024, 10)).toBe(1);
  });
});

describe('values of a batch', () => {
  const valuesOf = (batch: Buffer) => {
    const values: string[] = [];
    eachValue(batch, 0, batch.length, (at, end) => values.push(batch.toString('latin1', at, end)));
    return values;
  };

  it('are found behind keys, headers and varints of any length', () => {
    const value = 'v'.repeat(300);
    expect(valuesOf(recordBatch(Buffer.from(value), 100, 0))).toEqual(
      Array.from({ length: 100 }, () => value),
    );
    // Attributes, timestamp delta of 5 bytes, offset delta, key `ab`, value `xyz`, one header of a byte each.
    const record = Buffer.from(
      '00' + '8080808010' + '02' + '04' + '6162' + '06' + '78797a' + '02' + '0268' + '0276',
      'hex',
    );
    const batch = Buffer.concat([
      recordBatch(Buffer.alloc(0), 1, 0).subarray(0, batchHeaderBytes),
      Buffer.from([record.length * 2]),
      record,
    ]);
    expect(valuesOf(batch)).toEqual(['xyz']);
    batch[22] = 1;
    expect(() => valuesOf(batch)).toThrow('compressed');
  });

  it('carry a mark that only its own load takes for its own', () => {
    const payload = Buffer.alloc(20);
    markPayload(payload, { pair: 7, tag: 0xdeadbeef });
    payload.writeUInt32BE(41, 0);
    expect(readMark(payload, 0, 20, 0xdeadbeef)).toEqual({ pair: 7, sequence: 41 });
    expect(readMark(payload, 0, 20, 0xdeadbee0)).toBeNull();
    expect(readMark(payload, 0, 11, 0xdeadbeef)).toBeNull();
  });
});

describe('Kafka frames', () => {
  it('makes requests with header version 1', () => {
    const frame = createTopicFrame('t', 3, 7);
    expect(frame.readInt32BE(0)).toBe(frame.length - 4);
    expect(frame.toString('hex', 4)).toBe(
      '0013' +
        '0004' +
        '00000007' +
        '000562656e6368' +
        '00000001' +
        '000174' +
        '00000003' +
        '0001' +
        '0000000000000000' +
        '00007530' +
        '00',
    );
  });

  it('puts the batch at the end of a produce, and the offset where a fetch says', () => {
    const batch = recordBatch(Buffer.from('v'), 1, 0);
    const { bytes: produce, partitionAt } = produceFrame('t', 4, batch);
    expect(produce.subarray(produce.length - batch.length)).toEqual(batch);
    expect(produce.readInt32BE(partitionAt)).toBe(4);
    expect(produce.readInt32BE(correlationAt)).toBe(0);
    const { bytes, offsetAt } = fetchFrame('t', 2, 1000);
    expect([bytes.readInt32BE(offsetAt - 4), bytes.readInt32BE(offsetAt + 8)]).toEqual([2, 1000]);
  });
});

describe('Kafka scanner', () => {
  const sizes = [0, 1, 3, 4, 5, 200, 7];
  const stream = Buffer.concat(sizes.map((size) => framed(Buffer.alloc(size, size))));
  const expected = sizes.map((size) => Buffer.alloc(size, size).toString('hex'));

  function scan(pieces: readonly Buffer[]): string[] {
    const frames: string[] = [];
    const scanner = new KafkaScanner(
      (bytes, at, end) => frames.push(bytes.toString('hex', at, end)),
      1_000_000,
    );
    for (const piece of pieces) {
      const chunk = Buffer.from(piece);
      scanner.push(chunk);
      chunk.fill(0xff);
    }
    return frames;
  }

  it('finds every frame wherever the stream is cut in two or three', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(scan([stream.subarray(0, cut), stream.subarray(cut)]), `cut at ${cut}`).toEqual(expected);
      const next = Math.min(cut + 3, stream.length);
      expect(scan([stream.subarray(0, cut), stream.subarray(cut, next), stream.subarray(next)])).toEqual(
        expected,
      );
    }
  });

  it('finds every frame a byte at a time, and one larger than its first buffer', () => {
    expect(scan([...stream].map((byte) => Buffer.from([byte])))).toEqual(expected);
    const large = framed(Buffer.alloc(200_000, 5));
    expect(scan([large.subarray(0, 2), large.subarray(2, 70_000), large.subarray(70_000)])).toEqual([
      large.toString('hex', 4),
    ]);
  });

  it('refuses a length that is negative or beyond the bound', () => {
    expect(() => scan([Buffer.from('ffffffff', 'hex')])).toThrow('claims -1 bytes');
    expect(() => scan([Buffer.from('7fff', 'hex'), Buffer.from('ffff', 'hex')])).toThrow(
      'claims 2147483647 bytes',
    );
  });
});

describe('Fetch response', () => {
  const one = recordBatch(Buffer.from('value'), 3, 0);
  const at = (base: number) => {
    const batch = Buffer.from(one);
    batch.writeInt32BE(base, 4);
    return batch;
  };
  const response = (records: Buffer) =>
    Buffer.concat([
      // Correlation, throttle, one topic `t`, one partition 0 without error.
      Buffer.from('00000001' + '00000000' + '00000001' + '000174' + '00000001' + '00000000' + '0000', 'hex'),
      Buffer.from('000000000000000900000000000000090000000100000000000000010000000000000002', 'hex'),
      framed(records),
    ]);

  it('counts whole batches, past aborted transactions, and leaves one that is cut short', () => {
    for (let cut = 0; cut <= one.length; cut++) {
      const records = Buffer.concat([at(3), at(6).subarray(0, cut)]);
      const whole = cut === one.length;
      expect(readFetch(response(records), 0, 4, true), `cut at ${cut}`).toEqual({
        error: 0,
        highWatermark: 9,
        records: whole ? 6 : 3,
        batchBytes: whole ? one.length * 2 : one.length,
        nextOffset: whole ? 9 : 6,
      });
    }
  });

  it('refuses a gap before or between batches, and a wrong checksum when asked to look', () => {
    expect(() => readFetch(response(at(5)), 0, 4, false)).toThrow('fetched offset 5 where 4 was next');
    expect(() => readFetch(response(Buffer.concat([at(3), at(7)])), 0, 3, false)).toThrow('where 6 was next');
    const bad = at(3);
    bad[70] = (bad[70] as number) ^ 1;
    expect(readFetch(response(bad), 0, 3, false).records).toBe(3);
    expect(() => readFetch(response(bad), 0, 3, true)).toThrow('fails its checksum');
  });
});

function framed(body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length);
  return Buffer.concat([length, body]);
}
