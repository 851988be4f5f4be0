export type { Endpoint, Job, LoadResult } from './job.ts';
export { runJob } from './loads/run-job.ts';
export { cpuSeconds, residentBytes } from './process-stat.ts';
