import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Runs the built packages; `npm test` builds them first. */
const main = fileURLToPath(new URL('flip-main.mjs', import.meta.url));

/** One bit of a file below the folder. */
export interface Flip {
  readonly path: string;
  readonly at: number;
  readonly bit: number;
}

/** What a start came to: a state, or the error that refused it. */
export interface FlippedStart {
  readonly stateHash?: string;
  readonly code?: string;
  readonly message?: string;
  /** Warnings and errors in its log. */
  readonly reports: readonly string[];
  /** Signal and last words of the start before this one, which ended by itself on the same files. */
  readonly abort?: string;
}

export interface FlipOptions {
  /** Has the folder `whole`, and gets others. */
  readonly root: string;
  /** Whether the applied state is read from LevelDB, or from a store that is empty. */
  readonly hasStore: boolean;
  /** Of the log. */
  readonly sizes: { readonly fileBytes: number; readonly maxBytes: number };
}

/** Starts with each bit flipped, in processes of their own; a start that ended its process is followed by another. */
export async function startFlipped(options: FlipOptions, flips: readonly Flip[]): Promise<FlippedStart[]> {
  const found: FlippedStart[] = [];
  const output = join(options.root, 'starts');
  const orders = join(options.root, 'orders');
  let abort: string | undefined;
  while (found.length < flips.length) {
    const again = abort !== undefined;
    writeFileSync(orders, JSON.stringify({ ...options, flips, from: found.length, again }));
    const { signal, words } = await runChild(orders, output);
    const lines = readFileSync(output, 'utf8').split('\n').slice(0, -1);
    rmSync(output);
    for (const line of lines) {
      const start = JSON.parse(line) as FlippedStart;
      found.push(abort === undefined ? start : { ...start, abort });
      abort = undefined;
    }
    if (found.length === flips.length) break;
    if (signal === null || abort !== undefined) {
      const { path, at, bit } = flips[found.length]!;
      throw new Error(`no start after one that ended: ${path}, byte ${at}, bit ${bit}: ${words}`);
    }
    abort = `${signal}: ${words}`;
  }
  return found;
}

async function runChild(orders: string, output: string): Promise<{ signal: string | null; words: string }> {
  const fd = openSync(output, 'a');
  const child = spawn(process.execPath, [main, orders], { stdio: ['ignore', fd, 'pipe'] });
  closeSync(fd);
  let words = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-2000);
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { signal, words };
}
