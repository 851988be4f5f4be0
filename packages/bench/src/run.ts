import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { generate } from './generator.ts';
import type { Job, LoadResult } from './job.ts';
import { failed, figure, fromLoad, type Measurement, median } from './measurement.ts';
import type { BenchOptions } from './options.ts';
import { cpuSeconds, residentBytes } from './process-stat.ts';
import type { LoadShape, Row, RowContext } from './rows.ts';
import type { Target, TargetSpec } from './targets/target.ts';

export interface RunOptions extends Pick<BenchOptions, 'seconds' | 'warmupMs'> {
  readonly rows: readonly Row[];
  /** The subject first. */
  readonly specs: readonly TargetSpec[];
  /** Folder for configurations, logs and data; must lie on a real disk. */
  readonly folder: string;
  readonly progress: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Runs every row on every server that speaks its protocol. Within a group all servers are up, and each row
 * goes through them in turn, so that a noisy moment of the machine does not fall on one server alone.
 */
export async function runRows(options: RunOptions): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  const note = (measurement: Measurement) => {
    measurements.push(measurement);
    const { row, server, value, error } = measurement;
    options.progress(`${row} ${server}: ${error?.split('\n')[0] ?? value?.toPrecision(3) ?? 'unknown'}`);
  };
  const processRows = options.rows.filter((row) => row.group === 'process');
  if (processRows.length > 0) await runProcessRows(options, processRows, note);
  for (const group of ['mqtt', 'kafka'] as const) {
    const rows = options.rows.filter((row) => row.group === group);
    const specs = options.specs.filter((spec) => spec.protocols.includes(group));
    if (rows.length > 0) await runGroup(options, { group, rows, specs }, note);
  }
  return measurements;
}

interface Group {
  readonly group: 'mqtt' | 'kafka';
  readonly rows: readonly Row[];
  readonly specs: readonly TargetSpec[];
}

async function runGroup(
  options: RunOptions,
  { group, rows, specs }: Group,
  note: (measurement: Measurement) => void,
): Promise<void> {
  const sessions: LoadSession[] = [];
  try {
    for (const spec of specs) {
      options.signal.throwIfAborted();
      try {
        const target = await spec.open(join(options.folder, `${spec.name}-${group}`));
        sessions.push(
          new LoadSession(target, group, { ...options, warmupMs: spec.warmupMs ?? options.warmupMs }),
        );
      } catch (error) {
        for (const row of rows) note(failed(row, spec.name, messageOf(error)));
      }
    }
    for (const row of rows) {
      for (const session of sessions) {
        options.signal.throwIfAborted();
        await settle(sessions.flatMap((each) => each.target.pids));
        note(await session.run(row));
      }
    }
  } finally {
    for (const session of sessions) await session.target.stop();
    for (const spec of specs)
      rmSync(join(options.folder, `${spec.name}-${group}`), { recursive: true, force: true });
  }
}

/** Start times and idle memory: each server alone, started several times. */
async function runProcessRows(
  options: RunOptions,
  rows: readonly Row[],
  note: (measurement: Measurement) => void,
): Promise<void> {
  for (const spec of options.specs) {
    try {
      const { startMs, resident } = await startAndRest(options, spec);
      for (const row of rows) {
        if (row.unit === 'startMs' && startMs !== null) note(figure(row, spec.name, startMs));
        if (row.unit === 'residentMib' && resident !== null) note(figure(row, spec.name, resident / 2 ** 20));
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

/** The loads of one group on one server. */
class LoadSession {
  readonly target: Target;
  readonly #group: 'mqtt' | 'kafka';
  readonly #options: RunOptions;
  readonly #prefix = `bench-${Date.now().toString(36)}`;
  #runs = 0;
  #filled: { readonly start: number; readonly end: number } | null = null;

  constructor(target: Target, group: 'mqtt' | 'kafka', options: RunOptions) {
    this.target = target;
    this.#group = group;
    this.#options = options;
  }

  async run(row: Row): Promise<Measurement> {
    const { name } = this.target;
    try {
      const shape = await row.load?.(this.#context());
      if (shape === undefined) return failed(row, name, 'the row has no load');
      return fromLoad(row, name, await this.#generate(shape));
    } catch (error) {
      return failed(row, name, messageOf(error));
    }
  }

  #context(): RowContext {
    return {
      topic: (name) => `${this.#prefix}-${name}`,
      filled: async (shape) => {
        if (this.#filled === null) {
          const { offsets } = await this.#generate(shape);
          if (offsets === undefined) throw new Error('the fill gave no offsets');
          this.#filled = offsets;
          await settle(this.target.pids);
        }
        return this.#filled;
      },
    };
  }

  #generate(shape: LoadShape): Promise<LoadResult> {
    const endpoint = this.target[this.#group];
    if (endpoint === null) throw new Error(`${this.target.name} has no ${this.#group} port`);
    const { warmupMs, seconds } = this.#options;
    const prefix = `${this.#prefix}-${this.#runs++}`;
    const job: Job = { ...shape, endpoint, pids: this.target.pids, prefix, warmupMs, seconds };
    return generate(job);
  }
}

const settlePollMs = 200;
const settlePolls = 25;
/** A server this busy still does work that earlier loads caused. */
const settledBusy = 0.06;

/** Waits until earlier writes have reached the disk and the servers are idle, for at most some seconds. */
async function settle(pids: readonly number[]): Promise<void> {
  spawnSync('sync', { stdio: 'ignore' });
  let last = cpuSeconds(pids);
  for (let poll = 0; poll < settlePolls && last !== null; poll++) {
    await delay(settlePollMs);
    const now = cpuSeconds(pids);
    if (now === null || (now - last) / (settlePollMs / 1000) <= settledBusy) return;
    last = now;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
