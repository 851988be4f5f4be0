import { firstFailure, LyingDisk, playSeeds, seedGroups, seedGroupTimeoutMs } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { trimFirst } from './power-cut-fold.ts';
import type { Mutation, PowerCutCounts } from './power-cut-game.ts';
import { PowerCutGame } from './power-cut-game.ts';

type Act = keyof PowerCutCounts;

/** What any ten games are expected to do. */
const common: readonly Act[] = [
  'cuts',
  'cutsInRecovery',
  'kills',
  'stops',
  'rolls',
  'trims',
  'created',
  'deleted',
  'folded',
  'passes',
];
/** What happens in one game of several. */
const rare: readonly Act[] = [
  'undecided',
  'repeated',
  'retentions',
  'lostLazily',
  'passesCut',
  'passesHalfCopied',
];
const gamesForRare = 100;

const counted: PowerCutCounts[] = [];

const play = (seed: number, mutation?: Mutation): Promise<PowerCutGame> =>
  new PowerCutGame(seed, mutation).play();

function expectActs(counts: readonly PowerCutCounts[], acts: readonly Act[]): void {
  for (const act of acts) {
    const times = counts.reduce((sum, each) => sum + each[act], 0);
    expect(times, act).toBeGreaterThan(0);
  }
}

describe('kernel, journal and metadata on one disk whose power fails, also during the recovery', () => {
  for (const group of seedGroups(process.env)) {
    it(
      `seeds ${group.first} to ${group.end - 1}`,
      async ({ task }) => {
        const { games, traces } = await playSeeds(group, (seed) => play(seed));
        Object.assign(task.meta, { traces });
        expect(new Set(traces).size, 'another seed is another run').toBe(traces.length);
        const counts = games.map((game) => game.counts);
        counted.push(...counts);
        if (games.length >= 10) expectActs(counts, common);
      },
      seedGroupTimeoutMs,
    );
  }

  it('all games together have done everything that a game may do', ({ skip }) => {
    skip(counted.length < gamesForRare, 'too few games were played');
    expectActs(counted, rare);
  });
});

describe('mutants: a server below which a rule is broken loses the game', () => {
  it.each<[string, Mutation, RegExp]>([
    ['directory not synced', { under: (disk) => new LyingDisk(disk, { directories: true }) }, /lost|missing/],
    [
      'metadata acknowledged before its log is synced',
      { under: (disk) => new LyingDisk(disk, { files: (path) => path.startsWith('/data/meta/wal/') }) },
      /committed metadata .* is lost|damaged metadata log|was acknowledged and is missing/,
    ],
    [
      'records acknowledged before the log is synced',
      { under: (disk) => new LyingDisk(disk, { files: (path) => path.startsWith('/data/journal/wal/') }) },
      /logged as an error|was acknowledged/,
    ],
    [
      'a file of the log used again before its segments are synced',
      { under: (disk) => new LyingDisk(disk, { files: (path) => path.endsWith('.seg') }) },
      /damaged|missing/,
    ],
    ['state trimmed before its copies are durable', { atPass: trimFirst }, /fold: .* was acknowledged/],
  ])(
    'mutant: %s is caught by the game',
    async (_title, mutation, symptom) => {
      const caught = await firstFailure((seed) => play(seed, mutation));
      expect(caught?.error.message).toMatch(symptom);
    },
    seedGroupTimeoutMs,
  );
});
