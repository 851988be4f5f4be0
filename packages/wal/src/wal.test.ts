import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom } from '@robustmq/core';
import { openNodeDisk } from '@robustmq/disk';
import { SimDisk, SimRandom } from '@robustmq/sim';
import { describe, it } from 'vitest';
import { walConformance } from './conformance.ts';

walConformance({ describe, it }, 'SimDisk', {
  random: new SimRandom(1),
  create: async () => ({ disk: new SimDisk(), folder: '', dispose: async () => undefined }),
});

walConformance({ describe, it }, 'NodeDisk', {
  random: systemRandom,
  create: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'robustmq-wal-'));
    return { disk: openNodeDisk(), folder, dispose: async () => rmSync(folder, { recursive: true }) };
  },
});
