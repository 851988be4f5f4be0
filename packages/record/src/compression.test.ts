import { gzipSync } from 'node:zlib';
import { RobustError } from '@robustmq/core';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { BatchEncoder } from './batch-encoder.ts';
import type { CodecName } from './batch-header.ts';
import { batchCodec, batchHeaderBytes, codecs, validateBatch, writeBatchHeader } from './batch-header.ts';
import { compressBatch, decompressBatch, decompressBatchAsync } from './compression.ts';
import { readRecords } from './read-records.ts';
import { RecordInput } from './record-input.ts';
import { RecordTable } from './record-table.ts';
import { loadZstd } from './zstd-codec.ts';

const mebibyte = 1024 * 1024;
const compressed = ['gzip', 'snappy', 'lz4', 'zstd'] as const;

beforeAll(() => loadZstd());

/** A batch whose records section is `section`, said to be compressed by `codec`. */
function batchOf(codec: CodecName, section: Buffer): Buffer {
  const batch = Buffer.concat([Buffer.alloc(batchHeaderBytes), section]);
  writeBatchHeader(batch, 0, batch.length, {
    baseOffset: 0,
    leaderEpoch: -1,
    attributes: codecs[codec],
    lastOffsetDelta: 0,
    baseTimestamp: 0,
    maxTimestamp: 0,
    producerId: -1,
    producerEpoch: -1,
    baseSequence: -1,
    recordCount: 1,
  });
  return batch;
}

function compress(codec: CodecName, section: Buffer): Buffer {
  return compressBatch(codecs[codec], batchOf('none', section));
}

/** What either way gives: bytes, or the code of the error. */
async function outcomes(batch: Buffer, maxBytes = mebibyte): Promise<(Buffer | string)[]> {
  const codeOf = (error: unknown): string => {
    if (error instanceof RobustError) return error.code;
    throw error;
  };
  let sync: Buffer | string;
  try {
    sync = decompressBatch(batch, 0, batch.length, { maxBytes });
  } catch (error) {
    sync = codeOf(error);
  }
  return [sync, await decompressBatchAsync(batch, 0, batch.length, { maxBytes }).catch(codeOf)];
}

function mixed(bytes: number): Buffer {
  const content = Buffer.alloc(bytes, 'records of some text, ');
  for (let at = 0; at < bytes; at += 7) content[at] = (at * 2654435761) >>> 24;
  return content;
}

describe('every codec', () => {
  for (const codec of compressed) {
    it(`${codec}: gives back what went in, at once and off the event loop, below and above the inline size`, async () => {
      for (const bytes of [1, 2, 100, 32 * 1024, 32 * 1024 + 1, 64 * 1024, 300_000]) {
        const content = mixed(bytes);
        const batch = compress(codec, content);
        expect([validateBatch(batch, 0, batch.length), batchCodec(batch, 0)]).toEqual([null, codecs[codec]]);
        for (const outcome of await outcomes(batch)) {
          expect(Buffer.isBuffer(outcome) && outcome.equals(content), `${bytes}`).toBe(true);
        }
      }
    });

    it(`${codec}: any bytes`, () => {
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 1, maxLength: 2000 }), (bytes) => {
          const batch = compress(codec, Buffer.from(bytes));
          expect(decompressBatch(batch, 0, batch.length).equals(bytes)).toBe(true);
        }),
        { numRuns: 50 },
      );
    });

    it(`${codec}: a limit is exact: at it, and not one byte above`, async () => {
      for (const bytes of [1000, 200_000]) {
        const batch = compress(codec, mixed(bytes));
        for (const outcome of await outcomes(batch, bytes)) expect(outcome).toHaveLength(bytes);
        expect(await outcomes(batch, bytes - 1)).toEqual([
          'BATCH_TOO_LARGE_UNCOMPRESSED',
          'BATCH_TOO_LARGE_UNCOMPRESSED',
        ]);
      }
    });

    it(`${codec}: a bomb is stopped before it is in memory`, async () => {
      const batch = compress(codec, Buffer.alloc(16 * mebibyte));
      expect(batch.length).toBeLessThan(2 * mebibyte);
      const before = process.memoryUsage().arrayBuffers;
      expect(await outcomes(batch)).toEqual(['BATCH_TOO_LARGE_UNCOMPRESSED', 'BATCH_TOO_LARGE_UNCOMPRESSED']);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * mebibyte);
    });

    it(`${codec}: cut anywhere it is refused`, async () => {
      const batch = compress(codec, mixed(400));
      for (let end = batchHeaderBytes; end < batch.length; end++) {
        for (const outcome of await outcomes(batch.subarray(0, end))) {
          // Zstd frames and the blocks of a snappy stream follow each other, so there may be none; then nothing comes out.
          const head = codec === 'zstd' ? 0 : codec === 'snappy' ? 16 : -1;
          if (end - batchHeaderBytes === head) expect(outcome).toHaveLength(0);
          else expect(outcome, `${end}`).toBe('BATCH_UNDECODABLE');
        }
      }
    });

    it(`${codec}: with any byte changed it is refused, or gives bytes within the limit, and both ways agree`, async () => {
      const batch = compress(codec, mixed(400));
      const step = codec === 'zstd' ? 3 : 1;
      for (let at = batchHeaderBytes; at < batch.length; at += step) {
        const damaged = Buffer.from(batch);
        damaged[at] = damaged[at]! ^ (1 + (at % 255));
        const [sync, async] = await outcomes(damaged, 64 * 1024);
        if (typeof sync === 'string') {
          expect(['BATCH_UNDECODABLE', 'BATCH_TOO_LARGE_UNCOMPRESSED']).toContain(sync);
          expect(async).toBe(sync);
        } else expect(Buffer.isBuffer(async) && async.equals(sync!)).toBe(true);
      }
    });

    it(`${codec}: bytes of another format are refused`, async () => {
      for (const hex of [
        '',
        '00',
        'ff'.repeat(64),
        '00'.repeat(64),
        '1f8b',
        '04224d18',
        '28b52ffd',
        '82534e415050590000',
      ]) {
        for (const outcome of await outcomes(batchOf(codec, Buffer.from(hex, 'hex')))) {
          // A raw snappy block may be empty, and there may be no zstd frame.
          const empty = codec === 'snappy' ? '00' : codec === 'zstd' ? '' : null;
          if (hex === empty) expect(outcome).toHaveLength(0);
          else expect(outcome, hex).toBe('BATCH_UNDECODABLE');
        }
      }
    });
  }

  it('records come out of a compressed batch as of an uncompressed one', async () => {
    const encoder = new BatchEncoder();
    const input = new RecordInput();
    for (let at = 0; at < 50; at++) {
      input.timestamp = 1000 + at;
      encoder.append(input.setKey(Buffer.from(`k${at}`)).setValue(Buffer.alloc(40, at)));
    }
    const plain = encoder.finish({ baseOffset: 7 });
    for (const codec of compressed) {
      const batch = compressBatch(codecs[codec], plain);
      const records = await decompressBatchAsync(batch, 0, batch.length);
      for (const section of [undefined, records]) {
        const table = readRecords(new RecordTable(), batch, 0, section);
        expect([table.count, table.offset(49), table.timestamp(49)]).toEqual([50, 56, 1049]);
        expect(table.key(49)!.toString()).toBe('k49');
      }
    }
  });

  it('no codec: the section itself, without a copy', async () => {
    const batch = batchOf('none', Buffer.from('abc'));
    for (const outcome of await outcomes(batch)) {
      expect((outcome as Buffer).toString()).toBe('abc');
      expect((outcome as Buffer).buffer).toBe(batch.buffer);
    }
  });

  it('an unknown codec number is refused', async () => {
    const batch = batchOf('none', Buffer.from('abc'));
    batch.writeInt16BE(6, 21);
    expect(await outcomes(batch)).toEqual(['BATCH_UNDECODABLE', 'BATCH_UNDECODABLE']);
  });
});

/** Sections as the command line tools and other clients write them. */
describe('what others write', () => {
  const text = 'records records records records records records 0123456789 records records';
  const zstdHead = '28b52ffd';
  const stream = '82534e4150505900' + '00000001' + '00000001';
  const raw = (part: string): string =>
    Buffer.concat([Buffer.from([part.length, (part.length - 1) << 2]), Buffer.from(part)]).toString('hex');

  for (const [title, codec, hex, content] of [
    [
      'gzip 1.12',
      'gzip',
      '1f8b08000000000000032b4a4dce2f4a29562822923630343236313533b7b0449702001fd78cb04a000000',
      text,
    ],
    [
      'lz4 with a content checksum',
      'lz4',
      '04224d186440a71f0000008f7265636f72647320080015a730313233343536373839330050636f72647300000000031f4df4',
      text,
    ],
    [
      'lz4 with block checksums',
      'lz4',
      '04224d187440bd1f0000008f7265636f72647320080015a730313233343536373839330050636f72647359c693b400000000031f4df4',
      text,
    ],
    [
      'zstd with size and checksum',
      'zstd',
      '28b52ffd244add0000907265636f726473203031323334353637383902005621e8cac205c70a500a',
      text,
    ],
    [
      'zstd as a stream, without a size',
      'zstd',
      '28b52ffd0058dd0000907265636f726473203031323334353637383902005621e8cac205',
      text,
    ],
    ['a zstd raw block, by hand', 'zstd', `${zstdHead}2003` + '190000' + '616263', 'abc'],
    ['two zstd frames', 'zstd', `${zstdHead}2003190000616263`.repeat(2), 'abcabc'],
    ['a snappy raw block', 'snappy', raw('hello'), 'hello'],
    ['a snappy stream of two blocks', 'snappy', `${stream}00000004${raw('ab')}00000003${raw('c')}`, 'abc'],
    ['two snappy streams', 'snappy', `${stream}00000004${raw('ab')}`.repeat(2), 'abab'],
    ['an lz4 stored block', 'lz4', '04224d186040820300008061626300000000', 'abc'],
  ] as const) {
    it(title, async () => {
      for (const outcome of await outcomes(batchOf(codec, Buffer.from(hex, 'hex')))) {
        expect(Buffer.isBuffer(outcome) ? outcome.toString() : outcome).toBe(content);
      }
    });
  }
});

describe('bombs that lie', () => {
  const tooLarge = ['BATCH_TOO_LARGE_UNCOMPRESSED', 'BATCH_TOO_LARGE_UNCOMPRESSED'];

  it('gzip whose trailer says less than it gives', async () => {
    const section = gzipSync(Buffer.alloc(5 * mebibyte));
    section.writeUInt32LE(10, section.length - 4);
    for (const outcome of await outcomes(batchOf('gzip', section))) {
      expect(['BATCH_TOO_LARGE_UNCOMPRESSED', 'BATCH_UNDECODABLE']).toContain(outcome);
    }
  });

  it('zstd runs of one byte without a content size: 128 KiB for every 4 bytes', async () => {
    const block = Buffer.from([0, 0, 0, 0x41]);
    block.writeUIntLE(((128 * 1024) << 3) | (1 << 1), 0, 3);
    const head = Buffer.from('28b52ffd0058', 'hex');
    const last = Buffer.from('010000', 'hex');
    const bomb = Buffer.concat([head, ...Array.from({ length: 2000 }, () => block), last]);
    expect(await outcomes(batchOf('zstd', bomb))).toEqual(tooLarge);
    const small = Buffer.concat([head, block, last]);
    for (const outcome of await outcomes(batchOf('zstd', small))) expect(outcome).toHaveLength(128 * 1024);
  });

  it('zstd that declares a petabyte', async () => {
    const declared = Buffer.from('28b52ffde0' + '0000000000000400' + '190000' + '616263', 'hex');
    for (const outcome of await outcomes(batchOf('zstd', declared))) {
      expect(['BATCH_TOO_LARGE_UNCOMPRESSED', 'BATCH_UNDECODABLE']).toContain(outcome);
    }
  });

  it('snappy that declares 4 GiB in a few bytes', async () => {
    expect(await outcomes(batchOf('snappy', Buffer.from('ffffffff0f00', 'hex')))).toEqual([
      'BATCH_UNDECODABLE',
      'BATCH_UNDECODABLE',
    ]);
  });

  it('many small frames or blocks that are too much only together', async () => {
    const frame = Buffer.from('28b52ffd2003190000616263', 'hex');
    const frames = batchOf('zstd', Buffer.concat(Array.from({ length: 200 }, () => frame)));
    expect(await outcomes(frames, 599)).toEqual(tooLarge);
    for (const outcome of await outcomes(frames, 600)) expect(outcome).toHaveLength(600);
    const tooMany = batchOf('zstd', Buffer.concat(Array.from({ length: 1000 }, () => frame)));
    expect(await outcomes(tooMany)).toEqual(['BATCH_UNDECODABLE', 'BATCH_UNDECODABLE']);
  });

  it('the event loop goes on while a large section is decompressed', async () => {
    for (const codec of compressed) {
      const batch = compress(codec, mixed(6 * mebibyte));
      let turns = 0;
      let over = false;
      const count = (): void => {
        turns++;
        if (!over) setImmediate(count);
      };
      setImmediate(count);
      await decompressBatchAsync(batch, 0, batch.length);
      over = true;
      // On the event loop it would be over before the first.
      expect(turns, codec).toBeGreaterThan(0);
    }
  });

  it('more zstd frames than may wait are refused as busy, and the others come', async () => {
    const batch = compress('zstd', mixed(100_000));
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, () => decompressBatchAsync(batch, 0, batch.length)),
    );
    const done = results.filter((result) => result.status === 'fulfilled');
    expect(done.length).toBeGreaterThanOrEqual(32);
    for (const result of results) {
      if (result.status === 'rejected') {
        expect(result.reason).toMatchObject({ code: 'BATCH_CODEC_BUSY', retriable: true });
      } else expect(result.value).toHaveLength(100_000);
    }
  });
});
