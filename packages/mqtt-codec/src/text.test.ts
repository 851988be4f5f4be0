import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isSafeText, scanText } from './text.ts';

/** The rule, said in another way. */
function isSafe(text: string): boolean {
  if (/[\p{Cc}\p{Cs}]/u.test(text)) return false;
  return (
    !/[\uFDD0-\uFDEF]/.test(text) &&
    !Array.from(text).some((char) => (char.codePointAt(0)! & 0xfffe) === 0xfffe)
  );
}

describe('safe text', () => {
  it.each(['', 'plain', 'é', '日本', '😀', '\ufeff', '\u00a0', '\ufffd', '\u{10fffd}', '~ '])(
    'is %j',
    (text) => {
      expect(isSafeText(text)).toBe(true);
      expect(isSafeText(Buffer.from(text))).toBe(true);
    },
  );

  it.each([
    '\0',
    'a\x01',
    '\x1f',
    '\x7f',
    'é\x7f',
    'é\n',
    '\x80',
    '\x9f',
    '\ufdd0',
    '\ufdef',
    '\ufffe',
    '\uffff',
    '\u{1fffe}',
    '\u{10ffff}',
  ])('is not %j', (text) => {
    expect(isSafeText(text)).toBe(false);
    expect(isSafeText(Buffer.from(text))).toBe(false);
  });

  it.each([
    '80',
    'c0af',
    'c1bf',
    'e08080',
    'e09fbf',
    'eda080',
    'edbfbf',
    'f0808080',
    'f08fbfbf',
    'f4908080',
    'f5808080',
    'ff',
    'c3',
    'e282',
    'f09f98',
    'c328',
    'e228a1',
  ])('is not the ill-formed %s', (hex) => {
    expect(isSafeText(Buffer.from(hex, 'hex'))).toBe(false);
    expect(isSafeText(Buffer.from(`61${hex}`, 'hex'))).toBe(false);
    expect(isSafeText(Buffer.from(`61${hex}61`, 'hex'))).toBe(false);
  });

  it('is no lone surrogate', () => {
    expect(isSafeText('\ud800')).toBe(false);
    expect(isSafeText('a\udc00b')).toBe(false);
    expect(isSafeText('\ud83d\ud83d\ude00')).toBe(false);
  });

  it('is at most 65535 bytes', () => {
    expect(isSafeText('a'.repeat(65_535))).toBe(true);
    expect(isSafeText('a'.repeat(65_536))).toBe(false);
    expect(isSafeText('é'.repeat(32_767))).toBe(true);
    expect(isSafeText('é'.repeat(32_768))).toBe(false);
    expect(isSafeText(Buffer.alloc(65_536, 'a'))).toBe(false);
  });

  it('is the same for every character as a string and as bytes', () => {
    const differing: number[] = [];
    for (let point = 0; point <= 0x10ffff; point++) {
      const text = String.fromCodePoint(point);
      const expected = isSafe(text);
      const encoded = point >= 0xd800 && point <= 0xdfff ? surrogateBytes(point) : Buffer.from(text);
      if (isSafeText(text) !== expected || scanText(encoded, 0, encoded.length) >= 0 !== expected)
        differing.push(point);
    }
    expect(differing).toEqual([]);
  });

  it('is decided as the decoder of Node decides, for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        const decoded = Buffer.from(bytes).toString();
        const wellFormed = Buffer.from(decoded).equals(bytes);
        expect(isSafeText(bytes)).toBe(wellFormed && isSafe(decoded));
      }),
      { numRuns: 3000 },
    );
  });
});

function surrogateBytes(point: number): Buffer {
  return Buffer.from([0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f)]);
}
