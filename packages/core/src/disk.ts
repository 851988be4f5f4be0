/** Why a call touches the disk; the scheduler admits and orders by it (docs/storage.md 1). */
export type IoClass = 'wal' | 'read' | 'writeBehind' | 'compaction' | 'level';

export interface OpenOptions {
  /** Fail with `DISK_NOT_FOUND` (false, default) or create the file. */
  create?: boolean;
  /** Fill a new file with zeros up to this size before `open` resolves, so that later writes allocate nothing. */
  preallocateBytes?: number;
  /** Every `pwrite` is durable when it resolves (O_DSYNC, or write + fdatasync where that is missing). */
  dsync?: boolean;
}

export interface DiskEntry {
  name: string;
  bytes: number;
  directory: boolean;
}

/** An open file. Positions and lengths are bytes. */
export interface DiskFile {
  readonly path: string;
  /** Writes all of `data` at `position`; partial writes are continued. `data` must not change until it resolves. */
  pwrite(io: IoClass, data: Uint8Array, position: number): Promise<void>;
  /** Reads into `into`; resolves to the number of bytes read, less than `into.length` only at the end of the file. */
  pread(io: IoClass, into: Uint8Array, position: number): Promise<number>;
  /** fdatasync. An error here must end the process: the caller never retries. */
  sync(io: IoClass): Promise<void>;
  truncate(io: IoClass, bytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/**
 * All file work of the log engine goes through this port. Errors are `RobustError` with a `DiskErrorCode`;
 * `DISK_FULL` is the only one that a caller may survive on a write.
 */
export interface Disk {
  open(io: IoClass, path: string, options?: OpenOptions): Promise<DiskFile>;
  /** Creates missing parents; existing is no error. The parent is not synced. */
  mkdir(path: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Missing is no error. */
  unlink(path: string): Promise<void>;
  /** Entries of a directory sorted by name; a missing directory is `DISK_NOT_FOUND`. */
  list(path: string): Promise<DiskEntry[]>;
  /** Free bytes on the volume that holds `path`, and its size. */
  free(path: string): Promise<{ freeBytes: number; totalBytes: number }>;
  /** Admits work that is not file I/O of ours (a `level` batch, compression) under the scheduler's bounds. */
  run<T>(io: IoClass, job: () => Promise<T>): Promise<T>;
}

export type DiskErrorCode = 'DISK_FULL' | 'DISK_NOT_FOUND' | 'DISK_ACCESS' | 'DISK_IO';
