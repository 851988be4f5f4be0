import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitUntil } from '../wait-until.ts';

const signal = 'SIGUSR2';
const timeoutMs = 60_000;

/**
 * Memory of another Node process that is in use: what is left of its heap, and of the buffers beside it, after a full
 * collection. Its resident memory says little, since a process may gather garbage for long.
 */
export class LiveMemory {
  readonly #folder = mkdtempSync(join(tmpdir(), 'robustmq-live-'));

  get #file(): string {
    return join(this.#folder, 'bytes');
  }

  /** For `NODE_OPTIONS` of the process. */
  get nodeOption(): string {
    const source = `
      import { renameSync, writeFileSync } from 'node:fs';
      import { setFlagsFromString } from 'node:v8';
      import { runInNewContext } from 'node:vm';
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc');
      const file = ${JSON.stringify(this.#file)};
      process.on('${signal}', () => {
        collect();
        const { heapUsed, external } = process.memoryUsage();
        writeFileSync(file + '.new', String(heapUsed + external));
        renameSync(file + '.new', file);
      });`;
    return `--import=data:text/javascript,${encodeURIComponent(source)}`;
  }

  /** Bytes in use by the process, which runs with `nodeOption`. */
  async of(pid: number): Promise<number> {
    rmSync(this.#file, { force: true });
    process.kill(pid, signal);
    let bytes = NaN;
    await waitUntil(
      () => {
        bytes = readNumber(this.#file);
        return !Number.isNaN(bytes);
      },
      { timeoutMs, what: 'the process says how much memory it has in use' },
    );
    return bytes;
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** NaN where there is no file yet. */
function readNumber(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NaN;
    throw error;
  }
}
