import type { Disk, JournalUuid, Logger, Random } from '@robustmq/core';
import { assert, silentLogger } from '@robustmq/core';
import { frameBytesMax, pageBytes } from './frame.ts';
import type { Recovered, WalUser } from './recovery.ts';
import { recover } from './recovery.ts';
import { Wal } from './wal.ts';
import { WalRing } from './wal-ring.ts';

export interface WalOptions {
  disk: Disk;
  /** The log's own folder; nobody else's files may be in it. */
  folder: string;
  user: WalUser;
  /** The kind of writer, 1 to 255; a log of another kind is refused. */
  kind: number;
  /** Identity of the disk's owner; the log of another is refused. */
  uuid: JournalUuid;
  random: Random;
  /** Bytes of a file, a multiple of 4 KiB and at least 64 KiB; below 4 MiB what fills half a file begins no longer frame; 32 MiB. */
  fileBytes?: number;
  /** Bytes of all files together, at least three files; 512 MiB. */
  maxBytes?: number;
  /** Files made at the first start; 2. */
  initialFiles?: number;
  /** Bytes that may wait behind the two staging buffers before `full`; 4 MiB. */
  queueBytes?: number;
  logger?: Logger;
  /** Called when a write or a sync failed; it must end the process. Default: an uncaught exception. */
  onFatal?: (error: Error) => void;
  /** When the first item of an idle log starts its frame; default: after the callbacks of this event-loop turn. */
  schedule?: (task: () => void) => void;
}

/**
 * Opens a log and recovers what it holds. The user reads `recovered.frames` to the end, looks at `recovered.rot`, makes
 * its own state durable, and calls `wal.start()`, before which nothing may be appended. Throws `WAL_FOREIGN`,
 * `WAL_VERSION`, `WAL_AMBIGUOUS` and the errors of the disk.
 */
export async function openWal(options: WalOptions): Promise<{ wal: Wal; recovered: Recovered }> {
  const { fileBytes = 32 * 1024 * 1024, maxBytes = 512 * 1024 * 1024, initialFiles = 2 } = options;
  const { logger = silentLogger, onFatal = throwUncaught, schedule = afterTurn } = options;
  assert(fileBytes % pageBytes === 0 && fileBytes >= 16 * pageBytes, 'a file has at least 16 pages');
  assert(maxBytes >= 3 * fileBytes && initialFiles >= 2, 'a log may grow to three files');
  assert(
    options.kind > 0 && options.kind < 256 && options.uuid.length === 32,
    'a log has a kind and an owner',
  );
  const owner = { kind: options.kind, uuid: Buffer.from(options.uuid, 'hex') };
  const ring = new WalRing({
    disk: options.disk,
    folder: options.folder,
    fileBytes,
    maxBytes,
    logger,
    onGrown: () => wal.grown(),
    onFatal,
  });
  const files = await ring.open();
  const { recovered, live, lastCrc } = await recover(files, owner, options.user);
  for (const file of files) ring.adopt(file, live.has(file));
  const wal = new Wal({
    ring,
    user: options.user,
    owner,
    random: options.random,
    logger,
    onFatal,
    schedule,
    initialFiles,
    frameBytes: Math.min(frameBytesMax, Math.floor(fileBytes / 2 / pageBytes) * pageBytes),
    queueBytes: options.queueBytes ?? 4 * 1024 * 1024,
    last: { generation: recovered.end.generation, crc: lastCrc },
  });
  return { wal, recovered };
}

/** After the poll phase: what all sockets of this turn brought shares a frame. */
function afterTurn(task: () => void): void {
  setImmediate(task);
}

function throwUncaught(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}
