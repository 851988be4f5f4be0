import { RobustError } from '@robustmq/core';
import type { Epoch, Offset, ShardId } from '@robustmq/core';
import {
  batchCodec,
  batchHeaderBytes,
  batchHasAppendTime,
  batchRecordCount,
  codecs,
  KeyCursor,
  readBatchFields,
  RecordTable,
} from '@robustmq/record';
import type { SubjectTable } from '../names/subject-table.ts';
import type { Subject } from '../names/subject.ts';
import type { TopicRecord } from '../ports/metadata.ts';
import { noMatch } from '../router/match.ts';
import type { Match } from '../router/match.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';
import type { Router } from '../router/router.ts';
import type { DeliveryBatch } from './delivery-port.ts';
import type { RecordFilter } from './record-filter.ts';

/** How the records section of a compressed batch is read; from `record`, injected so that tests can count. */
export type Decompress = (buffer: Buffer, start: number, end: number) => Buffer | Promise<Buffer>;

interface Source {
  /** Records that it proves nobody wants get no subject and no match; null: all are looked at. */
  readonly wanted?: RecordFilter | null;
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly topic: TopicRecord;
}

/** A decoded batch with its matches; used again by the next `decode`. */
export class DecodedBatch implements DeliveryBatch {
  shard = 0 as ShardId;
  epoch = 0 as Epoch;
  baseOffset: Offset = -1;
  brokerEncoded = false;
  readonly records = new RecordTable();
  subjects: readonly (Subject | null)[] = [];
  matches: Match[] = [];
  /** Whether any record has a match. */
  wanted = false;
}

/** Turns stored batches into rows with subjects and matches. */
export class BatchDecoder {
  readonly #router: Router;
  readonly #subjects: SubjectTable;
  readonly #decompress: Decompress;
  readonly #view = new DecodedBatch();
  readonly #keys = new KeyCursor();

  constructor(router: Router, subjects: SubjectTable, decompress: Decompress) {
    this.#router = router;
    this.#subjects = subjects;
    this.#decompress = decompress;
  }

  /** The uncompressed records section, now or later; null when the batch can't be decoded. */
  recordsOf(batch: RoutedBatch): Buffer | null | Promise<Buffer | null> {
    // Compaction leaves batches without records, whose section is empty whatever their codec.
    const empty = batch.end - batch.start === batchHeaderBytes;
    if (empty || batchCodec(batch.buffer, batch.start) === codecs.none) {
      return batch.buffer.subarray(batch.start + batchHeaderBytes, batch.end);
    }
    try {
      const section = this.#decompress(batch.buffer, batch.start, batch.end);
      return section instanceof Promise ? section.catch(() => null) : section;
    } catch (error) {
      if (error instanceof RobustError) return null;
      throw error;
    }
  }

  /**
   * False: no record of the section is wanted, as their keys alone show. Costs a third of decoding, and spares it for most
   * batches of a block, which was read for the sake of one record.
   */
  mayHold(batch: RoutedBatch, section: Buffer, wanted: RecordFilter): boolean {
    const keys = this.#keys.open(section, 0, section.length, batchRecordCount(batch.buffer, batch.start));
    while (keys.next()) if (wanted.mayMatch(section, keys.keyStart, keys.keyEnd)) return true;
    // What can't be read is for `decode` to find.
    return !keys.isDone;
  }

  /** Fills `view` (by default one that the next call uses again); null when the records are malformed. */
  decode(batch: RoutedBatch, section: Buffer, source: Source, view = this.#view): DecodedBatch | null {
    const fields = readBatchFields(batch.buffer, batch.start);
    try {
      view.records.read(section, 0, section.length, {
        count: fields.recordCount,
        lastOffsetDelta: fields.lastOffsetDelta,
        baseOffset: batch.baseOffset,
        baseTimestamp: fields.baseTimestamp,
        ...(batchHasAppendTime(batch.buffer, batch.start) ? { appendTimestamp: fields.maxTimestamp } : {}),
      });
    } catch (error) {
      if (error instanceof RobustError) return null;
      throw error;
    }
    view.shard = source.shard;
    view.epoch = source.epoch;
    view.baseOffset = batch.baseOffset;
    view.brokerEncoded = batch.brokerEncoded;
    this.#match(view, batch.subjects, source);
    return view;
  }

  #match(view: DecodedBatch, known: readonly (Subject | null)[] | null, source: Source): void {
    const { topic, wanted: asked = null } = source;
    const { records, matches } = view;
    const { count, keyStart, keyEnd } = records;
    const router = this.#router;
    const found: (Subject | null)[] = known === null ? new Array(count) : [];
    matches.length = count;
    let wanted = false;
    let last: Subject | null = null;
    let lastMatch = noMatch;
    for (let row = 0; row < count; row++) {
      let subject: Subject | null;
      if (known === null) {
        if (asked?.mayMatch(records.buffer, keyStart[row]!, keyEnd[row]!) === false) {
          found[row] = null;
          matches[row] = noMatch;
          continue;
        }
        subject = this.#subjects.forRecord(topic, records.buffer, keyStart[row]!, keyEnd[row]!);
        found[row] = subject;
      } else subject = known[row]!;
      // Runs of one subject are common: a device that sends a burst.
      const match = subject === last ? lastMatch : subject === null ? noMatch : router.match(subject);
      last = subject;
      lastMatch = match;
      matches[row] = match;
      if (match.guaranteeMax >= 0) wanted = true;
    }
    view.subjects = known ?? found;
    view.wanted = wanted;
  }
}
