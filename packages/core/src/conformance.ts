import { deepEqual, equal, rejects } from 'node:assert/strict';
import type { Disk } from './disk.ts';
import type { FolderLock, StateStore } from './stores.ts';

/** The part of a test runner that the suites need; vitest's `describe` and `it` fit. */
export interface TestApi {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/** What a suite for an implementation of `Disk` gets for each test. */
export interface DiskFixture {
  disk: Disk;
  /** An existing, empty folder. */
  folder: string;
  dispose(): Promise<void>;
}

/** The contract of the port `Disk`, run by every implementation. */
export function diskConformance(api: TestApi, name: string, create: () => Promise<DiskFixture>): void {
  const check = (title: string, body: (fixture: DiskFixture) => Promise<void>): void => {
    api.it(title, async () => {
      const fixture = await create();
      try {
        await body(fixture);
      } finally {
        await fixture.dispose();
      }
    });
  };
  api.describe(`Disk: ${name}`, () => {
    fileContents(check);
    fileNames(check);
  });
}

type DiskCheck = (title: string, body: (fixture: DiskFixture) => Promise<void>) => void;

function fileContents(check: DiskCheck): void {
  check('reads back what was written, whatever its size', async ({ disk, folder }) => {
    const file = await disk.open('writeBehind', `${folder}/a`, { create: true });
    const data = pattern(3 * 1024 * 1024 + 17);
    await file.pwrite('writeBehind', data, 5);
    equal(await file.size(), data.length + 5);
    const back = Buffer.alloc(data.length);
    equal(await file.pread('read', back, 5), data.length);
    equal(Buffer.compare(back, data), 0);
    const head = Buffer.alloc(5, 1);
    equal(await file.pread('read', head, 0), 5);
    deepEqual([...head], [0, 0, 0, 0, 0]);
    await file.close();
  });

  check('reads short only at the end of the file', async ({ disk, folder }) => {
    const file = await disk.open('read', `${folder}/a`, { create: true });
    await file.pwrite('writeBehind', pattern(300_000), 0);
    equal(await file.pread('read', Buffer.alloc(600_000), 0), 300_000);
    equal(await file.pread('read', Buffer.alloc(10), 299_995), 5);
    equal(await file.pread('read', Buffer.alloc(10), 400_000), 0);
    await file.close();
  });

  check('writes with dsync and takes overlapping writes in order', async ({ disk, folder }) => {
    const file = await disk.open('wal', `${folder}/a`, { create: true, dsync: true });
    await file.pwrite('wal', Buffer.from('aaaa'), 0);
    await file.pwrite('wal', Buffer.from('bb'), 1);
    await file.sync('wal');
    const back = Buffer.alloc(4);
    await file.pread('wal', back, 0);
    equal(back.toString(), 'abba');
    await file.close();
  });

  check('fills a new file with zeros and leaves what an old one has', async ({ disk, folder }) => {
    const options = { create: true, preallocateBytes: 1_500_000 };
    const file = await disk.open('wal', `${folder}/a`, options);
    equal(await file.size(), 1_500_000);
    await file.pwrite('wal', Buffer.from('kept'), 100);
    await file.close();
    const again = await disk.open('wal', `${folder}/a`, { ...options, preallocateBytes: 2_000_000 });
    const back = Buffer.alloc(1_900_000);
    equal(await again.pread('read', back, 100), 1_900_000);
    equal(back.toString('latin1', 0, 5), 'kept\0');
    equal(
      back.subarray(5).every((byte) => byte === 0),
      true,
    );
    await again.close();
  });

  check('truncates and zeroes what comes back', async ({ disk, folder }) => {
    const file = await disk.open('writeBehind', `${folder}/a`, { create: true });
    await file.pwrite('writeBehind', Buffer.from('abcdef'), 0);
    await file.truncate('writeBehind', 2);
    equal(await file.size(), 2);
    await file.pwrite('writeBehind', Buffer.from('x'), 4);
    const back = Buffer.alloc(8);
    equal(await file.pread('read', back, 0), 5);
    equal(back.toString('latin1', 0, 5), 'ab\0\0x');
    await file.close();
  });

  check(
    'finishes what is under way before it closes, and refuses what comes later',
    async ({ disk, folder }) => {
      const file = await disk.open('writeBehind', `${folder}/a`, { create: true });
      const writing = file.pwrite('writeBehind', pattern(100_000), 0);
      const closing = file.close();
      await writing;
      await closing;
      await rejects(file.pread('read', Buffer.alloc(1), 0), { code: 'DISK_IO' });
      const again = await disk.open('read', `${folder}/a`);
      equal(await again.size(), 100_000);
      await again.close();
    },
  );
}

function fileNames(check: DiskCheck): void {
  check('lists names and sizes in order', async ({ disk, folder }) => {
    await disk.mkdir(`${folder}/z/deep/er`);
    await disk.mkdir(`${folder}/z/deep`);
    for (const name of ['b', 'a']) {
      const file = await disk.open('writeBehind', `${folder}/${name}`, { create: true });
      await file.pwrite('writeBehind', Buffer.from(name.repeat(3)), 0);
      await file.close();
    }
    const entries = await disk.list(folder);
    deepEqual(
      entries.map(({ name, directory }) => [name, directory]),
      [
        ['a', false],
        ['b', false],
        ['z', true],
      ],
    );
    equal(entries[0]!.bytes, 3);
    deepEqual(
      (await disk.list(`${folder}/z`)).map((entry) => entry.name),
      ['deep'],
    );
  });

  check('says what is missing', async ({ disk, folder }) => {
    await rejects(disk.open('read', `${folder}/none`), { code: 'DISK_NOT_FOUND' });
    await rejects(disk.open('read', `${folder}/no/file`, { create: true }), { code: 'DISK_NOT_FOUND' });
    await rejects(disk.list(`${folder}/none`), { code: 'DISK_NOT_FOUND' });
    await rejects(disk.rename(`${folder}/none`, `${folder}/other`), { code: 'DISK_NOT_FOUND' });
    await disk.unlink(`${folder}/none`);
  });

  check('renames over an existing file and removes', async ({ disk, folder }) => {
    for (const name of ['old', 'new']) {
      const file = await disk.open('writeBehind', `${folder}/${name}`, { create: true });
      await file.pwrite('writeBehind', Buffer.from(name), 0);
      await file.close();
    }
    await disk.rename(`${folder}/new`, `${folder}/old`);
    await disk.syncDir(folder);
    const file = await disk.open('read', `${folder}/old`);
    const back = Buffer.alloc(3);
    await file.pread('read', back, 0);
    equal(back.toString(), 'new');
    await disk.unlink(`${folder}/old`);
    equal(await file.pread('read', back, 0), 3);
    await file.close();
    deepEqual(await disk.list(folder), []);
  });

  check('storage 1.1: admits foreign work and passes its outcome on', async ({ disk }) => {
    equal(await disk.run('compaction', async () => 7), 7);
    await rejects(
      disk.run('level', async () => {
        throw new Error('mine');
      }),
      { message: 'mine' },
    );
    equal(await disk.run('level', async () => 8), 8);
  });

  check('knows its free space', async ({ disk, folder }) => {
    const { freeBytes, totalBytes } = await disk.free(folder);
    equal(freeBytes > 0 && freeBytes <= totalBytes, true);
  });
}

/** The contract of the port `StateStore`. `reopen` gives the store again as its next process finds it. */
export function stateStoreConformance(
  api: TestApi,
  name: string,
  create: () => Promise<{ store: StateStore; reopen(): Promise<StateStore>; dispose(): Promise<void> }>,
): void {
  api.describe(`StateStore: ${name}`, () => {
    api.it('keeps batches over a close, in key order, and clears', async () => {
      const fixture = await create();
      try {
        await fixture.store.open();
        equal(await fixture.store.get('a'), undefined);
        await fixture.store.write([
          { key: 'b', value: Buffer.from('2') },
          { key: 'a', value: Buffer.from('1') },
          { key: 'é', value: Buffer.alloc(0) },
        ]);
        await fixture.store.write([
          { key: 'a', value: null },
          { key: 'aa', value: Buffer.from('3') },
        ]);
        await fixture.store.close();
        const store = await fixture.reopen();
        await store.open();
        deepEqual(await pairs(store), [
          ['aa', '3'],
          ['b', '2'],
          ['é', ''],
        ]);
        equal(await store.get('a'), undefined);
        await store.clear();
        deepEqual(await pairs(store), []);
        await store.write([{ key: 'x', value: Buffer.from('9') }]);
        deepEqual(await pairs(store), [['x', '9']]);
        await store.close();
      } finally {
        await fixture.dispose();
      }
    });
  });
}

async function pairs(store: StateStore): Promise<[string, string][]> {
  const all: [string, string][] = [];
  for await (const [key, value] of store.entries()) all.push([key, Buffer.from(value).toString()]);
  return all;
}

/** The contract of the port `FolderLock`. `another` gives a second lock on the same folder. */
export function folderLockConformance(
  api: TestApi,
  name: string,
  create: () => Promise<{ lock: FolderLock; another(): FolderLock; dispose(): Promise<void> }>,
): void {
  api.describe(`FolderLock: ${name}`, () => {
    api.it('storage 2.7: keeps the identity, counts starts, and lets one holder in', async () => {
      const fixture = await create();
      try {
        const identity = { clusterId: 'c', nodeId: 3, uuid: '0f'.repeat(16) };
        deepEqual(await fixture.lock.acquire(() => identity), { ...identity, bootCounter: 1 });
        const other = fixture.another();
        const never = (): never => {
          throw new Error('an existing folder got a second identity');
        };
        await rejects(other.acquire(never), { code: 'FOLDER_LOCKED' });
        await fixture.lock.release();
        deepEqual(await other.acquire(never), { ...identity, bootCounter: 2 });
        await other.release();
      } finally {
        await fixture.dispose();
      }
    });
  });
}

/** Bytes that differ from their neighbours, so that a shifted or repeated part shows. */
function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >> 8)) & 0xff;
  return bytes;
}
