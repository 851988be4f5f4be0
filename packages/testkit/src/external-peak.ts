import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitUntil } from './wait-until.ts';

/** A signal that has no other use in a process without a terminal. */
const signal = 'SIGWINCH';
const timeoutMs = 60_000;
/** Between two looks of the process at itself. */
const lookMs = 2;

/**
 * The most that another Node process has had in buffers beside its heap. A buffer counts from when it is made, though
 * nobody wrote to it; resident memory only counts its pages that were touched, so it can not show a buffer that is made by
 * a length that somebody only said.
 */
export class ExternalPeak {
  readonly #folder = mkdtempSync(join(tmpdir(), 'robustmq-external-'));

  get #file(): string {
    return join(this.#folder, 'peak');
  }

  /** For `NODE_OPTIONS` of the process. */
  get nodeOption(): string {
    const source = `
      import { renameSync, writeFileSync } from 'node:fs';
      import { getHeapStatistics, setFlagsFromString } from 'node:v8';
      import { runInNewContext } from 'node:vm';
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc');
      const file = ${JSON.stringify(this.#file)};
      const external = () => getHeapStatistics().external_memory;
      let peak = 0;
      const look = () => { peak = Math.max(peak, external()); };
      setInterval(look, ${lookMs}).unref();
      process.on('${signal}', () => {
        look();
        collect();
        const now = external();
        writeFileSync(file + '.new', JSON.stringify({ peakBytes: peak, nowBytes: now }));
        peak = now;
        renameSync(file + '.new', file);
      });`;
    return `--import=data:text/javascript,${encodeURIComponent(source)}`;
  }

  /**
   * Of the process, which runs with `nodeOption`: the most since the last call, and what is left after a collection, from
   * which the next peak begins.
   */
  async take(pid: number): Promise<{ readonly peakBytes: number; readonly nowBytes: number }> {
    rmSync(this.#file, { force: true });
    process.kill(pid, signal);
    let text = '';
    await waitUntil(
      () => {
        text = readText(this.#file);
        return text !== '';
      },
      { timeoutMs, what: 'the process says what its buffers took' },
    );
    return JSON.parse(text) as { peakBytes: number; nowBytes: number };
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
