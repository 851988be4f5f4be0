import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { LoadSession } from './load-session.ts';
import { failed, figure, type Measurement, median } from './measurement.ts';
import type { BenchOptions } from './options.ts';
import { residentBytes } from './process-stat.ts';
import { valueText } from './report/units.ts';
import type { Row } from './rows/row.ts';
import { settle } from './settle.ts';
import type { TargetSpec } from './targets/target.ts';
import { warmMemory } from './warm-memory.ts';

export interface RunOptions extends Pick<BenchOptions, 'seconds' | 'warmupMs'> {
  readonly rows: readonly Row[];
  /** The server whose bars are measured, and its peers. */
  readonly subject: TargetSpec;
  readonly peers: readonly TargetSpec[];
  /** Folder for configurations, logs and data; must lie on a real disk. */
  readonly folder: string;
  readonly progress: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Runs every row on this server and on those of its peers. Within a group all servers are up, and each row
 * goes through them in turn, so that a noisy moment of the machine does not fall on one server alone.
 */
export async function runRows(options: RunOptions): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  const servers = [options.subject, ...options.peers];
  const steps = options.rows.flatMap((row) => servers.filter((spec) => runs(options, row, spec))).length;
  const note = (measurement: Measurement) => {
    measurements.push(measurement);
    const { row, server } = measurement;
    options.progress(
      `[${measurements.length}/${steps}] ${row} ${server}: ${outcomeOf(options.rows, measurement)}`,
    );
  };
  const groups = new Map<string, Row[]>();
  for (const row of options.rows) groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  for (const rows of groups.values()) {
    if (rows[0]?.protocol === null) await runProcessRows(options, rows, note);
    else await runGroup(options, rows, note);
  }
  return measurements;
}

async function runGroup(
  options: RunOptions,
  rows: readonly Row[],
  note: (measurement: Measurement) => void,
): Promise<void> {
  const specs = serversOf(options, rows);
  const group = rows[0]?.group ?? '';
  const folderOf = (spec: TargetSpec) => join(options.folder, `${spec.name}-${group}`);
  const sessions: LoadSession[] = [];
  try {
    for (const spec of specs) {
      options.signal.throwIfAborted();
      options.progress(`starting ${spec.name} for ${group}`);
      try {
        const target = await spec.open(folderOf(spec));
        const warmupMs = spec.warmupMs ?? options.warmupMs;
        const promises = spec === options.subject;
        sessions.push(new LoadSession(target, { ...options, warmupMs, promises }));
      } catch (error) {
        for (const row of rows) if (runs(options, row, spec)) note(failed(row, spec.name, messageOf(error)));
      }
    }
    for (const row of rows) {
      for (const session of sessions) {
        const spec = specs.find(({ name }) => name === session.target.name);
        if (spec === undefined || !runs(options, row, spec)) continue;
        options.signal.throwIfAborted();
        options.progress(`${row.id}: loading ${spec.name}`);
        await settle(sessions.flatMap((each) => each.target.pids));
        warmMemory();
        note(await session.run(row));
      }
    }
  } finally {
    for (const session of sessions) await session.target.stop();
    for (const spec of specs) rmSync(folderOf(spec), { recursive: true, force: true });
  }
}

function outcomeOf(rows: readonly Row[], measurement: Measurement): string {
  const row = rows.find(({ id }) => id === measurement.row);
  if (measurement.error !== null) return `failed: ${measurement.error.split('\n')[0]}`;
  return (row === undefined ? '' : valueText(row.unit, measurement)) || 'no figure';
}

/** Start times and memory at rest: each server alone, started several times. */
async function runProcessRows(
  options: RunOptions,
  rows: readonly Row[],
  note: (measurement: Measurement) => void,
): Promise<void> {
  for (const spec of serversOf(options, rows)) {
    options.progress(`starting ${spec.name}`);
    try {
      const { startMs, resident } = await startAndRest(options, spec);
      for (const row of rows) {
        if (row.unit === 'startMs' && startMs !== null) note(figure(row, spec.name, startMs));
        if (row.unit === 'residentMb' && resident !== null) note(figure(row, spec.name, resident / 1e6));
      }
    } catch (error) {
      options.signal.throwIfAborted();
      for (const row of rows) note(failed(row, spec.name, messageOf(error)));
    }
  }
}

async function startAndRest(
  options: RunOptions,
  spec: TargetSpec,
): Promise<{ readonly startMs: number | null; readonly resident: number | null }> {
  const starts: number[] = [];
  let resident: number | null = null;
  for (let run = 0; run < Math.max(1, spec.startRuns); run++) {
    options.signal.throwIfAborted();
    const folder = join(options.folder, `${spec.name}-start-${run}`);
    const target = await spec.open(folder);
    try {
      if (target.startMs !== null) starts.push(target.startMs);
      await settle(target.pids);
      resident = residentBytes(target.pids);
    } finally {
      await target.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return { startMs: starts.length === 0 ? null : median(starts), resident };
}

/** This server first, then the peers that run any of the rows. */
function serversOf(options: RunOptions, rows: readonly Row[]): TargetSpec[] {
  return [options.subject, ...options.peers].filter((spec) => rows.some((row) => runs(options, row, spec)));
}

function runs({ subject }: RunOptions, { peers, protocol }: Row, spec: TargetSpec): boolean {
  const speaks = protocol === null || spec.protocols.includes(protocol);
  return speaks && (spec === subject || peers.some((name) => name === spec.name));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
