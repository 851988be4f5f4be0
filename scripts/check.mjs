// Types, lint, format and unused code: everything that needs no running test.
import { build, install } from './install.mjs';
import { pnpm } from './pnpm.mjs';

const steps = [
  ['types of the tests', ['exec', 'tsc', '-p', 'tsconfig.tests.json']],
  ['lint', ['exec', 'oxlint', '--deny-warnings', 'packages', 'test', 'scripts']],
  ['format', ['exec', 'biome', 'format', '.']],
  ['unused code', ['exec', 'knip', '--no-config-hints']],
];

/** Runs every check; returns the names of those that failed. */
export function check() {
  install();
  const failed = build() ? [] : ['build'];
  for (const [name, args] of steps) {
    console.log(`check: ${name}`);
    if (pnpm(args).status !== 0) failed.push(name);
  }
  return failed;
}

if (process.argv[1]?.endsWith('check.mjs')) {
  const failed = check();
  if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
  process.exit(failed.length === 0 ? 0 : 1);
}
