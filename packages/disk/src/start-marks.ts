import { appendFile, readFile, rm, writeFile } from 'node:fs/promises';

/** Two in a row: one may be a kill that came at that moment. */
const endedMax = 2;

/**
 * A file with a line for each start that began to read a database, by process id; who gets through removes it. LevelDB
 * ends the process on some damage, and a start can't say so before it knows that others ended at the same place. Not
 * synced: the system's cache outlives a process.
 */
export class StartMarks {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Adds this start; false when those before it ended too often. Every other one tries again after that. */
  async add(): Promise<boolean> {
    const ended = (await this.#marks()).filter((pid) => !isRunning(pid));
    if (ended.length >= endedMax) {
      await writeFile(this.#path, `${ended[0]}\n`);
      return false;
    }
    await appendFile(this.#path, `${process.pid}\n`);
    return true;
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }

  async #marks(): Promise<number[]> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
    return text.split('\n').slice(0, -1).map(Number);
  }
}

/** Whether another process has this id; one that had ours has ended. */
function isRunning(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
