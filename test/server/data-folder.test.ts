import { cpSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RecordLog, ServerProcess } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';

const refused = /do not belong together, or one of them is gone, or the journal is an older copy/;

/** A server that was stopped, with one record. */
async function stoppedServer(): Promise<ServerProcess> {
  const server = await ServerProcess.start({ startTimeoutMs: 120_000 });
  const log = await RecordLog.connect(server.ports.kafka);
  await log.produce('kept', [{ value: 'value' }]);
  log.close();
  await server.stop();
  return server;
}

async function valuesOf(server: ServerProcess): Promise<string[]> {
  const log = await RecordLog.connect(server.ports.kafka);
  const records = await log.read('kept');
  log.close();
  return records.map(({ value }) => String(value));
}

describe('storage 2.7: a data folder that was changed by hand', () => {
  it.each(['journal', 'meta'])(
    'regression: without %s it began anew and forgot what was acknowledged; it is refused, and whole again it starts',
    async (role) => {
      await using server = await stoppedServer();
      const aside = join(server.folder, 'aside');
      renameSync(join(server.dataDir, role), aside);
      await expect(server.start()).rejects.toThrow(refused);
      // The failed start made an empty folder of that role.
      rmSync(join(server.dataDir, role), { recursive: true });
      renameSync(aside, join(server.dataDir, role));
      await server.start();
      expect(await valuesOf(server)).toEqual(['value']);
    },
    120_000,
  );

  it('regression: with an older copy of the journal it is refused: it lacks what was acknowledged since', async () => {
    await using server = await stoppedServer();
    const folder = join(server.dataDir, 'journal');
    const copy = join(server.folder, 'copy');
    cpSync(folder, copy, { recursive: true });
    await server.start();
    await server.stop();
    rmSync(folder, { recursive: true });
    renameSync(copy, folder);
    await expect(server.start()).rejects.toThrow(refused);
  }, 120_000);

  it('regression: with the journal of another it served the records of that one; it is refused', async () => {
    await using server = await stoppedServer();
    await using other = await stoppedServer();
    rmSync(join(server.dataDir, 'journal'), { recursive: true });
    renameSync(join(other.dataDir, 'journal'), join(server.dataDir, 'journal'));
    await expect(server.start()).rejects.toThrow(refused);
  }, 120_000);
});
