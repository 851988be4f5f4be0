import type { Endpoint } from '../job.ts';

/** A server that accepts connections. */
export interface Target {
  readonly name: string;
  readonly mqtt: Endpoint | null;
  readonly kafka: Endpoint | null;
  /** Where metrics are, if the target has them in the form of this server. */
  readonly admin: Endpoint | null;
  /** Its processes; empty when unknown, and then there is no CPU or memory column. They change with a restart. */
  readonly pids: readonly number[];
  /** From spawning to all ports open; null when it ran already. */
  readonly startMs: number | null;
  /** Starts it again, on the same data and ports, after it was killed; null for a server that was not started here. */
  readonly restart: (() => Promise<void>) | null;
  stop(): Promise<void>;
}

export type Protocol = 'mqtt' | 'kafka';

/** How to get a target. Opening twice gives two servers with separate, empty data. */
export interface TargetSpec {
  readonly name: string;
  readonly protocols: readonly Protocol[];
  /** How often its start is timed; 0 for a server that the benchmark does not start. */
  readonly startRuns: number;
  /** Load before the timed window, where the usual warm-up is too short for a fair figure. */
  readonly warmupMs?: number;
  open(folder: string): Promise<Target>;
}
