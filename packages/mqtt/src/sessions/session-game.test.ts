import fc from 'fast-check';
import type { FoldItem } from '@robustmq/kernel';
import { describe, expect, it } from 'vitest';
import { folded, plain } from './session-fold-fixture.ts';
import { sessionKind } from './session-fold.ts';
import type { Move } from './session-game-fixture.ts';
import { moves, SessionGame } from './session-game-fixture.ts';

const kind = sessionKind();
const move: fc.Arbitrary<Move> = fc.tuple(
  fc.constantFrom(...moves),
  fc.integer({ min: 0, max: 2 }),
  fc.integer({ min: 0, max: 5 }),
);
const game = fc.array(move, { maxLength: 80, size: 'max' });
/** How many items the pass takes after each move; then all the rest. */
const pace = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 40, maxLength: 40 });

/** A pass as the kernel makes it: appends wait while the copy is written, and follow it. */
function compacted(
  played: SessionGame,
  before: readonly Move[],
  during: readonly Move[],
  steps: readonly number[],
): { old: FoldItem[]; copy: FoldItem[]; held: FoldItem[] } {
  for (const each of before) played.play(each);
  const old = played.log;
  played.log = [];
  const copy: FoldItem[] = [];
  const items = kind.live(played.state)[Symbol.iterator]();
  const take = (): boolean => {
    const next = items.next();
    if (next.done !== true) copy.push(next.value);
    return next.done !== true;
  };
  during.forEach((each, at) => {
    played.play(each);
    for (let left = steps[at % steps.length]!; left > 0; left--) take();
  });
  while (take());
  return { old, copy, held: played.log };
}

describe('sessions in random games', () => {
  it('semantics 5.4: the items of all changes make the state again', () => {
    fc.assert(
      fc.property(game, (all) => {
        const played = new SessionGame(6);
        for (const each of all) played.play(each);
        expect(plain(folded(played.log))).toEqual(plain(played.state));
      }),
      { numRuns: 300 },
    );
  });

  it('storage 4.2: the live items make the state again', () => {
    fc.assert(
      fc.property(game, (all) => {
        const played = new SessionGame(6);
        for (const each of all) played.play(each);
        expect(plain(folded(kind.live(played.state)))).toEqual(plain(played.state));
      }),
      { numRuns: 300 },
    );
  });

  it('storage 4.2: live items written while the state changes, and the changes behind them, make the state', () => {
    fc.assert(
      fc.property(game, game, pace, (before, during, steps) => {
        const played = new SessionGame(6);
        const { old, copy, held } = compacted(played, before, during, steps);
        expect(plain(folded([...copy, ...held]))).toEqual(plain(played.state));
        expect(plain(folded([...old, ...copy, ...held]))).toEqual(plain(played.state));
      }),
      { numRuns: 500 },
    );
  });

  it('storage 4.4: a crash loses no message that is not acknowledged, wherever it cuts the log', () => {
    fc.assert(
      fc.property(game, (all) => {
        const played = new SessionGame();
        for (const each of all) played.play(each);
        for (let cut = 0; cut <= played.log.length; cut++) {
          expect(played.lostWith(folded(played.log.slice(0, cut)))).toEqual([]);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('storage 4.4: nor does a crash that cuts a compaction pass', () => {
    fc.assert(
      fc.property(game, game, pace, (before, during, steps) => {
        const played = new SessionGame();
        const { old, copy, held } = compacted(played, before, during, steps);
        for (let cut = 0; cut <= copy.length; cut++) {
          expect(played.lostWith(folded([...old, ...copy.slice(0, cut)]))).toEqual([]);
        }
        for (let cut = 0; cut <= held.length; cut++) {
          expect(played.lostWith(folded([...copy, ...held.slice(0, cut)]))).toEqual([]);
        }
      }),
      { numRuns: 150 },
    );
  });
});
