import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ServerProcess } from './server-process.ts';

const packages = join(import.meta.dirname, '..', '..');

/** Modules that reach files, threads or the network without the port. */
const outside = /from '(?:node:)?(fs|fs\/promises|worker_threads|child_process|net|level|classic-level)'/;

/** Sources of a package that run in production. */
function sources(name: string): string[] {
  const folder = join(packages, name, 'src');
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !/\.test\.ts$|-fixture\.ts$/.test(file))
    .map((file) => join(folder, file));
}

describe('storage 1.3: the log reaches the disk through the port only', () => {
  it.each(['wal', 'journal', 'meta', 'kernel'])('%s imports nothing else', (name) => {
    const files = sources(name);
    expect(files.length).toBeGreaterThan(5);
    expect(files.filter((file) => outside.test(readFileSync(file, 'utf8')))).toEqual([]);
  });

  it('the database is in disk alone, behind ports that sim has in memory', () => {
    const users: string[] = [];
    for (const name of readdirSync(packages)) {
      if (!existsSync(join(packages, name, 'src'))) continue;
      const using = sources(name).some((file) =>
        /from '(level|classic-level)'/.test(readFileSync(file, 'utf8')),
      );
      if (using) users.push(name);
    }
    expect(users).toEqual(['disk']);
    const sim = readFileSync(join(packages, 'sim', 'src', 'index.ts'), 'utf8');
    expect(sim).toMatch(/MemoryStateStore/);
    expect(sim).toMatch(/MemoryFolderLock/);
  });
});

it('storage 1.4: each role has its own folder with lock and log, and a broker has none', async () => {
  await using server = await ServerProcess.start();
  const folders = (path: string): string[] =>
    readdirSync(join(server.dataDir, path), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .sort();
  expect(readdirSync(server.dataDir).sort()).toEqual(['journal', 'meta']);
  expect(folders('meta')).toEqual(expect.arrayContaining(['lock', 'wal']));
  expect(folders('journal')).toEqual(expect.arrayContaining(['lock', 'segments', 'wal']));
  for (const role of ['meta', 'journal']) {
    const files = readdirSync(join(server.dataDir, role, 'wal'));
    expect(files.length).toBeGreaterThanOrEqual(2);
    expect(files.every((name) => /^\d{4}\.wal$/.test(name))).toBe(true);
  }
});
