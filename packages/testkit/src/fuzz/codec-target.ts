import { setImmediate as turn } from 'node:timers/promises';
import { InputBudget } from './input-budget.ts';
import { mutate, scripts } from './mutation.ts';
import type { Grammar, Script } from './mutation.ts';
import type { FuzzTarget, TargetMeasures } from './target.ts';

/** Memory that a process which only decodes may gain, bytes: the collector's own leeway. */
const grownBytesMax = 96 * 1024 * 1024;

const mutationsMax = 6;

/** A decoder below test: what it must do with the packets of any sequence, or throw. */
export interface CodecSubject {
  readonly name: string;
  readonly share: number;
  /** Whether `decode` returns no promise. Default true. */
  readonly synchronous?: boolean;
  /** What decoding may allocate whatever the size of its input, bytes. Default that of a codec. */
  readonly freeBytes?: number;
  readonly grammar: Grammar;
  readonly traffic: readonly (readonly Buffer[])[];
  decode(packets: readonly Buffer[], script: Script, budget: InputBudget): void | Promise<void>;
}

/** Fuzzes a decoder in this process. */
export function codecTarget(subject: CodecSubject): FuzzTarget {
  const { name, share, grammar, traffic, decode, synchronous = true } = subject;
  const budget = new InputBudget(subject.freeBytes);
  const measures: TargetMeasures = { slowestMs: 0, healthyMs: 0, grownBytes: 0 };
  let checks = 0;
  let before = 0;
  return {
    name,
    share,
    scripts: scripts(traffic.length, mutationsMax),
    synchronous,
    batch: 1,
    measures,
    run(batch) {
      const [script] = batch;
      const done = decode(mutate(script!, traffic, grammar), script!, budget);
      if (batch.length > 1) throw new Error('a decoder takes one sequence at a time');
      return done;
    },
    async check() {
      await turn();
      measures.slowestMs = budget.slowestMs;
      const now = process.memoryUsage.rss();
      // The first part of a run makes what is kept for the others.
      if (checks++ === 0) before = now;
      measures.grownBytes = Math.max(measures.grownBytes, now - before);
      if (now - before > grownBytesMax) throw new Error(`${name}: memory grew by ${now - before} bytes`);
    },
    show: (script) => mutate(script, traffic, grammar).map((packet) => packet.toString('hex')),
    stop: () => Promise.resolve(),
  };
}
