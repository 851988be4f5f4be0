import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';

/** The built server; `npm test` builds it first. `src` and `dist` lie at the same depth. */
const serverMain = fileURLToPath(new URL('../../server/dist/main.js', import.meta.url));
const readyLine = /^(ready|NOT ready) after (\d+) ms$/m;
/** Output of one run that is kept, characters; a server under test says little. */
const outputCharsMax = 1024 * 1024;
/** Below the range from which the system takes ports for clients: a client can not be given a server's port. */
const portsFrom = 12_000;
const portsTo = 32_000;

export type ListenerName = 'mqtt' | 'mqttWebSocket' | 'kafka' | 'admin';
export type ServerPorts = Readonly<Record<ListenerName, number>>;

export interface ServerProcessOptions {
  /** Keys of the configuration beside `dataDir` and the ports. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether a start counts in which a listener stays closed. */
  readonly mayBeUnready?: boolean;
  /** How long a start may take. Default 20 s. */
  readonly startTimeoutMs?: number;
}

export interface ServerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** User and group to run as. */
  readonly uid?: number;
  /** A descriptor in place of the pipes that are read. */
  readonly output?: number;
}

/** Runs `robustmq` with these arguments until it ends by itself; for commands and for starts that must fail. */
export function runRobustmq(
  args: readonly string[],
  { env, cwd, uid, output }: RunOptions = {},
): Promise<ServerExit> & { readonly pid: number } {
  const child = spawn(process.execPath, [serverMain, ...args], {
    stdio: ['ignore', output ?? 'pipe', output ?? 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  return Object.assign(
    collect(child, () => undefined),
    { pid: child.pid ?? -1 },
  );
}

/**
 * A real server process on a data folder and ports of its own, which a restart keeps. `await using` ends the process by
 * its id and removes the folder.
 */
export class ServerProcess {
  readonly folder: string;
  readonly ports: ServerPorts;
  readonly #options: ServerProcessOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<ServerExit> | null = null;
  #readyMs = 0;

  /** Use `ServerProcess.start`. */
  constructor(folder: string, ports: ServerPorts, options: ServerProcessOptions) {
    this.folder = folder;
    this.ports = ports;
    this.#options = options;
  }

  /** Starts a server in a new temporary folder; resolves when all its listeners are open. */
  static async start(options: ServerProcessOptions = {}): Promise<ServerProcess> {
    if (!existsSync(serverMain)) throw new Error(`${serverMain} is missing: run \`npm run build\``);
    const [mqtt, mqttWebSocket, kafka, admin] = await freePorts(4);
    const ports = { mqtt: mqtt!, mqttWebSocket: mqttWebSocket!, kafka: kafka!, admin: admin! };
    const server = new ServerProcess(mkdtempSync(join(tmpdir(), 'robustmq-server-')), ports, options);
    await server.start();
    return server;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the server does not run');
    return pid;
  }

  /** Milliseconds that the last start took, by the server's own clock. */
  get readyMs(): number {
    return this.#readyMs;
  }

  get configPath(): string {
    return join(this.folder, 'robustmq.yaml');
  }

  get dataDir(): string {
    return join(this.folder, 'data');
  }

  /** `host:port` for a client. */
  address(listener: ListenerName): string {
    return `127.0.0.1:${this.ports[listener]}`;
  }

  /** Starts the process again on the same folder and ports. */
  async start(): Promise<void> {
    const { config, env, mayBeUnready = false, startTimeoutMs = 20_000 } = this.#options;
    writeFileSync(this.configPath, stringify(this.#config(config)));
    const child = spawn(process.execPath, [serverMain, 'start', '--config', this.configPath], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#child = child;
    let timer: NodeJS.Timeout | undefined;
    const ready = new Promise<number>((resolve, reject) => {
      this.#exited = collect(child, (stdout) => {
        const match = readyLine.exec(stdout);
        if (match === null) return;
        if (match[1] === 'ready' || mayBeUnready) resolve(Number(match[2]));
        else reject(new Error('the server is not ready'));
      });
      this.#exited.then(
        (exit) => reject(new Error(`the server ended with ${exit.code ?? exit.signal}`)),
        reject,
      );
      timer = setTimeout(() => {
        reject(new Error(`the server did not start in ${startTimeoutMs} ms`));
      }, startTimeoutMs);
    });
    try {
      this.#readyMs = await ready;
    } catch (error) {
      child.kill('SIGKILL');
      const { stdout, stderr } = (await this.#exited!) as ServerExit;
      throw new Error(`${(error as Error).message}\n${stdout}\n${stderr}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the process as a power cut of the process would: nothing is flushed. */
  async kill(): Promise<ServerExit> {
    return this.stop('SIGKILL');
  }

  /** Sends the signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<ServerExit> {
    this.#child?.kill(signal);
    return this.ended();
  }

  /** Waits for the end that the process comes to by itself. */
  async ended(): Promise<ServerExit> {
    if (this.#exited === null) throw new Error('the server does not run');
    const exit = await this.#exited;
    this.#child = null;
    this.#exited = null;
    return exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#exited !== null) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #config(own: Readonly<Record<string, unknown>> = {}): object {
    const { listeners = {}, admin = {}, storage = {}, ...rest } = own as Record<string, object>;
    const listener = (name: 'mqtt' | 'mqttWebSocket' | 'kafka'): object => ({
      port: this.ports[name],
      ...(listeners as Record<string, object>)[name],
    });
    return {
      dataDir: this.dataDir,
      ...rest,
      listeners: {
        mqtt: listener('mqtt'),
        mqttWebSocket: listener('mqttWebSocket'),
        kafka: listener('kafka'),
      },
      admin: { port: this.ports.admin, ...admin },
      // Small files: a test should not write zeros for long.
      storage: { walFileBytes: 8 * 1024 * 1024, walBytes: 64 * 1024 * 1024, ...storage },
    };
  }
}

/** Keeps what the process says; resolves when it has ended and all is read. */
function collect(child: ChildProcess, onOutput: (stdout: string) => void): Promise<ServerExit> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout = (stdout + text).slice(-outputCharsMax);
    onOutput(stdout);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-outputCharsMax);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Ports that nothing listens on, on either loopback address. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = portsFrom + Math.floor(Math.random() * (portsTo - portsFrom));
    if (!ports.includes(port) && (await isFree(port))) ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
