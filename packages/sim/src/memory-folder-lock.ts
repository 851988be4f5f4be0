import type { FolderErrorCode, FolderIdentity, FolderLock } from '@robustmq/core';
import { RobustError } from '@robustmq/core';

/** A folder that locks can be taken on; it outlives them, as a folder outlives its processes. */
export class MemoryFolder {
  identity: FolderIdentity | null = null;
  holder: MemoryFolderLock | null = null;
}

/** A `FolderLock` in memory. Set `folder.holder` to null to let the process that held it die. */
export class MemoryFolderLock implements FolderLock {
  readonly #folder: MemoryFolder;

  constructor(folder: MemoryFolder = new MemoryFolder()) {
    this.#folder = folder;
  }

  async acquire(create: () => Omit<FolderIdentity, 'bootCounter'>): Promise<FolderIdentity> {
    const folder = this.#folder;
    if (folder.holder !== null) {
      throw new RobustError<FolderErrorCode>('FOLDER_LOCKED', 'the folder is in use', { retriable: true });
    }
    folder.holder = this;
    const found = folder.identity ?? { ...create(), bootCounter: 0 };
    folder.identity = { ...found, bootCounter: found.bootCounter + 1 };
    return folder.identity;
  }

  async release(): Promise<void> {
    if (this.#folder.holder === this) this.#folder.holder = null;
  }
}
