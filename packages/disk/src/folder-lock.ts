import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { FolderErrorCode, FolderIdentity, FolderLock } from '@robustmq/core';
import { crc32c, RobustError } from '@robustmq/core';
import { Level } from 'level';
import { isLevelFull, levelCode } from './level-error.ts';
import { StartMarks } from './start-marks.ts';
import { syncDirectory } from './sync-directory.ts';

const identityKey = 'IDENTITY';
const endedReason =
  'the last starts ended while they read it, so its files are probably damaged: put back a copy of them. ' +
  'If the starts were killed, start again';

/**
 * The lock of one data folder, a small `level` in `path`. Node has no flock; the kernel drops LevelDB's with the
 * process that held it, however it ended.
 */
export function openFolderLock(path: string): FolderLock {
  return new LevelFolderLock(path);
}

class LevelFolderLock implements FolderLock {
  readonly #path: string;
  readonly #marks: StartMarks;
  #db: Level<string, string> | null = null;

  constructor(path: string) {
    this.#path = path;
    this.#marks = new StartMarks(`${path}.reading`);
  }

  async acquire(create: () => Omit<FolderIdentity, 'bootCounter'>): Promise<FolderIdentity> {
    const db = await this.#open();
    try {
      const stored = await this.#stored(db);
      const found = stored === undefined ? { ...create(), bootCounter: 0 } : this.#parse(stored);
      const identity = { ...found, bootCounter: found.bootCounter + 1 };
      await db.put(identityKey, seal(identity), { sync: true });
      if (stored === undefined) {
        await syncDirectory(this.#path);
        await syncDirectory(dirname(this.#path));
      }
      await this.#marks.remove();
      this.#db = db;
      return identity;
    } catch (error) {
      await db.close();
      await this.#marks.remove();
      throw this.#explained(error);
    }
  }

  async release(): Promise<void> {
    const db = this.#db;
    this.#db = null;
    await db?.close();
  }

  async #open(): Promise<Level<string, string>> {
    try {
      await mkdir(this.#path, { recursive: true, mode: 0o700 });
      if (!(await this.#marks.add())) throw this.#unreadable(endedReason);
    } catch (error) {
      throw this.#explained(error);
    }
    try {
      const db = new Level<string, string>(this.#path);
      await db.open();
      return db;
    } catch (error) {
      await this.#marks.remove();
      throw this.#explained(error);
    }
  }

  /**
   * Reads everything there is, older copies too: where LevelDB would end the process later, when it compacts them, it
   * does so before the mark is removed.
   */
  async #stored(db: Level<string, string>): Promise<string | undefined> {
    let stored: string | undefined;
    for await (const [key, value] of db.iterator()) {
      if (key !== identityKey) throw this.#unreadable('its identity is damaged');
      stored = value;
    }
    return stored;
  }

  #parse(stored: string): FolderIdentity {
    const body = stored.slice(9);
    if (stored.slice(0, 9) !== `${hexChecksum(body)} `) throw this.#unreadable('its identity is damaged');
    const { clusterId, nodeId, uuid, bootCounter } = JSON.parse(body) as FolderIdentity;
    return { clusterId, nodeId, uuid, bootCounter };
  }

  #explained(error: unknown): RobustError<FolderErrorCode> {
    if (error instanceof RobustError) return error as RobustError<FolderErrorCode>;
    const path = this.#path;
    if (levelCode(error) === 'LEVEL_LOCKED') {
      const message = `${path} is in use by another process: stop that one, or give this one another data folder`;
      return new RobustError('FOLDER_LOCKED', message, { retriable: true, detail: { path }, cause: error });
    }
    if (isLevelFull(error)) return this.#unreadable('the disk is full', error);
    return this.#unreadable((error as Error).message, error);
  }

  #unreadable(reason: string, cause?: unknown): RobustError<FolderErrorCode> {
    const message = `cannot use the data folder lock ${this.#path}: ${reason}`;
    return new RobustError('FOLDER_UNREADABLE', message, { detail: { path: this.#path }, cause });
  }
}

function seal(identity: FolderIdentity): string {
  const body = JSON.stringify(identity);
  return `${hexChecksum(body)} ${body}`;
}

function hexChecksum(body: string): string {
  return crc32c(Buffer.from(body)).toString(16).padStart(8, '0');
}
