import { configureTopic, metricOf, readMetrics } from './admin.ts';
import { DurabilityCheck } from './check/durability.ts';
import { generate } from './generator.ts';
import type { Job, LoadResult } from './job.ts';
import { failed, fromLoad, type Measurement } from './measurement.ts';
import { residentBytes } from './process-stat.ts';
import type { LoadShape, Row, RowContext } from './rows/row.ts';
import { settle } from './settle.ts';
import type { Target } from './targets/target.ts';

export interface LoadSessionOptions {
  readonly seconds: number;
  readonly warmupMs: number;
  /** This server promises durability where a row says so; a peer does not. */
  readonly promises: boolean;
}

/** Once a server is warm, the load for latency and the one that ends in a kill need no more than this. */
const againWarmupMs = 500;
const notChecked = 'durability was not checked: the server was not started here';
/** Latency is read at this part of the highest rate. */
const pacedShare = 0.5;

/** The loads of one group of rows on one server. */
export class LoadSession {
  readonly target: Target;
  readonly #options: LoadSessionOptions;
  readonly #prefix = `bench-${Date.now().toString(36)}`;
  #runs = 0;
  readonly #configured = new Set<string>();
  readonly #highest = new Map<string, number>();
  #filled: { readonly start: number; readonly end: number } | null = null;

  constructor(target: Target, options: LoadSessionOptions) {
    this.target = target;
    this.#options = options;
  }

  /** The row's load, its latency at half of the rate that this gave, and at last the check of durability. */
  async run(row: Row): Promise<Measurement> {
    const { name, pids } = this.target;
    try {
      const shape = await row.load?.(this.#context(row));
      if (shape === undefined) return failed(row, name, 'the row has no load');
      const durable = row.durable && this.#options.promises;
      const check = durable ? await DurabilityCheck.begin(this.target) : null;
      const seconds = Math.max(this.#options.seconds, row.secondsMin ?? 0);
      const segments = row.segmentsNoted === true ? await this.#segments() : null;
      const result = await this.#generate(row, shape, { seconds });
      await check?.measured(result, valueBytesOf(shape));
      const measurement = fromLoad(row, name, result);
      const resident = residentBytes(pids);
      const latency = await this.#latency(row, result);
      const finding = await check?.finish(() => this.#kill(row, shape));
      return {
        ...measurement,
        latency: latency?.latency ?? measurement.latency,
        residentBytes: resident,
        note: segments === null ? measurement.note : segmentsNote(segments, await this.#segments()),
        durability: finding?.text ?? (durable ? notChecked : null),
        error: measurement.error ?? finding?.failure ?? null,
      };
    } catch (error) {
      return failed(row, name, error instanceof Error ? error.message : String(error));
    }
  }

  async #latency(row: Row, { count, seconds }: LoadResult): Promise<LoadResult | null> {
    const shape = await row.paced?.(this.#context(row), (count / seconds) * pacedShare);
    if (shape === undefined) return null;
    await settle(this.target.pids);
    return this.#generate(row, shape, { warmupMs: againWarmupMs });
  }

  /** Counters of segments so far. */
  async #segments(): Promise<SegmentCounters> {
    const { admin } = this.target;
    if (admin === null) throw new Error(`${this.target.name} has no admin port`);
    const metrics = await readMetrics(admin);
    return {
      sealed: metricOf(metrics, 'robustmq_journal_sealed_segments_total'),
      deleted: metricOf(metrics, 'robustmq_journal_deleted_segments_total'),
    };
  }

  #kill(row: Row, shape: LoadShape): Promise<LoadResult> {
    if (shape.kind !== 'mqtt-qos1' && shape.kind !== 'kafka-produce') {
      throw new Error(`the load ${shape.kind} cannot end in a kill`);
    }
    return this.#generate(row, { ...shape, kill: true }, { warmupMs: againWarmupMs });
  }

  #context({ protocol }: Pick<Row, 'protocol'>): RowContext {
    return {
      topic: (name) => `${this.#prefix}-${name}`,
      filled: async (shape) => {
        if (this.#filled === null) {
          const { offsets } = await this.#generate({ protocol: 'kafka' }, shape);
          if (offsets === undefined) throw new Error('the fill gave no offsets');
          this.#filled = offsets;
          await settle(this.target.pids);
        }
        return this.#filled;
      },
      configure: async (topic, options) => {
        const { admin } = this.target;
        if (admin === null) throw new Error(`${this.target.name} has no admin port`);
        if (this.#configured.has(topic)) return;
        this.#configured.add(topic);
        await configureTopic(admin, topic, options);
      },
      highest: async (shape) => {
        const name = JSON.stringify(shape);
        let rate = this.#highest.get(name);
        if (rate === undefined) {
          const { count, seconds } = await this.#generate({ protocol }, shape);
          rate = count / seconds;
          this.#highest.set(name, rate);
          await settle(this.target.pids);
        }
        return rate;
      },
    };
  }

  #generate(
    { protocol }: Pick<Row, 'protocol'>,
    shape: LoadShape,
    timing: { readonly warmupMs?: number; readonly seconds?: number } = {},
  ): Promise<LoadResult> {
    const endpoint = protocol === null ? null : this.target[protocol];
    if (endpoint === null) throw new Error(`${this.target.name} has no ${protocol} port`);
    const prefix = `${this.#prefix}-${this.#runs++}`;
    const { seconds, warmupMs } = { ...this.#options, ...timing };
    const job: Job = { ...shape, endpoint, pids: this.target.pids, prefix, warmupMs, seconds };
    return generate(job);
  }
}

interface SegmentCounters {
  readonly sealed: number;
  readonly deleted: number;
}

function segmentsNote(before: SegmentCounters, after: SegmentCounters): string {
  return `${after.sealed - before.sealed} segments sealed and ${after.deleted - before.deleted} deleted meanwhile`;
}

function valueBytesOf(shape: LoadShape): number {
  if ('valueBytes' in shape) return shape.valueBytes;
  return 'payloadBytes' in shape ? shape.payloadBytes : 0;
}
