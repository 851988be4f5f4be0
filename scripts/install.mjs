// Brings the dependencies in when they are missing or the lock file is newer than what is installed.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pnpm, root } from './pnpm.mjs';

/** Installs if needed; exits with a message when that fails. */
export function install() {
  const marker = join(root, 'node_modules', '.modules.yaml');
  const lock = join(root, 'pnpm-lock.yaml');
  if (existsSync(marker) && statSync(marker).mtimeMs >= statSync(lock).mtimeMs) return;
  console.log('installing dependencies ...');
  const done = pnpm(['install', '--frozen-lockfile', '--reporter=append-only'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (done.status !== 0) {
    console.error('The dependencies could not be installed; see the messages above.');
    process.exit(done.status ?? 1);
  }
}

/** Compiles what changed; returns whether that worked. The compiler's messages are on the terminal. */
export function build() {
  return pnpm(['exec', 'tsc', '-b']).status === 0;
}
