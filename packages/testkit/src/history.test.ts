import { describe, expect, it } from 'vitest';
import type { Promised } from './history.ts';
import { History, misplaced } from './history.ts';

interface Run {
  readonly publisher?: Promised;
  readonly reader?: Promised;
  readonly acknowledged: readonly number[];
  readonly stored: readonly number[];
  readonly given: readonly number[];
}

/** The problems of a run of three numbers on one subject with one reader. */
function problemsOf({
  publisher = 'at-least-once',
  reader = 'at-least-once',
  acknowledged,
  stored,
  given,
}: Run): string[] {
  const history = new History();
  history.publisher('s', publisher);
  history.reader('r', reader);
  for (let at = 0; at < 3; at++) history.send('s');
  for (const number of acknowledged) history.acknowledge('s', number);
  stored.forEach((number, offset) => history.store('s', number, { shard: 0, offset }));
  for (const number of given) history.give('r', 's', number);
  return history.problems();
}

describe('a history', () => {
  it('is well when all is there in order, and what is not known may be there or not', () => {
    expect(problemsOf({ acknowledged: [0, 1, 2], stored: [0, 1, 2], given: [0, 1, 2] })).toEqual([]);
    expect(problemsOf({ acknowledged: [0], stored: [0, 1], given: [0, 1] })).toEqual([]);
    expect(problemsOf({ acknowledged: [0, 2], stored: [0, 2], given: [0, 2] })).toEqual([]);
  });

  it('lets numbers come again where that was promised', () => {
    const twice = { acknowledged: [0, 1, 2], stored: [0, 1, 0, 1, 2], given: [0, 0, 1, 0, 1, 2] };
    expect(problemsOf(twice)).toEqual([]);
    expect(problemsOf({ ...twice, publisher: 'exactly-once' })).toEqual([
      'log: s 0 came more than once',
      'log: s 1 came more than once',
    ]);
    // The lower promise of publisher and reader counts.
    expect(problemsOf({ ...twice, reader: 'exactly-once' })).toEqual([]);
    const both = { ...twice, stored: [0, 1, 2], publisher: 'exactly-once', reader: 'exactly-once' } as const;
    expect(problemsOf(both)).toEqual([
      'r: s 0 came more than once',
      'r: s 0 came more than once',
      'r: s 1 came more than once',
    ]);
  });

  it('tells what was acknowledged and lost', () => {
    expect(problemsOf({ acknowledged: [0, 1], stored: [0], given: [0] })).toEqual([
      'log: s 1 was acknowledged and is not there',
      'r: s 1 was never given',
    ]);
  });

  it('tells what came out of order', () => {
    expect(problemsOf({ acknowledged: [0, 1, 2], stored: [0, 2, 1], given: [0, 1, 2] })).toEqual([
      'log: s 1 came after a higher number',
    ]);
    expect(problemsOf({ acknowledged: [0, 1, 2], stored: [0, 1, 2], given: [1, 0, 2] })).toEqual([
      'r: s 0 came after a higher number',
    ]);
  });

  it('tells what nobody sent, and what a reader has and the log has not', () => {
    expect(problemsOf({ acknowledged: [0], stored: [0, 3], given: [0, 3] })).toEqual([
      'log: s 3 was never sent',
    ]);
    expect(problemsOf({ acknowledged: [0], stored: [0], given: [0, 1] })).toEqual([
      'r: s 1 was given but is not in the log',
    ]);
  });

  it('tells when a subject lies in two shards or two records at one offset', () => {
    const history = new History();
    history.publisher('s', 'at-least-once');
    for (let at = 0; at < 3; at++) history.send('s');
    history.store('s', 0, { shard: 0, offset: 0 });
    history.store('s', 1, { shard: 1, offset: 0 });
    history.store('s', 2, { shard: 1, offset: 0 });
    expect(history.problems()).toEqual([
      'log: s lies in shards 0, 1',
      'log: s has two records at one offset',
    ]);
  });

  describe('of acknowledgements that say where a number lies', () => {
    const problemsWith = (...stored: readonly (readonly [number: number, offset: number])[]): string[] => {
      const history = new History();
      history.publisher('s', 'at-least-once');
      for (const offset of [10, 11, 12]) {
        history.acknowledge('s', history.send('s'), { shard: 1, offset });
      }
      for (const [number, offset] of stored) history.store('s', number, { shard: 1, offset });
      return history.problems();
    };

    it('is well when each lies there, and again elsewhere', () => {
      expect(problemsWith([0, 10], [1, 11], [2, 12])).toEqual([]);
      expect(problemsWith([0, 10], [1, 11], [2, 12], [0, 20])).toEqual([]);
    });

    it('tells which lie elsewhere, though all are there and in order', () => {
      const moved = (...places: readonly string[]): string[] =>
        places.map((place) => `log: s ${place} was acknowledged or read and is not there`);
      expect(problemsWith([0, 10], [1, 11], [2, 13])).toEqual(moved('2 at 1/12'));
      expect(problemsWith([0, 11], [1, 12], [2, 13])).toEqual(moved('0 at 1/10', '1 at 1/11', '2 at 1/12'));
    });

    it('tells that of another shard', () => {
      const history = new History();
      history.publisher('s', 'at-least-once');
      history.acknowledge('s', history.send('s'), { shard: 1, offset: 0 });
      history.store('s', 0, { shard: 0, offset: 0 });
      expect(history.problems()).toEqual(['log: s 0 at 1/0 was acknowledged or read and is not there']);
    });

    it('compares with what one look at the log found', () => {
      const history = new History();
      history.publisher('s', 'at-least-once');
      history.acknowledge('s', history.send('s'));
      history.acknowledge('s', history.send('s'), { shard: 0, offset: 7 });
      const known = history.placed();
      expect(known).toEqual([{ subject: 's', number: 1, place: { shard: 0, offset: 7 } }]);
      expect(misplaced(known, known)).toEqual([]);
      const moved = [{ subject: 's', number: 1, place: { shard: 0, offset: 8 } }];
      expect(misplaced(known, moved)).toHaveLength(1);
      expect(misplaced(known, [{ ...known[0]!, subject: 't' }])).toHaveLength(1);
    });
  });

  it('knows when a reader has all that was acknowledged', () => {
    const history = new History();
    history.publisher('s', 'at-least-once');
    history.reader('r', 'at-least-once');
    expect(history.isComplete('r')).toBe(true);
    history.acknowledge('s', history.send('s'));
    expect(history.isComplete('r')).toBe(false);
    history.give('r', 's', 0);
    expect(history.isComplete('r')).toBe(true);
    expect([history.acknowledgedCount(), history.lastAcknowledged('s')]).toEqual([1, 0]);
  });

  it('tells a long list in short', () => {
    const history = new History();
    history.publisher('s', 'at-least-once');
    for (let at = 0; at < 100; at++) history.acknowledge('s', history.send('s'));
    expect(history.problems()).toHaveLength(6);
  });
});
