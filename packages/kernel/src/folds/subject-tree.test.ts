import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SubjectTree } from './subject-tree.ts';

const level = fc.constantFrom('', 'a', 'b', 'c', '$s');
const name = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 4 }), fc.boolean())
  .filter(([levels, rest]) => levels.length > 0 || rest)
  .map(([levels, rest]) => [...levels, ...(rest ? ['#'] : [])].join('/'));

/** The definition, level by level. */
function matches(wanted: string, subject: string): boolean {
  const levels = wanted.split('/');
  const have = subject.split('/');
  if ((levels[0] === '+' || levels[0] === '#') && have[0]!.startsWith('$')) return false;
  for (let at = 0; at < levels.length; at++) {
    if (levels[at] === '#') return true;
    if (at >= have.length || (levels[at] !== '+' && levels[at] !== have[at])) return false;
  }
  return levels.length === have.length || (levels.length < have.length && levels.at(-1) === '#');
}

/** `a/#` matches `a` as well. */
function matchesParent(wanted: string, subject: string): boolean {
  return wanted.endsWith('/#') && matches(wanted.slice(0, -2), subject);
}

describe('values by name', () => {
  it('are those of the last change, whatever came before', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.option(fc.nat()))), (changes) => {
        const tree = new SubjectTree<number>();
        const model = new Map<string, number>();
        for (const [subject, value] of changes) {
          if (value === null) {
            tree.delete(subject);
            model.delete(subject);
          } else {
            tree.set(subject, value);
            model.set(subject, value);
          }
          expect(tree.size).toBe(model.size);
          expect(tree.get(subject)).toBe(model.get(subject));
        }
        expect([...tree.values()].sort()).toEqual([...model.values()].sort());
      }),
    );
  });

  it('are found by exactly the filters that match their names', () => {
    fc.assert(
      fc.property(fc.uniqueArray(name, { maxLength: 12 }), filter, (subjects, wanted) => {
        const tree = new SubjectTree<string>();
        for (const subject of subjects) tree.set(subject, subject);
        const due = subjects.filter((subject) => matches(wanted, subject) || matchesParent(wanted, subject));
        expect([...tree.match(wanted)].sort()).toEqual(due.sort());
      }),
      { numRuns: 500 },
    );
  });

  it('of thousands of levels do no harm', () => {
    const deep = Array.from({ length: 20_000 }, () => 'x').join('/');
    const tree = new SubjectTree<number>();
    tree.set(deep, 1);
    expect([...tree.match('#')]).toEqual([1]);
    expect([...tree.match('x/#')]).toEqual([1]);
    tree.delete(deep);
    expect([tree.size, [...tree.values()].length]).toEqual([0, 0]);
  });
});
