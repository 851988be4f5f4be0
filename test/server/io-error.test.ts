import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasCommand, runCommand, ServerProcess, waitUntil } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';
import { Load } from './load.ts';

const fatal = 70;
const exitMs = 1000;

const missing = await straceMissing();
const title = 'an input/output error under load of both protocols';

describe.skipIf(missing !== null)(missing === null ? title : `${title} (${missing})`, () => {
  // What is written durably goes to the log of records or of metadata; what is synced is a segment or the state.
  it.each(['pwrite64', 'fdatasync'])(
    'of %s ends the process within a second, and nothing that was acknowledged is lost',
    async (call) => {
      await using server = await ServerProcess.start({ startTimeoutMs: 120_000 });
      const load = await Load.start(server);
      const times = await failNext(server, call);
      expect(times.exited - times.injected).toBeLessThan(exitMs);
      const exit = await server.ended();
      expect([exit.code, exit.signal], exit.stderr).toEqual([fatal, null]);
      expect(exit.stderr).toContain('EIO');
      await server.start();
      await load.moreAcknowledged(200);
      expect(await load.finish()).toEqual([]);
      await load.close();
    },
    120_000,
  );
});

/** Why no process can be traced here, or null. */
async function straceMissing(): Promise<string | null> {
  if (process.platform !== 'linux') return 'not on Linux';
  if (process.getuid?.() !== 0) return 'tracing a process that runs needs root';
  if (!hasCommand('strace', ['-V'])) return 'strace is not installed';
  const { code, stderr } = await runCommand('strace', ['-o', '/dev/null', 'true']);
  return code === 0 ? null : `strace may trace nothing: ${stderr.trim()}`;
}

/** Has the system fail that call of the server from now on; resolves at its end with both times, ms. */
async function failNext(
  server: ServerProcess,
  call: string,
): Promise<{ readonly injected: number; readonly exited: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'robustmq-strace-'));
  const path = join(folder, 'calls');
  const args = ['-f', '-ttt', '-o', path, '-e', `trace=${call}`, '-e', `inject=${call}:error=EIO`];
  const { pid } = server;
  const strace = spawn('strace', [...args, '-p', String(pid)], { stdio: 'ignore' });
  try {
    const ended = new Promise((resolve) => strace.once('close', resolve));
    let log = '';
    const isOver = (): boolean => {
      log = readFileSync(path, { encoding: 'utf8', flag: 'a+' });
      return log.includes('(INJECTED)') && new RegExp(`^${pid} .*\\+\\+\\+ (exited|killed)`, 'm').test(log);
    };
    await Promise.race([ended, waitUntil(isOver, { timeoutMs: 30_000, what: 'the server to end' })]);
    isOver();
    const time = (what: RegExp): number => Number(what.exec(log)?.[1]) * 1000;
    return {
      injected: time(/^\d+ +([\d.]+) .*\(INJECTED\)/m),
      exited: time(new RegExp(`^${pid} +([\\d.]+) \\+\\+\\+ exited`, 'm')),
    };
  } finally {
    strace.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}
