import type { Job } from './job.ts';
import { runJob } from './loads/run-job.ts';

/** Entry point of a generator process: the job as JSON in the first argument, the result as JSON on stdout. */
const job = JSON.parse(process.argv[2] ?? '') as Job;
try {
  process.stdout.write(`${JSON.stringify(await runJob(job))}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
