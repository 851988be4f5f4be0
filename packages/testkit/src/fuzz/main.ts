import { parseArgs } from 'node:util';
import { optionsOrExit, wholeNumberOf } from '../command-line.ts';
import { runCampaign } from './campaign.ts';
import type { CampaignResult } from './campaign.ts';
import type { FuzzTarget } from './target.ts';
import { allTargets, shared } from './targets.ts';

const help = `npm run fuzz -- [options]

Mutates valid traffic and gives it to the MQTT and the Kafka codec, to the decoders of record batches and of the
write-ahead log, and to a running server with a healthy client beside.

  --sequences N   sequences in all, one for each target at least (100000)
  --seed N        everything follows from it (a new one)
  --only TEXT     targets whose name has the text; more of them apart by commas
  --list          the names of the targets

Ends with one line that says whether all held, and with exit code 0 if so.`;

const progressMs = 5000;
const seedMax = 2 ** 31;

interface Options {
  readonly sequences: number;
  readonly seed: number;
  readonly only: string;
  readonly list: boolean;
  readonly help: boolean;
}

const options = optionsOrExit((): Options => {
  const { values } = parseArgs({
    options: {
      sequences: { type: 'string', default: '100000' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * seedMax)) },
      only: { type: 'string', default: '' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { sequences, seed, ...others } = values;
  return {
    sequences: wholeNumberOf('sequences', sequences, 1),
    seed: wholeNumberOf('seed', seed, 0),
    ...others,
  };
});

if (options.help) console.log(help);
else process.exitCode = await run(options);

/** The exit code. */
async function run({ sequences, seed, only, list }: Options): Promise<number> {
  const all = await allTargets();
  const rejections: string[] = [];
  process.on(
    'unhandledRejection',
    (reason) => void rejections.push(`a rejection nobody handled: ${String(reason)}`),
  );
  const wanted = only.split(',');
  const targets = all.filter(({ name }) => wanted.some((text) => name.includes(text)));
  const results: CampaignResult[] = [];
  const said: string[] = [];
  if (list) for (const { name } of all) console.log(name);
  else {
    const shares = shared(sequences, targets);
    for (const [index, target] of targets.entries()) {
      const onProgress = progressOf(target, shares[index]!);
      results.push(await runCampaign({ target, sequences: shares[index]!, seed, onProgress }));
    }
  }
  for (const target of all) await target.stop().catch((error: unknown) => void said.push(String(error)));
  if (list) return 0;
  if (targets.length === 0) {
    console.error(`--only ${only}: no target has a name with it (--list: their names)`);
    return 2;
  }
  return verdict(results, { targets, said: [...said, ...rejections], seed }) ? 0 : 1;
}

function progressOf(target: FuzzTarget, sequences: number): (done: number) => void {
  const from = performance.now();
  let last = from;
  return (done) => {
    const now = performance.now();
    if (done < sequences && now - last < progressMs) return;
    last = now;
    const rate = Math.round((done * 1000) / (now - from));
    console.log(`${target.name}: ${done} of ${sequences}, ${rate} a second, ${grown(target)} MiB grown`);
  };
}

interface Ended {
  readonly targets: readonly FuzzTarget[];
  /** What the server said of errors, and what nobody caught. */
  readonly said: readonly string[];
  readonly seed: number;
}

function verdict(results: readonly CampaignResult[], { targets, said, seed }: Ended): boolean {
  const failures = [...results.flatMap((result) => result.failures), ...said];
  for (const failure of failures) console.error(failure);
  const sum = (of: (result: CampaignResult) => number): number =>
    results.reduce((all, each) => all + of(each), 0);
  const most = (of: (target: FuzzTarget) => number): number => Math.max(0, ...targets.map(of));
  const parts = [
    `${sum((result) => result.sequences)} sequences in ${Math.round(sum((result) => result.seconds))} s`,
    `${failures.length} crashes`,
    `at most ${most((target) => target.measures.slowestMs).toFixed(1)} ms an input`,
    `healthy clients waited ${Math.round(most((target) => target.measures.healthyMs))} ms at most`,
    growth(targets),
    `seed ${seed}`,
  ];
  console.log(`fuzz: ${failures.length === 0 ? 'held' : 'failed'}, ${parts.join(', ')}`);
  return failures.length === 0;
}

/** What grew most, and how much: of decoders the memory of this process, of a server what it has in use. */
function growth(targets: readonly FuzzTarget[]): string {
  const [first] = targets.toSorted((left, right) => grown(right) - grown(left));
  return first === undefined ? 'no target' : `memory grew by ${grown(first)} MiB at most (${first.name})`;
}

function grown({ measures }: FuzzTarget): number {
  return Math.round(measures.grownBytes / 1024 / 1024);
}
