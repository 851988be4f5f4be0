/** One change of a `StateStore` batch; a null value deletes. */
export interface StateChange {
  key: string;
  value: Uint8Array | null;
}

/**
 * Applied state that may be dropped and rebuilt (docs/storage.md 2.6): `level` in production, memory in `sim`.
 * A batch is atomic and durable when it resolves.
 */
export interface StateStore {
  open(): Promise<void>;
  close(): Promise<void>;
  get(key: string): Promise<Uint8Array | undefined>;
  /** All pairs in key order. */
  entries(): AsyncIterable<[string, Uint8Array]>;
  write(changes: readonly StateChange[]): Promise<void>;
  /** Empties the store. */
  clear(): Promise<void>;
}

/** Who a data folder belongs to, kept in the lock itself. */
export interface FolderIdentity {
  clusterId: string;
  nodeId: number;
  uuid: string;
  /** Raised at every open. */
  bootCounter: number;
}

/**
 * Exclusive use of one data folder. `acquire` throws `FOLDER_LOCKED` when another process has it; the lock goes
 * with the process.
 */
export interface FolderLock {
  /** Reads or, in a new folder, creates the identity; raises the boot counter durably. */
  acquire(create: () => Omit<FolderIdentity, 'bootCounter'>): Promise<FolderIdentity>;
  release(): Promise<void>;
}

export type FolderErrorCode = 'FOLDER_LOCKED' | 'FOLDER_UNREADABLE';
