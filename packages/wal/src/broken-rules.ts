import type { Disk, DiskFile, IoClass, OpenOptions, Random } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import type { FrameHeader } from './frame.ts';
import { decodeFrameHeader, encodeFrameHeader, frameBytesMax, pageBytes } from './frame.ts';
import type { WalOptions } from './open-wal.ts';
import { openWal } from './open-wal.ts';
import type { Recovered, WalUser } from './recovery.ts';
import { recover } from './recovery.ts';
import { Wal } from './wal.ts';
import { scanFrames, scanHead } from './scan.ts';
import type { WalFile } from './wal-file.ts';
import { WalRing } from './wal-ring.ts';

/** Opens a log; `openWal`, or a log that breaks one of its rules, to show that a game would notice. */
export type OpenWal = (options: WalOptions) => Promise<{ wal: Wal; recovered: Recovered }>;

/** Rule 2.3 without the salt: every use of every file has the same one. */
export const openSaltless: OpenWal = (options) => {
  const { random } = options;
  const same: Random = { u32: () => random.u32(), bytes: (length) => Buffer.alloc(length, 1) };
  return openWal({ ...options, random: same });
};

/** Rule 2.1 broken: a file is used again as soon as there is another, whatever its items still wait for. */
export const openHasty: OpenWal = async (options) => {
  let running = false;
  const { user } = options;
  const hasty: WalUser = {
    check: (item) => user.check(item),
    checkpoint: () => user.checkpoint(),
    oldestNeeded: (checkpoint) => (running ? Number.MAX_SAFE_INTEGER : user.oldestNeeded(checkpoint)),
  };
  const opened = await openWal({ ...options, user: hasty });
  running = true;
  opened.wal.release = () => Wal.prototype.release.call(opened.wal, opened.wal.generation);
  return opened;
};

/**
 * Rule 2.3 broken: after a start the writer goes on in the newest file that it found, behind its last sound frame, with
 * that file's generation and salt, the next number, and the checksum of that frame. What it writes can not be told from
 * what was written before the start.
 */
export const openAppending: OpenWal = async (options) => {
  const { folder, user, random, fileBytes = 0, maxBytes = 0, queueBytes = 0 } = options;
  const onFatal = options.onFatal ?? rethrow;
  const owner = { kind: options.kind, uuid: Buffer.from(options.uuid, 'hex') };
  const disk = new ContinuingDisk(options.disk);
  const onGrown = (): void => wal.grown();
  const logger = silentLogger;
  const ring = new AppendingRing({ disk, folder, fileBytes, maxBytes, logger, onGrown, onFatal });
  const files = await ring.open();
  const { recovered, live, lastCrc } = await recover(files, owner, user);
  for (const file of files) ring.adopt(file, live.has(file));
  const { generation, position } = recovered.end;
  const found = ring.byGeneration(generation);
  const last = found === null ? null : await lastFrame(found, position);
  // The log writes a checkpoint of one page first, which the disk leaves out.
  let starting = found !== null && last !== null;
  if (found !== null && last !== null) {
    ring.found = found;
    found.bytes -= position - pageBytes;
    disk.goOn(found.file.path, { sequence: last.sequence, bytes: position - pageBytes, crc: last.crc });
  }
  const salt = found === null ? null : Buffer.from(found.salt);
  const continuing: WalUser = {
    check: (item) => user.check(item),
    checkpoint: () => (starting ? [] : user.checkpoint()),
    oldestNeeded: (checkpoint) => (starting ? 0 : user.oldestNeeded(checkpoint)),
  };
  const wal = new Wal({
    ring,
    user: continuing,
    owner,
    random: {
      u32: () => random.u32(),
      bytes: (length) => (starting && salt !== null ? salt : random.bytes(length)),
    },
    logger,
    onFatal,
    schedule: setImmediate,
    initialFiles: 2,
    frameBytes: Math.min(frameBytesMax, Math.floor(fileBytes / 2 / pageBytes) * pageBytes),
    queueBytes,
    last: { generation: starting ? generation - 1 : generation, crc: lastCrc },
  });
  const start = wal.start.bind(wal);
  wal.start = async () => {
    await start();
    starting = false;
  };
  return { wal, recovered };
};

/** Header of the last frame of a file that ends at `end`; null when it has none. */
async function lastFrame(file: WalFile, end: number): Promise<FrameHeader | null> {
  const first = await scanHead(file);
  const frames = first === null ? [] : await scanFrames(file, first);
  return frames.find(({ position, bytes }) => position + bytes === end)?.header ?? null;
}

function rethrow(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}

/** What a found file has already: frames up to that number, so many bytes of them, the CRC of the last one's header. */
interface Before {
  readonly sequence: number;
  readonly bytes: number;
  readonly crc: number;
}

/** Has frames continue those that a file had: their places, numbers, and the frame that each names. */
class ContinuingDisk implements Disk {
  readonly #disk: Disk;
  #path = '';
  #before: Before = { sequence: 0, bytes: 0, crc: 0 };
  /** Of the last header written; null before the first, and in a log that continues nothing. */
  #crc: number | null = null;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  goOn(path: string, before: Before): void {
    this.#path = path;
    this.#before = before;
    this.#crc = before.crc;
  }

  async open(io: IoClass, path: string, options?: OpenOptions): Promise<DiskFile> {
    const file = await this.#disk.open(io, path, options);
    return {
      path,
      pwrite: (write, data, position) => this.#write(file, { write, data: Buffer.from(data), position }),
      pread: (...args) => file.pread(...args),
      sync: (...args) => file.sync(...args),
      truncate: (...args) => file.truncate(...args),
      size: () => file.size(),
      close: () => file.close(),
    };
  }

  async #write(
    file: DiskFile,
    { write, data, position }: { write: IoClass; data: Buffer; position: number },
  ): Promise<void> {
    const header = decodeFrameHeader(data, 0);
    if (header?.sequence === 0 && file.path === this.#path) {
      // The file is used again, unless this is the first that is written to it.
      if (this.#crc === this.#before.crc) return;
      this.#path = '';
    }
    const { sequence, bytes } = file.path === this.#path ? this.#before : { sequence: 0, bytes: 0 };
    if (header !== null && this.#crc !== null) {
      const place = { sequence: header.sequence + sequence, previousCrc: this.#crc };
      this.#crc = encodeFrameHeader(data, 0, { ...header, ...place });
    }
    await file.pwrite(write, data, position + bytes);
  }

  mkdir: Disk['mkdir'] = (path) => this.#disk.mkdir(path);
  syncDir: Disk['syncDir'] = (path) => this.#disk.syncDir(path);
  rename: Disk['rename'] = (from, to) => this.#disk.rename(from, to);
  unlink: Disk['unlink'] = (path) => this.#disk.unlink(path);
  list: Disk['list'] = (path) => this.#disk.list(path);
  free: Disk['free'] = (path) => this.#disk.free(path);
  run: Disk['run'] = (io, job) => this.#disk.run(io, job);
}

/** Hands out the newest file that is in use already, first of all. */
class AppendingRing extends WalRing {
  found: WalFile | null = null;
  readonly #fileBytes: number;

  constructor(options: ConstructorParameters<typeof WalRing>[0]) {
    super(options);
    this.#fileBytes = options.fileBytes;
  }

  override take(generation: number, last: boolean): WalFile | null {
    const { found } = this;
    this.found = null;
    if (found !== null) return found;
    const file = super.take(generation, last);
    // The one that was continued is full, and has its own length again.
    if (file !== null)
      for (const live of this.newestFirst()) live.bytes = Math.max(live.bytes, this.#fileBytes);
    return file;
  }
}
