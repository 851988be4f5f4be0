import { setTimeout as delay } from 'node:timers/promises';
import type { Fault } from './fault.ts';
import type { Job, LoadResult } from './job.ts';
import { cpuSeconds } from './process-stat.ts';

export interface Counters {
  /** Deliveries or records so far. */
  readonly count: () => number;
  readonly bytesEach: number;
  /** Called when the timed window begins. */
  readonly onWindow?: () => void;
}

export type Timed = Pick<
  LoadResult,
  'seconds' | 'count' | 'bytes' | 'serverCpuSeconds' | 'generatorCpuSeconds'
>;

interface Mark {
  readonly atMs: number;
  readonly count: number;
  readonly server: number | null;
  readonly generator: number;
}

/** Lets a running load warm up, then takes count and CPU time at both ends of the timed window. */
export async function measure(job: Job, fault: Fault, counters: Counters): Promise<Timed> {
  await fault.race(delay(job.warmupMs));
  counters.onWindow?.();
  const before = mark(job, counters);
  await fault.race(delay(job.seconds * 1000));
  const after = mark(job, counters);
  const count = after.count - before.count;
  return {
    seconds: (after.atMs - before.atMs) / 1000,
    count,
    bytes: count * counters.bytesEach,
    serverCpuSeconds: before.server === null || after.server === null ? null : after.server - before.server,
    generatorCpuSeconds: after.generator - before.generator,
  };
}

/** Waits until `reached` holds or nothing has moved for `patienceMs`; the caller compares the counts. */
export async function drain(
  reached: () => boolean,
  progress: () => number,
  patienceMs = 3000,
): Promise<void> {
  let last = progress();
  let movedAtMs = performance.now();
  while (!reached() && performance.now() - movedAtMs < patienceMs) {
    await delay(10);
    const now = progress();
    if (now === last) continue;
    last = now;
    movedAtMs = performance.now();
  }
}

function mark(job: Job, counters: Counters): Mark {
  const own = process.cpuUsage();
  return {
    atMs: performance.now(),
    count: counters.count(),
    server: cpuSeconds(job.pids),
    generator: (own.user + own.system) / 1e6,
  };
}
