import type { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import type { RetainedRecord } from '../folds/retained.ts';
import type { Subject } from '../names/subject.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';

/** Told once per batch what became of it: committed (`error` null), refused, or unknown. */
export interface BatchListener {
  settled(batch: LogBatch, error: RobustError<KernelErrorCode> | null): void;
}

/** What the publisher already knows about one record, so that the commit need not decode the batch. */
export interface RecordNote {
  /** Row in the batch. */
  readonly row: number;
  /** The record replaces (or, with an empty value, clears) what is retained for its subject; null: it does not. */
  readonly retain: Omit<RetainedRecord, 'sourceOffset'> | null;
  /** Deduplication token of an open exactly-once exchange, or null. */
  readonly token: { readonly producerId: number; readonly token: number } | null;
}

/** One batch on its way through a shard's log, and afterwards through the router. */
export class LogBatch implements RoutedBatch {
  /** -1 until the log takes it. */
  baseOffset = -1;
  count = 0;
  buffer: Buffer = noBytes;
  start = 0;
  end = 0;
  maxTimestamp = -1;
  /** Its buffer is the publisher's again once the log has taken it: the log copies it at once. */
  borrowed = false;
  /** The bytes before it in its buffer are free, for the header of an entry that begins with it. */
  hasHeadroom = false;
  readonly brokerEncoded: boolean;
  /** Entry flags beyond `brokerEncoded`; a control batch has count 0 and opaque bytes. */
  readonly flags: number;
  /** Producer of a batch with sequence numbers, else -1. */
  producerId = -1;
  subjects: readonly (Subject | null)[] | null = null;
  notes: RecordNote[] | null = null;
  /** `nobody` while there is none: most batches have one, and `push` to an empty list makes room for seventeen. */
  #listeners: BatchListener[] = nobody;
  /** Router epoch at which nothing of it goes to anybody before its commit; -1 while something may. */
  nothingAppendedEpoch = -1;
  /** The same of what goes out with its commit. */
  nothingCommittedEpoch = -1;
  /** Whether the outcome is known, and which: null is committed. */
  settled = false;
  error: RobustError<KernelErrorCode> | null = null;

  constructor(brokerEncoded: boolean, flags = 0) {
    this.brokerEncoded = brokerEncoded;
    this.flags = flags;
  }

  get bytes(): number {
    return this.end - this.start;
  }

  fill(buffer: Buffer, start: number, end: number, count: number, maxTimestamp: number): this {
    this.buffer = buffer;
    this.start = start;
    this.end = end;
    this.count = count;
    this.maxTimestamp = maxTimestamp;
    return this;
  }

  /** Copies its bytes to `into` at `at`, and lives there. */
  moveTo(into: Buffer, at: number): void {
    const bytes = this.end - this.start;
    this.buffer.copy(into, at, this.start, this.end);
    this.buffer = into;
    this.start = at;
    this.end = at + bytes;
    this.borrowed = false;
    this.hasHeadroom = false;
  }

  /** Adds a listener once: several messages of one listener in a row cost one entry. */
  listen(listener: BatchListener): void {
    if (this.#listeners === nobody) this.#listeners = [listener];
    else if (this.#listeners.at(-1) !== listener) this.#listeners.push(listener);
  }

  settle(error: RobustError<KernelErrorCode> | null): void {
    this.settled = true;
    this.error = error;
    for (const listener of this.#listeners) listener.settled(this, error);
    this.#listeners = nobody;
  }
}

const noBytes = Buffer.alloc(0);
const nobody: BatchListener[] = [];
