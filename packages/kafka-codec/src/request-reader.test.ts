import { describe, expect, test } from 'vitest';
import { ownedRequestBytesMin, RequestReader } from './request-reader.ts';

function frame(body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length);
  return Buffer.concat([length, body]);
}

function filled(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + seed) & 255));
}

/** Feeds the bytes in the given sizes, then the rest; every frame is copied when it is reported. */
function cut(bytes: Buffer, sizes: (at: number) => number, maxRequestBytes = 1 << 20): Buffer[] {
  const reader = new RequestReader({ maxRequestBytes });
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = Math.max(1, sizes(at));
    // A chunk of its own, wiped afterwards: what the reader keeps must be a copy.
    const chunk = Buffer.from(bytes.subarray(at, at + size));
    reader.push(chunk, (each) => frames.push(Buffer.from(each)));
    chunk.fill(0xee);
    at += size;
  }
  expect(reader.bufferedBytes).toBe(0);
  return frames;
}

describe('RequestReader', () => {
  const bodies = [
    filled(0, 1),
    filled(1, 2),
    filled(30, 3),
    filled(ownedRequestBytesMin - 1, 4),
    filled(50, 5),
  ];
  const stream = Buffer.concat(bodies.map(frame));

  test('two chunks, split at every byte', () => {
    const short = [filled(0, 1), filled(1, 2), filled(30, 3), filled(5, 4)];
    const bytes = Buffer.concat(short.map(frame));
    for (let split = 1; split < bytes.length; split++)
      expect(
        cut(bytes, (at) => (at === 0 ? split : bytes.length)),
        `split at ${split}`,
      ).toEqual(short);
  });

  test('chunks of one size, from single bytes to all at once', () => {
    for (const size of [1, 2, 3, 5, 7, 1000, ownedRequestBytesMin, stream.length])
      expect(
        cut(stream, () => size),
        `chunks of ${size}`,
      ).toEqual(bodies);
  });

  test('large frames across chunks arrive whole', () => {
    const large = [filled(300_000, 1), filled(9, 2), filled(3_000_000, 3), filled(ownedRequestBytesMin, 4)];
    const bytes = Buffer.concat(large.map(frame));
    for (const size of [4093, 65_536, bytes.length]) {
      const frames = cut(bytes, () => size, 1 << 22);
      expect(frames.length).toBe(large.length);
      expect(frames.every((each, i) => each.equals(large[i] as Buffer))).toBe(true);
    }
  });

  test('a large frame has a buffer of exactly its size even if it came in one chunk', () => {
    const reader = new RequestReader({ maxRequestBytes: 1 << 20 });
    const chunk = frame(filled(ownedRequestBytesMin, 1));
    reader.push(chunk, (each) => {
      expect(each.buffer).not.toBe(chunk.buffer);
      expect(each.buffer.byteLength).toBe(ownedRequestBytesMin);
    });
    expect.assertions(2);
  });

  test('memory follows what was received, not what was declared', () => {
    const reader = new RequestReader({ maxRequestBytes: 100 << 20 });
    const unexpected = (): void => expect.fail('no frame is complete');
    reader.push(Buffer.from('06400000', 'hex'), unexpected);
    expect(reader.bufferedBytes).toBe(0);
    reader.push(Buffer.alloc(3), unexpected);
    expect([reader.bufferedBytes, reader.receivedBytes]).toEqual([128 * 1024, 3]);
    reader.push(Buffer.alloc(140_000), unexpected);
    expect([reader.bufferedBytes, reader.receivedBytes]).toEqual([1024 * 1024, 140_003]);
    for (let received = 140_003; received < 20 << 20; received += 65_536) {
      reader.push(Buffer.alloc(65_536), unexpected);
      expect(reader.bufferedBytes).toBeLessThanOrEqual(Math.max(1 << 20, 2 * (received + 65_536)));
    }
  });

  test('a length that is negative or too large is refused, and nothing is read after it', () => {
    for (const bad of ['ffffffff', '80000000', '00000401']) {
      const reader = new RequestReader({ maxRequestBytes: 1024 });
      const bytes = Buffer.from(`${bad}${'00'.repeat(8)}`, 'hex');
      const push = (): void => reader.push(bytes, () => expect.fail('no frame is complete'));
      expect(push).toThrow(expect.objectContaining({ code: 'KAFKA_CODEC_FRAME_LENGTH' }));
      expect(push).not.toThrow();
    }
    const raised = new RequestReader({ maxRequestBytes: 16 });
    raised.maxRequestBytes = 2048;
    const seen: number[] = [];
    raised.push(frame(filled(1025, 1)), (each) => seen.push(each.length));
    expect(seen).toEqual([1025]);
  });

  test('stop within a callback drops the frames behind it', () => {
    const reader = new RequestReader({ maxRequestBytes: 1024 });
    const seen: number[] = [];
    reader.push(Buffer.concat([frame(filled(3, 1)), frame(filled(4, 1))]), (each) => {
      seen.push(each.length);
      reader.stop();
    });
    reader.push(frame(filled(5, 1)), (each) => seen.push(each.length));
    expect(seen).toEqual([3]);
  });
});
