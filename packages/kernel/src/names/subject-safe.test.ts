import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isSubjectKey, isSubjectName, isSubjectSafe, levelsOf } from './subject-safe.ts';

/** The rule of semantics 1.5 in the words of regular expressions. */
// oxlint-disable-next-line no-control-regex
const unsafePoints = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef]|\p{Noncharacter_Code_Point}|\p{Surrogate}/u;

function expectedBytes(bytes: Uint8Array): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return !unsafePoints.test(text) && bytes.length <= 65_535;
  } catch {
    return false;
  }
}

describe('semantics 1.5: subject-safe text', () => {
  test.each([
    ['', true],
    ['plain', true],
    [' \u00a0\u00e9\u20ac\u{1f600}', true],
    ['\ufeffbom', true],
    ['\u0000', false],
    ['a\u0001', false],
    ['line\nbreak', false],
    ['\u007f', false],
    ['\u0080', false],
    ['\u009f', false],
    ['\ufdcf', true],
    ['\ufdd0', false],
    ['\ufdef', false],
    ['\ufdf0', true],
    ['\ufffd', true],
    ['\ufffe', false],
    ['\uffff', false],
    ['\u{1fffe}', false],
    ['\u{1ffff}', false],
    ['\u{10fffd}', true],
    ['\u{10ffff}', false],
    ['\ud800', false],
    ['\ud800a', false],
    ['\udc00', false],
    ['\udc00\ud800', false],
  ])('%j is safe: %s', (text, safe) => {
    expect(isSubjectSafe(text)).toBe(safe);
    // A lone surrogate has no UTF-8.
    if (text.isWellFormed()) expect(isSubjectSafe(Buffer.from(text))).toBe(safe);
  });

  test.each([
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
    '80',
    'e282',
    'c2',
    'f09f98',
    '61c261',
  ])('bytes %s are no UTF-8', (hex) => {
    expect(isSubjectSafe(Buffer.from(hex, 'hex'))).toBe(false);
  });

  test('65,535 bytes are the limit, of strings in UTF-8', () => {
    expect(isSubjectSafe('a'.repeat(65_535))).toBe(true);
    expect(isSubjectSafe('a'.repeat(65_536))).toBe(false);
    expect(isSubjectSafe('\u20ac'.repeat(21_845))).toBe(true);
    expect(isSubjectSafe('\u20ac'.repeat(21_846))).toBe(false);
    expect(isSubjectSafe(Buffer.alloc(65_536, 'a'))).toBe(false);
  });

  test('any bytes are judged as a decoder and the rule judge them', () => {
    const pieces = fc.oneof(
      fc.uint8Array({ maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 4 }).map((text) => new Uint8Array(Buffer.from(text))),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 4 }), (parts) => {
        const bytes = Buffer.concat(parts);
        expect(isSubjectSafe(bytes)).toBe(expectedBytes(bytes));
      }),
      { numRuns: 3000 },
    );
  });

  test('any string is judged as its rule says, and as its bytes', () => {
    const units = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 });
    fc.assert(
      fc.property(units, (codes) => {
        const text = String.fromCharCode(...codes);
        expect(isSubjectSafe(text)).toBe(!unsafePoints.test(text));
        if (text.isWellFormed()) expect(isSubjectSafe(Buffer.from(text))).toBe(isSubjectSafe(text));
      }),
      { numRuns: 3000 },
    );
  });
});

describe('semantics 1.5: the limits of names', () => {
  test('no wildcard, not empty', () => {
    expect(isSubjectName('a/b')).toBe(true);
    expect(isSubjectName('/')).toBe(true);
    for (const name of ['', '+', 'a/+', 'a+b', '#', 'a#', 'a\u0000']) {
      expect(isSubjectName(name)).toBe(false);
    }
  });

  test('128 levels and 4,096 bytes', () => {
    const levels = (count: number) => Array.from({ length: count }, () => 'x').join('/');
    expect(levelsOf(levels(128))).toBe(128);
    expect(isSubjectName(levels(128))).toBe(true);
    expect(isSubjectName(levels(129))).toBe(false);
    expect(isSubjectName('a'.repeat(4096))).toBe(true);
    expect(isSubjectName('a'.repeat(4097))).toBe(false);
    expect(isSubjectName('\u00e9'.repeat(2049))).toBe(false);
  });

  test('a key is judged with the room its prefix leaves', () => {
    const judge = (key: string, bytes: number, levels: number) =>
      isSubjectKey(Buffer.from(key), 0, Buffer.byteLength(key), { bytes, levels });
    expect(judge('', 2, 1)).toBe(true);
    expect(judge('a+', 2, 1)).toBe(false);
    expect(judge('a'.repeat(4094), 2, 1)).toBe(true);
    expect(judge('a'.repeat(4095), 2, 1)).toBe(false);
    expect(judge('/'.repeat(126), 2, 1)).toBe(true);
    expect(judge('/'.repeat(127), 2, 1)).toBe(false);
    expect(judge('/'.repeat(127), 0, 0)).toBe(true);
  });

  test('a byte that no key may have is found wherever it stands', () => {
    for (let length = 1; length <= 12; length++) {
      for (let at = 0; at < length; at++) {
        for (const byte of [0x00, 0x1f, 0x2b, 0x23, 0x7f, 0x80, 0xff]) {
          const key = Buffer.alloc(length + 2, 'a');
          key[at + 1] = byte;
          // What stands beside the key is not looked at.
          key[0] = 0x2b;
          key[length + 1] = 0x2b;
          expect(isSubjectKey(key, 1, length + 1, { bytes: 0, levels: 0 })).toBe(false);
          key[at + 1] = 0x2f;
          expect(isSubjectKey(key, 1, length + 1, { bytes: 0, levels: 0 })).toBe(true);
        }
      }
    }
  });
});
