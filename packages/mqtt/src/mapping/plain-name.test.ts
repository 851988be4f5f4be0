import { headerNames, headerToProperty, propertyToHeader } from '@robustmq/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isShownAsIs, isStoredAsIs } from './plain-name.ts';
import { trickyName } from './tricky-text-fixture.ts';

const value = Buffer.from('v');

describe('plain names', () => {
  it('a name stored as it is: what the rule says', () => {
    fc.assert(
      fc.property(trickyName, (name) => {
        const bytes = Buffer.from(name);
        if (!isStoredAsIs(bytes, 0, bytes.length)) return;
        expect(propertyToHeader(name, 'v')).toEqual({ name: bytes, value });
      }),
      { numRuns: 2000 },
    );
  });

  it('a name shown as it is: what the rule says', () => {
    fc.assert(
      fc.property(trickyName, (name) => {
        const bytes = Buffer.from(name);
        if (!isShownAsIs(bytes, 0, bytes.length)) return;
        expect(headerToProperty(bytes, value)).toEqual({ name, value: 'v' });
      }),
      { numRuns: 2000 },
    );
  });

  it('ordinary names take the short way', () => {
    for (const name of ['', 'x', 'trace-id', 'host', 'null', 'base64', 'a;nul', 'm', 'größe']) {
      const bytes = Buffer.from(`..${name}.`);
      expect(isStoredAsIs(bytes, 2, bytes.length - 1)).toBe(true);
    }
  });

  it('names of ours never do', () => {
    for (const name of [
      ...Object.values(headerNames),
      'mq',
      'mqtt',
      'mq-up:x',
      'x;base64',
      'y;null',
      ';null',
    ]) {
      const bytes = Buffer.from(`..${name}.`);
      expect(isStoredAsIs(bytes, 2, bytes.length - 1)).toBe(false);
    }
  });

  it('a suffix is looked for within the name only', () => {
    const bytes = Buffer.from('ab;base64');
    expect(isShownAsIs(bytes, 3, bytes.length)).toBe(true);
    expect(isShownAsIs(bytes, 2, bytes.length)).toBe(false);
  });
});
