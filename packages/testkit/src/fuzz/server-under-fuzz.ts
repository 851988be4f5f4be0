import { adminRequest } from '../admin-request.ts';
import { ServerProcess } from '../server-process.ts';
import type { ServerExit } from '../server-process.ts';
import { LiveMemory } from './live-memory.ts';

/** A leak of objects ends the process before it fills the machine, MiB. */
const heapMiB = 256;
/** A fuzzer runs at low priority, and so does its server. */
const startTimeoutMs = 120_000;
/** Ends of servers of which the words are kept. */
const saidMax = 3;

/** Configuration of a server that is fuzzed: what clients leave behind is gone soon, and there is little room for it. */
const config = {
  mqtt: { sessionExpiryMax: 2, connectTimeoutMs: 3000 },
  kafka: { partialRequestMs: 3000, groupInitialDelayMs: 0, requestBytesMax: 8 * 1024 * 1024 },
  topics: { autoCreateMax: 20, autoCreateShards: 1, defaultRetentionBytes: 1024 * 1024 },
  storage: { tailBytes: 8 * 1024 * 1024, blockCacheBytes: 4 * 1024 * 1024, indexCacheBytes: 1024 * 1024 },
  log: { level: 'error' },
};

/** The built server as a process of its own, and what can be seen of it from outside. */
export class ServerUnderFuzz {
  readonly server: ServerProcess;
  readonly #memory: LiveMemory;
  readonly #said: string[] = [];

  private constructor(server: ServerProcess, memory: LiveMemory) {
    this.server = server;
    this.#memory = memory;
  }

  static async start(): Promise<ServerUnderFuzz> {
    const memory = new LiveMemory();
    const env = { NODE_OPTIONS: `--max-old-space-size=${heapMiB} ${memory.nodeOption}` };
    try {
      return new ServerUnderFuzz(await ServerProcess.start({ config, env, startTimeoutMs }), memory);
    } catch (error) {
      memory.dispose();
      throw error;
    }
  }

  get alive(): boolean {
    try {
      return process.kill(this.server.pid, 0);
    } catch {
      return false;
    }
  }

  /** Bytes that it has in use; collects its garbage first. */
  liveBytes(): Promise<number> {
    return this.#memory.of(this.server.pid);
  }

  /** Starts the server again on what it left, after it has ended by itself; keeps what it said. */
  async restart(): Promise<void> {
    this.#note(await this.server.stop());
    await this.server.start();
  }

  /** Ends the server; what it said of errors, and how it ended if not as told. */
  async stop(): Promise<string> {
    this.#note(await this.server.stop());
    await this.server[Symbol.asyncDispose]();
    this.#memory.dispose();
    return this.#said.join('\n');
  }

  #note({ code, signal, stderr }: ServerExit): void {
    if (code === 0 && stderr === '') return;
    if (this.#said.length < saidMax) this.#said.push(`the server ended with ${code ?? signal}\n${stderr}`);
  }

  /** Deletes every topic that has no name of `kept`; the default topic and internal ones stay. */
  async deleteTopics(kept: ReadonlySet<string>): Promise<void> {
    const topics = JSON.parse(await adminRequest(this.server, 'GET', '/api/v1/topics')) as { name: string }[];
    for (const { name } of topics) {
      if (kept.has(name) || name === 'mqtt' || name.startsWith('__')) continue;
      await adminRequest(this.server, 'DELETE', `/api/v1/topics/${encodeURIComponent(name)}`);
    }
  }
}
