import { parseArgs } from 'node:util';
import type { Sample } from './sample.ts';
import { runSoak } from './soak.ts';
import { judge } from './verdict.ts';

const help = `npm run soak -- [options]

Runs a server under a mixed load of MQTT and Kafka clients that come and go, and looks whether memory, descriptors,
timers or files rise after the warm-up, whether a client is stuck and whether anything acknowledged is lost.

  --minutes N    how long the load runs (30)
  --every N      seconds between two samples (10)

Prints a line for each sample and for each finding; exit code 0 if all held.`;

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    every: { type: 'string', default: '10' },
    help: { type: 'boolean', default: false },
  },
});

if (options.help) console.log(help);
else process.exitCode = (await soak(positive(options.minutes), positive(options.every))) ? 0 : 1;

async function soak(minutes: number, everySeconds: number): Promise<boolean> {
  const run = await runSoak({
    durationMs: minutes * 60_000,
    sampleMs: everySeconds * 1000,
    onSample: (sample) => console.log(line(sample)),
  });
  console.log(`clients: ${run.clients.join(', ')}`);
  console.log(`delivered again, which at-least-once allows: ${run.twice}`);
  const findings = judge(run.samples, run.end);
  for (const { name, held, detail } of findings)
    console.log(`${held ? 'held  ' : 'FAILED'} ${name}: ${detail}`);
  const failed = findings.filter(({ held }) => !held).length;
  console.log(
    `soak ${failed === 0 ? 'held' : 'FAILED'}: ${findings.length - failed} of ${findings.length} held`,
  );
  return failed === 0;
}

function line(sample: Sample): string {
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
  return [
    `${Math.round(sample.atMs / 1000)} s`,
    `rss ${mib(sample.residentBytes)}`,
    `heap ${mib(sample.heapBytes)}`,
    `external ${mib(sample.externalBytes)}`,
    `fds ${sample.descriptors}`,
    `resources ${sample.resources}`,
    `log ${sample.walFiles} files ${mib(sample.walBytes)}`,
    `segments ${sample.segmentFiles} files ${mib(sample.segmentBytes)}`,
    `lag ${Math.round(sample.lagMs)} ms`,
    `stuck ${sample.stuck.length}`,
    `acknowledged ${sample.acknowledged}`,
    `delivered ${sample.delivered}`,
  ].join(', ');
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${text} is not a number above 0`);
  return value;
}
