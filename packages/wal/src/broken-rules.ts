import type { Disk, DiskFile, IoClass, OpenOptions, Random } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import { frameBytesMax, pageBytes } from './frame.ts';
import type { WalOptions } from './open-wal.ts';
import { openWal } from './open-wal.ts';
import type { Recovered, WalUser } from './recovery.ts';
import { recover } from './recovery.ts';
import { Wal } from './wal.ts';
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

/** Rule 2.3 broken: after a start the writer goes on in the newest file that it found, behind its last frame. */
export const openAppending: OpenWal = async (options) => {
  const { folder, user, random, fileBytes = 0, maxBytes = 0, queueBytes = 0 } = options;
  const onFatal = options.onFatal ?? rethrow;
  const owner = { kind: options.kind, uuid: Buffer.from(options.uuid, 'hex') };
  const disk = new ShiftedDisk(options.disk);
  const onGrown = (): void => wal.grown();
  const ring = new AppendingRing(disk, {
    disk,
    folder,
    fileBytes,
    maxBytes,
    logger: silentLogger,
    onGrown,
    onFatal,
  });
  const files = await ring.open();
  const { recovered, live, lastCrc } = await recover(files, owner, user);
  for (const file of files) ring.adopt(file, live.has(file));
  ring.end = recovered.end.position;
  const wal = new Wal({
    ring,
    user,
    owner,
    random,
    logger: silentLogger,
    onFatal,
    schedule: setImmediate,
    initialFiles: 2,
    frameBytes: Math.min(frameBytesMax, Math.floor(fileBytes / 2 / pageBytes) * pageBytes),
    queueBytes,
    last: { generation: recovered.end.generation, crc: lastCrc },
  });
  return { wal, recovered };
};

function rethrow(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}

/** Writes to a file begin where its shift says. */
class ShiftedDisk implements Disk {
  readonly shifts = new Map<string, number>();
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  async open(io: IoClass, path: string, options?: OpenOptions): Promise<DiskFile> {
    const file = await this.#disk.open(io, path, options);
    const { shifts } = this;
    return {
      path,
      pwrite: (write, data, position) => file.pwrite(write, data, position + (shifts.get(path) ?? 0)),
      pread: (...args) => file.pread(...args),
      sync: (...args) => file.sync(...args),
      truncate: (...args) => file.truncate(...args),
      size: () => file.size(),
      close: () => file.close(),
    };
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
  /** Where the log ended in its newest file; 0 without one. */
  end = 0;
  readonly #disk: ShiftedDisk;

  constructor(disk: ShiftedDisk, options: ConstructorParameters<typeof WalRing>[0]) {
    super(options);
    this.#disk = disk;
  }

  override take(generation: number, last: boolean): WalFile | null {
    const [found] = this.newestFirst();
    const { end } = this;
    this.end = 0;
    if (end > 0 && found !== undefined) {
      this.#disk.shifts.set(found.file.path, end);
      return found;
    }
    const file = super.take(generation, last);
    if (file !== null) this.#disk.shifts.delete(file.file.path);
    return file;
  }
}
