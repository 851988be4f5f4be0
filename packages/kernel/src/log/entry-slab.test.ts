import { expect, test } from 'vitest';
import { EntrySlab } from './entry-slab.ts';

const headerBytes = 64;

test('regression: small entries kept all that was cut beside them from the same memory', () => {
  const slab = new EntrySlab();
  const held = new Set<ArrayBufferLike>();
  let counted = 0;
  for (let entry = 0; entry < 1000; entry++) {
    const header = Buffer.allocUnsafe(headerBytes).fill(entry);
    const payload = [Buffer.from(`batch ${entry}`), Buffer.from('another')];
    // What others cut meanwhile.
    for (let at = 0; at < 10; at++) Buffer.allocUnsafe(1000);
    const payloadBytes = payload[0]!.length + payload[1]!.length;
    const [ownHeader, ownPayload] = slab.own(header, payload, payloadBytes);
    expect([ownHeader, Buffer.concat(ownPayload)]).toEqual([header, Buffer.concat(payload)]);
    counted += headerBytes + payloadBytes;
    for (const part of [ownHeader, ...ownPayload]) held.add(part.buffer);
  }
  let bytes = 0;
  for (const buffer of held) bytes += buffer.byteLength;
  expect(bytes).toBeLessThan(counted + 32 * 1024);
});

test('a large entry stays as it is, and one without payload has none', () => {
  const slab = new EntrySlab();
  const header = Buffer.alloc(headerBytes, 1);
  const payload = [Buffer.alloc(3000, 2), Buffer.alloc(3000, 3)];
  expect(slab.own(header, payload, 6000)).toEqual([header, payload]);
  expect(slab.own(header, payload, 6000)[1]).toBe(payload);
  expect(slab.own(header, [], 0)).toEqual([header, []]);
});
