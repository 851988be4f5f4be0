// `npm start`: installs and builds what is missing, then runs the standalone server in the foreground.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { build, install } from './install.mjs';
import { root } from './pnpm.mjs';

install();
if (!build()) process.exit(1);
const server = spawn(
  process.execPath,
  [join(root, 'packages', 'server', 'dist', 'main.js'), 'start', ...process.argv.slice(2)],
  { cwd: root, stdio: 'inherit' },
);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => server.kill(signal));
server.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 1));
