// `npm run bench`: installs and builds what is missing, then compares with other brokers; see packages/bench.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { install } from './install.mjs';
import { pnpm, root } from './pnpm.mjs';

/** As in packages/bench: 0, 1 and 2 say what the bars came to, and nothing was measured here. */
const notRun = 3;

install();
// The compiler's messages go to stderr: stdout is the table, or with --json nothing but JSON.
const built = pnpm(['exec', 'tsc', '-b'], { stdio: ['ignore', 2, 2] });
if (built.status !== 0) process.exit(notRun);
const main = join(root, 'packages', 'bench', 'dist', 'main.js');
const bench = spawn(process.execPath, [main, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => bench.kill(signal));
bench.on('exit', (code, signal) => process.exit(signal === null ? (code ?? notRun) : notRun));
