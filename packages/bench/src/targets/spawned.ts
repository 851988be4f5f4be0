import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Endpoint } from '../job.ts';
import type { Target } from './target.ts';

const host = '127.0.0.1';
const openPollMs = 2;
const stopDeadlineMs = 10_000;

export interface SpawnOptions {
  readonly name: string;
  readonly folder: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly mqttPort?: number;
  readonly kafkaPort?: number;
  readonly adminPort?: number;
  readonly startDeadlineMs?: number;
}

/** Starts a server, waits until its ports accept connections, and times that. Its output goes to `folder`/log. */
export async function spawnTarget(options: SpawnOptions): Promise<Target> {
  const { name, mqttPort, kafkaPort, adminPort } = options;
  mkdirSync(options.folder, { recursive: true });
  let running = await spawnServer(options);
  return {
    name,
    mqtt: endpoint(mqttPort),
    kafka: endpoint(kafkaPort),
    admin: endpoint(adminPort),
    get pids() {
      return running.pid === undefined ? [] : [running.pid];
    },
    startMs: running.startMs,
    restart: async () => {
      await stopChild(running.child, running.ended);
      running = await spawnServer(options);
    },
    stop: () => stopChild(running.child, running.ended),
  };
}

interface RunningServer {
  readonly child: ChildProcess;
  readonly pid: number | undefined;
  readonly ended: Promise<string>;
  readonly startMs: number;
}

async function spawnServer(options: SpawnOptions): Promise<RunningServer> {
  const { name, mqttPort, kafkaPort, adminPort } = options;
  const logPath = join(options.folder, 'log');
  const log = openSync(logPath, 'a');
  const startedAtMs = performance.now();
  const child = spawn(options.command, options.args, { stdio: ['ignore', log, log] });
  closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(`ended with ${signal ?? code}`));
  });
  const ports = [mqttPort, kafkaPort, adminPort].filter((port) => port !== undefined);
  const opened = waitForPorts(ports, options.startDeadlineMs ?? 30_000);
  const failure = await Promise.race([ended, opened.done]);
  opened.cancel();
  if (failure !== null) {
    await stopChild(child, ended);
    throw new Error(`${name} did not start: ${failure}\n${tail(logPath)}`);
  }
  return { child, pid: child.pid, ended, startMs: performance.now() - startedAtMs };
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, host, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function endpoint(port: number | undefined): Endpoint | null {
  return port === undefined ? null : { host, port };
}

/** `done` resolves to null when every port accepts, or to the reason why not. */
function waitForPorts(ports: readonly number[], deadlineMs: number) {
  let cancelled = false;
  const wait = async (): Promise<string | null> => {
    const untilMs = performance.now() + deadlineMs;
    for (const port of ports) {
      while (!cancelled && !(await accepts(port))) {
        if (performance.now() > untilMs) return `port ${port} stayed closed for ${deadlineMs} ms`;
        await delay(openPollMs);
      }
    }
    return null;
  };
  return {
    done: wait(),
    cancel: () => {
      cancelled = true;
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function stopChild(child: ChildProcess, ended: Promise<string>): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopDeadlineMs);
  await ended;
  clearTimeout(timer);
}

function tail(path: string): string {
  return readFileSync(path, 'utf8').split('\n').slice(-12).join('\n');
}
