import type { Disk, DiskFile } from '@robustmq/core';
import { crc32c } from '@robustmq/core';
import { SimClock, SimDisk, SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { NumberedUser, numberedItem, readAll, readNumbered, testUuid } from './conformance.ts';
import { frameBytesMax, pageBytes } from './frame.ts';
import { openWal } from './open-wal.ts';

const mebibyte = 1024 * 1024;

interface Write {
  readonly path: string;
  readonly position: number;
  readonly bytes: number;
  /** Writes of the log that were under way when this one began. */
  readonly beside: number;
}

/** The same disk, with a record of every write to the log. */
function watched(disk: Disk): { disk: Disk; writes: Write[] } {
  const writes: Write[] = [];
  let running = 0;
  const watchedFile = (file: DiskFile): DiskFile => ({
    path: file.path,
    pread: (io, into, position) => file.pread(io, into, position),
    sync: (io) => file.sync(io),
    truncate: (io, bytes) => file.truncate(io, bytes),
    size: () => file.size(),
    close: () => file.close(),
    async pwrite(io, data, position) {
      writes.push({ path: file.path, position, bytes: data.length, beside: running });
      running++;
      try {
        await file.pwrite(io, data, position);
      } finally {
        running--;
      }
    },
  });
  const watching: Disk = {
    open: async (io, path, options) => watchedFile(await disk.open(io, path, options)),
    mkdir: (path) => disk.mkdir(path),
    syncDir: (path) => disk.syncDir(path),
    rename: (from, to) => disk.rename(from, to),
    unlink: (path) => disk.unlink(path),
    list: (path) => disk.list(path),
    free: (path) => disk.free(path),
    run: (io, job) => disk.run(io, job),
  };
  return { disk: watching, writes };
}

function rig(seed: number, fileBytes = 8 * mebibyte) {
  const clock = new SimClock();
  const latencyMs = (): number => 1;
  const sim = new SimDisk({ seed, clock, latencyMs });
  const { disk, writes } = watched(sim);
  const user = new NumberedUser();
  const random = new SimRandom(seed);
  const base = { disk, folder: '/wal', user, kind: 1, uuid: testUuid, random };
  const options = { ...base, fileBytes, maxBytes: 8 * fileBytes, queueBytes: 32 * mebibyte };
  const opening = async () => {
    let opened: Awaited<ReturnType<typeof openWal>> | null = null;
    void openWal(options).then((result) => (opened = result));
    await clock.advanceUntil(() => opened !== null);
    return opened!;
  };
  const wait = async (task: Promise<unknown>): Promise<void> => {
    let done = false;
    void task.then(() => (done = true));
    await clock.advanceUntil(() => done);
  };
  return { clock, writes, user, random, opening, wait };
}

describe('storage 2.2: a frame is one write', () => {
  it.each([1, 2, 3, 4, 5])(
    'on a page, of at most 2 MiB, within its file, and begun only when the one before is durable: seed %i',
    async (seed) => {
      const { clock, writes, random, opening, wait } = rig(seed);
      const { wal } = await opening();
      await wait(wal.start());
      const told: number[] = [];
      wal.onDurable((upTo) => told.push(upTo));
      writes.length = 0;
      let id = 0;
      for (let turn = 0; turn < 60; turn++) {
        for (let count = random.u32() % 12; count > 0; count--) {
          const bytes = random.u32() % 4 === 0 ? random.u32() % 900_000 : random.u32() % 3000;
          const item = numberedItem(++id, 0, bytes);
          wal.append([item], crc32c(item));
        }
        await clock.advance(random.u32() % 3);
      }
      await clock.advanceUntil(() => wal.durable === id);
      expect(writes.length).toBeGreaterThan(10);
      for (const { path, position, bytes, beside } of writes) {
        expect(path).toMatch(/^\/wal\/\d{4}\.wal$/);
        expect(beside).toBe(0);
        expect([position % pageBytes, bytes % pageBytes]).toEqual([0, 0]);
        expect(bytes).toBeLessThanOrEqual(frameBytesMax);
        expect(position + bytes).toBeLessThanOrEqual(8 * mebibyte);
      }
      // Acknowledged in order, and each frame once.
      expect(told).toEqual([...new Set(told)].sort((a, b) => a - b));
      expect(told.at(-1)).toBe(id);
      expect(told.length).toBeLessThan(id);
      await wait(wal.stop());
    },
  );

  it('a lone item waits for nothing but the end of its turn; what comes meanwhile shares the next frame', async () => {
    const { clock, writes, opening, wait } = rig(9);
    const { wal } = await opening();
    await wait(wal.start());
    writes.length = 0;
    const first = numberedItem(1, 0, 100);
    wal.append([first], crc32c(first));
    expect(writes).toHaveLength(0);
    await clock.advance(0);
    expect(writes).toHaveLength(1);
    for (let id = 2; id <= 200; id++) {
      const item = numberedItem(id, 0, 100);
      wal.append([item], crc32c(item));
      // Many turns, all of them while the first frame is on its way.
      await clock.advance(0);
    }
    expect([wal.durable, writes.length]).toEqual([0, 1]);
    await clock.advance(1);
    expect([wal.durable, writes.length]).toEqual([1, 2]);
    await clock.advance(1);
    expect([wal.durable, writes.length]).toEqual([200, 2]);
    await wait(wal.stop());
  });
});

describe('storage 2.3: a writer after a start', () => {
  it('begins a new file with the next generation, and never writes a page that it found', async () => {
    const { clock, writes, opening, wait } = rig(11, mebibyte);
    let id = 0;
    const kept: { path: string; from: number; to: number }[] = [];
    let generation = 0;
    for (let run = 0; run < 4; run++) {
      const { wal, recovered } = await opening();
      const items: Buffer[] = [];
      let read = false;
      void readAll(recovered).then((all) => {
        items.push(...all);
        read = true;
      });
      await clock.advanceUntil(() => read);
      expect(items.map((item) => readNumbered(item).id)).toEqual(
        Array.from({ length: id }, (_, at) => at + 1),
      );
      expect(recovered.rot).toEqual([]);
      writes.length = 0;
      await wait(wal.start());
      expect(wal.generation).toBe(generation + 1);
      for (let count = 0; count < 5; count++) {
        const item = numberedItem(++id, run, 5000);
        wal.append([item], crc32c(item));
        await clock.advanceUntil(() => wal.durable === wal.appended);
      }
      generation = wal.generation;
      await wait(wal.stop());
      for (const { path, position, bytes } of writes) {
        const over = kept.filter(
          (each) => each.path === path && each.from < position + bytes && position < each.to,
        );
        expect(over).toEqual([]);
      }
      generation = Math.max(generation, wal.generation);
      for (const { path, position, bytes } of writes)
        kept.push({ path, from: position, to: position + bytes });
    }
  });
});
