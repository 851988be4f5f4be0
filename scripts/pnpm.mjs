// Runs the pnpm that package.json pins, fetching it through npm when the machine has none.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const version = manifest.config.pnpm;
const tools = join(root, '.tools', `pnpm-${version}`);

/** Path of the pinned pnpm's entry file, installed below .tools on first use. */
function pnpmEntry() {
  const home = join(tools, 'node_modules', 'pnpm');
  if (!existsSync(join(home, 'package.json'))) {
    const npm = spawnSync(
      'npm',
      [
        'install',
        '--no-save',
        '--no-audit',
        '--no-fund',
        '--loglevel=error',
        '--prefix',
        tools,
        `pnpm@${version}`,
      ],
      { stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' },
    );
    if (npm.status !== 0) {
      console.error(`Could not install pnpm ${version} with npm. Check the network and \`npm ping\`.`);
      process.exit(1);
    }
  }
  const bin = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')).bin;
  return join(home, typeof bin === 'string' ? bin : bin.pnpm);
}

/** Runs pnpm with `args` in the repository's root; returns the exit status. */
export function pnpm(args, options = {}) {
  const entry = pnpmEntry();
  const script = /\.[cm]?js$/.test(entry);
  const [command, prefix] = script ? [process.execPath, [entry]] : [entry, []];
  return spawnSync(command, [...prefix, ...args], { cwd: root, stdio: 'inherit', ...options });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exit(pnpm(process.argv.slice(2)).status ?? 1);
}
