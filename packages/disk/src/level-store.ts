import { basename, dirname, join } from 'node:path';
import type { Disk, DiskErrorCode, StateChange, StateStore } from '@robustmq/core';
import { assert, crc32c, RobustError } from '@robustmq/core';
import { Level } from 'level';
import { isLevelFull, levelCode } from './level-error.ts';

/** `STORE_CORRUPT`: the content cannot be trusted and is to be cleared and rebuilt from its log. */
export type StoreErrorCode = 'STORE_CORRUPT' | DiskErrorCode;

/** Pairs that one step of `entries` reads in one admitted job. */
const stepPairs = 256;
/** Sorts before every key of a user, none of which may begin with it. */
const formatKey = '\u0000format';
const format = Buffer.from([1]);

/**
 * A `StateStore` over `level` in the folder `path`. Nothing is touched before `open()`. Batches are synced and count
 * as one slot of the scheduler. Each value carries a checksum over its key and itself, so rot that LevelDB does not
 * see fails with `STORE_CORRUPT` instead of being served; `clear()` works on a store that cannot be opened.
 */
export function openLevelStore(path: string, disk: Disk): StateStore {
  return new LevelStore(path, disk);
}

class LevelStore implements StateStore {
  readonly #path: string;
  readonly #disk: Disk;
  #db: Level<string, Buffer> | null = null;

  constructor(path: string, disk: Disk) {
    this.#path = path;
    this.#disk = disk;
  }

  async open(): Promise<void> {
    await this.#disk.mkdir(this.#path);
    const db = new Level<string, Buffer>(this.#path, { valueEncoding: 'buffer' });
    await this.#admit(() => db.open());
    this.#db = db;
    if ((await this.get(formatKey)) !== undefined) return;
    await this.write([{ key: formatKey, value: format }]);
    await this.#disk.syncDir(this.#path);
    await this.#disk.syncDir(dirname(this.#path));
  }

  async close(): Promise<void> {
    const db = this.#db;
    this.#db = null;
    if (db !== null) await this.#admit(() => db.close());
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const db = this.#opened();
    const stored = (await this.#admit(() => db.get(key))) as Buffer | undefined;
    return stored === undefined ? undefined : this.#verified(key, stored);
  }

  async *entries(): AsyncGenerator<[string, Uint8Array]> {
    const iterator = this.#opened().iterator({ gt: formatKey });
    try {
      while (true) {
        const pairs = await this.#admit(() => iterator.nextv(stepPairs));
        if (pairs.length === 0) return;
        for (const [key, stored] of pairs) yield [key, this.#verified(key, stored)];
      }
    } finally {
      await iterator.close();
    }
  }

  async write(changes: readonly StateChange[]): Promise<void> {
    if (changes.length === 0) return;
    const db = this.#opened();
    const operations = changes.map(({ key, value }) =>
      value === null
        ? { type: 'del' as const, key }
        : { type: 'put' as const, key, value: checksummed(key, value) },
    );
    await this.#admit(() => db.batch(operations, { sync: true }));
  }

  /** CURRENT goes first: without it the other files mean nothing, so a crash leaves an empty store or the old one. */
  async clear(): Promise<void> {
    await this.close();
    const entries = await this.#disk.list(this.#path).catch(ignoreMissing);
    const names = entries.map((entry) => entry.name).filter((name) => name !== 'CURRENT');
    await this.#disk.unlink(join(this.#path, 'CURRENT'));
    for (const name of names) await this.#disk.unlink(join(this.#path, name));
    await this.open();
  }

  #opened(): Level<string, Buffer> {
    assert(this.#db !== null, 'the store is not open');
    return this.#db;
  }

  #verified(key: string, stored: Buffer): Uint8Array {
    if (stored.length >= 4 && stored.readUInt32BE(0) === checksum(key, stored.subarray(4))) {
      return stored.subarray(4);
    }
    throw this.#corrupt({ key });
  }

  #corrupt(detail: Record<string, unknown>, cause?: unknown): RobustError<StoreErrorCode> {
    return new RobustError(
      'STORE_CORRUPT',
      `the store ${basename(this.#path)} is damaged and must be rebuilt`,
      {
        detail: { path: this.#path, ...detail },
        cause,
      },
    );
  }

  async #admit<T>(job: () => Promise<T>): Promise<T> {
    try {
      return await this.#disk.run('level', job);
    } catch (error) {
      const detail = { path: this.#path };
      if (isLevelFull(error)) {
        throw new RobustError<StoreErrorCode>('DISK_FULL', `no space left for the store in ${this.#path}`, {
          retriable: true,
          detail,
          cause: error,
        });
      }
      if (levelCode(error) !== 'LEVEL_LOCKED') throw this.#corrupt({}, error);
      const message = `the store in ${this.#path} is open in another process`;
      throw new RobustError<StoreErrorCode>('DISK_ACCESS', message, { detail, cause: error });
    }
  }
}

function checksum(key: string, value: Uint8Array): number {
  return crc32c(value, crc32c(Buffer.from(key)));
}

function checksummed(key: string, value: Uint8Array): Buffer {
  const stored = Buffer.allocUnsafe(4 + value.length);
  stored.writeUInt32BE(checksum(key, value), 0);
  stored.set(value, 4);
  return stored;
}

function ignoreMissing(error: RobustError): [] {
  if (error.code === 'DISK_NOT_FOUND') return [];
  throw error;
}
