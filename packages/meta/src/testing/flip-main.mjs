import { cpSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { silentLogger } from '@robustmq/core';
import { openLevelStore, openNodeDisk } from '@robustmq/disk';
import { openLocalMetadata } from '@robustmq/meta';
import { MemoryStateStore, SimClock, SimRandom } from '@robustmq/sim';

// Starts metadata, as built, on copies of the folder `whole` with one bit flipped in each, and prints a line for each
// start. A process of its own, for LevelDB may end it; `again` takes the first folder as such a start left it.
const { root, flips, from, again, hasStore, sizes } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const folder = join(root, 'flipped');
const disk = openNodeDisk();

function flip({ path, at, bit }) {
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(root, 'whole'), folder, { recursive: true });
  const bytes = readFileSync(join(folder, path));
  bytes[at] ^= 1 << bit;
  writeFileSync(join(folder, path), bytes);
}

async function start() {
  const reports = [];
  const report = (_fields, message) => void reports.push(message);
  const node = openLocalMetadata({
    clusterId: 'c1',
    defaultTopic: 'main',
    disk,
    folder,
    store: hasStore ? openLevelStore(join(folder, 'state'), disk) : new MemoryStateStore(),
    uuid: 'e'.repeat(32),
    random: new SimRandom(7),
    clock: new SimClock(),
    logger: { ...silentLogger, warn: report, error: report },
    onFatal: (error) => {
      throw error;
    },
    ...sizes,
  });
  try {
    await node.start();
    const { stateHash } = node;
    await node.stop();
    return { stateHash, reports };
  } catch ({ code, message }) {
    return { code, message, reports };
  }
}

for (let at = from; at < flips.length; at++) {
  if (at > from || !again) flip(flips[at]);
  writeSync(1, `${JSON.stringify(await start())}\n`);
}
