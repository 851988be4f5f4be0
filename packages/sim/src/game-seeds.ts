import { crc32c } from '@robustmq/core';

/** Seeds that are played by one test, so that a long game is many tests of a bounded length. */
export interface SeedGroup {
  readonly first: number;
  /** The seed behind the last one. */
  readonly end: number;
}

/** What a game tells of itself when it is over. */
export interface Played {
  /** A checksum over everything that happened; two games of one seed must agree. */
  readonly trace: number;
}

/** A group takes about a second; beside other work on a small machine it may take much longer. */
export const seedGroupTimeoutMs = 300_000;
const seedsPerGroup = 10;
const seedsOfSuite = 200;

/**
 * The seeds to play, by the environment: `GAME_SEEDS=5000 GAME_FIRST_SEED=1` plays longer than the suite does, which
 * takes 200. `npm run seeds` sets both.
 */
export function seedGroups(environment: Readonly<Record<string, string | undefined>>): SeedGroup[] {
  const count = Number(environment['GAME_SEEDS'] ?? seedsOfSuite);
  const start = Number(environment['GAME_FIRST_SEED'] ?? 1);
  const groups: SeedGroup[] = [];
  for (let first = start; first < start + count; first += seedsPerGroup) {
    groups.push({ first, end: Math.min(first + seedsPerGroup, start + count) });
  }
  return groups;
}

/**
 * Plays every seed of a group, and its first one twice: one seed is one run, call by call. Returns the games and their
 * traces in the order of seeds; an error says how to play its seed alone, and names the others that failed.
 */
export async function playSeeds<Game extends Played>(
  { first, end }: SeedGroup,
  play: (seed: number) => Promise<Game>,
): Promise<{ games: Game[]; traces: number[] }> {
  const games: Game[] = [];
  const failed: { seed: number; cause: unknown }[] = [];
  for (let seed = first; seed < end; seed++) {
    try {
      const game = await play(seed);
      games.push(game);
      if (seed > first) continue;
      const again = await play(seed);
      if (again.trace !== game.trace) throw new Error('two runs of one seed differ');
    } catch (cause) {
      failed.push({ seed, cause });
    }
  }
  const [one] = failed;
  if (one === undefined) return { games, traces: games.map(({ trace }) => trace) };
  const reason = one.cause instanceof Error ? one.cause.message : String(one.cause);
  const seeds = failed.map(({ seed }) => seed).join(' ');
  throw new Error(`GAME_FIRST_SEED=${one.seed} GAME_SEEDS=1: ${reason}; seeds that fail: ${seeds}`, {
    cause: one.cause,
  });
}

/** The trace with one more thing that happened. */
export function traced(trace: number, what: string | number): number {
  return crc32c(Buffer.from(String(what)), trace);
}

/**
 * The first seed, 1 or higher, at which a game fails; null when it survives as many as the suite plays. For games
 * that have to fail: a rule was broken under them.
 */
export async function firstFailure(
  play: (seed: number) => Promise<unknown>,
): Promise<{ seed: number; error: Error } | null> {
  for (let seed = 1; seed <= seedsOfSuite; seed++) {
    try {
      await play(seed);
    } catch (error) {
      return { seed, error: error as Error };
    }
  }
  return null;
}
