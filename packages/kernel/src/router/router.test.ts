import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ShardId } from '@robustmq/core';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { ImageFixture } from '../names/image-fixture.ts';
import { createSubject } from '../names/subject.ts';
import { SubjectTable } from '../names/subject-table.ts';
import { filterMatches, isSubjectFilter } from './filter.ts';
import type { Match, Subscription } from './match.ts';
import { noMatch } from './match.ts';
import { isSince, Router } from './router.ts';
import type { RouterHooks } from './router.ts';
import { subscriptionTo } from './subscription-fixture.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function setUp(hooks: RouterHooks = {}) {
  const fixture = new ImageFixture();
  const table = new SubjectTable(fixture);
  const subjects = () => table.subjects();
  const router = new Router({ defaultTopic: fixture.defaultTopic, hooks, subjects });
  const filtersOf = (match: Match) => match.subscriptions.map((subscription) => subscription.filter).sort();
  return {
    fixture,
    router,
    table,
    subscribe: (filter: string, options?: Parameters<typeof subscriptionTo>[1]) => {
      const subscription = subscriptionTo(filter, options);
      router.subscribe(subscription);
      return subscription;
    },
    filtersOf,
    matching: (name: string) => filtersOf(router.match(table.forPublish(name))),
  };
}

describe('matching', () => {
  test('a match is cached in the subject until something that can match it changes', () => {
    const { router, table, subscribe } = setUp();
    const subject = table.forPublish('a/b/c');
    expect(router.match(subject)).toBe(noMatch);
    const exact = subscribe('a/b/c');
    const match = router.match(subject);
    expect(match.subscriptions).toEqual([exact]);
    for (const filter of ['a/b/d', 'x/#', 'x/y/+', 'a/x/#', 'b/b/c']) subscribe(filter);
    expect(router.match(subject)).toBe(match);
    const epoch = router.epoch;
    for (const filter of ['a/b/+', 'a/+/c', '+/b/c', '#', 'a/b/c/#', 'a/#']) {
      const before = router.match(subject).subscriptions.length;
      const added = subscribe(filter);
      expect(router.match(subject).subscriptions).toHaveLength(before + 1);
      router.unsubscribe(added);
      expect(router.match(subject).subscriptions).toHaveLength(before);
    }
    expect(router.epoch).toBe(epoch + 12);
  });

  test('overlapping filters of one subscriber stay separate, with the highest guarantee said', () => {
    const { router, table, subscribe } = setUp();
    const subscriber = {};
    subscribe('o/#', { subscriber, guarantee: 0 });
    const subject = table.forPublish('o/1');
    expect(router.match(subject).guaranteeMax).toBe(0);
    const second = subscribe('o/1', { subscriber, guarantee: 2 });
    expect(router.match(subject)).toMatchObject({ guaranteeMax: 2 });
    expect(router.match(subject).subscriptions).toHaveLength(2);
    router.unsubscribe(second);
    expect(router.match(subject).guaranteeMax).toBe(0);
    expect(router.match(table.forPublish('other')).guaranteeMax).toBe(-1);
  });

  test('subjects with the same filters share one match, so that a plan is made once', () => {
    const { router, table, subscribe } = setUp();
    subscribe('a/#');
    const single = router.match(table.forPublish('a/1'));
    single.plan = 'mine';
    expect(router.match(table.forPublish('a/2'))).toBe(single);
    subscribe('+/1');
    subscribe('+/2');
    subscribe('#');
    const both = router.match(table.forPublish('a/3'));
    expect(both.subscriptions).toHaveLength(2);
    expect(router.match(table.forPublish('a/4'))).toBe(both);
    expect(both.plan).toBeNull();
    expect(router.match(table.forPublish('a/1')).subscriptions).toHaveLength(3);
  });

  test('a match that was given out does not change', () => {
    const { router, table, subscribe } = setUp();
    const first = subscribe('a');
    const match = router.match(table.forPublish('a'));
    subscribe('a');
    router.unsubscribe(first);
    expect(match.subscriptions).toEqual([first]);
  });

  test('a wide match is not held by each subject, and is right', () => {
    const { router, table, subscribe } = setUp();
    const all = Array.from({ length: 100 }, () => subscribe('w/#'));
    const subject = table.forPublish('w/1');
    expect(router.match(subject).subscriptions).toEqual(all);
    expect(subject.match).toBe(noMatch);
    subscribe('w/1');
    expect(router.match(subject).subscriptions).toHaveLength(101);
    expect(router.match(subject)).toBe(router.match(subject));
    for (const subscription of all) router.unsubscribe(subscription);
    expect(router.match(subject).subscriptions).toHaveLength(1);
    expect(subject.match.subscriptions).toHaveLength(1);
  });

  test('mqtt defect 35: a name that no record carries is matched without a subject, one with $ by no wildcard', () => {
    const { router, subscribe } = setUp();
    for (const filter of ['#', '+/broker', '+/#', '$SYS/#', '$SYS/+']) subscribe(filter);
    const matching = (name: string) => router.matchName(name).subscriptions.map((one) => one.filter);
    expect(matching('$SYS/broker').sort()).toEqual(['$SYS/#', '$SYS/+']);
    expect(matching('a/broker').sort()).toEqual(['#', '+/#', '+/broker']);
    expect(matching('a')).toEqual(['#', '+/#']);
  });

  test('cached matches are those of the definition under any changes', () => {
    const level = fc.constantFrom('a', 'b', 'c');
    const subjects = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
    const filters = fc
      .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 4 }), fc.boolean())
      .map(([levels, open]) => (open ? [...levels, '#'] : levels).join('/'))
      .filter(isSubjectFilter);
    const steps = fc.array(
      fc.oneof(
        fc.record({ kind: fc.constant('add' as const), filter: filters }),
        fc.record({ kind: fc.constant('drop' as const), at: fc.nat({ max: 9 }) }),
        fc.record({ kind: fc.constant('ask' as const), subject: subjects }),
      ),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(steps, (script) => {
        const { router, subscribe, matching } = setUp();
        const live: Subscription[] = [];
        for (const step of script) {
          if (step.kind === 'add') live.push(subscribe(step.filter));
          else if (step.kind === 'drop') {
            const [gone] = live.splice(step.at, 1);
            if (gone !== undefined) router.unsubscribe(gone);
          } else {
            const expected = live.filter(({ filter }) => filterMatches(filter, step.subject));
            expect(matching(step.subject)).toEqual(expected.map(({ filter }) => filter).sort());
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('semantics 1.4: topics that take no leading wildcards', () => {
  test('an unbound topic matches only filters whose first level is the topic', () => {
    const { router, table, subscribe, fixture, filtersOf } = setUp();
    for (const filter of ['#', '+/eu', '+/#', 'orders/eu', 'orders/#', 'orders/+']) subscribe(filter);
    const of = (name: string, config: Record<string, string> = {}) => {
      const topic = fixture.topic(name, { config });
      return filtersOf(router.match(table.forRecord(topic, Buffer.from('eu'), 0, 2)!));
    };
    expect(of('orders')).toEqual(['orders/#', 'orders/+', 'orders/eu']);
    expect(of('open', { 'subject.wildcard': 'true' })).toEqual(['#', '+/#', '+/eu']);
    expect(of('bound', { 'subject.bind': 'true' })).toEqual(['#', '+/#', '+/eu']);
    // The same name in the default topic is matched by all of them.
    expect(router.match(table.forPublish('orders/eu')).subscriptions).toHaveLength(6);
  });

  test('the first exclusion of a subscriber is told and counted, later ones are not', () => {
    const told: string[] = [];
    const { router, table, subscribe, fixture } = setUp({
      excluded: (subscription, topic) => told.push(`${subscription.filter} ${topic.name}`),
    });
    const orders = fixture.topic('orders');
    const eu = table.forRecord(orders, Buffer.from('eu'), 0, 2)!;
    const us = table.forRecord(orders, Buffer.from('us'), 0, 2)!;
    const subscriber = {};
    subscribe('#', { subscriber });
    subscribe('+/us', { subscriber });
    subscribe('other/#');
    router.match(eu);
    router.match(us);
    expect(told).toEqual(['# orders']);
    subscribe('#');
    router.match(us);
    expect(told).toEqual(['# orders', '# orders']);
    expect(router.exclusionCount).toBe(2);
    router.match(table.forPublish('orders/eu'));
    expect(router.exclusionCount).toBe(2);
  });
});

describe('what the owner of a router learns', () => {
  test('a filter is told of when its first subscription comes and its last one goes', () => {
    const told: string[] = [];
    const { router, subscribe } = setUp({
      filterAdded: (filter) => told.push(`+${filter}`),
      filterRemoved: (filter) => told.push(`-${filter}`),
    });
    const one = subscribe('a/#');
    const two = subscribe('a/#');
    subscribe('b');
    router.unsubscribe(one);
    router.unsubscribe(one);
    expect(router.filters().sort()).toEqual(['a/#', 'b']);
    expect([router.filterCount, router.subscriptionCount]).toEqual([2, 2]);
    router.unsubscribe(two);
    expect(told).toEqual(['+a/#', '+b', '-a/#']);
    expect(router.filters()).toEqual(['b']);
  });

  test('semantics 2.5: a topic is decoded only if a live filter can match it', () => {
    const { router, fixture, subscribe } = setUp();
    const tree = fixture.topic('tree');
    const orders = fixture.topic('orders');
    const bound = fixture.bound('bound');
    const could = () => [tree, orders, bound].map((topic) => router.couldMatchTopic(topic));
    expect(could()).toEqual([false, false, false]);
    const literal = subscribe('orders/eu');
    expect(could()).toEqual([true, true, false]);
    router.unsubscribe(literal);
    const everything = subscribe('#');
    expect(could()).toEqual([true, false, true]);
    subscribe('orders/+/x');
    expect(could()).toEqual([true, true, true]);
    router.unsubscribe(everything);
    expect(could()).toEqual([true, true, false]);
    expect(router.couldMatchTopic(fixture.topic('__x', { internal: true }))).toBe(false);
  });

  test('semantics 3.4: a subscription matches a shard from its since, and shards it does not list from the start', () => {
    const [one, two] = [1 as ShardId, 2 as ShardId];
    const subscription = { ...subscriptionTo('a'), since: new Map([[one, 10]]) };
    expect(isSince(subscription, one, 9)).toBe(false);
    expect(isSince(subscription, one, 10)).toBe(true);
    expect(isSince(subscription, two, 0)).toBe(true);
  });
});

test('subjects whose counters fall together still get the right match', () => {
  const { router, subscribe, fixture } = setUp();
  const topic = fixture.topic('tree');
  // Far more names than counters.
  const subjects = Array.from({ length: 40_000 }, (_, i) => createSubject(`n/${i}/x`, topic, null));
  for (const subject of subjects) router.match(subject);
  for (let i = 0; i < 40_000; i += 1000) subscribe(`n/${i}/x`);
  for (const [i, subject] of subjects.entries()) {
    expect(router.match(subject).subscriptions.length).toBe(i % 1000 === 0 ? 1 : 0);
  }
});

describe('who is gone', () => {
  const rounds = 4096;
  /** Subscribes and unsubscribes again and again, while each round's subject is matched; counts who is still held. */
  async function heldAfter(filtersOf: (round: number) => string[], nameOf: (round: number) => string) {
    const { router, subscribe, table } = setUp();
    subscribe('stays/#');
    const weak: WeakRef<object>[] = [];
    const play = (round: number): void => {
      const subscriber = {};
      weak.push(new WeakRef(subscriber));
      const subscriptions = filtersOf(round).map((filter) => subscribe(filter, { subscriber }));
      const { length } = router.match(table.forPublish(nameOf(round))).subscriptions;
      expect(length).toBeGreaterThanOrEqual(subscriptions.length);
      for (const subscription of subscriptions) router.unsubscribe(subscription);
    };
    for (let round = 0; round < rounds; round++) play(round);
    const held = () => weak.filter((each) => each.deref() !== undefined).length;
    await vi.waitFor(() => {
      collect();
      // Those of the last part may be: as many as unsubscribe between two looks.
      expect(held()).toBeLessThan(rounds / 2);
    });
    expect(table.size).toBeLessThanOrEqual(rounds);
    return { router, table };
  }

  test('regression: matches of overlapping filters held everybody who had ever been in one', async () => {
    await heldAfter(
      () => ['stays/+', 'stays/one'],
      () => 'stays/one',
    );
  });

  test('regression: subjects that nobody used any more held who had subscribed to them', async () => {
    const nameOf = (round: number) => `gone/${round}`;
    const { router, table } = await heldAfter((round) => [nameOf(round)], nameOf);
    const again = subscriptionTo(nameOf(1));
    router.subscribe(again);
    expect(router.match(table.forPublish(nameOf(1))).subscriptions).toEqual([again]);
  });

  test('leaves the matches of others as they are', () => {
    const { router, subscribe, table } = setUp();
    const subject = table.forPublish('stays/one');
    subscribe('stays/#');
    subscribe('stays/one');
    const match = router.match(subject);
    for (let round = 0; round < rounds; round++) router.unsubscribe(subscribe('other/one'));
    expect(router.match(subject)).toBe(match);
  });
});
