import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openNodeDisk } from '@robustmq/disk';
import { SimDisk } from '@robustmq/sim';
import { describe, test } from 'vitest';
import { journalClientConformance } from '@robustmq/kernel/conformance';
import { startJournal } from './journal-fixture.ts';

describe('in a simulated disk', () => {
  journalClientConformance({ describe, test }, async () => {
    const journal = await startJournal({ disk: new SimDisk() });
    return { journal, close: () => journal.stop() };
  });
});

describe('in real files', () => {
  journalClientConformance({ describe, test }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'journal-'));
    const journal = await startJournal({ disk: openNodeDisk(), folder: `${folder}/journal` });
    const close = async (): Promise<void> => {
      await journal.stop();
      await rm(folder, { recursive: true });
    };
    return { journal, close };
  });
});
