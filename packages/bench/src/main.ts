import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Measurement, ratio } from './measurement.ts';
import { type BenchOptions, parseOptions, usage } from './options.ts';
import { findPeers, type SkippedPeer } from './peers.ts';
import { allRows, chooseRows, type Row } from './rows.ts';
import { runRows } from './run.ts';
import { formatTable } from './table.ts';
import { robustmqSpec, runningSpec } from './targets/specs.ts';

/** Entry point of `npm run bench`. */

const root = fileURLToPath(new URL('../../../', import.meta.url));
const subjectName = 'robustmq';

interface Report {
  readonly rows: readonly Row[];
  readonly measurements: readonly Measurement[];
  readonly skipped: readonly SkippedPeer[];
}

async function bench(options: BenchOptions): Promise<number> {
  const rows = chooseRows(allRows(options), options.only);
  const progress = (line: string) => void process.stderr.write(`${line}\n`);
  const home = join(root, '.bench');
  const { specs, skipped } = findPeers(options.peers, home);
  for (const peer of skipped) progress(`skipped ${peer.name}: ${peer.reason}`);
  const running = options.mqtt !== null || options.kafka !== null;
  const subject = running ? runningSpec(options) : robustmqSpec();
  const folder = join(home, `run-${process.pid}`);
  const abort = new AbortController();
  process.once('SIGINT', () => abort.abort(new Error('interrupted')));
  process.once('SIGTERM', () => abort.abort(new Error('interrupted')));
  try {
    const { seconds, warmupMs } = options;
    const run = {
      rows,
      specs: [subject, ...specs],
      seconds,
      warmupMs,
      folder,
      progress,
      signal: abort.signal,
    };
    const measurements = await runRows(run);
    process.stdout.write(format({ rows, measurements, skipped }, options));
    return measurements.some(({ server, error }) => server === subjectName && error !== null) ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function format(report: Report, options: BenchOptions): string {
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
  const { rows, measurements, skipped } = report;
  if (options.json) {
    const plain = rows.map(({ id, title, unit }) => ({ id, title, unit }));
    const compared = measurements.map((each) => ({ ...each, subjectOverThis: ratios(each, measurements) }));
    const document = { machine, seconds: options.seconds, rows: plain, measurements: compared, skipped };
    return `${JSON.stringify(document, null, 2)}\n`;
  }
  const missing = skipped.map((peer) => `  skipped ${peer.name}: ${peer.reason}\n`).join('');
  const about = `${machine.cores} x ${machine.cpu}, Node ${machine.node}, ${options.seconds} s a row`;
  const errors = measurements
    .filter(({ error }) => error?.includes('\n'))
    .map(({ server, error }) => `\n${server}: ${error}\n`);
  return `${about}\n\n${formatTable(rows, measurements, subjectName)}${missing}${[...new Set(errors)].join('')}`;
}

/** Subject's figures over a peer's in the same row; null for the subject itself. */
function ratios(peer: Measurement, all: readonly Measurement[]) {
  const subject = all.find(({ row, server }) => row === peer.row && server === subjectName);
  if (subject === undefined || subject === peer || subject.error !== null || peer.error !== null) return null;
  return { value: ratio(subject.value, peer.value), cpu: ratio(subject.cpu, peer.cpu) };
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(usage);
  else process.exitCode = await bench(options);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
