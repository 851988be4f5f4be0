import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Job, LoadResult } from './job.ts';

const main = fileURLToPath(new URL('./generator-main.js', import.meta.url));
/** What a load may take beyond its warm-up and timed window: set-up, filling, drain. */
const graceMs = 300_000;

/** Runs a load in a process of its own, so that its garbage and its event loop are nobody else's. */
export function generate(job: Job): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, JSON.stringify(job)], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const limitMs = job.warmupMs + job.seconds * 1000 + graceMs;
    const timer = setTimeout(() => {
      errors = `the load did not end within ${(limitMs / 1000).toFixed(0)} s`;
      child.kill('SIGKILL');
    }, limitMs);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(JSON.parse(output) as LoadResult);
      else reject(new Error(errors.trim() || `the generator ended with ${signal ?? code}`));
    });
  });
}
