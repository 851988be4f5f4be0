import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitUntil } from './wait-until.ts';

const timeoutMs = 60_000;

export interface ProcessProbeOptions {
  /** One that has no other use in the process. */
  readonly signal: NodeJS.Signals;
  /** Source of a module that the process loads first: `collect` is a full collection of garbage, and it declares `report`. */
  readonly source: string;
  /** What is waited for, in words. */
  readonly what: string;
}

/** Asks another Node process about itself: at a signal it writes what its function `report` gives. */
export class ProcessProbe<Report> {
  readonly #options: ProcessProbeOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'robustmq-probe-'));

  constructor(options: ProcessProbeOptions) {
    this.#options = options;
  }

  get #file(): string {
    return join(this.#folder, 'report');
  }

  /** For `NODE_OPTIONS` of the process. */
  get nodeOption(): string {
    const { signal, source } = this.#options;
    const module = `
      import { renameSync, writeFileSync } from 'node:fs';
      import * as v8 from 'node:v8';
      import { runInNewContext } from 'node:vm';
      v8.setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc');
      ${source}
      const file = ${JSON.stringify(this.#file)};
      process.on('${signal}', () => {
        writeFileSync(file + '.new', JSON.stringify(report()));
        renameSync(file + '.new', file);
      });`;
    return `--import=data:text/javascript,${encodeURIComponent(module)}`;
  }

  /** Of the process, which runs with `nodeOption`. */
  async ask(pid: number): Promise<Report> {
    rmSync(this.#file, { force: true });
    process.kill(pid, this.#options.signal);
    let text = '';
    await waitUntil(
      () => {
        text = readText(this.#file);
        return text !== '';
      },
      { timeoutMs, what: `the process says ${this.#options.what}` },
    );
    return JSON.parse(text) as Report;
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Empty where there is no file yet. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
