import { readMetrics } from '../admin.ts';
import type { LoadResult } from '../job.ts';
import type { Target } from '../targets/target.ts';
import { type DiskCounters, diskCounters, synchronousFiles } from './disk-counters.ts';
import { mqttEnds, type Recount, recount } from './recount.ts';

/** What was seen of a durable row; `failure` says what was promised and not kept. */
export interface DurabilityFinding {
  readonly text: string;
  readonly failure: string | null;
}

const logFolder = '/journal/wal/';

/**
 * Watches one load of a server that promises that what it acknowledges is on disk: its log must have written
 * as many bytes as were acknowledged, and after a kill -9 in the middle of the load everything acknowledged is there.
 */
export class DurabilityCheck {
  readonly #target: Target;
  readonly #before: DiskCounters;

  private constructor(target: Target, before: DiskCounters) {
    this.#target = target;
    this.#before = before;
  }

  /** Null for a server that cannot be asked or killed. */
  static async begin(target: Target): Promise<DurabilityCheck | null> {
    if (target.admin === null || target.kafka === null || target.restart === null) return null;
    return new DurabilityCheck(target, diskCounters(await readMetrics(target.admin)));
  }

  /** `load` is the one that was measured; `kill` runs it once more, to its end by SIGKILL. */
  async finish(
    load: LoadResult,
    valueBytes: number,
    kill: () => Promise<LoadResult>,
  ): Promise<DurabilityFinding> {
    const { admin, kafka, restart, pids } = this.#target;
    if (admin === null || kafka === null || restart === null) throw new Error('the server cannot be checked');
    const after = diskCounters(await readMetrics(admin));
    const files = synchronousFiles(pids, logFolder);
    const from = await mqttEnds(kafka);
    const { acknowledged } = await kill();
    const startedAtMs = performance.now();
    await restart();
    const restartMs = performance.now() - startedAtMs;
    const counted = await recount(kafka, acknowledged ?? {}, from);
    return finding({
      acknowledgedBytes: load.arrived * valueBytes,
      writtenBytes: after.writtenBytes - this.#before.writtenBytes,
      writes: after.writes - this.#before.writes,
      syncs: after.syncs - this.#before.syncs,
      files,
      counted,
      restartMs,
    });
  }
}

export interface DurabilityEvidence extends DiskCounters {
  readonly acknowledgedBytes: number;
  readonly files: { readonly open: number; readonly synchronous: number } | null;
  readonly counted: Recount;
  readonly restartMs: number;
}

/** Judges what was seen. */
export function finding(evidence: DurabilityEvidence): DurabilityFinding {
  const { acknowledgedBytes, writtenBytes, writes, syncs, files, counted, restartMs } = evidence;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  const synchronous = files === null ? '' : `, ${files.synchronous} of ${files.open} log files O_DSYNC`;
  const text =
    `acknowledged ${megabytes(acknowledgedBytes)}, the log wrote ${megabytes(writtenBytes)} in ${writes} writes` +
    `${synchronous}; kill -9 under load, up again in ${restartMs.toFixed(0)} ms, ` +
    `${counted.found} of ${counted.acknowledged} acknowledged found`;
  return { text, failure: failureOf() };

  function failureOf(): string | null {
    if (counted.acknowledged === 0) return 'nothing was acknowledged before the kill';
    if (counted.found < counted.acknowledged)
      return `kill -9 lost ${counted.acknowledged - counted.found} of ${counted.acknowledged} acknowledged`;
    if (writtenBytes < acknowledgedBytes)
      return `the log wrote ${megabytes(writtenBytes)} for ${megabytes(acknowledgedBytes)} acknowledged`;
    if (files !== null && files.synchronous === 0 && syncs === 0) return 'the log was written without a sync';
    return null;
  }
}
