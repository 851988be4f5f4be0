// `npm run fuzz`: installs and builds what is missing, then fuzzes codecs and a server; see packages/testkit/src/fuzz.
import { join } from 'node:path';
import { build, install } from './install.mjs';
import { root } from './pnpm.mjs';

install();
if (!build()) process.exit(1);
await import(join(root, 'packages', 'testkit', 'dist', 'fuzz', 'main.js'));
