import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerProcess } from '@robustmq/testkit';

/** Wall clock and event loop of a server process in the hands of a test; needs nothing but Node. */
export class FaultControl {
  readonly #folder = mkdtempSync(join(tmpdir(), 'robustmq-faults-'));
  #shiftMs = 0;

  constructor() {
    this.#write(0);
  }

  /** The environment that the server has to be started with. */
  get env(): Readonly<Record<string, string>> {
    const preload = new URL('faults-preload.mjs', import.meta.url).href;
    return { NODE_OPTIONS: `--import=${preload}`, FAULTS_CONTROL: this.#path };
  }

  /** Makes the wall clock of the server differ from the machine's; it stays so over restarts. */
  shiftClock(server: ServerProcess, ms: number): void {
    this.#shiftMs = ms;
    this.#write(0);
    process.kill(server.pid, 'SIGUSR2');
  }

  /** Blocks the event loop of the server, as a long computation would. */
  stall(server: ServerProcess, ms: number): void {
    this.#write(ms);
    process.kill(server.pid, 'SIGUSR2');
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #path(): string {
    return join(this.#folder, 'control.json');
  }

  #write(stallMs: number): void {
    writeFileSync(this.#path, JSON.stringify({ shiftMs: this.#shiftMs, stallMs }));
  }
}
