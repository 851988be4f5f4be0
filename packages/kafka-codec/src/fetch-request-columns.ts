import { fetch } from './apis/fetch.ts';
import { requestElementsMax } from './codec.ts';
import { codecError } from './errors.ts';
import { NameCache } from './name-cache.ts';
import * as wire from './wire.ts';

const initialRows = 64;
/** Columns that a huge request has made longer than this are given up at the next request. */
const keptRowsMax = 16 * 1024;

const nothing = Buffer.alloc(0);

/**
 * A Fetch request as columns: one typed array per field of a partition instead of one object per partition. One
 * instance serves a connection; every `decode` overwrites what the one before it left.
 *
 * Row `i` below `partitionCount` is partition `partition[i]` of topic `topics[topicOf[i]]`.
 */
export class FetchRequestColumns {
  /** -1 for a consumer; anything else claims to be a replica. */
  replicaId = -1;
  maxWaitMs = 0;
  minBytes = 0;
  maxBytes = 0;
  isolationLevel = 0;
  sessionId = 0;
  sessionEpoch = -1;
  rackId = '';
  /** Whether `topics` and `forgottenTopics` hold ids (32 hexadecimal digits) instead of names. */
  byId = false;

  topics: string[] = [];
  partitionCount = 0;
  topicOf = new Int32Array(initialRows);
  partition = new Int32Array(initialRows);
  currentLeaderEpoch = new Int32Array(initialRows);
  fetchOffset = new Float64Array(initialRows);
  partitionMaxBytes = new Int32Array(initialRows);

  forgottenTopics: string[] = [];
  forgottenCount = 0;
  forgottenTopicOf = new Int32Array(initialRows);
  forgottenPartition = new Int32Array(initialRows);

  readonly #names = new NameCache();
  #b: Buffer = nothing;
  #p = 0;
  #version = 0;
  #flexible = false;
  #elementsLeft = 0;

  /**
   * Reads the body of a Fetch request.
   *
   * @throws RobustError with a `KafkaCodecErrorCode`; the columns are then undefined
   */
  decode(version: number, frame: Buffer, bodyStart: number): void {
    if (version < fetch.versions.min || version > fetch.versions.max) {
      throw codecError('KAFKA_CODEC_VERSION_UNSUPPORTED', 'Fetch has no such version', { version });
    }
    this.#b = frame;
    this.#p = bodyStart;
    this.#version = version;
    this.#flexible = version >= fetch.flexible;
    this.#elementsLeft = requestElementsMax;
    this.byId = version >= 13;
    if (this.partition.length > keptRowsMax) this.#resizeRows(initialRows);
    if (this.forgottenPartition.length > keptRowsMax) this.#resizeForgotten(initialRows);
    this.#head();
    this.#topics();
    this.forgottenTopics = [];
    this.forgottenCount = 0;
    if (version >= 7) this.#forgotten();
    this.rackId = version >= 11 ? this.#name() : '';
    if (this.#flexible) this.#tail();
    this.#b = nothing;
  }

  #head(): void {
    const b = this.#b;
    const bytes = (this.#version < 15 ? 4 : 0) + 13 + (this.#version >= 7 ? 8 : 0);
    let p = this.#take(bytes);
    this.replicaId = -1;
    if (this.#version < 15) {
      this.replicaId = wire.int32(b, p);
      p += 4;
    }
    this.maxWaitMs = wire.int32(b, p);
    this.minBytes = wire.int32(b, p + 4);
    this.maxBytes = wire.int32(b, p + 8);
    this.isolationLevel = wire.int8(b, p + 12);
    this.sessionId = this.#version >= 7 ? wire.int32(b, p + 13) : 0;
    this.sessionEpoch = this.#version >= 7 ? wire.int32(b, p + 17) : -1;
  }

  #topics(): void {
    const topicCount = this.#count(this.#topicBytesMin());
    this.topics = [];
    this.partitionCount = 0;
    for (let t = 0; t < topicCount; t++) {
      this.topics.push(this.#topic());
      this.#partitions(t);
      if (this.#flexible) this.#skipTags();
    }
  }

  /** The loop that costs: 40 partitions of 10 topics take one to two microseconds. */
  #partitions(topic: number): void {
    const version = this.#version;
    const flexible = this.#flexible;
    const epochBytes = version >= 9 ? 4 : 0;
    const middleBytes = (version >= 12 ? 4 : 0) + (version >= 5 ? 8 : 0);
    const rowBytes = 16 + epochBytes + middleBytes;
    const count = this.#count(rowBytes + (flexible ? 1 : 0));
    const first = this.partitionCount;
    const rows = first + count;
    if (rows > this.partition.length) this.#resizeRows(Math.max(rows, this.partition.length * 2));
    const { topicOf, partition, currentLeaderEpoch, fetchOffset, partitionMaxBytes } = this;
    const b = this.#b;
    const end = b.length;
    let p = this.#p;
    for (let row = first; row < rows; row++) {
      if (rowBytes > end - p) wire.short(p, end);
      topicOf[row] = topic;
      partition[row] = wire.int32(b, p);
      currentLeaderEpoch[row] = epochBytes === 0 ? -1 : wire.int32(b, p + 4);
      fetchOffset[row] = wire.int64(b, p + 4 + epochBytes);
      partitionMaxBytes[row] = wire.int32(b, p + 12 + epochBytes + middleBytes);
      p += rowBytes;
      if (flexible) p = wire.skipTags(b, p, end);
    }
    this.#p = p;
    this.partitionCount = rows;
  }

  #forgotten(): void {
    const topicCount = this.#count(this.#topicBytesMin());
    let row = 0;
    for (let t = 0; t < topicCount; t++) {
      this.forgottenTopics.push(this.#topic());
      const count = this.#count(4);
      const room = this.forgottenPartition.length;
      if (row + count > room) this.#resizeForgotten(Math.max(row + count, room * 2));
      const p = this.#take(count * 4);
      for (let i = 0; i < count; i++, row++) {
        this.forgottenTopicOf[row] = t;
        this.forgottenPartition[row] = wire.int32(this.#b, p + i * 4);
      }
      if (this.#flexible) this.#skipTags();
    }
    this.forgottenCount = row;
  }

  /** The tagged fields of the request; of those, only a replica's claim matters. */
  #tail(): void {
    const b = this.#b;
    const end = b.length;
    let count = wire.tagCount(b, this.#p, end);
    let p = wire.afterUvarint(b, this.#p);
    for (; count > 0; count--) {
      const tag = wire.uvarint(b, p, end);
      p = wire.afterUvarint(b, p);
      const size = wire.tagSize(b, p, end);
      p = wire.afterUvarint(b, p);
      if (tag === 1 && this.#version >= 15) {
        if (size < 12) wire.malformed(p, 'a tagged field has not the size that it states');
        this.replicaId = wire.int32(b, p);
      }
      p += size;
    }
  }

  #topicBytesMin(): number {
    if (this.byId) return 18;
    return this.#flexible ? 3 : 6;
  }

  /** Checks that `bytes` more are there, steps over them and returns where they start. */
  #take(bytes: number): number {
    const p = this.#p;
    if (bytes > this.#b.length - p) wire.short(p, this.#b.length);
    this.#p = p + bytes;
    return p;
  }

  #count(minBytes: number): number {
    const b = this.#b;
    const p = this.#p;
    const count = this.#flexible
      ? wire.compactCount(b, p, b.length, minBytes)
      : wire.count32(b, p, b.length, minBytes);
    this.#p = this.#flexible ? wire.afterUvarint(b, p) : p + 4;
    this.#elementsLeft -= count;
    if (this.#elementsLeft < 0) wire.excess(p, 'a message has too many array elements');
    return count;
  }

  #topic(): string {
    return this.byId ? this.#names.id(this.#b, this.#take(16)) : this.#name();
  }

  #name(): string {
    const b = this.#b;
    const p = this.#p;
    const length = this.#flexible ? wire.compactLength(b, p, b.length) : wire.length16(b, p, b.length);
    const start = this.#flexible ? wire.afterUvarint(b, p) : p + 2;
    this.#p = start + length;
    return this.#names.name(b, start, length);
  }

  #skipTags(): void {
    this.#p = wire.skipTags(this.#b, this.#p, this.#b.length);
  }

  #resizeRows(rows: number): void {
    this.topicOf = resizedInts(this.topicOf, rows);
    this.partition = resizedInts(this.partition, rows);
    this.currentLeaderEpoch = resizedInts(this.currentLeaderEpoch, rows);
    this.partitionMaxBytes = resizedInts(this.partitionMaxBytes, rows);
    const offsets = new Float64Array(rows);
    offsets.set(this.fetchOffset.subarray(0, rows));
    this.fetchOffset = offsets;
  }

  #resizeForgotten(rows: number): void {
    this.forgottenTopicOf = resizedInts(this.forgottenTopicOf, rows);
    this.forgottenPartition = resizedInts(this.forgottenPartition, rows);
  }
}

function resizedInts(column: Int32Array<ArrayBuffer>, rows: number): Int32Array<ArrayBuffer> {
  const resized = new Int32Array(rows);
  resized.set(column.subarray(0, rows));
  return resized;
}
