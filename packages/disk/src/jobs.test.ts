import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { ReadJob, WriteJob } from './jobs.ts';

/** Calls of the system that stop early, as they do at a signal or a nearly full disk. */
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  type Callback = (error: Error | null, bytes: number) => void;
  const short =
    (call: typeof fs.write | typeof fs.read) =>
    (fd: number, bytes: Uint8Array, offset: number, length: number, position: number, done: Callback) =>
      (call as (...args: unknown[]) => void)(fd, bytes, offset, Math.min(length, 7), position, done);
  return { ...fs, write: short(fs.write), read: short(fs.read) };
});

const path = join(tmpdir(), `robustmq-jobs-${process.pid}`);
afterAll(() => rmSync(path, { force: true }));

describe('jobs', () => {
  it('storage 1.8: continue a partial write, and a partial read, at the byte where it stopped', async () => {
    const fd = openSync(path, 'w+');
    const data = Buffer.from('the quick brown fox jumps over the lazy dog');
    const freed: string[] = [];
    const written = await new Promise((resolve) => {
      const target = { fd, data, position: 3, syncAfter: true };
      new WriteJob('wal', target, (_error, bytes) => resolve(bytes)).begin((lane) => freed.push(lane));
    });
    expect(written).toBe(data.length);
    expect(readFileSync(path).subarray(3)).toEqual(data);
    const into = Buffer.alloc(60);
    const got = await new Promise((resolve) => {
      const job = new ReadJob('read', { fd, into, position: 3 }, (_error, bytes) => resolve(bytes));
      job.begin((lane) => freed.push(lane));
    });
    expect(got).toBe(data.length);
    expect(into.subarray(0, data.length)).toEqual(data);
    expect(freed).toEqual(['wal', 'read']);
    closeSync(fd);
  });
});
