import { readMetrics } from '../admin.ts';
import type { Endpoint, LoadResult } from '../job.ts';
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
  readonly #server: KillableServer;
  readonly #before: DiskCounters;
  #measured: MeasuredEvidence | null = null;

  private constructor(server: KillableServer, before: DiskCounters) {
    this.#server = server;
    this.#before = before;
  }

  /** Null for a server that cannot be asked or killed. */
  static async begin(target: Target): Promise<DurabilityCheck | null> {
    const { admin, kafka, restart } = target;
    if (admin === null || kafka === null || restart === null) return null;
    const server = { admin, kafka, restart, pids: () => target.pids };
    return new DurabilityCheck(server, diskCounters(await readMetrics(admin)));
  }

  /** Right after the load that was measured: compares what it was acknowledged with what the log wrote. */
  async measured(load: LoadResult, valueBytes: number): Promise<void> {
    const { admin, pids } = this.#server;
    const after = diskCounters(await readMetrics(admin));
    this.#measured = {
      acknowledgedBytes: load.arrived * valueBytes,
      writtenBytes: after.writtenBytes - this.#before.writtenBytes,
      writes: after.writes - this.#before.writes,
      syncs: after.syncs - this.#before.syncs,
      files: synchronousFiles(pids(), logFolder),
    };
  }

  /** `kill` runs the load once more, to its end by SIGKILL. */
  async finish(kill: () => Promise<LoadResult>): Promise<DurabilityFinding> {
    const { kafka, restart } = this.#server;
    if (this.#measured === null) throw new Error('nothing was measured');
    const from = await mqttEnds(kafka);
    const { acknowledged } = await kill();
    const startedAtMs = performance.now();
    await restart();
    const restartMs = performance.now() - startedAtMs;
    const counted = await recount(kafka, acknowledged ?? {}, from);
    return finding({ ...this.#measured, counted, restartMs });
  }
}

interface KillableServer {
  readonly admin: Endpoint;
  readonly kafka: Endpoint;
  readonly restart: () => Promise<void>;
  readonly pids: () => readonly number[];
}

interface MeasuredEvidence extends DiskCounters {
  readonly acknowledgedBytes: number;
  readonly files: { readonly open: number; readonly synchronous: number } | null;
}

export interface DurabilityEvidence extends MeasuredEvidence {
  readonly counted: Recount;
  readonly restartMs: number;
}

/** Judges what was seen. */
export function finding(evidence: DurabilityEvidence): DurabilityFinding {
  const { acknowledgedBytes, writtenBytes, writes, files, counted, restartMs } = evidence;
  const synchronous = files === null ? '' : `, ${files.synchronous} of ${files.open} log files O_DSYNC`;
  const text =
    `acknowledged ${megabytes(acknowledgedBytes)}, the log wrote ${megabytes(writtenBytes)} in ${writes} writes` +
    `${synchronous}; kill -9 under load, up again in ${restartMs.toFixed(0)} ms, ` +
    `${counted.found} of ${counted.acknowledged} acknowledged found`;
  return { text, failure: failureOf(evidence) };
}

function failureOf({
  acknowledgedBytes,
  writtenBytes,
  syncs,
  files,
  counted,
}: DurabilityEvidence): string | null {
  const lost = counted.acknowledged - counted.found;
  if (counted.acknowledged === 0) return 'nothing was acknowledged before the kill';
  if (lost > 0) return `kill -9 lost ${lost} of ${counted.acknowledged} acknowledged`;
  if (writtenBytes < acknowledgedBytes)
    return `the log wrote ${megabytes(writtenBytes)} for ${megabytes(acknowledgedBytes)} acknowledged`;
  if (files !== null && files.synchronous === 0 && syncs === 0) return 'the log was written without a sync';
  return null;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
