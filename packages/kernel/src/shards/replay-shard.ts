import type { Offset } from '@robustmq/core';
import { batchHeaderBytes, HeaderCursor, nextBatch, readBatchFields, RecordTable } from '@robustmq/record';
import { entryFlag } from '../log/entry.ts';
import type { ShardReader } from '../log/shard-reader.ts';
import type { SubjectTable } from '../names/subject-table.ts';
import type { StoredEntry } from '../ports/journal-client.ts';
import type { SegmentRecord, ShardRecord } from '../ports/metadata.ts';
import { MqHeaderReader } from '../names/mq-header.ts';
import type { Shard } from './shard.ts';

const readBytes = 1024 * 1024;

/** State as the owner stored it, with everything below `coveredTo` in it. */
interface Checkpoint {
  readonly coveredTo: Offset;
  readonly state: Buffer;
}

/**
 * Rebuilds a data shard's state by reading its log: idempotence and tokens from the stored checkpoint or the newest segment
 * with a whole snapshot at its head, retained records from where their copies end.
 */
export class ShardReplay {
  readonly #shard: Shard;
  readonly #subjects: SubjectTable;
  readonly #table = new RecordTable();
  readonly #cursor = new HeaderCursor();
  readonly #mq = new MqHeaderReader();
  #snapshot: Buffer[] = [];
  #hasState = false;
  #stateFrom: Offset = 0;
  #retainedFrom: Offset = 0;
  /** What was read of the log because no marker of the retained copies lies behind it. */
  unmarkedBytes = 0;

  constructor(shard: Shard, subjects: SubjectTable) {
    this.#shard = shard;
    this.#subjects = subjects;
  }

  /** Reads `[.., next)`, or what follows the checkpoint; throws as the reader. */
  async run(
    reader: ShardReader,
    record: ShardRecord,
    next: Offset,
    checkpoint: Checkpoint | null,
  ): Promise<void> {
    const resumed = this.#resumed(record.segments, checkpoint);
    // A trim may have raised the start into the segment that the state is restored from: what lies before counts as well.
    this.#stateFrom = resumed ?? (await this.#restored(reader, record.segments, next));
    if (resumed === next) await this.#released(reader, record.segments, next);
    this.#retainedFrom = Math.max(this.#shard.retained?.appliedThrough ?? next, record.startOffset);
    let offset = Math.min(this.#stateFrom, this.#retainedFrom);
    while (offset < next) {
      const options = { maxBytes: readBytes, limit: next, trimmed: true, lost: () => undefined };
      const answer = await reader.read(offset, options);
      for (const entry of answer.entries) {
        this.#entry(entry);
        if (entry.baseOffset >= this.#retainedFrom) this.unmarkedBytes += entry.payload.length;
      }
      offset = answer.nextOffset;
    }
  }

  /**
   * Restores a checkpoint, if it is of the newest segment that holds anything: an older one is behind the snapshot at
   * that segment's head, and one of offsets that were lost lies in no segment.
   */
  #resumed(segments: readonly SegmentRecord[], checkpoint: Checkpoint | null): Offset | null {
    const newest = segments.findLast((segment) => segment.endEntry >= 0);
    if (checkpoint === null || newest === undefined) return null;
    const { coveredTo, state } = checkpoint;
    if (coveredTo < newest.baseOffset || coveredTo > newest.endOffset) return null;
    this.#shard.restore(state);
    return coveredTo;
  }

  /**
   * Restores the newest snapshot that is whole, and returns from where the log is applied on top of it. The newest
   * segment may hold nothing else, or only a part of its snapshot, when its writer died.
   */
  async #restored(reader: ShardReader, segments: readonly SegmentRecord[], next: Offset): Promise<Offset> {
    let from = next;
    for (const segment of segments.toReversed()) {
      if (segment.endEntry < 0) continue;
      from = segment.baseOffset;
      this.#stateFrom = from;
      for (const entry of await reader.controls(segment, from)) this.#entry(entry);
      if (this.#hasState) break;
    }
    return from;
  }

  /** What was released, or stored as the state at a segment's head, behind a checkpoint with no record behind it. */
  async #released(reader: ShardReader, segments: readonly SegmentRecord[], next: Offset): Promise<void> {
    const newest = segments.findLast((segment) => segment.endEntry >= 0);
    if (newest === undefined) return;
    for (const entry of await reader.controls(newest, next)) this.#entry(entry);
  }

  #entry(entry: StoredEntry): void {
    if ((entry.flags & entryFlag.control) !== 0) {
      if (entry.baseOffset >= this.#stateFrom) this.#control(entry);
      return;
    }
    const { payload } = entry;
    const brokerEncoded = (entry.flags & entryFlag.brokerEncoded) !== 0;
    for (let at = 0, end = nextBatch(payload, 0); end !== -1; at = end, end = nextBatch(payload, at)) {
      const fields = readBatchFields(payload, at);
      if (fields.producerId >= 0 && fields.baseOffset >= this.#stateFrom) {
        const batch = {
          producerId: fields.producerId,
          epoch: fields.producerEpoch,
          firstSequence: fields.baseSequence,
          count: fields.lastOffsetDelta + 1,
        };
        this.#shard.producers.record(batch, { baseOffset: fields.baseOffset }, fields.maxTimestamp);
      }
      if (brokerEncoded) this.#records(payload, at, end);
    }
  }

  #control(entry: StoredEntry): void {
    if ((entry.flags & entryFlag.dedupRelease) !== 0) this.#shard.released(entry.payload);
    if ((entry.flags & entryFlag.snapshot) === 0) return;
    const part = entry.payload.readUInt32BE(0);
    if (part === 0) this.#snapshot = [];
    this.#snapshot.push(entry.payload.subarray(8));
    if (part + 1 !== entry.payload.readUInt32BE(4) || this.#snapshot.length !== part + 1) return;
    this.#shard.restore(Buffer.concat(this.#snapshot));
    this.#hasState = true;
  }

  /** Tokens and retained records of one broker-encoded batch: both are told by the `mq` header. */
  #records(payload: Buffer, start: number, end: number): void {
    const fields = readBatchFields(payload, start);
    const table = this.#table.read(payload, start + batchHeaderBytes, end, {
      count: fields.recordCount,
      baseOffset: fields.baseOffset,
      baseTimestamp: fields.baseTimestamp,
    });
    const mq = this.#mq;
    for (let row = 0; row < table.count; row++) {
      if (!mq.find(table.headers(row, this.#cursor), payload)) continue;
      const offset = table.offset(row);
      if (mq.tokenProducer >= 0 && offset >= this.#stateFrom) {
        this.#shard.tokens.add(mq.tokenProducer, mq.token, offset);
      }
      if (mq.retain && offset >= this.#retainedFrom) this.#retain(table, row);
    }
  }

  #retain(table: RecordTable, row: number): void {
    const { buffer } = table;
    const subject = this.#subjects.forRecord(
      this.#shard.topic,
      buffer,
      table.keyStart[row]!,
      table.keyEnd[row]!,
    );
    if (subject === null) return;
    this.#shard.retain({
      subject: subject.name,
      sourceOffset: table.offset(row),
      timestamp: table.timestamp(row),
      value: Buffer.from(table.value(row) ?? ''),
      headers: Buffer.from(buffer.subarray(table.headersStart[row], table.headersEnd[row])),
      headerCount: table.headerCount[row]!,
    });
  }
}
