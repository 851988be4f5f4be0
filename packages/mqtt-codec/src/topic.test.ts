import { describe, expect, it } from 'vitest';
import { parseSharedFilter, validateTopicFilter, validateTopicName } from './topic.ts';
import { TopicCache } from './topic-cache.ts';

describe('topic name', () => {
  it.each([
    ['a', null],
    ['/', null],
    ['//', null],
    ['a b/ü/😀', null],
    ['$SYS/x', null],
    ['', 'empty'],
    ['a/+/b', 'wildcard'],
    ['#', 'wildcard'],
    ['a\nb', 'unsafe'],
    ['a\0', 'unsafe'],
    ['a\ud800', 'unsafe'],
    ['é\ufffe', 'unsafe'],
    ['a'.repeat(4096), null],
    ['a'.repeat(4097), 'tooLong'],
    ['é'.repeat(2049), 'tooLong'],
    ['/'.repeat(127), null],
    ['/'.repeat(128), 'tooDeep'],
  ])('%j is %s', (name, problem) => {
    expect(validateTopicName(name)).toBe(problem);
    if (!name.includes('\ud800')) expect(validateTopicName(Buffer.from(name))).toBe(problem);
  });
});

describe('topic filter', () => {
  it.each([
    ['#', null],
    ['+', null],
    ['/', null],
    ['+/+/#', null],
    ['/#', null],
    ['a/+/b/#', null],
    ['$SYS/#', null],
    ['$share', null],
    ['$shared/x', null],
    ['$share/g/a', null],
    ['$share/g/#', null],
    ['$share/g//', null],
    ['$share/$g/+/a', null],
    ['', 'empty'],
    ['a#', 'wildcard'],
    ['#/', 'wildcard'],
    ['##', 'wildcard'],
    ['a/#/b', 'wildcard'],
    ['a+', 'wildcard'],
    ['+a', 'wildcard'],
    ['++', 'wildcard'],
    ['a/+b/c', 'wildcard'],
    ['a/\u0001', 'unsafe'],
    ['$share/', 'share'],
    ['$share/g', 'share'],
    ['$share/g/', 'share'],
    ['$share//a', 'share'],
    ['$share/g#/a', 'share'],
    ['$share/+/a', 'share'],
    ['$share/g/a#', 'wildcard'],
    ['é'.repeat(2048), null],
    ['é'.repeat(2049), 'tooLong'],
    ['+/'.repeat(127) + '+', null],
    ['+/'.repeat(128) + '+', 'tooDeep'],
    [`$share/g/${'+/'.repeat(127)}#`, null],
  ])('%j is %s', (filter, problem) => {
    expect(validateTopicFilter(filter)).toBe(problem);
  });

  it('is split into group and filter when it is shared', () => {
    expect(parseSharedFilter('$share/g/a/b')).toEqual({ group: 'g', filter: 'a/b' });
    expect(parseSharedFilter('$share/g//')).toEqual({ group: 'g', filter: '/' });
    expect(parseSharedFilter('$share')).toBeNull();
    expect(parseSharedFilter('a/$share/b')).toBeNull();
  });
});

describe('topic cache', () => {
  it('answers right for many topics in few slots', () => {
    const cache = new TopicCache(3);
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 500; index++) {
        const bytes = Buffer.from(`--topic/${index % 100}/${index}--`);
        expect(cache.ascii(bytes, 2, bytes.length - 2)).toBe(`topic/${index % 100}/${index}`);
      }
    }
  });
});
