import type fc from 'fast-check';
import type { Script } from './mutation.ts';

/** What a run of a target found out beside failures. */
export interface TargetMeasures {
  /** The longest that one sequence took, ms; of codecs. */
  slowestMs: number;
  /** The longest that a healthy client beside waited, ms; of servers. */
  healthyMs: number;
  /** By how much memory grew after the first part of a run, bytes: what decoders hold, what servers have in use at the end. */
  grownBytes: number;
}

/** Something that is fuzzed. A sequence that it does not survive makes `run` throw. */
export interface FuzzTarget {
  readonly name: string;
  /** The part of all sequences that it gets, beside those of the other targets. */
  readonly share: number;
  readonly scripts: fc.Arbitrary<Script>;
  /** Whether `run` takes one script and is done when it returns. */
  readonly synchronous: boolean;
  /** Scripts that are run at once, on average. */
  readonly batch: number;
  run(scripts: readonly Script[]): void | Promise<void>;
  /** After each part of a run, the `last` included: throws when something has grown, leaked or died without a sequence to blame. */
  check(last: boolean): Promise<void>;
  readonly measures: TargetMeasures;
  /** The bytes of a script as hexadecimal digits, a line for each packet. */
  show(script: Script): string[];
  stop(): Promise<void>;
}
