import { setTimeout as delay } from 'node:timers/promises';
import type { ServerProcess } from '../server-process.ts';
import type { Ledger } from './ledger.ts';

/** What every part of the load works with. */
export interface LoadContext {
  readonly server: ServerProcess;
  readonly ledger: Ledger;
  /** Ended when the load is to stop. */
  readonly signal: AbortSignal;
  /** Says that a client got on. */
  progress(client: string): void;
  /** Says what must not happen. */
  problem(text: string): void;
}

/** A part of the load: runs until the signal ends and closes what it opened. */
export type Workload = (context: LoadContext) => Promise<void>;

/** Waits, or returns at once when the load is to stop. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** Repeats `round` until the load stops; a round that fails is a problem, and the next one follows. */
export async function repeat(
  client: string,
  { signal, progress, problem }: LoadContext,
  round: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await round();
      progress(client);
    } catch (error) {
      if (!signal.aborted) problem(`${client}: ${error instanceof Error ? error.message : String(error)}`);
      await pause(1000, signal);
    }
  }
}
