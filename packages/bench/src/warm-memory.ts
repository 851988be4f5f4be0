import { spawnSync } from 'node:child_process';
import { freemem } from 'node:os';

const gibibyte = 2 ** 30;
const gibibytesMax = 3;

/**
 * Touches memory and gives it back, in a process of its own. A virtual machine may return what is free to its host all the time;
 * a page that comes back from there costs whoever touches it first ten times as much, and which server that is would be
 * chance.
 */
export function warmMemory(): void {
  const pieces = Math.min(gibibytesMax, Math.floor(freemem() / 2 / gibibyte));
  const script = `const kept = []; for (let i = 0; i < ${pieces}; i++) kept.push(Buffer.alloc(${gibibyte}, 1));`;
  spawnSync(process.execPath, ['-e', script], { stdio: 'ignore' });
}
