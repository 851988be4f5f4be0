import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  escapeUserName,
  headerNames,
  headerToProperty,
  isPlainName,
  propertyToHeader,
  unescapeUserName,
} from './header-names.ts';
import { isSubjectSafe } from './subject-safe.ts';

function stored(name: string, value: string): [string, string | null] {
  const header = propertyToHeader(name, value);
  const bytes = header.value === null ? null : Buffer.from(header.value).toString('latin1');
  return [Buffer.from(header.name).toString('latin1'), bytes];
}

function shown(name: string, value: string | null): [string, string] | null {
  const property = headerToProperty(
    Buffer.from(name, 'latin1'),
    value === null ? null : Buffer.from(value, 'latin1'),
  );
  return property === null ? null : [property.name, property.value];
}

const names = fc.oneof(
  fc.string(),
  fc
    .tuple(
      fc.constantFrom('', 'mq', 'mq-up:', 'mq-name:', 'mq-name:/w==', 'mq-name:YQ==', 'mq-up:mq-up:'),
      fc.constantFrom('', 'x', 'type', 'priority', 'mq', 'key', '\u00e9'),
      fc.constantFrom('', ';base64', ';null', ';base64;base64', ';null;base64', ';'),
    )
    .map((parts) => parts.join('')),
);
const values = fc.oneof(
  fc.string(),
  fc.constantFrom('', '/w==', '/w', 'AA==', 'aGVsbG8=', 'not base64', '\u20ac'),
  fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('base64')),
);

describe('semantics 2.2: names of users and names of ours', () => {
  test('a name of the table or one that begins with mq is stored as mq-up:name and restored', () => {
    for (const name of [...Object.values(headerNames), 'mqx', 'mq-key;base64', 'mq-up:a', 'mq-']) {
      expect(escapeUserName(name)).toBe(`mq-up:${name}`);
      expect(unescapeUserName(escapeUserName(name))).toBe(name);
      expect(isPlainName(name)).toBe(false);
      expect(stored(name, 'v')).toEqual([`mq-up:${name}`, 'v']);
      expect(shown(`mq-up:${name}`, 'v')).toEqual([name, 'v']);
    }
    for (const name of ['', 'x', 'Type', 'm', 'types', 'up:mq']) {
      expect(escapeUserName(name)).toBe(name);
      expect(isPlainName(name)).toBe(true);
      expect(stored(name, 'v')).toEqual([name, 'v']);
    }
  });

  test('the header mq is shown to nobody; others of the table are', () => {
    expect(shown('mq', 'x')).toBeNull();
    expect(shown('mq', null)).toBeNull();
    expect(shown('message-id', '1')).toEqual(['message-id', '1']);
    expect(shown('mq-other', '1')).toEqual(['mq-other', '1']);
  });

  test('suffixes are decoded on the way in', () => {
    expect(stored('x;base64', '/w==')).toEqual(['x', '\u00ff']);
    expect(stored('x;null', '')).toEqual(['x', null]);
    expect(stored('x;null', 'no')).toEqual(['mq-up:x;null', 'no']);
    expect(stored('x;base64', 'not base64')).toEqual(['mq-up:x;base64', 'not base64']);
    // Text needs no base64: decoded, it would be shown to the next receiver as text.
    expect(stored('x;base64', 'aGVsbG8=')).toEqual(['mq-up:x;base64', 'aGVsbG8=']);
  });
});

describe('semantics 1.5: only safe text reaches a subscriber', () => {
  test.each([
    ['x', 'plain', ['x', 'plain']],
    ['x', '\u0000', ['x;base64', 'AA==']],
    ['x', '\u00ff', ['x;base64', '/w==']],
    ['x', 'line\n', ['x;base64', 'bGluZQo=']],
    ['x', null, ['x;null', '']],
    ['\u00ff', 'v', ['mq-name:/w==', 'v']],
    ['\u00ff', '\u00ff', ['mq-name:/w==;base64', '/w==']],
    ['\u00ff', null, ['mq-name:/w==;null', '']],
    // A suffix that the name had already is not mistaken for ours.
    ['x;base64', 'v', ['x;base64;base64', 'dg==']],
    ['x;null', 'v', ['x;null;base64', 'dg==']],
    ['mq-up:x', '\u00ff', ['mq-up:x;base64', '/w==']],
  ] as const)('header %j = %j', (name, value, expected) => {
    expect(shown(name, value)).toEqual(expected);
  });

  test('what no property can hold is not shown', () => {
    expect(shown('x', 'b\u0000'.repeat(30_000))).toBeNull();
    expect(shown('n'.repeat(65_535), null)).toBeNull();
    expect(shown('n'.repeat(65_535), 'v')).not.toBeNull();
  });

  test('whatever bytes a header has', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      names.map((name) => new Uint8Array(Buffer.from(name))),
    );
    fc.assert(
      fc.property(bytes, fc.option(bytes), (name, value) => {
        const property = headerToProperty(name, value);
        if (property === null) {
          expect(Buffer.from(name).toString()).toBe('mq');
          return;
        }
        expect(isSubjectSafe(property.name) && isSubjectSafe(property.value)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

test('a reserved name at the limit of names comes out as it went in', () => {
  const name = 'mq'.padEnd(65_535, 'x');
  const header = propertyToHeader(name, 'v');
  expect(headerToProperty(header.name, header.value)).toEqual({ name, value: 'v' });
});

test('every safe property comes out as it went in', () => {
  fc.assert(
    fc.property(names.filter(isSubjectSafe), values.filter(isSubjectSafe), (name, value) => {
      const header = propertyToHeader(name, value);
      expect(headerToProperty(header.name, header.value)).toEqual({ name, value });
    }),
    { numRuns: 5000 },
  );
});

test('every header that shows, other than those of the table and ours, goes in again as it was', () => {
  const bytes = fc.uint8Array({ maxLength: 6 });
  fc.assert(
    fc.property(bytes, fc.option(bytes), (name, value) => {
      const property = headerToProperty(name, value);
      fc.pre(property !== null && isPlainName(Buffer.from(name).toString('latin1')));
      const header = propertyToHeader(property!.name, property!.value);
      expect(Buffer.from(header.name)).toEqual(Buffer.from(name));
      expect(header.value === null ? null : Buffer.from(header.value)).toEqual(
        value === null ? null : Buffer.from(value),
      );
    }),
    { numRuns: 1000 },
  );
});
