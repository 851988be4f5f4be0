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

/** What a scripted run promised when it was cut. */
interface Promised {
  /** The last item that was told to be durable. */
  acked: number;
  /** Items up to here may be gone. */
  done: number;
}

/** Appends, waits and releases in a ring that is as tight as it may be; the checkpoint's first frame spans sectors. */
async function scripted(disk: SimDisk, promised: Promised): Promise<void> {
  const { wal, user } = await open(disk, { maxBytes: 3 * fileBytes });
  user.stateBytes = 3000;
  wal.onDurable((upTo) => {
    promised.acked = upTo;
  });
  await wal.start();
  for (let id = 1; id <= 45; id++) {
    append(wal, id, 4000 + (id % 3) * 2500);
    if (id % 3 !== 0) continue;
    await untilDurable(wal, id);
    if (id % 6 !== 0) continue;
    // Safe elsewhere from here on: the items before this generation may go with their files.
    promised.done = Math.max(promised.done, id - 3);
    user.done = promised.done;
    user.oldest = wal.locate(id - 2)!.generation;
    wal.release(user.oldest);
  }
}

async function recover(
  disk: SimDisk,
): Promise<{ wal: Wal; user: NumberedUser; ids: number[]; oldest: number }> {
  const { wal, recovered, user } = await open(disk, { maxBytes: 3 * fileBytes });
  const ids: number[] = [];
  let oldest = wal.generation + 1;
  for await (const frame of recovered.frames) {
    for (const { bytes, position } of frame) {
      ids.push(readNumbered(bytes).id);
      oldest = Math.min(oldest, position.generation);
    }
  }
  expect(recovered.rot).toEqual([]);
  expect(recovered.tornFrames).toBeLessThanOrEqual(1);
  return { wal, user, ids, oldest };
}

function expectKept(ids: readonly number[], { acked, done }: Promised): void {
  if (acked <= done) return;
  expect(ids[0], 'the first that is not safe elsewhere').toBeLessThanOrEqual(done + 1);
  expect(ids.at(-1), 'the last that was acknowledged').toBeGreaterThanOrEqual(acked);
  for (let at = 1; at < ids.length; at++) expect(ids[at]).toBe(ids[at - 1]! + 1);
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

  it('storage 2.3: a generation whose beginning was torn is begun again in the same file, so that no other claims it', async () => {
    const disk = new SimDisk();
    const torn = await interrupted(
      disk,
      { at: (op) => op.kind === 'pwrite' && op.path === `${folder}/0003.wal`, how: 'kill' },
      async () => {
        const { wal, user } = await open(disk, { initialFiles: 3 });
        user.stateBytes = 3000;
        await wal.start();
        for (let id = 1; ; id++) {
          await untilDurable(wal, append(wal, id, 4000));
          // Frees the first file with the second one's checkpoint: it is free beside the third.
          user.oldest = 2;
          wal.release(2);
        }
      },
    );
    torn.poke(`${folder}/0003.wal`, 2048, Buffer.alloc(512));
    const { wal, recovered, user } = await open(torn);
    const ids = await idsOf(recovered);
    expect([recovered.tornFrames, recovered.end.generation]).toEqual([1, 2]);
    user.oldest = 2;
    await wal.start();
    await untilDurable(wal, append(wal, 1000));
    const { recovered: again } = await open(torn.kill());
    expect(await idsOf(again)).toEqual([...ids, 1000]);
  });

  it('a ring that restarts have filled to the last file goes on when its items are released', async () => {
    let disk = new SimDisk();
    const ring = { maxBytes: 3 * fileBytes };
    let id = 0;
    for (let run = 1; run <= 2; run++) {
      const { wal } = await open(disk, ring);
      await wal.start();
      await untilDurable(wal, append(wal, ++id));
      disk = disk.kill();
    }
    const { wal, user } = await open(disk, ring);
    await wal.start();
    expect(wal.files).toEqual({ live: 3, free: 0 });
    let last = 0;
    // More than is left of the file.
    for (let count = 0; count < 20; count++) last = append(wal, ++id, 4000);
    for (let turn = 0; turn < 50; turn++) await settle();
    expect(wal.durable).toBeLessThan(last);
    user.oldest = wal.generation;
    wal.release(user.oldest);
    for (let turn = 0; turn < 50; turn++) await settle();
    expect(wal.durable).toBe(last);
    // It was larger by one only until a checkpoint freed the others.
    expect(wal.files.live + wal.files.free).toBe(3);
    const { recovered } = await open(disk.crash(), ring);
    expect((await idsOf(recovered)).at(-1)).toBe(id);
  });

  for (const how of ['crash', 'kill'] as const) {
    it(`a ${how} at every call of the disk, and a power cut after the restart, lose nothing`, async () => {
      const whole = new SimDisk();
      await scripted(whole, { acked: 0, done: 0 });
      for (let call = 1; call <= whole.ops; call++) {
        for (let seed = 0; seed < 4; seed++) {
          const disk = new SimDisk({ seed: call * 4 + seed });
          const promised = { acked: 0, done: 0 };
          const survivor = await interrupted(disk, { at: (op) => op.number === call, how }, () =>
            scripted(disk, promised),
          );
          const { wal, user, ids, oldest } = await recover(survivor);
          expectKept(ids, promised);
          // What was recovered is acknowledged from now on.
          user.oldest = oldest;
          user.stateBytes = 3000;
          const cutAt = survivor.ops + 1 + (seed % 3);
          const second = await interrupted(
            survivor,
            { at: (op) => op.number >= cutAt, how: 'crash' },
            async () => {
              await wal.start();
              for (let id = 1000; ; id++) await untilDurable(wal, append(wal, id));
            },
          );
          const again = await recover(second);
          expect(again.ids.filter((id) => id < 1000)).toEqual(ids);
        }
      }
    });
  }
});
