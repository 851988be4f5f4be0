import { describe, expect, it } from 'vitest';
import { isPlainName } from './names.ts';

const notCharacters = [
  '\ufdd0',
  '\ufdef',
  '\ufffe',
  '\uffff',
  '\u{1fffe}',
  '\u{1ffff}',
  '\u{10fffe}',
  '\u{10ffff}',
];
const neighbours = ['\ufdcf', '\ufdf0', '\ufffc', '\u{1fffd}', '\u{20000}', '\u{10fffd}'];

describe('a plain name', () => {
  for (const text of ['\0', '\r', '\n', '\u001f', '\u007f', '\u0080', '\u009f', '\ufffd', ...notCharacters]) {
    const shown = text.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
    it(`has no U+${shown}, wherever it stands`, () => {
      for (const name of [text, `a${text}`, `${text}a`, `😀${text}😀`])
        expect(isPlainName(name, 249)).toBe(false);
    });
  }

  it('has any other character', () => {
    for (const text of ['', 'a b', '#', '+', 'a/b', '~', '\u00a0', '٠١', '\u202eabc', '😀', ...neighbours]) {
      expect([text, isPlainName(text, 249)]).toEqual([text, true]);
    }
  });

  it('is at most as long as it may be, in UTF-16 units', () => {
    expect([isPlainName('abcd', 4), isPlainName('😀😀', 4)]).toEqual([true, true]);
    expect([isPlainName('abcde', 4), isPlainName('😀😀a', 4)]).toEqual([false, false]);
  });
});
