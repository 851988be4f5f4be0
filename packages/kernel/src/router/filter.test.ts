import { describe, expect, test } from 'vitest';
import { ImageFixture } from '../names/image-fixture.ts';
import {
  filterMatches,
  filterMayMatchTopic,
  firstLevel,
  isSubjectFilter,
  isWildcardFilter,
} from './filter.ts';

const levels = (count: number, level = 'x') => Array.from({ length: count }, () => level).join('/');

describe('which filters are valid', () => {
  test.each([
    'a',
    '/',
    '//',
    'a/',
    '+',
    '#',
    '+/+',
    '/+',
    '/#',
    'a/+/b',
    'a/#',
    '+/#',
    '$SYS/#',
    'a.b*c/d',
    levels(128),
    levels(128, '+'),
    `${levels(127)}/#`,
    'x'.repeat(4096),
  ])('%s', (filter) => {
    expect(isSubjectFilter(filter)).toBe(true);
  });

  test.each([
    '',
    'a#',
    'a/#/b',
    '#/',
    '##',
    '#/#',
    'a+',
    '+a',
    'a/+b/c',
    'a/b+',
    '++',
    '+#',
    'a\u0000',
    'a\nb',
    '\ud800',
    levels(129),
    'x'.repeat(4097),
    '\u00e9'.repeat(2049),
  ])('not %j', (filter) => {
    expect(isSubjectFilter(filter)).toBe(false);
  });

  test('a wildcard is a whole level', () => {
    expect(['a', '+', 'a/+/b', 'a/#', '#'].map(isWildcardFilter)).toEqual([false, true, true, true, true]);
    expect(['a/b', '/a', 'a', ''].map(firstLevel)).toEqual(['a', '', 'a', '']);
  });
});

describe('mqtt defect 35: what a filter matches', () => {
  test.each([
    ['a/b', 'a/b', true],
    ['a/b', 'a/bc', false],
    ['a/bc', 'a/b', false],
    ['a/b', 'a', false],
    ['a', 'a/b', false],
    ['a', 'a/', false],
    ['a/', 'a', false],
    ['a/', 'a/', true],
    ['A', 'a', false],
    ['.', 'a', false],
    ['a.*', 'a.b', false],
    ['+', 'a', true],
    ['+', '', true],
    ['+', 'a/b', false],
    ['+', '/a', false],
    ['/+', '/a', true],
    ['+/+', '/a', true],
    ['+/+', '/', true],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['a/+/c', 'a//c', true],
    ['a/+/c', 'a/b/d', false],
    ['+/b/#', 'a/b', true],
    ['#', 'a', true],
    ['#', '/', true],
    ['a/#', 'a', true],
    ['a/#', 'a/', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['a/#', 'b/a', false],
    ['a/b/#', 'a', false],
    ['a/+/#', 'a', false],
    ['a/+/#', 'a/b', true],
    ['#', '$SYS', false],
    ['#', '$SYS/a', false],
    ['+/a', '$SYS/a', false],
    ['+/#', '$SYS/a', false],
    ['+', '$SYS', false],
    ['$SYS/#', '$SYS/a', true],
    ['$SYS/+', '$SYS/a', true],
    ['a/#', 'a/$b', true],
    ['a/+', 'a/$b', true],
    ['+', '\u{1f600}', true],
  ] as const)('%s and %s: %s', (filter, subject, expected) => {
    expect(filterMatches(filter, subject)).toBe(expected);
  });
});

describe('semantics 1.4: which topics a filter can match', () => {
  const fixture = new ImageFixture();
  const may = (filter: string, topic: Parameters<typeof filterMayMatchTopic>[1]) =>
    filterMayMatchTopic(filter, topic, fixture.defaultTopic);

  test('the default topic and a bound topic: by the rules of matching alone', () => {
    const tree = fixture.topic('tree');
    const bound = fixture.bound('bound');
    for (const filter of ['#', '+/x', 'bound', 'bound/x', 'tree']) expect(may(filter, tree)).toBe(true);
    expect(may('$SYS/#', tree)).toBe(false);
    for (const filter of ['#', '+', 'bound', 'bound/#']) expect(may(filter, bound)).toBe(true);
    for (const filter of ['other/#', 'boun', '/bound']) expect(may(filter, bound)).toBe(false);
  });

  test('an unbound topic: only if the first level is literally the topic', () => {
    const orders = fixture.topic('orders');
    for (const filter of ['orders', 'orders/#', 'orders/+/x']) expect(may(filter, orders)).toBe(true);
    for (const filter of ['#', '+/eu', '+']) expect(may(filter, orders)).toBe(false);
  });

  test('subject.wildcard=true opens an unbound topic to leading wildcards', () => {
    const open = fixture.topic('open', { config: { 'subject.wildcard': 'true' } });
    expect(may('#', open)).toBe(true);
    expect(may('other', open)).toBe(false);
  });

  test('an internal topic: nothing', () => {
    const system = fixture.topic('__x', { internal: true });
    expect(may('#', system) || may('__x/#', system)).toBe(false);
  });
});
