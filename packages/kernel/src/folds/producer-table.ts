import { ByteReader, ByteWriter } from '@robustmq/core';
import type { Offset } from '@robustmq/core';
import type { LogBatch } from '../log/log-batch.ts';

const batchesKept = 5;
const sequenceModulus = 2 ** 31;
/** A producer that was silent this long, by the log's own timestamps, is forgotten when there is no room. */
const idleMs = 24 * 3600 * 1000;

interface KeptBatch {
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** Valid once `batch` is null. */
  baseOffset: Offset;
  /** The batch itself while it is in flight. */
  batch: LogBatch | null;
}

interface Producer {
  epoch: number;
  lastTimestamp: number;
  readonly kept: KeptBatch[];
}

/** Sequence fields of one batch as a client sent them. */
export interface ProducerBatch {
  readonly producerId: number;
  readonly epoch: number;
  readonly firstSequence: number;
  readonly count: number;
}

export type SequenceVerdict =
  | { readonly kind: 'append' }
  /** Already in the log at this offset. */
  | { readonly kind: 'committed'; readonly baseOffset: Offset }
  /** In flight: whoever asks again joins its outcome. */
  | { readonly kind: 'inflight'; readonly batch: LogBatch }
  | {
      readonly kind: 'refuse';
      readonly code: 'SEQUENCE_OUT_OF_ORDER' | 'PRODUCER_EPOCH_STALE' | 'PRODUCER_LIMIT';
    };

/**
 * Idempotence of one shard as a pure fold of its log: per producer the epoch and the last five batches. Checked
 * before an append against what was last assigned; rebuilt by the same calls from the stored headers (I14). When it is
 * full, a new producer takes the place of the one whose last batch is oldest: refusing it would let a client that makes
 * up ids, or a day of short-lived producers, keep all others out.
 */
export class ProducerTable {
  /** In the order of their last batches. */
  readonly #producers = new Map<number, Producer>();
  readonly #limit: number;
  #logTime = 0;

  constructor(limit = 10_000) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#producers.size;
  }

  check(batch: ProducerBatch): SequenceVerdict {
    const producer = this.#producers.get(batch.producerId);
    if (producer === undefined) {
      const room = this.#producers.size < this.#limit || this.#someQuiet();
      return room ? { kind: 'append' } : { kind: 'refuse', code: 'PRODUCER_LIMIT' };
    }
    if (batch.epoch < producer.epoch) return { kind: 'refuse', code: 'PRODUCER_EPOCH_STALE' };
    if (batch.epoch > producer.epoch) {
      return batch.firstSequence === 0
        ? { kind: 'append' }
        : { kind: 'refuse', code: 'SEQUENCE_OUT_OF_ORDER' };
    }
    const last = lastSequence(batch);
    for (const kept of producer.kept) {
      if (kept.firstSequence !== batch.firstSequence || kept.lastSequence !== last) continue;
      return kept.batch === null
        ? { kind: 'committed', baseOffset: kept.baseOffset }
        : { kind: 'inflight', batch: kept.batch };
    }
    const newest = producer.kept.at(-1);
    const expected = newest === undefined ? batch.firstSequence : (newest.lastSequence + 1) % sequenceModulus;
    return batch.firstSequence === expected
      ? { kind: 'append' }
      : { kind: 'refuse', code: 'SEQUENCE_OUT_OF_ORDER' };
  }

  /** Takes a batch that `check` let through (`inflight`), or one read from the log (`baseOffset`). */
  record(batch: ProducerBatch, at: { inflight: LogBatch } | { baseOffset: Offset }, timestamp: number): void {
    let producer = this.#producers.get(batch.producerId);
    if (producer === undefined) this.#makeRoom();
    else this.#producers.delete(batch.producerId);
    if (producer === undefined || producer.epoch !== batch.epoch) {
      producer = { epoch: batch.epoch, lastTimestamp: timestamp, kept: [] };
    }
    this.#producers.set(batch.producerId, producer);
    producer.lastTimestamp = Math.max(producer.lastTimestamp, timestamp);
    this.#logTime = Math.max(this.#logTime, timestamp);
    producer.kept.push({
      firstSequence: batch.firstSequence,
      lastSequence: lastSequence(batch),
      baseOffset: 'baseOffset' in at ? at.baseOffset : -1,
      batch: 'inflight' in at ? at.inflight : null,
    });
    if (producer.kept.length > batchesKept) producer.kept.shift();
  }

  /** The batch is committed: its offset is final and the table no longer holds its bytes. */
  committed(producerId: number, batch: LogBatch): void {
    const producer = this.#producers.get(producerId);
    if (producer === undefined) return;
    for (const kept of producer.kept) {
      if (kept.batch !== batch) continue;
      kept.baseOffset = batch.baseOffset;
      kept.batch = null;
      return;
    }
  }

  /**
   * What the log holds so far: batches that have no offset yet are left out. They follow the snapshot in the log, or
   * are lost and come again; a snapshot that named them would call the repetition a duplicate.
   */
  encode(out: ByteWriter): void {
    out.u32(this.#producers.size).i64(this.#logTime);
    for (const [id, producer] of this.#producers) {
      const logged = producer.kept.filter((kept) => kept.batch === null);
      out.i64(id).u16(producer.epoch).i64(producer.lastTimestamp).u8(logged.length);
      for (const kept of logged) {
        out.u32(kept.firstSequence).u32(kept.lastSequence).i64(kept.baseOffset);
      }
    }
  }

  decode(input: ByteReader): void {
    this.#producers.clear();
    const count = input.u32();
    this.#logTime = input.i64();
    for (let i = 0; i < count; i++) {
      const id = input.i64();
      const producer: Producer = { epoch: input.u16(), lastTimestamp: input.i64(), kept: [] };
      const kept = input.u8();
      for (let k = 0; k < kept; k++) {
        producer.kept.push({
          firstSequence: input.u32(),
          lastSequence: input.u32(),
          baseOffset: input.i64(),
          batch: null,
        });
      }
      this.#producers.set(id, producer);
    }
  }

  /** Whether some producer has nothing in flight. */
  #someQuiet(): boolean {
    for (const producer of this.#producers.values()) if (isQuiet(producer)) return true;
    return false;
  }

  /** Forgets as many as have to go, oldest first, and with them who was silent for a day. */
  #makeRoom(): void {
    let over = this.#producers.size - this.#limit + 1;
    if (over <= 0) return;
    for (const [id, producer] of this.#producers) {
      if (over <= 0 && this.#logTime - producer.lastTimestamp <= idleMs) return;
      if (!isQuiet(producer)) continue;
      this.#producers.delete(id);
      over--;
    }
  }
}

/** What is in flight is joined by whoever repeats it, and its timestamps say nothing of when it came. */
function isQuiet(producer: Producer): boolean {
  return producer.kept.every((kept) => kept.batch === null);
}

function lastSequence(batch: ProducerBatch): number {
  return (batch.firstSequence + batch.count - 1) % sequenceModulus;
}
