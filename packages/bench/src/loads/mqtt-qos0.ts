import { randomBytes } from 'node:crypto';
import { Fault } from '../fault.ts';
import type { LoadResult, QosZeroJob } from '../job.ts';
import { drain, measure } from '../measure.ts';
import { publishFrame, repeatFrame } from '../wire/mqtt-frames.ts';
import { MqttLink } from './mqtt-link.ts';

/** How long nothing may arrive before what is missing counts as dropped and the publisher goes on. */
const stallMs = 300;

/**
 * One publisher, pipelined, and any number of subscribers on one topic. The publisher is paced by the
 * slowest subscriber, so a broker that keeps up never has a reason to drop.
 */
export async function runQosZero(job: QosZeroJob): Promise<LoadResult> {
  const fault = new Fault();
  const topic = `${job.prefix}/qos0`;
  const links: MqttLink[] = [];
  let flow: PacedFlow | null = null;
  try {
    for (let i = 0; i < job.subscribers; i++) {
      const link = await MqttLink.open({
        endpoint: job.endpoint,
        fault,
        clientId: `${job.prefix}-sub-${i}`,
        onChunk: () => flow?.arrived(),
      });
      links.push(link);
      await link.subscribe(topic, 0);
    }
    const publisher = await MqttLink.open({ endpoint: job.endpoint, fault, clientId: `${job.prefix}-pub` });
    const paced = new PacedFlow(publisher, [...links], {
      frame: publishFrame(topic, randomBytes(job.payloadBytes)),
      inFlightMax: job.inFlightMax,
    });
    flow = paced;
    links.push(publisher);
    return await runPaced(job, fault, paced);
  } finally {
    fault.close();
    for (const link of links) link.close();
  }
}

async function runPaced(job: QosZeroJob, fault: Fault, flow: PacedFlow): Promise<LoadResult> {
  const stalls = setInterval(() => flow.forgiveStall(), stallMs);
  const total = () => flow.total();
  try {
    flow.pump();
    const timed = await measure(job, fault, { count: total, bytesEach: job.payloadBytes });
    flow.stop();
    const expected = flow.sent * job.subscribers;
    await fault.race(drain(() => total() >= expected, total));
    return { ...timed, expected, arrived: total(), disordered: 0 };
  } finally {
    clearInterval(stalls);
  }
}

/** Keeps a bounded number of messages between the publisher and the slowest subscriber. */
class PacedFlow {
  sent = 0;
  readonly #publisher: MqttLink;
  readonly #subscribers: readonly MqttLink[];
  readonly #frames: Buffer;
  readonly #frameBytes: number;
  readonly #inFlightMax: number;
  /** Room is used in bursts of this many, as a pipelined client does, not a frame at a time. */
  readonly #burst: number;
  #forgiven = 0;
  #lastTotal = -1;
  #stopped = false;

  constructor(
    publisher: MqttLink,
    subscribers: readonly MqttLink[],
    options: { readonly frame: Buffer; readonly inFlightMax: number },
  ) {
    this.#publisher = publisher;
    this.#subscribers = subscribers;
    this.#frames = repeatFrame(options.frame, options.inFlightMax);
    this.#frameBytes = options.frame.length;
    this.#inFlightMax = options.inFlightMax;
    this.#burst = Math.max(1, options.inFlightMax >> 2);
  }

  total(): number {
    let total = 0;
    for (const link of this.#subscribers) total += link.published;
    return total;
  }

  /** Once per chunk of any subscriber: a scan of at most some dozens of counters. */
  arrived(): void {
    if (!this.#stopped) this.pump();
  }

  pump(): void {
    const room = Math.min(
      this.#inFlightMax,
      this.#inFlightMax - (this.sent - this.#slowest() - this.#forgiven),
    );
    if (room < this.#burst) return;
    this.sent += room;
    this.#publisher.socket.write(this.#frames.subarray(0, room * this.#frameBytes));
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Counts what has been missing for a whole period as dropped; otherwise one drop would stop the load. */
  forgiveStall(): void {
    const total = this.total();
    const moved = total !== this.#lastTotal;
    this.#lastTotal = total;
    if (moved || this.#stopped) return;
    this.#forgiven = this.sent - this.#slowest();
    this.pump();
  }

  #slowest(): number {
    let slowest = Number.MAX_SAFE_INTEGER;
    for (const link of this.#subscribers) if (link.published < slowest) slowest = link.published;
    return slowest;
  }
}
