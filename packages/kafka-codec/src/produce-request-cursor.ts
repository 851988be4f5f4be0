import { produce } from './apis/produce.ts';
import { requestElementsMax } from './codec.ts';
import { codecError } from './errors.ts';
import { NameCache } from './name-cache.ts';
import * as wire from './wire.ts';

/** The fewest bytes of a topic and of a partition, classic and flexible. */
const minimum = {
  topic: { classic: 6, named: 3, byId: 18 },
  partition: { classic: 8, flexible: 6 },
} as const;

const nothing = Buffer.alloc(0);

/**
 * Walks a Produce request partition by partition. Nothing is allocated for a partition except the view of its
 * records, and that only when asked for. One cursor serves a connection for all its requests.
 *
 * ```
 * cursor.open(version, frame, bodyStart);
 * while (cursor.next()) append(cursor.topicName, cursor.partitionIndex, cursor.records);
 * ```
 */
export class ProduceRequestCursor {
  transactionalId: string | null = null;
  acks = 0;
  timeoutMs = 0;
  topicCount = 0;
  /** Partitions of all topics. */
  partitionCount = 0;
  /** Whether topics are named by id (version 13 and later). */
  byId = false;
  /** Position of the current topic in the request, from 0. */
  topicIndex = -1;
  partitionIndex = 0;
  /** Where the current records lie in the frame; `recordsLength` is -1 for null. */
  recordsStart = 0;
  recordsLength = -1;

  readonly #names = new NameCache();
  #frame: Buffer = nothing;
  #flexible = false;
  #at = 0;
  #topicsLeft = 0;
  #partitionsLeft = 0;
  #inTopic = false;
  #nameStart = 0;
  #nameLength = 0;

  /**
   * Starts on a request and checks all of it, so that `next` cannot fail halfway, after the first partitions were
   * appended. The check walks over lengths only; it does not look into records.
   */
  open(version: number, frame: Buffer, bodyStart: number): void {
    if (version < produce.versions.min || version > produce.versions.max) {
      throw codecError('KAFKA_CODEC_VERSION_UNSUPPORTED', 'Produce has no such version', { version });
    }
    this.#frame = frame;
    this.#flexible = version >= produce.flexible;
    this.byId = version >= 13;
    const start = this.#head(bodyStart);
    this.#rewind(start);
    this.partitionCount = 0;
    while (this.#step()) {
      if (++this.partitionCount > requestElementsMax)
        wire.excess(this.#at, 'a message has too many array elements');
    }
    if (this.#flexible) wire.skipTags(frame, this.#at, frame.length);
    this.#rewind(start);
  }

  /** Reads what precedes the first topic; returns the position behind it. */
  #head(bodyStart: number): number {
    const b = this.#frame;
    const end = b.length;
    const flexible = this.#flexible;
    let p = bodyStart;
    const length = flexible ? wire.nullableCompactLength(b, p, end) : wire.nullableLength16(b, p, end);
    p = flexible ? wire.afterUvarint(b, p) : p + 2;
    this.transactionalId = length < 0 ? null : wire.text(b, p, length);
    if (length > 0) p += length;
    if (end - p < 6) wire.short(p, end);
    this.acks = wire.int16(b, p);
    this.timeoutMs = wire.int32(b, p + 2);
    p += 6;
    const { classic, named, byId } = minimum.topic;
    this.topicCount = flexible
      ? wire.compactCount(b, p, end, this.byId ? byId : named)
      : wire.count32(b, p, end, classic);
    return flexible ? wire.afterUvarint(b, p) : p + 4;
  }

  #rewind(start: number): void {
    this.#at = start;
    this.#topicsLeft = this.topicCount;
    this.#partitionsLeft = 0;
    this.#inTopic = false;
    this.topicIndex = -1;
  }

  /** Moves to the next partition; false behind the last one, where the cursor lets go of the frame. */
  next(): boolean {
    if (this.#step()) return true;
    this.#frame = nothing;
    return false;
  }

  #step(): boolean {
    while (this.#partitionsLeft === 0) {
      if (this.#inTopic) {
        this.#inTopic = false;
        if (this.#flexible) this.#at = wire.skipTags(this.#frame, this.#at, this.#frame.length);
      }
      if (this.#topicsLeft === 0) return false;
      this.#topic();
    }
    this.#partition();
    return true;
  }

  #topic(): void {
    const b = this.#frame;
    const end = b.length;
    let p = this.#at;
    if (this.byId) {
      if (end - p < 16) wire.short(p, end);
      this.#nameLength = 16;
    } else if (this.#flexible) {
      this.#nameLength = wire.compactLength(b, p, end);
      p = wire.afterUvarint(b, p);
    } else {
      this.#nameLength = wire.length16(b, p, end);
      p += 2;
    }
    this.#nameStart = p;
    p += this.#nameLength;
    if (this.#flexible) {
      this.#partitionsLeft = wire.compactCount(b, p, end, minimum.partition.flexible);
      p = wire.afterUvarint(b, p);
    } else {
      this.#partitionsLeft = wire.count32(b, p, end, minimum.partition.classic);
      p += 4;
    }
    this.#at = p;
    this.#topicsLeft--;
    this.#inTopic = true;
    this.topicIndex++;
  }

  #partition(): void {
    const b = this.#frame;
    const end = b.length;
    let p = this.#at;
    if (end - p < 4) wire.short(p, end);
    this.partitionIndex = wire.int32(b, p);
    p += 4;
    const flexible = this.#flexible;
    const length = flexible ? wire.nullableCompactLength(b, p, end) : wire.nullableLength32(b, p, end);
    p = flexible ? wire.afterUvarint(b, p) : p + 4;
    this.recordsStart = p;
    this.recordsLength = length;
    if (length > 0) p += length;
    this.#at = flexible ? wire.skipTags(b, p, end) : p;
    this.#partitionsLeft--;
  }

  /** Name of the current topic; empty when topics are named by id. */
  get topicName(): string {
    return this.byId ? '' : this.#names.name(this.#frame, this.#nameStart, this.#nameLength);
  }

  /** Id of the current topic as 32 hexadecimal digits; `zeroUuid` when topics are named by name. */
  get topicId(): string {
    return this.byId ? this.#names.id(this.#frame, this.#nameStart) : wire.zeroUuid;
  }

  /** The current record batches as a view of the frame, or null. */
  get records(): Buffer | null {
    const start = this.recordsStart;
    return this.recordsLength < 0 ? null : this.#frame.subarray(start, start + this.recordsLength);
  }
}
