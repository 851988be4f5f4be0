import { rmSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BenchOptions, parseOptions, usage } from './options.ts';
import { findPeers } from './peers.ts';
import { type Report, reportJson, reportText } from './report/report.ts';
import { allRows, chooseRows } from './rows/choose-rows.ts';
import { runRows } from './run.ts';
import { robustmqSpec, runningSpec } from './targets/specs.ts';
import { exitStatus, judge } from './verdict.ts';

/** Entry point of `npm run bench`. */

const root = fileURLToPath(new URL('../../../', import.meta.url));
/** Nothing was measured: a wrong option, an interruption. */
const notRun = 3;

async function bench(args: readonly string[], options: BenchOptions): Promise<number> {
  const rows = chooseRows(allRows(options), options);
  const progress = (line: string) => void process.stderr.write(`${line}\n`);
  const home = join(root, '.bench');
  const wanted = options.peers.filter((name) => rows.some(({ peers }) => peers.includes(name)));
  const { specs, skipped } = findPeers(wanted, home);
  for (const peer of skipped) progress(`skipped ${peer.name}: ${peer.reason}`);
  const running = options.mqtt !== null || options.kafka !== null;
  const subject = running ? runningSpec(options) : robustmqSpec();
  const folder = join(home, `run-${process.pid}`);
  const abort = new AbortController();
  process.once('SIGINT', () => abort.abort(new Error('interrupted')));
  process.once('SIGTERM', () => abort.abort(new Error('interrupted')));
  try {
    const { seconds, warmupMs } = options;
    const measurements = await runRows({
      rows,
      subject,
      peers: specs,
      seconds,
      warmupMs,
      folder,
      progress,
      signal: abort.signal,
    });
    const judgements = judge(rows, measurements, { subject: subject.name, skipped });
    const report: Report = {
      rows,
      measurements,
      judgements,
      subject: subject.name,
      skipped,
      command: ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
      machine: machineText(),
      date: new Date().toISOString().slice(0, 10),
    };
    process.stdout.write(options.json ? reportJson(report) : reportText(report));
    return exitStatus(judgements, measurements, subject.name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function machineText(): string {
  const cores = cpus();
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
  return `${cores.length} x ${cores[0]?.model ?? 'unknown'}, ${memory}, Node ${process.version}`;
}

try {
  const args = process.argv.slice(2);
  const options = parseOptions(args);
  if (options.help) process.stdout.write(usage);
  else process.exitCode = await bench(args, options);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = notRun;
}
