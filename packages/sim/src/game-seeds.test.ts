import { describe, expect, it } from 'vitest';
import { firstFailure, playSeeds, seedGroups } from './game-seeds.ts';
import { LyingDisk } from './lying-disk.ts';
import { SimDisk } from './sim-disk.ts';

describe('seeds of games', () => {
  it('are 200 in the suite, or what the environment says, ten a test', () => {
    const groups = seedGroups({});
    expect([groups.length, groups[0], groups.at(-1)]).toEqual([
      20,
      { first: 1, end: 11 },
      { first: 191, end: 201 },
    ]);
    expect(seedGroups({ GAME_SEEDS: '12', GAME_FIRST_SEED: '500' })).toEqual([
      { first: 500, end: 510 },
      { first: 510, end: 512 },
    ]);
  });

  it('are played in order, the first one twice', async () => {
    const played: number[] = [];
    const { traces } = await playSeeds({ first: 4, end: 7 }, async (seed) => {
      played.push(seed);
      return { trace: seed * 10 };
    });
    expect([played, traces]).toEqual([
      [4, 4, 5, 6],
      [40, 50, 60],
    ]);
  });

  it('whose two runs differ fail', async () => {
    let runs = 0;
    const playing = playSeeds({ first: 4, end: 7 }, async () => ({ trace: runs++ }));
    await expect(playing).rejects.toThrow('GAME_FIRST_SEED=4 GAME_SEEDS=1: two runs of one seed differ');
  });

  it('that fail are all named, and the others are played nevertheless', async () => {
    const play = async (seed: number): Promise<{ trace: number }> => {
      if (seed % 2 === 0) throw new Error(`seed ${seed} is even`);
      return { trace: seed };
    };
    await expect(playSeeds({ first: 1, end: 8 }, play)).rejects.toThrow(
      'GAME_FIRST_SEED=2 GAME_SEEDS=1: seed 2 is even; seeds that fail: 2 4 6',
    );
    expect(await firstFailure(play)).toMatchObject({ seed: 2, error: { message: 'seed 2 is even' } });
    expect(await firstFailure(async () => undefined)).toBeNull();
  });
});

describe('LyingDisk', () => {
  /** Whether a synced file is there after a power cut, and with what, for some seeds. */
  async function survivors(lies: ConstructorParameters<typeof LyingDisk>[1]): Promise<Set<string>> {
    const found = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const sim = new SimDisk({ seed });
      const disk = new LyingDisk(sim, lies);
      await disk.mkdir('/a');
      await disk.syncDir('/');
      await sim.syncDir('/');
      const file = await disk.open('wal', '/a/b', { create: true, dsync: true });
      await file.pwrite('wal', Buffer.from('x'), 0);
      await file.sync('wal');
      await disk.syncDir('/a');
      const after = sim.crash();
      const names = await after.list('/a');
      found.add(names.length === 0 ? 'no name' : after.peek('/a/b').toString());
    }
    return found;
  }

  it('loses what it says to be durable, and nothing else', async () => {
    expect([...(await survivors({}))]).toEqual(['x']);
    expect([...(await survivors({ directories: true }))].sort()).toEqual(['no name', 'x']);
    expect([...(await survivors({ files: (path) => path.endsWith('b') }))]).toContain('');
    expect([...(await survivors({ files: (path) => path.endsWith('c') }))]).toEqual(['x']);
  });
});
