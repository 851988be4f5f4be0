import type { Socket } from 'node:net';
import { DueQueue } from '../due-queue.ts';
import type { Fault } from '../fault.ts';
import { FrameRing } from '../frame-ring.ts';
import type { Endpoint } from '../job.ts';
import { correlationAt, produceFrame } from '../wire/kafka-frames.ts';
import { readProduce } from '../wire/kafka-responses.ts';
import { openKafka } from './kafka-link.ts';

export interface LaneOptions {
  readonly endpoint: Endpoint;
  readonly topic: string;
  readonly batch: Buffer;
  readonly recordsPerBatch: number;
  readonly inFlight: number;
  /** Written to in turn. */
  readonly partitions: readonly number[];
  /** Milliseconds from when a request was due until its answer. */
  readonly onAnswer?: (ms: number) => void;
}

/** Unknown topic, no leader, not the leader: what a broker may say for a moment after a topic's creation. */
const leaderErrors: ReadonlySet<number> = new Set([3, 5, 6]);
const refusalsMax = 200;
const refusalPauseMs = 50;
const dueMax = 1000;

/** One connection to its partitions; checks that answers come in order and offsets follow each other. */
export class ProduceLane {
  sent = 0;
  acked = 0;
  readonly partitions: readonly number[];
  /** By place in `partitions`: the first offset that was given and the one that must come next; -1 before. */
  readonly firstOffsets: number[];
  readonly nextOffsets: number[];
  readonly #options: LaneOptions;
  readonly #ring: FrameRing;
  readonly #sentAtMs: Float64Array;
  readonly #due = new DueQueue(dueMax);
  #paced = false;
  #priming = true;
  #limit: number;
  #primed: () => void = () => undefined;
  #refusals = 0;
  #socket: Socket | null = null;

  private constructor(options: LaneOptions) {
    const { partitions, inFlight } = options;
    this.partitions = partitions;
    this.#options = options;
    this.firstOffsets = partitions.map(() => -1);
    this.nextOffsets = partitions.map(() => -1);
    this.#limit = partitions.length;
    this.#sentAtMs = new Float64Array(inFlight);
    const frame = produceFrame(options.topic, partitions[0] as number, options.batch);
    this.#ring = new FrameRing(frame.bytes, inFlight, (bytes, at, sequence) => {
      bytes.writeInt32BE(sequence, at + correlationAt);
      bytes.writeInt32BE(partitions[sequence % partitions.length] as number, at + frame.partitionAt);
    });
  }

  /** Connects, and writes one batch to each partition until its leader has taken up its work. */
  static async open(options: LaneOptions, fault: Fault): Promise<ProduceLane> {
    const lane = new ProduceLane(options);
    lane.#socket = await openKafka({
      endpoint: options.endpoint,
      fault,
      onFrame: (bytes, at) => lane.#answer(bytes, at),
      afterChunk: () => lane.#pump(),
    });
    await fault.race(
      new Promise<void>((resolve) => {
        lane.#primed = resolve;
        lane.#pump();
      }),
    );
    return lane;
  }

  /** Keeps requests in flight until `stop`, or until the lane has sent `requests` since it was opened. */
  start(requests = Number.MAX_SAFE_INTEGER): void {
    this.#limit = requests;
    this.#pump();
  }

  /** From now on sends only what `push` says is due. */
  pace(): void {
    this.#paced = true;
    this.#limit = Number.MAX_SAFE_INTEGER;
  }

  push(nowMs: number): void {
    this.#due.push(nowMs);
    this.#pump();
  }

  stop(): void {
    this.#limit = this.sent;
  }

  close(): void {
    this.#socket?.destroy();
  }

  #pump(): void {
    const room = this.acked + (this.#priming ? 1 : this.#options.inFlight);
    let to = Math.min(room, this.#limit);
    if (this.#paced) to = Math.min(to, this.sent + this.#due.length);
    if (this.#socket === null || to <= this.sent) return;
    const nowMs = performance.now();
    for (let sequence = this.sent; sequence < to; sequence++) {
      this.#sentAtMs[sequence % this.#sentAtMs.length] = this.#paced ? this.#due.shift() : nowMs;
    }
    this.#ring.send(this.#socket, this.sent, to);
    this.sent = to;
  }

  #answer(bytes: Buffer, at: number): void {
    const correlation = bytes.readInt32BE(at);
    if (correlation !== this.acked) throw new Error(`answer ${correlation} came where ${this.acked} was due`);
    const { error, baseOffset } = readProduce(bytes, at);
    if (this.#priming && leaderErrors.has(error) && this.#refusals++ < refusalsMax) {
      setTimeout(() => {
        this.sent = this.acked;
        this.#pump();
      }, refusalPauseMs);
      return;
    }
    if (error !== 0) throw new Error(`Produce answered with error ${error}`);
    this.#noteOffset(this.acked % this.partitions.length, baseOffset);
    this.#options.onAnswer?.(
      performance.now() - (this.#sentAtMs[this.acked % this.#sentAtMs.length] as number),
    );
    this.acked++;
    if (!this.#priming || this.acked < this.#limit) return;
    this.#priming = false;
    this.#primed();
  }

  #noteOffset(place: number, baseOffset: number): void {
    const next = this.nextOffsets[place] as number;
    if (next === -1) this.firstOffsets[place] = baseOffset;
    else if (baseOffset !== next) throw new Error(`a batch got offset ${baseOffset} where ${next} was next`);
    this.nextOffsets[place] = baseOffset + this.#options.recordsPerBatch;
  }
}
