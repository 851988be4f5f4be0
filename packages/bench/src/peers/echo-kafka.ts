import { writeInt64 } from '@robustmq/core';
import { createServer, type Server, type Socket } from 'node:net';
import { apiKeys } from '../wire/kafka-frames.ts';
import { KafkaScanner } from '../wire/kafka-scanner.ts';
import { recordCountOf } from '../wire/record-batch.ts';

interface EchoPartition {
  nextOffset: number;
  /** The batch that every fetch is answered with, again and again. */
  template: Buffer;
}

/**
 * The least that passes for a Kafka broker: it stores no records, counts offsets, and answers a fetch
 * with copies of the partition's first batch. Same role as the MQTT echo.
 */
export function createEchoKafka(): Server {
  const partitions = new Map<string, EchoPartition>();
  const partitionCounts = new Map<string, number>();
  return createServer({ noDelay: true }, (socket) => {
    const connection = new EchoConnection(socket, partitions, partitionCounts);
    const scanner = new KafkaScanner((bytes, at) => connection.request(bytes, at));
    socket.on('data', (chunk) => scanner.push(chunk));
    socket.on('error', () => socket.destroy());
  });
}

class EchoConnection {
  readonly #socket: Socket;
  readonly #partitions: Map<string, EchoPartition>;
  readonly #partitionCounts: Map<string, number>;

  constructor(socket: Socket, partitions: Map<string, EchoPartition>, partitionCounts: Map<string, number>) {
    this.#socket = socket;
    this.#partitions = partitions;
    this.#partitionCounts = partitionCounts;
  }

  request(bytes: Buffer, at: number): void {
    const correlation = bytes.readInt32BE(at + 4);
    const body = at + 10 + bytes.readInt16BE(at + 8);
    switch (bytes.readInt16BE(at)) {
      case apiKeys.produce:
        return this.#produce(bytes, body, correlation);
      case apiKeys.fetch:
        return this.#fetch(bytes, body, correlation);
      case apiKeys.listOffsets:
        return this.#listOffsets(bytes, body, correlation);
      case apiKeys.createTopics:
        return this.#createTopic(bytes, body, correlation);
      case apiKeys.metadata:
        return this.#metadata(bytes, body, correlation);
      default:
        this.#socket.destroy();
    }
  }

  #produce(bytes: Buffer, body: number, correlation: number): void {
    // Null transactional id, acks, timeout, one topic.
    const { topic, end } = textAt(bytes, body + 2 + 2 + 4 + 4);
    const partition = bytes.readInt32BE(end + 4);
    const batchAt = end + 12;
    const state = this.#partition(
      topic,
      partition,
      bytes.subarray(batchAt, batchAt + bytes.readInt32BE(end + 8)),
    );
    const answer = new Answer(correlation).i32(1).text(topic).i32(1).i32(partition).i16(0);
    answer.i64(state.nextOffset).i64(-1).i64(0).i32(0);
    state.nextOffset += recordCountOf(bytes, batchAt);
    this.#socket.write(answer.finish());
  }

  #fetch(bytes: Buffer, body: number, correlation: number): void {
    // Replica, wait, minimum, maximum, isolation, one topic.
    const { topic, end } = textAt(bytes, body + 4 + 4 + 4 + 4 + 1 + 4);
    const partition = bytes.readInt32BE(end + 4);
    const offset = offsetAt(bytes, end + 8);
    const state = this.#partitions.get(`${topic}/${partition}`);
    if (state === undefined) return void this.#socket.destroy();
    const { template, nextOffset } = state;
    const count = recordCountOf(template, 0);
    const base = offset - (offset % count);
    const fit = Math.max(1, Math.floor(bytes.readInt32BE(end + 16) / template.length));
    const batches = Math.min(fit, (nextOffset - base) / count);
    const answer = new Answer(correlation).i32(0).i32(1).text(topic).i32(1).i32(partition).i16(0);
    answer
      .i64(nextOffset)
      .i64(nextOffset)
      .i32(-1)
      .i32(batches * template.length);
    this.#socket.cork();
    this.#socket.write(answer.finish(batches * template.length));
    for (let i = 0; i < batches; i++) {
      const head = Buffer.allocUnsafe(8);
      writeInt64(head, base + i * count, 0);
      this.#socket.write(head);
      this.#socket.write(template.subarray(8));
    }
    this.#socket.uncork();
  }

  #listOffsets(bytes: Buffer, body: number, correlation: number): void {
    // Replica, one topic, one partition, its index, and -2 for the first offset or -1 for the last.
    const { topic, end } = textAt(bytes, body + 4 + 4);
    const partition = bytes.readInt32BE(end + 4);
    const last = this.#partitions.get(`${topic}/${partition}`)?.nextOffset ?? 0;
    const answer = new Answer(correlation).i32(1).text(topic).i32(1).i32(partition).i16(0);
    answer.i64(-1).i64(bytes.readInt8(end + 15) === -2 ? 0 : last);
    this.#socket.write(answer.finish());
  }

  #createTopic(bytes: Buffer, body: number, correlation: number): void {
    const { topic, end } = textAt(bytes, body + 4);
    this.#partitionCounts.set(topic, bytes.readInt32BE(end));
    const answer = new Answer(correlation).i32(0).i32(1).text(topic).i16(0).i16(-1);
    this.#socket.write(answer.finish());
  }

  #metadata(bytes: Buffer, body: number, correlation: number): void {
    const { topic } = textAt(bytes, body + 4);
    const count = this.#partitionCounts.get(topic) ?? 0;
    const answer = new Answer(correlation).i32(0).i32(1).i32(1).text('127.0.0.1').i32(1).i16(-1);
    answer.i16(-1).i32(1).i32(1).i16(0).text(topic).i8(0).i32(count);
    for (let i = 0; i < count; i++) answer.i16(0).i32(i).i32(1).i32(1).i32(1).i32(1).i32(1);
    this.#socket.write(answer.finish());
  }

  #partition(topic: string, partition: number, batch: Buffer): EchoPartition {
    const name = `${topic}/${partition}`;
    let state = this.#partitions.get(name);
    if (state === undefined) {
      state = { nextOffset: 0, template: Buffer.from(batch) };
      this.#partitions.set(name, state);
    }
    return state;
  }
}

function textAt(bytes: Buffer, at: number): { readonly topic: string; readonly end: number } {
  const end = at + 2 + bytes.readInt16BE(at);
  return { topic: bytes.toString('utf8', at + 2, end), end };
}

/** Offsets here stay far below 2^48. */
function offsetAt(bytes: Buffer, at: number): number {
  return bytes.readUIntBE(at + 2, 6);
}

class Answer {
  readonly #parts: Buffer[] = [];

  constructor(correlation: number) {
    this.i32(correlation);
  }

  i8(value: number): this {
    return this.#put(1, (bytes) => bytes.writeInt8(value));
  }

  i16(value: number): this {
    return this.#put(2, (bytes) => bytes.writeInt16BE(value));
  }

  i32(value: number): this {
    return this.#put(4, (bytes) => bytes.writeInt32BE(value));
  }

  i64(value: number): this {
    return this.#put(8, (bytes) => writeInt64(bytes, value, 0));
  }

  text(value: string): this {
    this.i16(Buffer.byteLength(value));
    this.#parts.push(Buffer.from(value));
    return this;
  }

  /** The frame; `more` bytes of it follow in other writes. */
  finish(more = 0): Buffer {
    const body = Buffer.concat(this.#parts);
    const length = Buffer.allocUnsafe(4);
    length.writeInt32BE(body.length + more);
    return Buffer.concat([length, body]);
  }

  #put(bytes: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.allocUnsafe(bytes);
    write(buffer);
    this.#parts.push(buffer);
    return this;
  }
}
