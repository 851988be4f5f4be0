import { writeInt64 } from '@robustmq/core';

/** Kafka requests in their last versions before flexible fields, as whole frames made once. */

export const apiKeys = { produce: 0, fetch: 1, listOffsets: 2, metadata: 3, createTopics: 19 } as const;

const clientId = 'bench';

/** Position of the correlation id in every request frame. */
export const correlationAt = 8;

/** A topic with the default settings. */
export function createTopicFrame(topic: string, partitions: number, correlation: number): Buffer {
  return request(apiKeys.createTopics, 4, correlation, [
    i32(1),
    text(topic),
    i32(partitions),
    i16(1),
    // No manual assignment, no settings; 30 s; not only a validation.
    i32(0),
    i32(0),
    i32(30_000),
    Buffer.from([0]),
  ]);
}

export function metadataFrame(topic: string, correlation: number): Buffer {
  return request(apiKeys.metadata, 4, correlation, [i32(1), text(topic), Buffer.from([0])]);
}

/** The offset behind the last record of a partition, or with `timestamp` -2 the first. */
export function listOffsetsFrame(topic: string, partition: number, timestamp: -1 | -2): Buffer {
  return request(apiKeys.listOffsets, 1, 0, [
    i32(-1),
    i32(1),
    text(topic),
    i32(1),
    i32(partition),
    i64(timestamp),
  ]);
}

/** A produce of one batch to one partition; `partitionAt` is where the partition is patched. */
export interface ProduceFrame {
  readonly bytes: Buffer;
  readonly partitionAt: number;
}

/** One batch for one partition, acknowledged by all replicas. */
export function produceFrame(topic: string, partition: number, batch: Uint8Array): ProduceFrame {
  const bytes = request(apiKeys.produce, 7, 0, [
    i16(-1),
    i16(-1),
    i32(30_000),
    i32(1),
    text(topic),
    i32(1),
    i32(partition),
    i32(batch.length),
    batch,
  ]);
  return { bytes, partitionAt: bytes.length - batch.length - 8 };
}

/** A fetch of one partition; `offsetAt` is where its offset is patched. */
export interface FetchFrame {
  readonly bytes: Buffer;
  readonly offsetAt: number;
}

export function fetchFrame(topic: string, partition: number, bytesMax: number): FetchFrame {
  const bytes = request(apiKeys.fetch, 4, 0, [
    i32(-1),
    i32(500),
    i32(1),
    i32(bytesMax),
    Buffer.from([0]),
    i32(1),
    text(topic),
    i32(1),
    i32(partition),
    i64(0),
    i32(bytesMax),
  ]);
  return { bytes, offsetAt: bytes.length - 12 };
}

function request(apiKey: number, version: number, correlation: number, parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat([i16(apiKey), i16(version), i32(correlation), text(clientId), ...parts]);
  return Buffer.concat([i32(body.length), body]);
}

function i16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function i32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function i64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  writeInt64(bytes, value, 0);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([i16(bytes.length), bytes]);
}
