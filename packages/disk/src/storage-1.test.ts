import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RobustError } from '@robustmq/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openNodeDisk } from './node-disk.ts';

/** O_DSYNC as Linux shows it. */
const dsyncFlag = 0o10000;
const linux = process.platform === 'linux';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'robustmq-disk-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Flags of this process's descriptor of a file, as the kernel has them. */
function flagsOf(path: string): number {
  for (const fd of readdirSync('/proc/self/fd')) {
    let target: string;
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      continue;
    }
    if (target !== path) continue;
    const [, flags] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))!;
    return Number.parseInt(flags!, 8);
  }
  throw new Error(`${path} is not open`);
}

describe.skipIf(!linux)('storage 1.7: durable writes', () => {
  it('a file of the log has O_DSYNC, also one that was made anew; others do not', async () => {
    const disk = openNodeDisk();
    const found = async (name: string, options: object): Promise<boolean> => {
      const file = await disk.open('wal', join(folder, name), { create: true, ...options });
      const flags = flagsOf(join(folder, name));
      await file.close();
      return (flags & dsyncFlag) !== 0;
    };
    expect(await found('log', { dsync: true, preallocateBytes: 8192 })).toBe(true);
    expect(await found('log', { dsync: true })).toBe(true);
    expect(await found('segment', {})).toBe(false);
  });
});

describe.skipIf(!linux)('storage 1.9: errors after which nobody knows what is on the disk', () => {
  async function fatalOf(
    path: string,
    task: (file: Awaited<ReturnType<ReturnType<typeof openNodeDisk>['open']>>) => Promise<unknown>,
  ): Promise<{ code: string | null; fatal: string[] }> {
    const fatal: string[] = [];
    const disk = openNodeDisk({ onFatal: (error) => fatal.push((error as RobustError).code) });
    const file = await disk.open('writeBehind', path, { create: true });
    const code = await task(file).then(
      () => null,
      (error: RobustError) => error.code,
    );
    await file.close();
    return { code, fatal };
  }

  it('a failed sync ends the process', async () => {
    // This device can not be synced.
    const { code, fatal } = await fatalOf('/dev/null', (file) => file.sync('writeBehind'));
    expect([code, fatal]).toEqual(['DISK_IO', ['DISK_IO']]);
  });

  it('a write that finds no space does not: its caller may wait for some', async () => {
    const { code, fatal } = await fatalOf('/dev/full', (file) =>
      file.pwrite('writeBehind', Buffer.alloc(10), 0),
    );
    expect([code, fatal]).toEqual(['DISK_FULL', []]);
  });

  it('a write that fails for another reason does', async () => {
    // A write below the address space of this device fails with EIO.
    const { code, fatal } = await fatalOf('/proc/self/mem', (file) =>
      file.pwrite('writeBehind', Buffer.alloc(10), 0),
    );
    expect([code, fatal]).toEqual(['DISK_IO', ['DISK_IO']]);
  });
});
