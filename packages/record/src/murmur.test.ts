import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { partitionHash } from './murmur2.ts';
import { Murmur3, murmur3 } from './murmur3.ts';

describe('murmur2, by which clients place keys', () => {
  // The values that the Java client's own tests hold.
  for (const [key, hash] of [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ] as const) {
    it(`of ${key}`, () => {
      expect(partitionHash(Buffer.from(key))).toBe(hash);
      const padded = Buffer.from(`__${key}_`);
      expect(partitionHash(padded, 2, 2 + key.length)).toBe(hash);
    });
  }

  it('takes bytes above 127 as unsigned', () => {
    const bytes = Buffer.from([0xff, 0x80, 0xfe, 0x81, 0xff]);
    for (let length = 0; length <= bytes.length; length++) {
      const hash = partitionHash(bytes, 0, length);
      expect(hash).toBe(hash | 0);
    }
    expect(new Set([1, 2, 3, 4, 5].map((length) => partitionHash(bytes, 0, length))).size).toBe(5);
  });
});

describe('murmur3, by which filters hold tokens', () => {
  for (const [hex, seed, hash] of [
    ['', 0, 0],
    ['', 1, 0x514e28b7],
    ['', 0xffffffff, 0x81f16f39],
    ['ffffffff', 0, 0x76293b50],
    ['21436587', 0, 0xf55b516b],
    ['21436587', 0x5082edee, 0x2362f9de],
    ['214365', 0, 0x7e4a8634],
    ['2143', 0, 0xa0f7b07a],
    ['21', 0, 0x72661cf4],
    ['00000000', 0, 0x2362f9de],
    ['000000', 0, 0x85f0b427],
    ['0000', 0, 0x30f4c306],
    ['00', 0, 0x514e28b7],
    [Buffer.from('Hello, world!').toString('hex'), 0x9747b28c, 0x24884cba],
    [Buffer.from('The quick brown fox jumps over the lazy dog').toString('hex'), 0x9747b28c, 0x2fa826cd],
  ] as const) {
    it(`of ${hex === '' ? 'nothing' : hex.slice(0, 16)} with seed ${seed}`, () => {
      const bytes = Buffer.from(hex, 'hex');
      expect(murmur3(bytes, 0, bytes.length, seed)).toBe(hash);
    });
  }

  it('is the same however the bytes are handed over', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 6 }), fc.nat(), (parts, seed) => {
        const whole = Buffer.concat(parts);
        const hash = new Murmur3(seed);
        for (const part of parts) hash.update(part);
        expect(hash.digest()).toBe(murmur3(whole, 0, whole.length, seed));
      }),
    );
  });
});
