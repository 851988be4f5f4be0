import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { filterMatches, isSubjectFilter } from './filter.ts';
import type { FilterEntry } from './filter-entry.ts';
import { FilterIndex } from './filter-index.ts';
import { subscriptionTo } from './subscription-fixture.ts';

function found(index: FilterIndex, subject: string): string[] {
  const into: FilterEntry[] = [];
  index.collect(subject, !subject.startsWith('$'), into);
  return into.map((entry) => entry.filter).sort();
}

// Few distinct levels, so that filters and subjects meet often.
const level = fc.constantFrom('a', 'b', '', '$x');
const subjects = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
const filters = fc
  .tuple(
    fc.array(fc.oneof({ weight: 3, arbitrary: level }, fc.constant('+')), { maxLength: 5 }),
    fc.boolean(),
  )
  .map(([levels, open]) => (open ? [...levels, '#'] : levels).join('/'))
  .filter(isSubjectFilter);

describe('the filter index', () => {
  test('finds exactly the filters that match, whatever came and went before', () => {
    fc.assert(
      fc.property(
        fc.array(filters, { maxLength: 20 }),
        fc.array(fc.nat({ max: 19 }), { maxLength: 15 }),
        fc.array(subjects, { minLength: 1, maxLength: 5 }),
        (added, removed, asked) => {
          const index = new FilterIndex();
          const live = added.map((filter) => subscriptionTo(filter));
          for (const subscription of live) index.add(subscription);
          for (const at of removed) {
            const [gone] = live.splice(at, 1);
            if (gone !== undefined) index.remove(gone);
          }
          const distinct = [...new Set(live.map((subscription) => subscription.filter))];
          for (const subject of asked) {
            const expected = distinct.filter((filter) => filterMatches(filter, subject)).sort();
            expect(found(index, subject)).toEqual(expected);
          }
          expect(index.filters().sort()).toEqual(distinct.sort());
          expect(index.filterCount).toBe(distinct.length);
          expect(index.subscriptionCount).toBe(live.length);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('with and without leading wildcards are the two halves of a search', () => {
    fc.assert(
      fc.property(fc.array(filters, { maxLength: 20 }), subjects, (added, subject) => {
        const index = new FilterIndex();
        for (const filter of added) index.add(subscriptionTo(filter));
        const [all, literal, wild]: FilterEntry[][] = [[], [], []];
        index.collect(subject, true, all!);
        index.collect(subject, false, literal!);
        index.collectRootWildcards(subject, wild!);
        expect(new Set([...literal!, ...wild!])).toEqual(new Set(all));
        expect(literal!.some((entry) => /^[+#]/.test(entry.filter))).toBe(false);
        expect(wild!.every((entry) => /^[+#]/.test(entry.filter))).toBe(true);
      }),
    );
  });

  test('no node outlives the filters that need it', () => {
    const index = new FilterIndex();
    const live = ['a/b/c/+', 'a/b/#', 'a/+', '+/+/+', '#', 'a/b/c'].map((filter) => subscriptionTo(filter));
    const twin = subscriptionTo('a/b/c/+');
    expect(live.map((subscription) => index.add(subscription))).toEqual(live.map(() => true));
    expect(index.add(twin)).toBe(false);
    expect(index.nodeCount).toBe(8);
    expect(index.remove(twin)).toBe(false);
    expect(index.remove(live[0]!)).toBe(true);
    expect(index.nodeCount).toBe(6);
    for (const subscription of live.slice(1)) expect(index.remove(subscription)).toBe(true);
    expect([index.nodeCount, index.filterCount, index.subscriptionCount]).toEqual([0, 0, 0]);
    for (const first of ['a', '+', '#']) expect(index.hasFirstLevel(first)).toBe(false);
  });

  test('adding twice and removing what is not there change nothing', () => {
    const index = new FilterIndex();
    const one = subscriptionTo('a/+');
    expect(index.remove(one)).toBe(false);
    index.add(one);
    expect(index.add(one)).toBe(false);
    expect(index.remove(subscriptionTo('a/+'))).toBe(false);
    expect(index.subscriptionCount).toBe(1);
    expect(index.remove(one)).toBe(true);
    expect(index.remove(one)).toBe(false);
  });

  test('a filter of 128 levels is found without recursion', () => {
    const index = new FilterIndex();
    const deep = `${Array.from({ length: 127 }, () => '+').join('/')}/#`;
    index.add(subscriptionTo(deep));
    expect(found(index, Array.from({ length: 5000 }, () => 'x').join('/'))).toEqual([deep]);
    expect(found(index, Array.from({ length: 126 }, () => 'x').join('/'))).toEqual([]);
  });

  test('many subscriptions of one filter keep their order, and any of them can go', () => {
    const index = new FilterIndex();
    const all = Array.from({ length: 100 }, () => subscriptionTo('a/#'));
    for (const subscription of all) index.add(subscription);
    expect(index.entry('a/#')?.match().subscriptions).toEqual(all);
    for (let i = 0; i < 100; i += 2) index.remove(all[i]!);
    expect(index.entry('a/#')?.match().subscriptions).toEqual(all.filter((_, i) => i % 2 === 1));
    expect(index.subscriptionCount).toBe(50);
  });
});
