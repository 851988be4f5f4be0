import type { DiskFile } from '@robustmq/core';
import { diskConformance, folderLockConformance, stateStoreConformance } from '@robustmq/core/conformance';
import { describe, expect, it } from 'vitest';
import { MemoryFolder, MemoryFolderLock } from './memory-folder-lock.ts';
import { MemoryStateStore } from './memory-store.ts';
import { SimClock, settle } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimRandom } from './sim-random.ts';

diskConformance({ describe, it }, 'SimDisk', async () => {
  const disk = new SimDisk({ capacityBytes: 1 << 30 });
  await disk.mkdir('/folder');
  return { disk, folder: '/folder', dispose: async () => undefined };
});

stateStoreConformance({ describe, it }, 'memory', async () => {
  const store = new MemoryStateStore();
  return { store, reopen: async () => store, dispose: async () => undefined };
});

folderLockConformance({ describe, it }, 'memory', async () => {
  const folder = new MemoryFolder();
  const another = () => new MemoryFolderLock(folder);
  return { lock: another(), another, dispose: async () => undefined };
});

async function created(disk: SimDisk, path: string, options = {}): Promise<DiskFile> {
  const file = await disk.open('wal', path, { create: true, ...options });
  await disk.syncDir('/');
  return file;
}

/** The sets of contents that `seeds` power cuts leave of what `write` did. */
async function survivors(
  write: (disk: SimDisk) => Promise<void>,
  path: string,
  seeds = 200,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (let seed = 0; seed < seeds; seed++) {
    const disk = new SimDisk({ seed });
    await write(disk);
    const after = disk.crash();
    const names = await after.list('/');
    if (!names.some(({ name }) => `/${name}` === path)) found.add('no file');
    else found.add(after.peek(path).toString('latin1'));
  }
  return found;
}

describe('SimDisk', () => {
  it('storage 1.2: tears a write by sector, in any order, until it is synced', async () => {
    const sectors = (letters: string) =>
      Buffer.concat([...letters].map((letter) => Buffer.alloc(512, letter)));
    const shape = (content: string) => [...content].filter((_, at) => at % 512 === 0).join('');
    const unsynced = await survivors(async (disk) => {
      const file = await created(disk, '/a');
      await file.pwrite('wal', sectors('abc'), 0);
      await file.sync('wal');
      await file.pwrite('wal', sectors('ABC'), 0);
    }, '/a');
    const shapes = [...unsynced].map(shape).sort();
    expect(shapes).toEqual(['ABC', 'ABc', 'AbC', 'Abc', 'aBC', 'aBc', 'abC', 'abc']);
    const synced = await survivors(async (disk) => {
      const file = await created(disk, '/a');
      await file.pwrite('wal', sectors('abc'), 0);
      await file.sync('wal');
    }, '/a');
    expect([...synced].map(shape)).toEqual(['abc']);
  });

  it('makes a dsync write durable at its completion, not before', async () => {
    const completed = await survivors(async (disk) => {
      const file = await created(disk, '/a', { dsync: true });
      await file.pwrite('wal', Buffer.from('x'), 0);
    }, '/a');
    expect([...completed]).toEqual(['x']);
    const underWay = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const disk = new SimDisk({ seed });
      const file = await created(disk, '/a', { dsync: true });
      void file.pwrite('wal', Buffer.from('x'), 0);
      underWay.add(disk.crash().peek('/a').toString('latin1'));
    }
    expect([...underWay].sort()).toEqual(['', '\0', 'x']);
  });

  it('makes the size that a dsync write needs durable, also when the file was longer before', async () => {
    const found = await survivors(async (disk) => {
      const file = await created(disk, '/f');
      await file.pwrite('wal', Buffer.alloc(3000, 'a'), 0);
      await file.sync('wal');
      await file.truncate('wal', 1000);
      const again = await disk.open('wal', '/f', { dsync: true });
      await again.pwrite('wal', Buffer.alloc(200, 'b'), 1000);
    }, '/f');
    expect([...found]).toEqual(['a'.repeat(1000) + 'b'.repeat(200)]);
  });

  it('completes a call in one stroke: no power cut comes between its effect and who hears of it', async () => {
    for (const [title, call] of Object.entries({
      'a durable write': (file: DiskFile) => file.pwrite('wal', Buffer.from('x'), 0),
      'a sync': (file: DiskFile) => file.sync('wal'),
      'names made durable': (_file: DiskFile, disk: SimDisk) => disk.syncDir('/'),
    })) {
      for (let seed = 0; seed < 20; seed++) {
        const disk = new SimDisk({ seed });
        const file = await disk.open('wal', '/a', { create: true, dsync: title === 'a durable write' });
        if (title !== 'names made durable') await disk.syncDir('/');
        if (title === 'a sync') await file.pwrite('wal', Buffer.from('x'), 0);
        const done = call(file, disk);
        // Behind the completion of the call, and before the code that waits for it.
        const after = await new Promise<SimDisk>((resolve) => {
          queueMicrotask(() => resolve(disk.crash()));
        });
        await done;
        const expected = title === 'names made durable' ? '' : 'x';
        expect(after.peek('/a').toString('latin1'), title).toBe(expected);
      }
    }
  });

  it('storage 1.2: loses names that were not synced, and a rename within a folder is all or nothing', async () => {
    const fresh = await survivors(async (disk) => {
      const file = await disk.open('wal', '/a', { create: true });
      await file.pwrite('wal', Buffer.from('x'), 0);
      await file.sync('wal');
    }, '/a');
    expect([...fresh].sort()).toEqual(['no file', 'x']);
    for (let seed = 0; seed < 50; seed++) {
      const disk = new SimDisk({ seed });
      await created(disk, '/a');
      await disk.rename('/a', '/b');
      expect(await disk.crash().list('/')).toHaveLength(1);
    }
  });

  it('ends with the power: what was under way never settles', async () => {
    const disk = new SimDisk();
    const file = await created(disk, '/a');
    let settled = false;
    const note = (): void => {
      settled = true;
    };
    file.pwrite('wal', Buffer.from('x'), 0).then(note, note);
    disk.crash();
    file.sync('wal').then(note, note);
    await settle();
    expect(settled).toBe(false);
  });

  it('keeps what a killed process wrote, still not durable', async () => {
    const contents = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const disk = new SimDisk({ seed });
      const file = await created(disk, '/a');
      await file.pwrite('wal', Buffer.from('x'), 0);
      const next = disk.kill();
      expect(next.peek('/a').toString()).toBe('x');
      contents.add(next.crash().peek('/a').toString());
    }
    expect(contents).toContain('');
    expect(contents).toContain('x');
  });

  it('is full at its capacity, fails on demand, and reports what ends a process', async () => {
    const fatal: string[] = [];
    const disk = new SimDisk({
      capacityBytes: 1000,
      onFatal: (error) => fatal.push((error as Error & { code: string }).code),
      fault: (op) => (op.kind === 'sync' ? 'DISK_IO' : undefined),
    });
    const file = await created(disk, '/a');
    await expect(file.pwrite('wal', Buffer.alloc(1001), 0)).rejects.toMatchObject({ code: 'DISK_FULL' });
    await expect(disk.open('wal', '/b', { create: true, preallocateBytes: 1001 })).rejects.toMatchObject({
      code: 'DISK_FULL',
    });
    expect((await disk.list('/')).map(({ name }) => name)).toEqual(['a']);
    await file.truncate('wal', 400);
    await file.pwrite('wal', Buffer.alloc(100), 0);
    expect((await disk.free('/')).freeBytes).toBe(600);
    expect(fatal).toEqual([]);
    await expect(file.sync('wal')).rejects.toMatchObject({ code: 'DISK_IO' });
    expect(fatal).toEqual(['DISK_IO']);
  });

  it('rots one bit', async () => {
    const disk = new SimDisk();
    const file = await created(disk, '/a');
    await file.pwrite('wal', Buffer.alloc(4), 0);
    disk.rot('/a', 17);
    expect([...disk.peek('/a')]).toEqual([0, 0, 2, 0]);
    expect([...disk.crash().peek('/a')]).toContain(2);
  });

  it('takes virtual time, and gives the same trace for the same seed', async () => {
    const run = async (seed: number): Promise<[number, string]> => {
      const clock = new SimClock();
      const disk = new SimDisk({ seed, clock, latencyMs: (_op, random) => random.below(10) });
      const order: number[] = [];
      const work = async (): Promise<void> => {
        const file = await created(disk, '/a');
        await Promise.all(
          [1, 2, 3, 4, 5].map(async (n) => {
            await file.pwrite('wal', Buffer.from([n]), n);
            order.push(n);
          }),
        );
      };
      let done = false;
      void work().then(() => {
        done = true;
      });
      await clock.advanceUntil(() => done);
      return [disk.traceHash, order.join()];
    };
    expect(await run(7)).toEqual(await run(7));
    const orders = new Set<string>();
    for (let seed = 0; seed < 10; seed++) orders.add((await run(seed))[1]);
    expect(orders.size).toBeGreaterThan(1);
  });
});

describe('SimClock', () => {
  it('fires in order of time, then of creation, and runs what follows before the next', async () => {
    const clock = new SimClock();
    const log: string[] = [];
    const note = (text: string) => () => {
      log.push(`${text}@${clock.monotonic()}`);
    };
    clock.after(20, note('c'));
    clock.after(10, () => {
      note('a')();
      void Promise.resolve().then(() => clock.after(0, note('a2')));
    });
    clock.after(10, note('b'));
    const cancelled = clock.after(15, note('never'));
    cancelled.cancel();
    clock.after(31, note('late'));
    const wall = clock.now();
    await clock.advance(30);
    expect(log).toEqual(['a@10', 'b@10', 'a2@10', 'c@20']);
    expect(clock.now()).toBe(wall + 30);
    clock.shiftWall(-3_600_000);
    expect(clock.now()).toBe(wall + 30 - 3_600_000);
    expect(clock.monotonic()).toBe(30);
  });

  it('never goes back when two move it on at once', async () => {
    const clock = new SimClock();
    const far = clock.advance(100);
    const near = clock.advance(10);
    await Promise.all([far, near]);
    expect(clock.monotonic()).toBe(100);
  });
});

describe('SimRandom', () => {
  it('repeats for a seed, differs between seeds, and is level', () => {
    const draw = (seed: number) =>
      Array.from(
        { length: 5 },
        (
          (random) => () =>
            random.u32()
        )(new SimRandom(seed)),
      );
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    const random = new SimRandom(3);
    const counts = [0, 0, 0, 0];
    for (let n = 0; n < 40_000; n++) counts[random.below(4)]!++;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
    expect(random.bytes(8)).toHaveLength(8);
  });
});
