import { crc32c } from '@robustmq/core';
import { SimDisk, SimRandom, settle } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { NumberedUser, numberedItem, readAll, readNumbered, testUuid, untilDurable } from './conformance.ts';
import { itemBytesMax } from './frame.ts';
import { openWal } from './open-wal.ts';
import type { Wal } from './wal.ts';

const fileBytes = 64 * 1024;
const maxBytes = 8 * fileBytes;

async function open(disk: SimDisk) {
  const user = new NumberedUser();
  const random = new SimRandom(1);
  const base = { disk, folder: '/wal', user, kind: 1, uuid: testUuid, random };
  return { ...(await openWal({ ...base, fileBytes, maxBytes, queueBytes: 8 * 1024 * 1024 })), user };
}

function append(wal: Wal, id: number, bytes: number): number {
  const item = numberedItem(id, 0, bytes);
  return wal.append([item], crc32c(item));
}

async function longestFile(disk: SimDisk): Promise<number> {
  return Math.max(...(await disk.list('/wal')).map(({ bytes }) => bytes));
}

describe('an item longer than a file of the log', () => {
  it('makes its file longer, is there after a power cut, and the long file goes when it is released', async () => {
    const disk = new SimDisk();
    const { wal } = await open(disk);
    await wal.start();
    const sizes = [100, itemBytesMax - 100, 3000, 200_000, 70_000, 100];
    let last = 0;
    sizes.forEach((bytes, at) => (last = append(wal, at + 1, bytes)));
    await untilDurable(wal, last);
    expect(await longestFile(disk)).toBeGreaterThan(itemBytesMax - 100);
    const survivor = disk.crash();
    const again = await open(survivor);
    const items = await readAll(again.recovered);
    expect(items.map((item) => readNumbered(item).id)).toEqual(sizes.map((_, at) => at + 1));
    expect(items.map(({ length }) => length)).toEqual(sizes);
    await again.wal.start();
    // Nothing of before is needed: some rolls later all files are as long as they should be.
    for (let id = sizes.length + 1; id < 60; id++) {
      again.user.done = id - 1;
      again.user.oldest = again.wal.generation;
      again.wal.release(again.wal.generation);
      await untilDurable(again.wal, append(again.wal, id, 5000));
    }
    for (let turn = 0; turn < 10; turn++) await settle();
    expect(await longestFile(survivor)).toBe(fileBytes);
  });

  it('storage 4.6: waits where the disk has no space to make the file longer, and loses nothing', async () => {
    const disk = new SimDisk({ capacityBytes: 4 * fileBytes });
    const { wal } = await open(disk);
    await wal.start();
    const first = append(wal, 1, 1000);
    await untilDurable(wal, first);
    const long = append(wal, 2, 500_000);
    const behind = append(wal, 3, 1000);
    for (let turn = 0; turn < 30; turn++) await settle();
    expect(wal.durable).toBe(first);
    disk.capacityBytes = 1024 * 1024;
    wal.release(1);
    await untilDurable(wal, behind);
    expect(behind).toBeGreaterThan(long);
    const again = await open(disk.crash());
    const ids = (await readAll(again.recovered)).map((item) => readNumbered(item).id);
    expect(ids).toEqual([1, 2, 3]);
  });
});
