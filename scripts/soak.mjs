// `npm run soak`: installs and builds what is missing, then runs a server under mixed load; see packages/testkit/src/soak.
import { join } from 'node:path';
import { build, install } from './install.mjs';
import { root } from './pnpm.mjs';

install();
if (!build()) process.exit(1);
await import(join(root, 'packages', 'testkit', 'dist', 'soak', 'main.js'));
