import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDataFolder } from './data-folder.ts';

let base: string;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'robustmq-folder-'));
});

afterEach(() => rm(base, { recursive: true, force: true }));

describe('the data folder', () => {
  it('is made with those above it, for this user alone, and may be there already', async () => {
    const path = join(base, 'a', 'b', 'c');
    await Promise.all([makeDataFolder(path), makeDataFolder(path)]);
    await makeDataFolder(path);
    for (const folder of [join(base, 'a'), path]) expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  it('is refused where a file is in its place, or in that of one above it', async () => {
    const file = join(base, 'file');
    await writeFile(file, '');
    for (const path of [file, join(file, 'data')]) {
      await expect(makeDataFolder(path)).rejects.toMatchObject({
        code: 'DATA_FOLDER_UNUSABLE',
        message: expect.stringContaining('is a file') as string,
      });
    }
  });

  it.runIf(process.platform === 'linux')(
    'regression: below /proc, which takes no folders, the start hung for ever',
    async () => {
      await expect(makeDataFolder('/proc/robustmq/data')).rejects.toMatchObject({
        code: 'DATA_FOLDER_UNUSABLE',
        message: expect.stringContaining('takes no new folders') as string,
      });
    },
  );
});
