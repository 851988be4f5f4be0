// Builds the workspace and runs the comparison with other brokers; arguments go to packages/bench.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pnpm, root } from './pnpm.mjs';

// The build's own output goes to stderr: stdout is the table, or with --json nothing but JSON.
const build = pnpm(['exec', 'tsc', '-b'], { stdio: ['ignore', 2, 2] });
if (build.status !== 0) process.exit(build.status ?? 1);
const main = join(root, 'packages', 'bench', 'dist', 'main.js');
const bench = spawnSync(process.execPath, [main, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(bench.status ?? 1);
