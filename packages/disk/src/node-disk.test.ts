import { spawnSync } from 'node:child_process';
import fs, { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IoClass } from '@robustmq/core';
import { diskConformance, folderLockConformance, stateStoreConformance } from '@robustmq/core/conformance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toDiskError } from './disk-error.ts';
import { openFolderLock } from './folder-lock.ts';
import { openLevelStore } from './level-store.ts';
import { openNodeDisk } from './node-disk.ts';

function temporaryFolder(): { folder: string; dispose: () => Promise<void> } {
  const folder = mkdtempSync(join(tmpdir(), 'robustmq-disk-'));
  return { folder, dispose: async () => rmSync(folder, { recursive: true, force: true }) };
}

diskConformance({ describe, it }, 'NodeDisk', async () => ({ disk: openNodeDisk(), ...temporaryFolder() }));

stateStoreConformance({ describe, it }, 'level', async () => {
  const { folder, dispose } = temporaryFolder();
  const open = () => openLevelStore(join(folder, 'state'), openNodeDisk());
  return { store: open(), reopen: async () => open(), dispose };
});

folderLockConformance({ describe, it }, 'level', async () => {
  const { folder, dispose } = temporaryFolder();
  const open = () => openFolderLock(join(folder, 'lock'));
  return { lock: open(), another: open, dispose };
});

describe('NodeDisk', () => {
  let folder: string;
  let dispose: () => Promise<void>;
  beforeEach(() => {
    ({ folder, dispose } = temporaryFolder());
  });
  afterEach(() => dispose());

  it('storage 1.1: counts by class, and splits what is large except the frames of the WAL', async () => {
    const disk = openNodeDisk();
    const file = await disk.open('wal', join(folder, 'a'), { create: true, dsync: true });
    await file.pwrite('wal', Buffer.alloc(2 * 1024 * 1024), 0);
    await file.pwrite('writeBehind', Buffer.alloc(2 * 1024 * 1024 + 1), 0);
    await file.pread('read', Buffer.alloc(600 * 1024), 0);
    await file.sync('writeBehind');
    expect(disk.counters.wal).toMatchObject({ pwrites: 1, writtenBytes: 2 * 1024 * 1024 });
    expect(disk.counters.writeBehind).toMatchObject({
      pwrites: 3,
      writtenBytes: 2 * 1024 * 1024 + 1,
      syncs: 1,
    });
    expect(disk.counters.read).toMatchObject({ preads: 3, readBytes: 600 * 1024 });
    await file.close();
  });

  it.skipIf(process.platform === 'win32')('keeps data to its own user', async () => {
    const disk = openNodeDisk();
    await disk.mkdir(join(folder, 'x', 'y'));
    const file = await disk.open('wal', join(folder, 'x', 'y', 'z'), { create: true, preallocateBytes: 10 });
    await file.close();
    expect(statSync(join(folder, 'x')).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'x', 'y', 'z')).mode & 0o777).toBe(0o600);
  });

  it('maps system errors to the closed set of codes', () => {
    const code = (errno: string) =>
      toDiskError(Object.assign(new Error(errno), { code: errno }), { action: 'write', path: '/p' }).code;
    expect(['ENOSPC', 'EDQUOT', 'ENOENT', 'EACCES', 'EPERM', 'EROFS', 'EIO', 'EMFILE'].map(code)).toEqual([
      'DISK_FULL',
      'DISK_FULL',
      'DISK_NOT_FOUND',
      'DISK_ACCESS',
      'DISK_ACCESS',
      'DISK_ACCESS',
      'DISK_IO',
      'DISK_IO',
    ]);
  });

  it.skipIf(!existsSync('/dev/full'))(
    'survives a full disk on a write, and ends the process on a failed sync',
    async () => {
      const fatal: Error[] = [];
      const disk = openNodeDisk({ onFatal: (error) => fatal.push(error) });
      const full = await disk.open('wal', '/dev/full', { dsync: true });
      await expect(full.pwrite('wal', Buffer.from('x'), 0)).rejects.toMatchObject({ code: 'DISK_FULL' });
      expect(fatal).toHaveLength(0);
      // A character device has no fdatasync: the error that the system gives stands for any other.
      await expect(full.sync('wal')).rejects.toMatchObject({ code: 'DISK_IO' });
      expect(fatal).toHaveLength(1);
      await full.close();
    },
  );

  it('storage 1.5, 1.6: waiting work stays in the scheduler, two reads and one of each other class in flight', async () => {
    const disk = openNodeDisk({ threads: 8 });
    const running = new Map<IoClass, number>();
    const peak = new Map<IoClass, number>();
    const jobs: Promise<void>[] = [];
    const classes: IoClass[] = ['read', 'writeBehind', 'compaction', 'level'];
    for (let round = 0; round < 5; round++) {
      for (const io of classes) {
        const job = async (): Promise<void> => {
          running.set(io, (running.get(io) ?? 0) + 1);
          peak.set(io, Math.max(peak.get(io) ?? 0, running.get(io)!));
          await new Promise((resolve) => setImmediate(resolve));
          running.set(io, running.get(io)! - 1);
        };
        jobs.push(disk.run(io, job));
      }
    }
    expect(disk.waiting).toBe(20 - 5);
    await Promise.all(jobs);
    expect(Object.fromEntries(peak)).toEqual({ read: 2, writeBehind: 1, compaction: 1, level: 1 });
  });

  it('storage 1.5: a write of the WAL never waits behind other classes, which leave it a thread', async () => {
    const disk = openNodeDisk({ threads: 4 });
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let held = 0;
    const hold = (): Promise<void> => {
      held++;
      return gate;
    };
    const jobs = (['read', 'read', 'read', 'writeBehind', 'compaction', 'level'] as const).map((io) =>
      disk.run(io, hold),
    );
    expect(held).toBe(3);
    const order: string[] = [];
    await disk.run('wal', async () => void order.push('wal'));
    order.push('released');
    release();
    await Promise.all(jobs);
    expect(order).toEqual(['wal', 'released']);
    expect(held).toBe(6);
  });
});

describe('level store', () => {
  let folder: string;
  let dispose: () => Promise<void>;
  beforeEach(() => {
    ({ folder, dispose } = temporaryFolder());
  });
  afterEach(() => dispose());

  it('says STORE_CORRUPT for a value that rotted, and comes back empty after clear', async () => {
    const path = join(folder, 'state');
    const store = openLevelStore(path, openNodeDisk());
    await store.open();
    await store.write([{ key: 'a', value: Buffer.from('value-of-a') }]);
    await store.close();
    const { Level } = await import('level');
    const raw = new Level<string, Buffer>(path, { valueEncoding: 'buffer' });
    const stored = (await raw.get('a'))!;
    stored[6]! ^= 1;
    await raw.put('a', stored);
    await raw.close();
    await store.open();
    await expect(store.get('a')).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await expect(all(store.entries())).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await store.clear();
    expect(await store.get('a')).toBeUndefined();
    await store.close();
  });

  it('clears a store that cannot be opened', async () => {
    const path = join(folder, 'state');
    const store = openLevelStore(path, openNodeDisk());
    await store.open();
    await store.write([{ key: 'a', value: Buffer.from('1') }]);
    await store.close();
    fs.writeFileSync(join(path, 'CURRENT'), 'MANIFEST-nonsense\n');
    await expect(store.open()).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await store.clear();
    expect(await all(store.entries())).toEqual([]);
    await store.close();
  });
});

describe('folder lock', () => {
  const create = () => ({ clusterId: 'c', nodeId: 1, uuid: '00'.repeat(16) });
  const unreadable = { code: 'FOLDER_UNREADABLE' };
  let folder: string;
  let dispose: () => Promise<void>;
  let path: string;
  let reading: string;
  beforeEach(() => {
    ({ folder, dispose } = temporaryFolder());
    path = join(folder, 'lock');
    reading = `${path}.reading`;
  });
  afterEach(() => dispose());

  async function start(): Promise<number> {
    const lock = openFolderLock(path);
    const { bootCounter } = await lock.acquire(create);
    await lock.release();
    return bootCounter;
  }

  /** Starts on one folder after the other, in a process of the built package, which prints why it is refused. */
  function startAlone(locks: readonly string[]): { signal: string | null; stdout: string } {
    const built = new URL('../dist/index.js', import.meta.url).href;
    const script = `
      import { openFolderLock } from ${JSON.stringify(built)};
      for (const path of process.argv.slice(1)) {
        const lock = openFolderLock(path);
        try {
          await lock.acquire(() => ({ clusterId: 'c', nodeId: 1, uuid: '00'.repeat(16) }));
        } catch ({ code, message }) {
          console.log(code, message);
        }
        await lock.release();
      }`;
    const args = ['--input-type=module', '-e', script, ...locks];
    return spawnSync(process.execPath, args, { encoding: 'utf8' });
  }

  it('refuses a damaged identity instead of making another', async () => {
    await start();
    const { Level } = await import('level');
    const raw = new Level(path);
    const whole = (await raw.get('IDENTITY'))!;
    await raw.put('IDENTITY', whole.replace('"nodeId":1', '"nodeId":2'));
    await raw.close();
    await expect(start()).rejects.toMatchObject(unreadable);
    await raw.open();
    await raw.batch([
      { type: 'del', key: 'IDENTITY' },
      { type: 'put', key: 'IDENTITX', value: whole },
    ]);
    await raw.close();
    await expect(start()).rejects.toMatchObject(unreadable);
    expect(existsSync(reading)).toBe(false);
  });

  it('storage 2.7: goes on after one start that ended while it read, and says so after two in a row', async () => {
    expect(await start()).toBe(1);
    expect(existsSync(reading)).toBe(false);
    fs.writeFileSync(reading, `${process.pid}\n`);
    expect(await start()).toBe(2);
    expect(existsSync(reading)).toBe(false);
    fs.writeFileSync(reading, `${process.pid}\n${process.pid}\n`);
    await expect(start()).rejects.toMatchObject({
      ...unreadable,
      message: expect.stringMatching(/lock: the last starts ended while they read it/),
    });
    // Two kills may have been chance: the next start tries again.
    expect(await start()).toBe(3);
  });

  it('does not count starts that are still at it', async () => {
    fs.writeFileSync(reading, `${process.ppid}\n`.repeat(3));
    expect(await start()).toBe(1);
  });

  it('storage 2.7: a lock at which LevelDB ends the process at every start is refused with a reason', async () => {
    for (let boot = 0; boot < 4; boot++) await start();
    const table = fs.readdirSync(path).find((name) => name.endsWith('.ldb'))!;
    const whole = fs.readFileSync(join(path, table));
    const locks: string[] = [];
    for (let bit = 0; bit < 64; bit++) {
      const flipped = join(folder, `flipped-${bit}`, 'lock');
      fs.cpSync(path, flipped, { recursive: true });
      const bytes = Buffer.from(whole);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      fs.writeFileSync(join(flipped, table), bytes);
      locks.push(flipped);
    }
    expect(startAlone(locks).signal).toBe('SIGABRT');
    const damaged = locks.find((lock) => existsSync(`${lock}.reading`))!;
    const ends: string[] = [];
    for (let again = 0; again < 4; again++) {
      const { signal, stdout } = startAlone([damaged]);
      ends.push(signal ?? stdout);
    }
    const words = expect.stringMatching(/^FOLDER_UNREADABLE .*lock: the last starts ended/);
    expect(ends).toEqual(['SIGABRT', words, 'SIGABRT', words]);
  }, 60_000);
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
