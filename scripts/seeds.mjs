// `npm run seeds`: the games of the log over many seeds; ends with one line that says how it went.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { install } from './install.mjs';
import { root } from './pnpm.mjs';

const games = {
  wal: 'packages/wal/src/wal-game.test.ts',
  journal: 'packages/journal/src/journal-game.test.ts',
  rot: 'packages/journal/src/rot-game.test.ts',
  kernel: 'packages/testkit/src/kernel-crash-game.test.ts',
  power: 'packages/testkit/src/power-cut-game.test.ts',
};

const help = `Plays the games of the log: random runs over many crashes, checked against a model of what was acknowledged.

  wal       the write-ahead log on a simulated disk whose power fails
  journal   the journal on such a disk; what metadata says survives
  rot       the journal on such a disk, and bits of its files flip
  kernel    the kernel, killed at random writes, on a journal and metadata in memory: no disk, no power cut
  power     kernel, journal and metadata, all on one disk whose power fails; the store of applied metadata,
            LevelDB in a server, is simulated: what it has answered is there, a batch is whole or not at all

npm run seeds -- [options]
  --count <n>       seeds of each game (10000; the suite plays 200)
  --first <n>       the first seed (1)
  --games <names>   of ${Object.keys(games).join(', ')}, with commas (all)
  --processes <n>   processes beside this one, 1 or 2 (2)
  --help            this text

A line for each piece goes to the terminal as it is done, with a command for every seed that failed. The last line is
the verdict; its trace is a hash over the traces of all runs, equal whenever the same code plays the same seeds.
`;

/** Seeds that one process plays: enough to make up for its start. */
const seedsPerPiece = 250;
const processesMax = 2;

/** What is playing; it ends with this process. */
const children = new Set();

/** The options of the command line; prints what is wrong, or the help, and exits. */
function options() {
  try {
    const { values } = parseArgs({
      options: {
        count: { type: 'string', default: '10000' },
        first: { type: 'string', default: '1' },
        games: { type: 'string', default: Object.keys(games).join(',') },
        processes: { type: 'string', default: String(processesMax) },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(help);
      process.exit(0);
    }
    const names = values.games.split(',');
    for (const name of names) if (!Object.hasOwn(games, name)) throw new Error(`no such game: ${name}`);
    return {
      names,
      count: positive('count', values.count),
      first: positive('first', values.first),
      processes: Math.min(processesMax, positive('processes', values.processes)),
    };
  } catch (error) {
    console.error(`${error.message.replaceAll('\n', ' ')} (--help: what there is)`);
    process.exit(2);
  }
}

function positive(name, text) {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0 && number < 2 ** 31) return number;
  throw new Error(`--${name} is a whole number above 0, not ${text}`);
}

/** The pieces of work, game by game in turn, so that all games are as far as time allows. */
function piecesOf({ names, count, first }) {
  const pieces = [];
  for (let done = 0; done < count; done += seedsPerPiece) {
    const seeds = Math.min(seedsPerPiece, count - done);
    for (const name of names) pieces.push({ name, first: first + done, seeds });
  }
  return pieces;
}

/** Plays one piece in a process of its own; what it found, with its messages when it did not work out. */
function play({ name, first, seeds }, folder) {
  const vitest = createRequire(import.meta.url).resolve('vitest/package.json');
  const report = join(folder, `${name}-${first}.json`);
  const args = [join(dirname(vitest), 'vitest.mjs'), 'run', games[name], '-t', 'seeds \\d+ to \\d+'];
  args.push('--reporter=json', `--outputFile=${report}`, '--maxWorkers=1');
  const env = { ...process.env, GAME_SEEDS: String(seeds), GAME_FIRST_SEED: String(first) };
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] });
  children.add(child);
  let messages = '';
  child.stderr.on('data', (data) => {
    messages = (messages + data).slice(-20_000);
  });
  return new Promise((resolve) => {
    child.on('close', () => {
      children.delete(child);
      resolve(readReport({ report, seeds, messages }));
    });
  });
}

function readReport({ report, seeds, messages }) {
  const found = { traces: [], failures: [] };
  try {
    const [file] = JSON.parse(readFileSync(report, 'utf8')).testResults;
    for (const { status, meta, failureMessages } of file.assertionResults) {
      if (status === 'passed') found.traces.push(...(meta.traces ?? []));
      else if (status === 'failed') found.failures.push(failureMessages.join('\n'));
    }
    if (file.assertionResults.length === 0) found.failures.push(file.message);
  } catch (error) {
    found.failures.push(`the process ended without a report (${error.message})\n${messages}`);
  }
  if (found.failures.length === 0 && found.traces.length !== seeds) {
    found.failures.push(`${found.traces.length} of ${seeds} seeds were played`);
  }
  return found;
}

/** Says how a piece went, and how to play again what failed. */
function tell({ name, first, seeds }, { failures }, seconds) {
  const verdict = failures.length === 0 ? 'ok' : 'FAILED';
  console.log(`${name}: seeds ${first} to ${first + seeds - 1} ${verdict}, ${seconds} s in all`);
  for (const failure of failures) {
    const [, seed] = /GAME_FIRST_SEED=(\d+)/.exec(failure) ?? [];
    console.log(failure.split('\n').slice(0, 30).join('\n'));
    if (seed !== undefined) {
      console.log(`again: GAME_FIRST_SEED=${seed} GAME_SEEDS=1 npm test -- ${games[name]}`);
    }
  }
}

async function main() {
  const chosen = options();
  install();
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  const folder = mkdtempSync(join(tmpdir(), 'robustmq-seeds-'));
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      for (const child of children) child.kill();
      rmSync(folder, { recursive: true, force: true });
      process.exit(1);
    });
  }
  const pieces = piecesOf(chosen);
  const found = new Map();
  let next = 0;
  const worker = async () => {
    while (next < pieces.length) {
      const piece = pieces[next++];
      const result = await play(piece, folder);
      found.set(piece, result);
      tell(piece, result, seconds());
    }
  };
  await Promise.all(Array.from({ length: chosen.processes }, worker));
  rmSync(folder, { recursive: true, force: true });
  const hash = createHash('sha256');
  let runs = 0;
  let failures = 0;
  for (const piece of pieces) {
    const result = found.get(piece);
    for (const trace of result.traces) hash.update(`${piece.name} ${trace}\n`);
    runs += result.traces.length;
    failures += result.failures.length;
  }
  const last = chosen.first + chosen.count - 1;
  const parts = [`${chosen.first} to ${last} of ${chosen.names.join(', ')}`, `${runs} runs passed`];
  parts.push(`${failures} groups failed`, `${seconds()} s`, `trace ${hash.digest('hex').slice(0, 16)}`);
  console.log(`seeds: ${failures === 0 ? 'held' : 'failed'}, ${parts.join(', ')}`);
  process.exit(failures === 0 ? 0 : 1);
}

await main();
