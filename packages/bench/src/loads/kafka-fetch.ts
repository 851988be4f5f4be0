import { writeInt64 } from '@robustmq/core';
import type { Socket } from 'node:net';
import { DueQueue } from '../due-queue.ts';
import { Fault } from '../fault.ts';
import type { FetchJob, LoadResult } from '../job.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import { measure } from '../measure.ts';
import { Pacer } from '../pacer.ts';
import { correlationAt, fetchFrame, type FetchFrame } from '../wire/kafka-frames.ts';
import { readFetch } from '../wire/kafka-responses.ts';
import { openKafka } from './kafka-link.ts';

/** One consumer of one partition, one request at a time, over the same range again and again. */
export async function runFetch(job: FetchJob): Promise<LoadResult> {
  const fault = new Fault();
  const reader = new RangeReader(job);
  const pacer = job.perSecond === undefined ? null : pace(reader, job, job.perSecond);
  let socket: Socket | null = null;
  try {
    const opened = await openKafka({
      endpoint: job.endpoint,
      fault,
      onFrame: (bytes, at) => reader.answer(bytes, at),
    });
    socket = opened;
    if (pacer === null) reader.start(opened);
    else {
      reader.pace(opened);
      pacer.start();
    }
    // Checksums are verified while warming up; in the timed window the walk over headers is enough.
    const warm = setTimeout(() => reader.trust(), job.warmupMs);
    try {
      const timed = await measure(job, fault, {
        count: () => reader.records,
        bytesEach: job.valueBytes,
        onWindow: () => reader.latency.clear(),
      });
      const perSecond = timed.count / timed.seconds;
      const latency = reader.latency.summary(perSecond / (job.perSecond ?? perSecond));
      return { ...timed, expected: reader.records, arrived: reader.records, disordered: 0, latency };
    } finally {
      clearTimeout(warm);
    }
  } finally {
    pacer?.stop();
    fault.close();
    socket?.destroy();
  }
}

/** Requests at the rate that gives the records asked for. */
function pace(reader: RangeReader, job: FetchJob, recordsPerSecond: number): Pacer {
  const requestsPerSecond = (recordsPerSecond * job.valueBytes) / job.fetchBytes;
  return new Pacer(requestsPerSecond, (count, nowMs) => {
    for (let i = 0; i < count; i++) reader.push(nowMs);
  });
}

const dueMax = 1000;

class RangeReader {
  records = 0;
  /** From when a request was due until its answer. */
  readonly latency = new LatencyHistogram();
  readonly #frame: FetchFrame;
  readonly #job: FetchJob;
  #socket: Socket | null = null;
  #offset: number;
  #verify = true;
  #correlation = 0;
  readonly #due = new DueQueue(dueMax);
  #paced = false;
  #waiting = false;
  #dueAtMs = 0;

  constructor(job: FetchJob) {
    this.#job = job;
    this.#frame = fetchFrame(job.topic, 0, job.fetchBytes);
    this.#offset = job.startOffset;
  }

  start(socket: Socket): void {
    this.#socket = socket;
    this.#next();
  }

  /** Asks only when `push` says that a request is due. */
  pace(socket: Socket): void {
    this.#socket = socket;
    this.#paced = true;
  }

  push(nowMs: number): void {
    this.#due.push(nowMs);
    if (!this.#waiting) this.#next();
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
    this.latency.record(performance.now() - this.#dueAtMs);
    this.records += result.records;
    this.#offset = result.nextOffset < this.#job.endOffset ? result.nextOffset : this.#job.startOffset;
    this.#next();
  }

  #next(): void {
    this.#waiting = !this.#paced || this.#due.length > 0;
    if (!this.#waiting) return;
    this.#dueAtMs = this.#paced ? this.#due.shift() : performance.now();
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
