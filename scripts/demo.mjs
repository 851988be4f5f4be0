// `npm run demo`: the main job end to end, with real clients against a server of its own; see scripts/demo.
import { build, install } from './install.mjs';

install();
if (!build()) process.exit(1);
const { runDemo } = await import('./demo/run.mjs');
process.exit((await runDemo()) ? 0 : 1);
