import { mkdtempSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from './command.ts';

const mebibyte = 1024 * 1024;

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

async function run(command: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
