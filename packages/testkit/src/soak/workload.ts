import { setTimeout as delay } from 'node:timers/promises';
import type { ServerProcess } from '../server-process.ts';
import type { Ledger } from './ledger.ts';

/** The loops of a load that run: what they have acknowledged is known only when all of them are over. */
export class Loops {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  begin(): void {
    this.#running++;
  }

  end(): void {
    if (--this.#running === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when none runs. */
  over(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** What every part of the load works with. */
export interface LoadContext {
  readonly server: ServerProcess;
  readonly ledger: Ledger;
  readonly loops: Loops;
  /** Ended when the load is to stop. */
  readonly signal: AbortSignal;
  /** Names a client that is to get on from now on. */
  expect(client: string): void;
  /** Says that a client got on. */
  progress(client: string): void;
  /** Says what must not happen. */
  problem(text: string): void;
}

/** How long a reader may take for what is under way at the end, ms. */
const drainMs = 25_000;

/** A part of the load: runs until the signal ends and closes what it opened. */
export type Workload = (context: LoadContext) => Promise<void>;

/** Waits, or returns at once when the load is to stop. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** Repeats `round` until the load stops; a round that fails is a problem, and the next one follows. */
export async function repeat(
  client: string,
  { signal, loops, expect, progress, problem }: LoadContext,
  round: () => Promise<void>,
): Promise<void> {
  loops.begin();
  expect(client);
  while (!signal.aborted) {
    try {
      await round();
      progress(client);
    } catch (error) {
      if (!signal.aborted) problem(`${client}: ${error instanceof Error ? error.message : String(error)}`);
      await pause(1000, signal);
    }
  }
  loops.end();
}

/** Resolves when all loops are over and a reader has what was acknowledged, or after a while. */
export async function drained({ ledger, loops }: LoadContext, reader: string): Promise<void> {
  await loops.over();
  const deadline = performance.now() + drainMs;
  const waits = (): boolean => ledger.missing().some((text) => text.startsWith(`${reader} `));
  while (waits() && performance.now() < deadline) await delay(50);
}
