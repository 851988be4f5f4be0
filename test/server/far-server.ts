import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ListenerName } from '@robustmq/testkit';
import { hasCommand, runCommand, waitUntil } from '@robustmq/testkit';

const serverMain = fileURLToPath(new URL('../../packages/server/dist/main.js', import.meta.url));
const startTimeoutMs = 120_000;
/** Nothing else listens in a namespace of one's own. */
const ports: Readonly<Record<ListenerName, number>> = {
  mqtt: 1883,
  mqttWebSocket: 8083,
  kafka: 9092,
  admin: 9100,
};
/** A frame for this address is taken by nobody. */
const nobody = '02:00:00:00:00:99';
/** States of a socket that its process has not closed: ESTABLISHED and CLOSE_WAIT. */
const openStates = new Set(['01', '08']);

/** Why no server can be put behind a link here, or null; in words for the name of a skipped test. */
export async function linksMissing(): Promise<string | null> {
  if (process.platform !== 'linux') return 'only Linux has network namespaces';
  if (process.getuid?.() !== 0) return 'a network namespace needs root';
  for (const [command, option] of [
    ['ip', '-V'],
    ['unshare', '--version'],
    ['nsenter', '--version'],
    ['setpriv', '--version'],
    ['sysctl', '--version'],
  ] as const) {
    if (!hasCommand(command, [option])) return `${command} is not installed`;
  }
  try {
    await using namespace = await Namespace.create();
    await using link = await Link.create(namespace);
    await link.cut();
    return null;
  } catch (error) {
    return `no link can be made: ${(error as Error).message.trim()}`;
  }
}

/** A network namespace without a name: the system removes it, and the links into it, soon after its last process. */
class Namespace {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async create(): Promise<Namespace> {
    // It ends with its input, so that it does not outlive this process either.
    const [program, ...args] = ['unshare', '--net', 'cat'] as const;
    const holder = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    holder.stderr.on('data', (text: Buffer) => (said += text.toString()));
    await new Promise<void>((resolve, reject) => {
      holder.once('error', reject);
      holder.once('close', () => reject(new Error(`unshare: ${said}`)));
      // What comes back was written inside.
      holder.stdout.once('data', () => resolve());
      holder.stdin.on('error', () => undefined);
      holder.stdin.write('\n');
    });
    const namespace = new Namespace(holder);
    try {
      await namespace.run('ip', 'link', 'set', 'lo', 'up');
      // What a process that ended has not delivered would keep the namespace for minutes.
      await namespace.run('sysctl', '-qw', 'net.ipv4.tcp_orphan_retries=1');
      return namespace;
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#holder.pid!;
  }

  /** What has a command run inside. */
  get prefix(): readonly string[] {
    return ['nsenter', `--net=/proc/${this.pid}/ns/net`];
  }

  async run(...command: readonly string[]): Promise<void> {
    await run(...this.prefix, ...command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.stdin!.end();
    await whenEnded(this.#holder);
  }
}

/** A link from this machine into a namespace. A cut one loses what is sent, both ways, and neither end is told. */
class Link {
  /** Addresses of this end and of the other one. */
  readonly here: string;
  readonly there: string;
  readonly #namespace: Namespace;
  readonly #names: readonly [here: string, there: string];

  private constructor(namespace: Namespace) {
    // Of the range that is for tests of networks, 198.18.0.0/15, four addresses that no other run is likely to have.
    const block = Math.floor(Math.random() * 2 ** 15) * 4;
    const net = `198.${18 + (block >> 16)}.${(block >> 8) & 255}`;
    this.here = `${net}.${(block & 255) + 1}`;
    this.there = `${net}.${(block & 255) + 2}`;
    this.#namespace = namespace;
    this.#names = [`rmq${block.toString(36)}a`, `rmq${block.toString(36)}b`];
  }

  static async create(namespace: Namespace): Promise<Link> {
    const link = new Link(namespace);
    const [here, there] = link.#names;
    const peer = ['peer', 'name', there, 'netns', String(namespace.pid)];
    await run('ip', 'link', 'add', here, 'type', 'veth', ...peer);
    await run('ip', 'address', 'add', `${link.here}/30`, 'dev', here);
    await run('ip', 'link', 'set', here, 'up');
    await namespace.run('ip', 'address', 'add', `${link.there}/30`, 'dev', there);
    await namespace.run('ip', 'link', 'set', there, 'up');
    return link;
  }

  /** Has each end send to a hardware address that nobody has; the system does not ask for the right one any more. */
  async cut(): Promise<void> {
    const [here, there] = this.#names;
    const to = (ip: string): string[] => [
      'ip',
      'neighbour',
      'replace',
      ip,
      'lladdr',
      nobody,
      'nud',
      'permanent',
    ];
    await run(...to(this.there), 'dev', here);
    await this.#namespace.run(...to(this.here), 'dev', there);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its other end goes with it.
    await run('ip', 'link', 'delete', this.#names[0]).catch(() => undefined);
  }
}

/** A port of this machine whose connections go over a link: the sockets that they have there can be looked for. */
export class Door {
  /** Ports of this end of the link, one of each connection that there was. */
  readonly #localPorts: number[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #listening: Server;
  readonly #here: string;
  readonly #pid: number;

  private constructor(listening: Server, here: string, pid: number) {
    this.#listening = listening;
    this.#here = here;
    this.#pid = pid;
  }

  static async open(link: Link, port: number, pid: number): Promise<Door> {
    const listening = createServer();
    const door = new Door(listening, link.here, pid);
    listening.on('connection', (near) => {
      const far = connect(port, link.there);
      far.once('connect', () => door.#localPorts.push(far.localPort!));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        door.#sockets.add(one);
        one.setNoDelay(true);
        one.on('error', () => undefined);
        one.on('close', () => {
          door.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => void listening.listen(0, '127.0.0.1', resolve));
    return door;
  }

  get port(): number {
    const address = this.#listening.address();
    if (address === null || typeof address === 'string') throw new Error('the door is closed');
    return address.port;
  }

  /** Connections that came through here and that the server has not closed, as its system knows them. */
  get openThere(): number {
    const here = hexOf(this.#here);
    const ours = new Set(this.#localPorts.map((port) => `${here}:${hex(port, 4)}`));
    let count = 0;
    for (const line of readFileSync(`/proc/${this.#pid}/net/tcp`, 'utf8').split('\n').slice(1)) {
      const [, , remote = '', state = ''] = line.trim().split(/\s+/);
      if (ours.has(remote) && openStates.has(state)) count++;
    }
    return count;
  }

  close(): void {
    this.#listening.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** What has to be undone, the last first, also where undoing one of it fails. */
class Leftovers {
  readonly #tasks: (() => unknown)[] = [];

  add(task: () => unknown): void {
    this.#tasks.unshift(task);
  }

  use<Resource extends AsyncDisposable>(resource: Resource): Resource {
    this.add(() => resource[Symbol.asyncDispose]());
    return resource;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    let failure: unknown = null;
    for (const task of this.#tasks.splice(0)) {
      try {
        await task();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== null) throw failure;
  }
}

/**
 * A real server in a network namespace of its own, which has its own settings of TCP. Clients reach it over two links, of
 * which one can be cut. `await using` leaves no process, namespace, link or file.
 */
export class FarServer {
  readonly #left: Leftovers;
  readonly #process: ChildProcess;
  readonly #said: () => string;
  readonly #cuttable: Link;
  readonly #kept: Link;

  private constructor(
    left: Leftovers,
    running: { readonly child: ChildProcess; readonly said: () => string },
    links: { readonly cuttable: Link; readonly kept: Link },
  ) {
    this.#left = left;
    this.#process = running.child;
    this.#said = running.said;
    this.#cuttable = links.cuttable;
    this.#kept = links.kept;
  }

  /** `sysctls` are set inside the namespace only. */
  static async start(sysctls: Readonly<Record<string, number>>): Promise<FarServer> {
    if (!existsSync(serverMain)) throw new Error(`${serverMain} is missing: run \`npm run build\``);
    const left = new Leftovers();
    try {
      const namespace = left.use(await Namespace.create());
      const cuttable = left.use(await Link.create(namespace));
      const kept = left.use(await Link.create(namespace));
      for (const [name, value] of Object.entries(sysctls)) {
        await namespace.run('sysctl', '-qw', `${name}=${value}`);
      }
      const folder = mkdtempSync(join(tmpdir(), 'robustmq-far-'));
      left.add(() => rmSync(folder, { recursive: true, force: true }));
      const configPath = join(folder, 'robustmq.yaml');
      // JSON is YAML.
      writeFileSync(configPath, JSON.stringify(configOf(join(folder, 'data'), kept.there)));
      const command = [process.execPath, serverMain, 'start', '--config', configPath];
      const [program, ...args] = [...namespace.prefix, 'setpriv', '--pdeathsig', 'KILL', ...command];
      const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      left.add(() => end(child, 'SIGKILL'));
      const said = await readyOutput(child);
      return new FarServer(left, { child, said }, { cuttable, kept });
    } catch (error) {
      await left[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Of the server; the commands that started it have become it. */
  get pid(): number {
    return this.#process.pid!;
  }

  /** Of the link that is not cut; also what Kafka clients are told. */
  address(listener: ListenerName): { readonly host: string; readonly port: number } {
    return { host: this.#kept.there, port: ports[listener] };
  }

  /** Over the link that can be cut, or over the other one. */
  async door(link: 'cuttable' | 'kept', listener: ListenerName): Promise<Door> {
    const over = link === 'cuttable' ? this.#cuttable : this.#kept;
    const door = await Door.open(over, ports[listener], this.pid);
    this.#left.add(() => door.close());
    return door;
  }

  cut(): Promise<void> {
    return this.#cuttable.cut();
  }

  /** Figures of `/metrics`, each summed over its labels. */
  async metrics<Name extends string>(...names: readonly Name[]): Promise<Record<Name, number>> {
    const { host, port } = this.address('admin');
    const answer = await fetch(`http://${host}:${port}/metrics`, { headers: { connection: 'close' } });
    const found = Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
    for (const line of (await answer.text()).split('\n')) {
      const [, name, value] = /^([a-z_]+)(?:\{[^}]*\})? (\S+)$/.exec(line) ?? [];
      if (name !== undefined && name in found) found[name as Name] += Number(value);
    }
    return found;
  }

  /** Descriptors of the server that are sockets. */
  get socketCount(): number {
    const folder = `/proc/${this.pid}/fd`;
    return readdirSync(folder).filter((name) => {
      try {
        return readlinkSync(join(folder, name)).startsWith('socket:');
      } catch {
        // Closed meanwhile.
        return false;
      }
    }).length;
  }

  /** Ends the server in good order; resolves to its exit code and the errors that it has logged. */
  async stop(): Promise<{ readonly code: number | null; readonly errors: readonly string[] }> {
    await end(this.#process, 'SIGTERM');
    const errors = this.#said()
      .split('\n')
      .filter((line) => line.includes('"level":"error"'));
    return { code: this.#process.exitCode, errors };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#left[Symbol.asyncDispose]();
  }
}

function configOf(dataDir: string, host: string): object {
  return {
    dataDir,
    allowAnonymous: true,
    listeners: {
      mqtt: { host: '0.0.0.0', port: ports.mqtt },
      mqttWebSocket: { host: '0.0.0.0', port: ports.mqttWebSocket },
      kafka: { host: '0.0.0.0', port: ports.kafka, advertised: `${host}:${ports.kafka}` },
    },
    admin: { host, port: ports.admin },
    // Small files: a test should not write zeros for long.
    storage: { walFileBytes: 8 * 1024 * 1024, walBytes: 64 * 1024 * 1024 },
  };
}

/** Resolves when all listeners are open, to what tells all that the process has said so far. */
async function readyOutput(child: ChildProcess): Promise<() => string> {
  let said = '';
  child.stdout!.on('data', (text: Buffer) => (said += text.toString()));
  child.stderr!.on('data', (text: Buffer) => (said += text.toString()));
  let ended = false;
  child.once('close', () => (ended = true));
  const isReady = (): boolean => {
    if (ended) throw new Error(`the server ended\n${said}`);
    return /^ready after \d+ ms$/m.test(said);
  };
  await waitUntil(isReady, { timeoutMs: startTimeoutMs, what: 'the server to be ready' });
  return () => said;
}

/** Sends the signal and waits for the end. */
async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  await whenEnded(child);
}

async function whenEnded(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise((resolve) => child.once('close', resolve));
}

async function run(...[command, ...args]: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand(command!, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** An address as the system's table of sockets has it: its bytes as one number of this machine, which is little endian. */
function hexOf(ip: string): string {
  const bytes = ip.split('.').map((each) => hex(Number(each), 2));
  return bytes.reverse().join('');
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
