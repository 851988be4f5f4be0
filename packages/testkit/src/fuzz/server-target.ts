import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { descriptorCount, residentBytes } from '../process-status.ts';
import { waitUntil } from '../wait-until.ts';
import { chunksOf, mutate, scripts } from './mutation.ts';
import type { Grammar, Script } from './mutation.ts';
import type { ServerUnderFuzz } from './server-under-fuzz.ts';
import type { FuzzTarget, TargetMeasures } from './target.ts';

const mebibyte = 1024 * 1024;
/** Connections at once, on average. */
const batch = 256;
/** How long a process takes to end after its listeners did, ms. */
const endMs = 500;
/** Few: what is damaged more does not get beyond its first packet. */
const mutationsMax = 3;
/** How long a connection may stay open that the client has ended, ms. */
const closeMsMax = 20_000;
/** Exchanges of the healthy client after which a connection has been served as far as it will be. */
const patience = 3;
/** How long the healthy client may wait for one exchange, ms: a fuzzer and its server may be the last to get the machine. */
const healthyMsMax = 20_000;
const healthyPauseMs = 20;
/**
 * What a server may have in use more at the end than after the first part: its tables of names and matches fill. Of 7,500
 * sequences a clean one has 3.6 to 4.5 MiB more (Kafka 1.7 to 2.4), of 60,000 7.3; half a KiB that each connection left
 * would be too much.
 */
const grownBytesMax = 6 * mebibyte;
/** Beside it for each sequence, up to the most that tables take: long runs fill them. */
const sequenceBytesMax = 128;
const tableBytesMax = 64 * mebibyte;
/** Sessions are kept for 2 s, requests that never end for 3 s: for so long it is looked what is left, so often. */
const settleMs = 4000;
const settleLookMs = 500;
/** Beside that it may gather garbage: its resident memory grows by more. */
const residentBytesMax = 256 * mebibyte;
/** Descriptors that the server may have more than at the first look: of segments and of the log. */
const grownDescriptorsMax = 48;

/** A protocol of a running server. */
export interface ServerSubject {
  readonly name: string;
  readonly under: ServerUnderFuzz;
  readonly port: number;
  readonly grammar: Grammar;
  readonly traffic: readonly (readonly Buffer[])[];
  /** A request that is sent last, and bytes of its answer: when they come, all before was served. */
  readonly probe: { readonly request: Buffer; readonly answer: Buffer };
  /** Connects the client of `exchange` again, to a server that was restarted. */
  connect(): Promise<void>;
  /** One exchange of a client that does everything right. */
  exchange(): Promise<void>;
  /** Removes what mutated requests have left, as far as an operator could. */
  tidy(): Promise<void>;
  stop(): Promise<void>;
}

/** Fuzzes a listener of a server that runs as a process of its own, with a healthy client beside. */
export function serverTarget(subject: ServerSubject): FuzzTarget {
  const { name, under, port, grammar, traffic, probe } = subject;
  const measures: TargetMeasures = { slowestMs: 0, healthyMs: 0, grownBytes: 0 };
  let client: HealthyClient | null = null;
  // So that what ended a server can be shrunk.
  const revive = async (): Promise<void> => {
    await client?.stop();
    client = null;
    await under.restart();
  };
  // Only now: decoders that are fuzzed before, in this process, would keep it waiting, or it would be idle for too long.
  const begin = async (): Promise<HealthyClient> => {
    await subject.connect();
    return new HealthyClient(subject, measures);
  };
  let sequences = 0;
  /** What is in use when all that ends by itself has ended. */
  const settledBytes = async (): Promise<number> => {
    let least = Infinity;
    for (const until = performance.now() + settleMs; performance.now() < until; await delay(settleLookMs)) {
      least = Math.min(least, await under.liveBytes());
    }
    return least;
  };
  let first: { readonly live: number; readonly resident: number; readonly descriptors: number } | null = null;
  return {
    name,
    share: 2.3,
    synchronous: false,
    scripts: scripts(traffic.length, mutationsMax),
    batch,
    measures,
    async run(batchOfScripts) {
      sequences += batchOfScripts.length;
      if (!under.alive) await revive();
      const healthy = (client ??= await begin());
      // Not awaited alone: a healthy client that fails would never say that enough was served.
      const served = healthy.exchanges(patience);
      const connections = batchOfScripts.map((script) => {
        const bytes = Buffer.concat([...mutate(script, traffic, grammar), probe.request]);
        // Some are ended at once, in the middle of whatever the server does for them.
        const ends = script.cuts.length === 0 ? Promise.resolve() : served;
        return play(port, chunksOf(bytes, script.cuts), { ends, answer: probe.answer });
      });
      const outcome = await Promise.allSettled(connections);
      const failed = outcome.some(({ status }) => status === 'rejected');
      if (failed) await delay(endMs);
      if (!under.alive) throw new Error('the server has ended');
      for (const each of outcome) if (each.status === 'rejected') throw each.reason;
      // What ends the server a moment later is the fault of this batch, too.
      await healthy.exchanges(1);
      healthy.assertServed();
    },
    async check(last) {
      if (!under.alive) throw new Error('the server has ended');
      client?.assertServed();
      await subject.tidy();
      const { pid } = under.server;
      const resident = residentBytes(pid);
      const live = await (first === null || last ? settledBytes() : under.liveBytes());
      const now = { live, resident, descriptors: descriptorCount(pid) };
      first ??= now;
      const descriptorsMax = first.descriptors + grownDescriptorsMax;
      await waitUntil(() => descriptorCount(pid) <= descriptorsMax, {
        what: `at most ${descriptorsMax} descriptors`,
      });
      const grownBytes = now.live - first.live;
      if (last) measures.grownBytes = Math.max(measures.grownBytes, grownBytes);
      const settledMax = Math.min(grownBytesMax + sequences * sequenceBytesMax, tableBytesMax);
      if (grownBytes > (last ? settledMax : tableBytesMax))
        throw new Error(`the server has ${grownBytes} bytes more in use`);
      if (now.resident - first.resident > residentBytesMax)
        throw new Error(`the server grew by ${now.resident - first.resident} bytes`);
    },
    show: (script: Script) => mutate(script, traffic, grammar).map((packet) => packet.toString('hex')),
    async stop() {
      await client?.stop();
      await subject.stop();
    },
  };
}

/**
 * Sends chunks on a connection of its own and ends it when `answer` or the time for it has come; rejects unless the server
 * closes it, too.
 */
function play(
  port: number,
  chunks: readonly Buffer[],
  { ends, answer }: { readonly ends: Promise<void>; readonly answer: Buffer },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let connected = false;
    const late = setTimeout(() => {
      reject(new Error('the connection stays open'));
      socket.destroy();
    }, closeMsMax);
    socket.on('connect', () => {
      connected = true;
      for (const chunk of chunks) socket.write(chunk);
      void ends.then(() => socket.end());
    });
    socket.on('data', (data) => {
      if (data.includes(answer)) socket.end();
    });
    // A server that closes before it has read all resets the connection.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      if (connected) resolve();
      else reject(new Error('the server takes no connections'));
    });
  });
}

/** Repeats an exchange and keeps how long the slowest took. */
class HealthyClient {
  readonly #done: Promise<void>;
  #over = false;
  #failed: unknown = null;
  #since = performance.now();
  readonly #waiting: { left: number; readonly resolve: () => void }[] = [];

  constructor(subject: ServerSubject, measures: TargetMeasures) {
    this.#done = this.#run(subject, measures).catch((error: unknown) => {
      this.#failed = error;
      for (const { resolve } of this.#waiting.splice(0)) resolve();
    });
  }

  assertServed(): void {
    if (this.#failed !== null) throw new Error('the healthy client was not served', { cause: this.#failed });
    const waits = performance.now() - this.#since;
    if (waits > healthyMsMax) throw new Error(`the healthy client has waited for ${Math.round(waits)} ms`);
  }

  /** Resolves after `count` exchanges, or when there will be no more. */
  exchanges(count: number): Promise<void> {
    if (this.#failed !== null) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ left: count + 1, resolve }));
  }

  stop(): Promise<void> {
    this.#over = true;
    return this.#done;
  }

  async #run(subject: ServerSubject, measures: TargetMeasures): Promise<void> {
    while (!this.#over) {
      this.#since = performance.now();
      await subject.exchange();
      measures.healthyMs = Math.max(measures.healthyMs, performance.now() - this.#since);
      const due = this.#waiting.filter((each) => --each.left === 0);
      for (const each of due) {
        this.#waiting.splice(this.#waiting.indexOf(each), 1);
        each.resolve();
      }
      if (this.#waiting.length === 0) await delay(healthyPauseMs);
    }
  }
}
