import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCodes, metadata } from '@robustmq/kafka-codec';
import { ExternalPeak } from './external-peak.ts';
import { LiveMemory } from './fuzz/live-memory.ts';
import { KafkaClient } from './kafka-client.ts';
import { batchOf, produceTo } from './kafka-fixture.ts';
import { MqttClient } from './mqtt-client.ts';
import { ServerProcess } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

const mebibyte = 1024 * 1024;
const othersTopic = 'others';
/** A message of the others a round, and a round as often: enough for a p99, too little to matter. */
const roundMs = 10;
/** Looks at what is in use, of which the least counts, and the time between them: what ends is not gone at once. */
const liveLooks = 4;
const liveLookMs = 100;

/** One TCP connection that sends any bytes and sees what happens to it. */
export class RawPeer {
  readonly socket: Socket;
  readonly openedAt = performance.now();
  received = Buffer.alloc(0);
  #closedAt: number | null = null;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      // Answers to hostile peers are short; what is longer is only drained.
      if (this.received.length < mebibyte) this.received = Buffer.concat([this.received, chunk]);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#closedAt = performance.now();
    });
  }

  /** Resolves when the connection stands; `from` is the address of this machine to come from. */
  static open(port: number, from = '127.0.0.1'): Promise<RawPeer> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: from });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawPeer(socket));
      });
    });
  }

  get closed(): boolean {
    return this.#closedAt !== null;
  }

  /** Ms from the connection's beginning to its end. */
  get livedMs(): number {
    return (this.#closedAt ?? performance.now()) - this.openedAt;
  }

  /** False when the connection is gone or takes no more for now. */
  send(bytes: Uint8Array): boolean {
    return !this.socket.destroyed && this.socket.write(bytes);
  }

  /** Sends until the server takes no more, or all is sent. */
  async pour(chunks: Iterable<Uint8Array>): Promise<void> {
    for (const chunk of chunks) {
      if (this.closed) return;
      if (!this.send(chunk)) await drained(this.socket);
    }
  }

  whenClosed(timeoutMs = 15_000): Promise<void> {
    return waitUntil(() => this.closed, { timeoutMs, what: 'the server closes the connection' });
  }

  drop(): void {
    this.socket.destroy();
  }
}

/** Resolves when the socket takes more, or is gone. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    if (socket.destroyed) done();
    else socket.on('drain', done).on('close', done);
  });
}

export interface ProcessMemory {
  readonly residentMib: number;
  /** The most since the last `resetPeak`. */
  readonly peakMib: number;
}

/** Memory of a process, as the system counts it. */
export function memoryOf(pid: number): ProcessMemory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mib = (key: string): number => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)![1]) / 1024;
  return { residentMib: mib('VmRSS'), peakMib: mib('VmHWM') };
}

/** From now on `peakMib` begins at what is resident now. */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** CPU time that a process has used, ms. */
export function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // In ticks of 10 ms: user and system.
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** The value at part `q` of sorted samples. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}

/** What an attack has cost the server and its other clients. */
export interface Damage {
  /** Resident memory at its highest during the attack, above what it was before, MiB. */
  readonly growthMib: number;
  /** Buffers beside its heap at their most during the attack, above what was in use of them before, MiB. Counts what nobody wrote to. */
  readonly bufferMib: number;
  /** Milliseconds from publish to delivery over MQTT, and from produce to answer over Kafka, of the others. */
  readonly p99Ms: number;
  readonly rounds: number;
}

/** As `Damage`, and what is still there afterwards. */
export interface LastingDamage extends Damage {
  /** What the server has in use more than before, its garbage collected both times, MiB. */
  readonly leftMib: number;
}

/**
 * A real server, and others who use it while it is attacked: an MQTT publisher with its subscriber at QoS 1, and a Kafka
 * producer. The end checks that the server stops in good order and has logged no error.
 */
export class Siege {
  readonly server: ServerProcess;
  readonly #memory: LiveMemory;
  readonly #buffers: ExternalPeak;
  /** Bytes of buffers: before the attack that runs, and at its most so far. */
  #buffersBefore = 0;
  #buffersPeak = 0;
  readonly #subscriber: MqttClient;
  readonly #publisher: MqttClient;
  readonly #producer: KafkaClient;

  private constructor(
    server: ServerProcess,
    { memory, buffers }: { memory: LiveMemory; buffers: ExternalPeak },
    others: readonly [MqttClient, MqttClient, KafkaClient],
  ) {
    this.server = server;
    this.#memory = memory;
    this.#buffers = buffers;
    [this.#subscriber, this.#publisher, this.#producer] = others;
  }

  static async start(config: Readonly<Record<string, unknown>> = {}): Promise<Siege> {
    const { storage = {}, ...rest } = config as Record<string, object>;
    // Caches that are full of what others wrote are no harm; here they are small, so that harm can be seen.
    const small = { tailBytes: 4 * mebibyte, blockCacheBytes: 4 * mebibyte, ...storage };
    const memory = new LiveMemory();
    const buffers = new ExternalPeak();
    const env = { NODE_OPTIONS: `${memory.nodeOption} ${buffers.nodeOption}` };
    const starting = ServerProcess.start({ config: { ...rest, storage: small }, env });
    starting.catch(() => {
      memory.dispose();
      buffers.dispose();
    });
    const server = await starting;
    const { mqtt, kafka } = server.ports;
    const { client: subscriber } = await MqttClient.connect(mqtt, 5, { clientId: 'others-subscriber' });
    const { client: publisher } = await MqttClient.connect(mqtt, 4, { clientId: 'others-publisher' });
    const producer = await KafkaClient.connect({ host: '127.0.0.1', port: kafka });
    const named = { topics: [{ name: othersTopic }] };
    await waitUntil(async () => (await producer.send(metadata, 9, named)).topics[0]!.errorCode === 0);
    await subscriber.subscribe(othersTopic, 1);
    const siege = new Siege(server, { memory, buffers }, [subscriber, publisher, producer]);
    // Code is compiled and buffers are made before anything is measured.
    await siege.withstand(() => delay(300));
    return siege;
  }

  /** Runs the attack beside the others, and says what it cost. Throws where one of the others is not served. */
  async withstand(attack: () => Promise<unknown>): Promise<Damage> {
    const { pid } = this.server;
    const before = memoryOf(pid).residentMib;
    resetPeak(pid);
    this.#buffersBefore = (await this.#buffers.take(pid)).nowBytes;
    this.#buffersPeak = 0;
    const samples: number[] = [];
    let over = false;
    const others = (async () => {
      while (!over) {
        samples.push(await this.#round());
        await delay(roundMs);
      }
    })();
    try {
      await Promise.race([attack(), others]);
    } finally {
      over = true;
      await others;
    }
    const { peakMib } = memoryOf(pid);
    await this.liveBufferMib();
    return {
      growthMib: peakMib - before,
      bufferMib: (this.#buffersPeak - this.#buffersBefore) / mebibyte,
      p99Ms: quantile(samples, 0.99),
      rounds: samples.length,
    };
  }

  /**
   * As `withstand`, and what the attack has left in use. Resident memory does not show a leak: it has room for one that
   * earlier garbage has made. `warmUp` is a smaller attack of the same kind, after which caches are full; it is run once
   * more because a collection gives memory back that the server then takes again.
   */
  async outlive(warmUp: () => Promise<unknown>, attack: () => Promise<unknown>): Promise<LastingDamage> {
    await warmUp();
    const before = await this.#liveMib();
    await warmUp();
    const damage = await this.withstand(attack);
    return { ...damage, leftMib: (await this.#liveMib()) - before };
  }

  /** What buffers take now, the garbage collected, above what they took before the attack that runs, MiB. */
  async liveBufferMib(): Promise<number> {
    const { peakBytes, nowBytes } = await this.#buffers.take(this.server.pid);
    this.#buffersPeak = Math.max(this.#buffersPeak, peakBytes);
    return (nowBytes - this.#buffersBefore) / mebibyte;
  }

  async #liveMib(): Promise<number> {
    let least = Infinity;
    for (let look = 0; look < liveLooks; look++) {
      if (look > 0) await delay(liveLookMs);
      least = Math.min(least, await this.#memory.of(this.server.pid));
    }
    return least / mebibyte;
  }

  /** Ms until both protocols have served one message. */
  async #round(): Promise<number> {
    const since = performance.now();
    this.#publisher.publish({ topic: othersTopic, qos: 1, packetId: 1, payload: 'x' });
    const [produced] = await Promise.all([
      produceTo(this.#producer, othersTopic, batchOf(['x'])),
      this.#publisher.next('puback'),
      this.#subscriber.receive(2),
    ]);
    if (produced.errorCode !== errorCodes.NONE) throw new Error(`the others get error ${produced.errorCode}`);
    return performance.now() - since;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscriber.drop();
    this.#publisher.drop();
    this.#producer.close();
    try {
      const { code, stderr } = await this.server.stop();
      if (code !== 0) throw new Error(`the server ended with ${code}\n${stderr}`);
      const errors = stderr.split('\n').filter((line) => line.includes('"level":"error"'));
      if (errors.length > 0) throw new Error(`the server logged errors:\n${errors.slice(0, 5).join('\n')}`);
    } finally {
      await this.server[Symbol.asyncDispose]();
      this.#memory.dispose();
      this.#buffers.dispose();
    }
  }
}

/** Prints what was measured, where `TEST_FIGURES` is set. */
export function printFigures(what: string, figures: object): void {
  if (process.env['TEST_FIGURES'] === undefined) return;
  const shown = Object.entries(figures).map(([name, value]) => `${name} ${Number(value).toFixed(1)}`);
  console.log(`figures of ${what}: ${shown.join(', ')}`);
}

/** A figure of `/metrics`, summed over its labels. */
export async function metricOf(server: ServerProcess, name: string): Promise<number> {
  const answer = await fetch(`http://${server.address('admin')}/metrics`, {
    headers: { connection: 'close' },
  });
  let sum = 0;
  for (const line of (await answer.text()).split('\n')) {
    const match = /^([a-z_]+)(?:\{[^}]*\})? (\S+)$/.exec(line);
    if (match?.[1] === name) sum += Number(match[2]);
  }
  return sum;
}
