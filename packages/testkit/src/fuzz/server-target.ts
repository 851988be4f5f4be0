import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { descriptorCount, residentBytes } from '../process-status.ts';
import { waitUntil } from '../wait-until.ts';
import { chunksOf, mutate, scripts } from './mutation.ts';
import type { Grammar, Script } from './mutation.ts';
import type { ServerUnderFuzz } from './server-under-fuzz.ts';
import type { FuzzTarget, TargetMeasures } from './target.ts';

/** Connections at once, on average. */
const batch = 24;
/** How long a connection may stay open that the client has ended, ms. */
const closeMsMax = 10_000;
/** How long a client that lingers waits for an answer before it ends the connection, ms. */
const lingerMs = 15;
/** How long the healthy client may wait for one exchange, ms; the fuzzer shares the machine with the server. */
const healthyMsMax = 5000;
const healthyPauseMs = 20;
/** What a server may hold more than after the first part: the leeway of its collector. */
const grownBytesMax = 160 * 1024 * 1024;
/** Descriptors that the server may have more than at the first look: of segments and of the log. */
const grownDescriptorsMax = 48;

/** A protocol of a running server. */
export interface ServerSubject {
  readonly name: string;
  readonly under: ServerUnderFuzz;
  readonly port: number;
  readonly grammar: Grammar;
  readonly traffic: readonly (readonly Buffer[])[];
  /** One exchange of a client that does everything right. */
  exchange(): Promise<void>;
  /** Removes what mutated requests have left, as far as an operator could. */
  tidy(): Promise<void>;
  stop(): Promise<void>;
}

/** Fuzzes a listener of a server that runs as a process of its own, with a healthy client beside. */
export function serverTarget(subject: ServerSubject): FuzzTarget {
  const { name, under, port, grammar, traffic } = subject;
  const measures: TargetMeasures = { slowestMs: 0, healthyMs: 0, grownBytes: 0 };
  const healthy = new HealthyClient(subject, measures);
  let first: { readonly bytes: number; readonly descriptors: number } | null = null;
  return {
    name,
    share: 2.3,
    synchronous: false,
    scripts: scripts(traffic.length),
    batch,
    measures,
    async run(batchOfScripts) {
      await Promise.all(
        batchOfScripts.map((script) => {
          const bytes = Buffer.concat(mutate(script, traffic, grammar));
          return play(port, chunksOf(bytes, script.cuts), script.cuts.length === 4);
        }),
      );
      healthy.assertServed();
    },
    async check() {
      if (!under.alive) throw new Error('the server has ended');
      healthy.assertServed();
      await subject.tidy();
      const now = { bytes: residentBytes(under.server.pid), descriptors: descriptorCount(under.server.pid) };
      first ??= now;
      const descriptorsMax = first.descriptors + grownDescriptorsMax;
      await waitUntil(() => descriptorCount(under.server.pid) <= descriptorsMax, {
        what: `at most ${descriptorsMax} descriptors`,
      });
      measures.grownBytes = Math.max(measures.grownBytes, now.bytes - first.bytes);
      if (measures.grownBytes > grownBytesMax)
        throw new Error(`the server grew by ${measures.grownBytes} bytes`);
    },
    show: (script: Script) => mutate(script, traffic, grammar).map((packet) => packet.toString('hex')),
    async stop() {
      await healthy.stop();
      await subject.stop();
    },
  };
}

/** Sends chunks on a connection of its own and ends it; rejects unless the server closes it, too. */
function play(port: number, chunks: readonly Buffer[], lingers: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let connected = false;
    const late = setTimeout(() => {
      reject(new Error('the connection stays open'));
      socket.destroy();
    }, closeMsMax);
    const linger = lingers ? setTimeout(() => socket.end(), lingerMs) : undefined;
    socket.on('connect', () => {
      connected = true;
      for (const chunk of chunks) socket.write(chunk);
      if (!lingers) socket.end();
    });
    socket.on('data', () => {
      if (lingers) socket.end();
    });
    // A server that closes before it has read all resets the connection.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      clearTimeout(linger);
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

  constructor(subject: ServerSubject, measures: TargetMeasures) {
    this.#done = this.#run(subject, measures).catch((error: unknown) => {
      this.#failed = error;
    });
  }

  assertServed(): void {
    if (this.#failed !== null) throw new Error('the healthy client was not served', { cause: this.#failed });
    const waits = performance.now() - this.#since;
    if (waits > healthyMsMax) throw new Error(`the healthy client has waited for ${Math.round(waits)} ms`);
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
      await delay(healthyPauseMs);
    }
  }
}
