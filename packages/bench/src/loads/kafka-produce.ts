import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Fault } from '../fault.ts';
import { FrameRing } from '../frame-ring.ts';
import type { FillJob, LoadResult, ProduceJob } from '../job.ts';
import { drain, measure } from '../measure.ts';
import { correlationAt, produceFrame } from '../wire/kafka-frames.ts';
import { readProduce } from '../wire/kafka-responses.ts';
import { recordBatch } from '../wire/record-batch.ts';
import { ensureTopic, openKafka } from './kafka-link.ts';

/** Producers with acks from all replicas: one connection to one partition each, a few requests in flight. */
export async function runProduce(job: ProduceJob): Promise<LoadResult> {
  const fault = new Fault();
  const lanes: ProduceLane[] = [];
  try {
    await ensureTopic(job.endpoint, job.topic, job.connections);
    const batch = recordBatch(randomBytes(job.valueBytes), job.recordsPerBatch, Date.now());
    for (let partition = 0; partition < job.connections; partition++) {
      const options = { batch, recordsPerBatch: job.recordsPerBatch, inFlight: job.inFlight, partition };
      lanes.push(await ProduceLane.open(job, fault, options));
    }
    for (const lane of lanes) lane.start();
    const total = (of: (lane: ProduceLane) => number) => lanes.reduce((sum, lane) => sum + of(lane), 0);
    const acked = () => total((lane) => lane.acked) * job.recordsPerBatch;
    const timed = await measure(job, fault, { count: acked, bytesEach: job.valueBytes });
    for (const lane of lanes) lane.stop();
    const expected = total((lane) => lane.sent) * job.recordsPerBatch;
    await fault.race(drain(() => acked() >= expected, acked));
    return { ...timed, expected, arrived: acked(), disordered: 0 };
  } finally {
    fault.close();
    for (const lane of lanes) lane.close();
  }
}

/** Writes a fixed number of records to partition 0, for the fetch loads. */
export async function runFill(job: FillJob): Promise<LoadResult> {
  const fault = new Fault();
  const lanes: ProduceLane[] = [];
  try {
    await ensureTopic(job.endpoint, job.topic, 1);
    const batch = recordBatch(randomBytes(job.valueBytes), job.recordsPerBatch, Date.now());
    const requests = Math.ceil(job.records / job.recordsPerBatch);
    const options = { batch, recordsPerBatch: job.recordsPerBatch, inFlight: 5, partition: 0 };
    const lane = await ProduceLane.open(job, fault, options);
    lanes.push(lane);
    const startedAtMs = performance.now();
    lane.start(requests);
    await fault.race(
      drain(
        () => lane.acked >= requests,
        () => lane.acked,
        10_000,
      ),
    );
    if (lane.acked < requests) throw new Error('the server stopped acknowledging');
    const count = requests * job.recordsPerBatch;
    return {
      seconds: (performance.now() - startedAtMs) / 1000,
      count,
      bytes: count * job.valueBytes,
      serverCpuSeconds: null,
      generatorCpuSeconds: 0,
      expected: count,
      arrived: count,
      disordered: 0,
      offsets: { start: lane.firstOffset, end: lane.nextOffset },
    };
  } finally {
    fault.close();
    for (const lane of lanes) lane.close();
  }
}

interface LaneOptions {
  readonly batch: Buffer;
  readonly recordsPerBatch: number;
  readonly inFlight: number;
  readonly partition: number;
}

/** Unknown topic, no leader, not the leader: what a broker may say for a moment after a topic's creation. */
const leaderErrors: ReadonlySet<number> = new Set([3, 5, 6]);
const refusalsMax = 200;
const refusalPauseMs = 50;

/** One connection to one partition; checks that answers come in order and offsets follow each other. */
class ProduceLane {
  sent = 0;
  acked = 0;
  firstOffset = -1;
  nextOffset = -1;
  readonly #ring: FrameRing;
  readonly #inFlight: number;
  readonly #recordsPerBatch: number;
  #limit = 1;
  #primed: () => void = () => undefined;
  #refusals = 0;
  #socket: Socket | null = null;

  private constructor(topic: string, options: LaneOptions) {
    const frame = produceFrame(topic, options.partition, options.batch);
    this.#inFlight = options.inFlight;
    this.#recordsPerBatch = options.recordsPerBatch;
    this.#ring = new FrameRing(frame, options.inFlight, (bytes, at, sequence) => {
      bytes.writeInt32BE(sequence, at + correlationAt);
    });
  }

  static async open(job: ProduceJob | FillJob, fault: Fault, options: LaneOptions): Promise<ProduceLane> {
    const lane = new ProduceLane(job.topic, options);
    lane.#socket = await openKafka({
      endpoint: job.endpoint,
      fault,
      onFrame: (bytes, at) => lane.#answer(bytes, at),
      afterChunk: () => lane.#pump(),
    });
    await fault.race(lane.#prime());
    return lane;
  }

  /** Sends one batch alone until the partition's leader has taken up its work. */
  #prime(): Promise<void> {
    return new Promise((resolve) => {
      this.#primed = resolve;
      this.#pump();
    });
  }

  /** Keeps requests in flight until `stop`, or until the lane has sent `requests` since it was opened. */
  start(requests = Number.MAX_SAFE_INTEGER): void {
    this.#limit = requests;
    this.#pump();
  }

  #pump(): void {
    const to = Math.min(this.acked + this.#inFlight, this.#limit);
    if (this.#socket === null || to <= this.sent) return;
    this.#ring.send(this.#socket, this.sent, to);
    this.sent = to;
  }

  stop(): void {
    this.#limit = this.sent;
  }

  close(): void {
    this.#socket?.destroy();
  }

  #answer(bytes: Buffer, at: number): void {
    const correlation = bytes.readInt32BE(at);
    if (correlation !== this.acked) throw new Error(`answer ${correlation} came where ${this.acked} was due`);
    const { error, baseOffset } = readProduce(bytes, at);
    if (this.#limit === 1 && leaderErrors.has(error) && this.#refusals++ < refusalsMax) {
      setTimeout(() => {
        this.sent = 0;
        this.#pump();
      }, refusalPauseMs);
      return;
    }
    if (error !== 0) throw new Error(`Produce answered with error ${error}`);
    if (this.nextOffset === -1) this.firstOffset = baseOffset;
    else if (baseOffset !== this.nextOffset) {
      throw new Error(`a batch got offset ${baseOffset} where ${this.nextOffset} was next`);
    }
    this.nextOffset = baseOffset + this.#recordsPerBatch;
    this.acked++;
    if (this.#limit === 1) this.#primed();
  }
}
