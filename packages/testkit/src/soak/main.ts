import { parseArgs } from 'node:util';
import { numberOf, optionsOrExit } from '../command-line.ts';
import type { Sample } from './sample.ts';
import { runSoak } from './soak.ts';
import { judge, tooShort } from './verdict.ts';

const help = `npm run soak -- [options]

Runs a server under a mixed load of MQTT and Kafka clients that come and go, and looks whether memory, descriptors,
timers or files rise after the warm-up, the first quarter; resident memory is that of a server that collects its garbage
when it likes, and only at the end of the warm-up and of the run it is told to, to see what it has in use; whether a client is stuck, whether anything acknowledged is
lost, and whether anything comes twice at QoS 2 or of an idempotent producer.

  --minutes N    how long the load runs, at least 10 (30)
  --every N      seconds between two samples (10)

Prints a line for each sample and for each finding; exit code 0 if all held. The last line is the verdict.`;

interface Options {
  readonly durationMs: number;
  readonly sampleMs: number;
  readonly help: boolean;
}

const options = optionsOrExit((): Options => {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '30' },
      every: { type: 'string', default: '10' },
      help: { type: 'boolean', default: false },
    },
  });
  const durationMs = numberOf('minutes', values.minutes, 0) * 60_000;
  const sampleMs = numberOf('every', values.every, 1) * 1000;
  const problem = tooShort(durationMs, sampleMs);
  if (problem !== null && !values.help) throw new Error(problem);
  return { durationMs, sampleMs, help: values.help };
});

if (options.help) console.log(help);
else process.exitCode = (await soak(options)) ? 0 : 1;

async function soak({ durationMs, sampleMs }: Options): Promise<boolean> {
  const run = await runSoak({ durationMs, sampleMs, onSample: (sample) => console.log(line(sample)) });
  console.log(`clients: ${run.clients.join(', ')}`);
  console.log(`delivered again, which at-least-once allows: ${run.twice}`);
  const findings = judge(run.samples, run.end);
  for (const { name, held, detail } of findings)
    console.log(`${held ? 'held  ' : 'FAILED'} ${name}: ${detail}`);
  const failed = findings.filter(({ held }) => !held).length;
  console.log(
    `soak: ${failed === 0 ? 'held' : 'failed'}, ${findings.length - failed} of ${findings.length} findings held`,
  );
  return failed === 0;
}

function line(sample: Sample): string {
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
  return [
    `${Math.round(sample.atMs / 1000)} s`,
    `rss ${mib(sample.residentBytes)}`,
    `in use ${sample.liveBytes === null ? '-' : mib(sample.liveBytes)}`,
    `heap ${mib(sample.heapBytes)}`,
    `external ${mib(sample.externalBytes)}`,
    `fds ${sample.descriptors}`,
    `resources ${sample.resources}`,
    `timers ${sample.timers}`,
    `log ${sample.walFiles} files ${mib(sample.walBytes)}`,
    `segments ${sample.segmentFiles} files ${mib(sample.segmentBytes)}`,
    `metadata ${mib(sample.metadataBytes)}`,
    `lag ${Math.round(sample.lagMs)} ms`,
    `stuck ${sample.stuck.length}`,
    `acknowledged ${sample.acknowledged}`,
    `delivered ${sample.delivered}`,
  ].join(', ');
}
