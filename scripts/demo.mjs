// `npm run demo`: the main job end to end, with real clients against a server of its own; see scripts/demo.
import { parseArgs } from 'node:util';
import { build, install } from './install.mjs';

const help = `npm run demo

Starts a server of its own, publishes with an MQTT client and reads with a Kafka one and the other way round, kills the
server in between, and prints what went in and what came out. Ends with exit code 0 if all came out as it should.
`;

try {
  const { values } = parseArgs({ options: { help: { type: 'boolean', default: false } } });
  if (values.help) {
    console.log(help);
    process.exit(0);
  }
} catch (error) {
  console.error(`${error.message.replaceAll('\n', ' ')} (--help: what this is)`);
  process.exit(2);
}
install();
if (!build()) process.exit(1);
const { runDemo } = await import('./demo/run.mjs');
process.exit((await runDemo()) ? 0 : 1);
