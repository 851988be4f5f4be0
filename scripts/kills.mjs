// `npm run kills`: kill -9 under load, as often as asked; the short form is part of `npm test` (test/interop/crash.test.ts).
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, install } from './install.mjs';
import { pnpm } from './pnpm.mjs';

const help = `npm run kills -- [--count 50] [--seed N]

Runs a server and real clients of MQTT (QoS 1 and 2) and Kafka (idempotent and plain), kills the server --count times
at random moments and starts it again. Then a checker reads the recorded history: nothing that was acknowledged is lost,
reordered, or there twice where once was promised; sessions, messages in flight, retained messages, wills and group
offsets are as acknowledged. A run with the same --seed has the same delays before its kills, not the same interleaving.
The last line is the verdict.
`;

const { count, seed } = options();

install();
if (!build()) process.exit(1);
const folder = mkdtempSync(join(tmpdir(), 'robustmq-kills-'));
const path = join(folder, 'report.json');
const { status } = pnpm(['exec', 'vitest', 'run', 'test/interop/crash.test.ts'], {
  env: { ...process.env, CRASH_KILLS: String(count), CRASH_SEED: String(seed), CRASH_REPORT: path },
});
let run = null;
try {
  run = JSON.parse(readFileSync(path, 'utf8'));
} catch {
  // The test failed before its end and has said why.
}
rmSync(folder, { recursive: true, force: true });
if (status !== 0 || run === null) {
  console.log(`kills: failed (--count ${count} --seed ${seed})`);
  process.exit(1);
}
const { kills, seconds, acknowledged, stored, given, inFlight } = run;
console.log(
  `kills: held, ${kills} kills in ${seconds} s (--seed ${run.seed}): ${acknowledged} messages acknowledged, ` +
    `${stored} in the log, ${given} given to readers, in flight at the kills ${inFlight.toServer} to the server and ` +
    `${inFlight.toReaders} to readers at QoS 2; nothing lost, duplicated or reordered`,
);

/** The options of the command line; prints what is wrong, or the help, and exits. */
function options() {
  try {
    const { values } = parseArgs({
      options: {
        count: { type: 'string', default: '50' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(help);
      process.exit(0);
    }
    return { count: wholeNumber('count', values.count, 1), seed: wholeNumber('seed', values.seed, 0) };
  } catch (error) {
    console.error(`${error.message.replaceAll('\n', ' ')} (--help: what there is)`);
    process.exit(2);
  }
}

function wholeNumber(name, text, least) {
  const number = Number(text);
  if (text.trim() !== '' && Number.isSafeInteger(number) && number >= least) return number;
  throw new Error(`--${name} is a whole number of at least ${least}, not '${text}'`);
}
