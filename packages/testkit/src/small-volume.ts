import { mkdtempSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from './command.ts';

const mebibyte = 1024 * 1024;
/** A full volume is tried again so often: what others give back is taken at once. */
const refillMs = 10;

export interface SmallVolumeOptions {
  readonly mebibytes: number;
  /** `tmpfs` lies in memory and can grow; `ext4` is an image file on a loop device. */
  readonly kind: 'tmpfs' | 'ext4';
}

/** Why this process can mount nothing, or null; in words for the name of a skipped test. */
export async function mountMissing(kind: SmallVolumeOptions['kind']): Promise<string | null> {
  if (process.platform !== 'linux') return 'only Linux mounts like that';
  if (process.getuid?.() !== 0) return 'mounting needs root';
  try {
    await using _ = await SmallVolume.mount({ mebibytes: 1, kind });
    return null;
  } catch (error) {
    return `nothing can be mounted: ${(error as Error).message.trim()}`;
  }
}

/** A file system of a fixed size of its own; `await using` unmounts it. */
export class SmallVolume {
  readonly path: string;
  readonly #image: string | null;

  private constructor(path: string, image: string | null) {
    this.path = path;
    this.#image = image;
  }

  static async mount({ mebibytes, kind }: SmallVolumeOptions): Promise<SmallVolume> {
    const path = mkdtempSync(join(tmpdir(), 'robustmq-volume-'));
    const image = kind === 'ext4' ? `${path}.img` : null;
    const volume = new SmallVolume(path, image);
    try {
      if (image === null) {
        await run('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=0700`, 'tmpfs', path]);
      } else {
        await run('truncate', ['-s', `${mebibytes}M`, image]);
        // As little as possible for the file system itself.
        await run('mkfs.ext4', ['-q', '-m', '0', '-N', '256', '-O', '^has_journal', image]);
        await run('mount', ['-o', 'loop', image, path]);
      }
    } catch (error) {
      volume.#forget();
      throw error;
    }
    return volume;
  }

  /** Bytes that may still be written. */
  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Gives a tmpfs another size. */
  async resize(mebibytes: number): Promise<void> {
    await run('mount', ['-o', `remount,size=${mebibytes * mebibyte}`, this.path]);
  }

  /** Takes all space that there is; resolves when not one byte is free. */
  fill(): Promise<ForeignFile> {
    return ForeignFile.open(join(this.path, 'foreign'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Lazily: a process that did not end in time must not keep the mount for ever.
    await run('umount', [this.path]).catch(() => run('umount', ['-l', this.path]));
    this.#forget();
  }

  #forget(): void {
    rmdirSync(this.path);
    if (this.#image !== null) rmSync(this.#image, { force: true });
  }
}

/** A file of somebody else, which takes all space of its volume, and what becomes free, until it is removed. */
class ForeignFile {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #zeros = Buffer.alloc(mebibyte);
  #wanted = true;
  #growing: Promise<void> | null = null;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  static async open(path: string): Promise<ForeignFile> {
    const file = new ForeignFile(path, await open(path, 'w'));
    await file.#grow();
    file.#growing = file.#goOn();
    return file;
  }

  /** All its space is free again. It may be removed more than once. */
  async remove(): Promise<void> {
    if (!this.#wanted) return;
    this.#wanted = false;
    await this.#growing;
    await this.#handle.close();
    await unlink(this.#path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async #goOn(): Promise<void> {
    while (this.#wanted) {
      await delay(refillMs);
      await this.#grow();
    }
  }

  /** Until the volume takes no more. One may refuse a large write that would fit in part, so each half is tried too. */
  async #grow(): Promise<void> {
    for (let bytes = mebibyte; bytes >= 1; bytes /= 2) {
      try {
        for (;;) await this.#handle.write(this.#zeros, 0, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  }
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
