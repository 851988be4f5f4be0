import type { Clock } from '@robustmq/core';
import {
  BatchEncoder,
  batchHeaderBytes,
  codecs,
  compressBatch,
  loadZstd,
  RecordInput,
} from '@robustmq/record';
import type { Codec } from '@robustmq/record';
import { beforeAll, describe, expect, test } from 'vitest';
import { SectionDecoder } from './section-decoder.ts';

/** A clock that stands still until somebody waits, and then jumps to the moment waited for. */
class JumpingClock implements Clock {
  time = 0;

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.time;
  }

  after(delayMs: number, task: () => void): { cancel(): void } {
    setImmediate(() => {
      this.time += delayMs;
      task();
    });
    return { cancel: () => undefined };
  }
}

function batchOf(valueBytes: number, codec: Codec): { batch: Buffer; section: Buffer } {
  const encoder = new BatchEncoder({ batchBytesMax: 1 << 27 });
  encoder.append(new RecordInput().setValue(Buffer.alloc(valueBytes, 'v')));
  const plain = encoder.finish();
  // Not at the start of its buffer, as in a segment.
  const batch = Buffer.concat([Buffer.from('??'), compressBatch(codec, plain), Buffer.from('??')]);
  return { batch, section: plain.subarray(batchHeaderBytes) };
}

const decode = (decoder: SectionDecoder, batch: Buffer) => decoder.decode(batch, 2, batch.length - 2);

beforeAll(() => loadZstd());

describe('semantics 2.5: decoding client batches', () => {
  test.each(['gzip', 'snappy', 'lz4'] as const)('a small %s batch is decoded at once', (codec) => {
    const { batch, section } = batchOf(1000, codecs[codec]);
    expect(decode(new SectionDecoder(new JumpingClock()), batch)).toEqual(section);
  });

  test.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)(
    'a %s batch above 64 KiB is decoded off the event loop, in its turn',
    async (codec) => {
      const decoder = new SectionDecoder(new JumpingClock());
      const large = batchOf(300_000, codecs[codec]);
      const small = batchOf(1000, codecs.gzip);
      const done: string[] = [];
      const first = decode(decoder, large.batch);
      const second = decode(decoder, small.batch);
      expect(first).toBeInstanceOf(Promise);
      expect(second).toBeInstanceOf(Promise);
      await Promise.all([
        Promise.resolve(first).then(() => done.push('large')),
        Promise.resolve(second).then(() => done.push('small')),
      ]);
      expect(done).toEqual(['large', 'small']);
      expect((await first).equals(large.section)).toBe(true);
      expect(await second).toEqual(small.section);
      // With nothing waiting, small batches are decoded at once again.
      expect(decode(decoder, small.batch)).toEqual(small.section);
    },
  );

  test('the output of a batch is limited, and those behind it are served', async () => {
    const decoder = new SectionDecoder(new JumpingClock(), { bytesMax: 1_000_000 });
    const bomb = batchOf(2_000_000, codecs.gzip);
    const good = batchOf(900_000, codecs.gzip);
    const refused = decode(decoder, bomb.batch) as Promise<Buffer>;
    const served = decode(decoder, good.batch) as Promise<Buffer>;
    await expect(refused).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE_UNCOMPRESSED' });
    expect((await served).equals(good.section)).toBe(true);
  });

  test('a batch that only says that it is too large costs what it holds, one that is costs the limit', async () => {
    const decoder = new SectionDecoder(new JumpingClock(), {
      bytesMax: 1_000_000,
      bytesPerSecond: 1_000_000,
    });
    const told = batchOf(2_000_000, codecs.zstd);
    const code = 'BATCH_TOO_LARGE_UNCOMPRESSED';
    for (let i = 0; i < 20; i++) await expect(decode(decoder, told.batch)).rejects.toMatchObject({ code });
    expect(decoder.waits).toBe(0);
    const less = batchOf(2000, codecs.zstd).batch;
    // The size in the header of the frame: two bytes, from 256 on.
    less.writeUInt16LE(0, 2 + batchHeaderBytes + 5);
    for (let i = 0; i < 20; i++) await expect(decode(decoder, less)).rejects.toMatchObject({ code });
    expect(decoder.waits).toBe(0);
    const found = batchOf(2_000_000, codecs.gzip);
    for (let i = 0; i < 5; i++) await expect(decode(decoder, found.batch)).rejects.toMatchObject({ code });
    expect(decoder.waits).toBeGreaterThan(0);
  });

  test('what can not be decoded is refused', async () => {
    const decoder = new SectionDecoder(new JumpingClock());
    const { batch } = batchOf(1000, codecs.gzip);
    batch.fill(0x55, batchHeaderBytes + 2, batch.length - 2);
    expect(() => decode(decoder, batch)).toThrow(expect.objectContaining({ code: 'BATCH_UNDECODABLE' }));
  });

  test('a byte budget a second: above it batches wait', async () => {
    const clock = new JumpingClock();
    const decoder = new SectionDecoder(clock, { bytesPerSecond: 1_000_000 });
    const { batch, section } = batchOf(500_000, codecs.gzip);
    const small = batchOf(1000, codecs.gzip);
    for (let i = 0; i < 22; i++) expect((await decode(decoder, batch)).length).toBe(section.length);
    // The first second's bytes were there, the last batch is paid afterwards.
    expect(clock.time).toBeGreaterThanOrEqual(9000);
    expect(clock.time).toBeLessThan(11_000);
    expect(decoder.waits).toBeGreaterThan(10);
    // In debt, a small batch waits too.
    const waiting = decode(decoder, small.batch);
    expect(waiting).toBeInstanceOf(Promise);
    expect(await waiting).toEqual(small.section);
  });
});
