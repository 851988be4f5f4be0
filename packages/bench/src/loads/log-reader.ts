import { writeInt64 } from '@robustmq/core';
import type { Socket } from 'node:net';
import { Fault } from '../fault.ts';
import type { Endpoint } from '../job.ts';
import { correlationAt, fetchFrame, listOffsetsFrame, metadataFrame } from '../wire/kafka-frames.ts';
import { type BatchVisitor, readFetch, readLeaders, readListOffsets } from '../wire/kafka-responses.ts';
import { openKafka } from './kafka-link.ts';

const fetchBytes = 4 * 1024 * 1024;
const answerMs = 30_000;

/** Reads a server's log over one Kafka connection, one question at a time; not for timing. */
export class LogReader {
  readonly #fault = new Fault();
  #socket: Socket | null = null;
  #answer: (frame: Buffer) => void = () => undefined;

  static async open(endpoint: Endpoint): Promise<LogReader> {
    const reader = new LogReader();
    reader.#socket = await openKafka({
      endpoint,
      fault: reader.#fault,
      onFrame: (bytes, at, end) => reader.#answer(Buffer.from(bytes.subarray(at, end))),
    });
    return reader;
  }

  async partitions(topic: string): Promise<number> {
    const { error, partitions } = readLeaders(await this.#ask(metadataFrame(topic, 0)), 0);
    if (error !== 0) throw new Error(`Metadata of ${topic} answered with error ${error}`);
    return partitions;
  }

  /** The first offset of a partition (-2), or the one behind its last record (-1). */
  async offset(topic: string, partition: number, which: -1 | -2): Promise<number> {
    const { error, offset } = readListOffsets(await this.#ask(listOffsetsFrame(topic, partition, which)), 0);
    if (error !== 0) throw new Error(`ListOffsets of ${topic} ${partition} answered with error ${error}`);
    return offset;
  }

  /** Shows every batch from `from` up to `to`, with its checksum verified and without a gap; returns the offset reached. */
  async read(
    { topic, partition }: { readonly topic: string; readonly partition: number },
    { from, to }: { readonly from: number; readonly to: number },
    visit?: BatchVisitor,
  ): Promise<number> {
    const frame = fetchFrame(topic, partition, fetchBytes);
    let offset = from;
    while (offset < to) {
      frame.bytes.writeInt32BE(0, correlationAt);
      writeInt64(frame.bytes, offset, frame.offsetAt);
      const result = readFetch(await this.#ask(frame.bytes), 0, offset, true, visit);
      if (result.error !== 0)
        throw new Error(`Fetch of ${topic} ${partition} answered with error ${result.error}`);
      if (result.records === 0) break;
      offset = result.nextOffset;
    }
    return offset;
  }

  close(): void {
    this.#fault.close();
    this.#socket?.destroy();
  }

  #ask(frame: Buffer): Promise<Buffer> {
    const answered = new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within ${answerMs} ms`)), answerMs);
      this.#answer = (answer) => {
        clearTimeout(timer);
        resolve(answer);
      };
    });
    this.#socket?.write(frame);
    return this.#fault.race(answered);
  }
}
