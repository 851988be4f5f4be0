import { crc32c } from '@robustmq/core';
import type { SimOp } from '@robustmq/sim';
import { SimDisk, SimRandom, settle } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { NumberedUser, numberedItem, readAll, readNumbered, testUuid, untilDurable } from './conformance.ts';
import type { WalOptions } from './open-wal.ts';
import { openWal } from './open-wal.ts';
import type { Recovered } from './recovery.ts';
import type { Wal } from './wal.ts';

const folder = '/wal';
const fileBytes = 64 * 1024;

async function open(
  disk: SimDisk,
  options: Partial<WalOptions> = {},
): Promise<{ wal: Wal; recovered: Recovered; user: NumberedUser }> {
  const user = new NumberedUser();
  const random = new SimRandom(1);
  const sizes = { fileBytes, maxBytes: 4 * fileBytes };
  const opened = await openWal({ disk, folder, user, kind: 1, uuid: testUuid, random, ...sizes, ...options });
  return { ...opened, user };
}

function append(wal: Wal, id: number, bytes = 100): number {
  const item = numberedItem(id, 0, bytes);
  return wal.append([item], crc32c(item));
}

async function idsOf(recovered: Recovered): Promise<number[]> {
  return (await readAll(recovered)).map((item) => readNumbered(item).id);
}

/** Runs `work` until `at` holds for a call of the disk, and kills or cuts the power right behind it. */
async function interrupted(
  disk: SimDisk,
  { at, how }: { at: (op: SimOp) => boolean; how: 'kill' | 'crash' },
  work: () => Promise<void>,
): Promise<SimDisk> {
  let survivor: SimDisk | null = null;
  disk.fault = (op) => {
    if (survivor === null && at(op)) queueMicrotask(() => (survivor ??= disk[how]()));
    return undefined;
  };
  void work();
  for (let turn = 0; survivor === null && turn < 1000; turn++) await settle();
  if (survivor === null) throw new Error('the work never came to where it should be cut');
  return survivor;
}

describe('storage 2: power cuts at places that once lost data, or would', () => {
  it('a file whose making a kill cut off is written to only when its name is durable', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const first = new SimDisk({ seed });
      let made = false;
      const at = (op: SimOp): boolean => {
        made ||= op.kind === 'open' && op.path === `${folder}/0003.wal`;
        return made && op.kind === 'syncDir';
      };
      const killed = await interrupted(first, { at, how: 'kill' }, async () => {
        const { wal } = await open(first);
        await wal.start();
        for (let id = 1; ; id++) await untilDurable(wal, append(wal, id, 4000));
      });
      const { wal, user } = await open(killed);
      user.oldest = wal.generation + 1;
      wal.release(user.oldest);
      await wal.start();
      // The next file after this one is the one found.
      let last = 1000;
      while (wal.generation === user.oldest) await untilDurable(wal, append(wal, ++last, 4000));
      const { recovered } = await open(killed.crash());
      expect((await idsOf(recovered)).at(-1)).toBe(last);
      expect(recovered.rot).toEqual([]);
    }
  });
});
