import type { Offset } from '@robustmq/core';
import type { Subject } from '../names/subject.ts';

/** One stored batch as the router hands it over. */
export interface RoutedBatch {
  readonly baseOffset: Offset;
  /** Offsets covered: the next batch starts at `baseOffset + count`. */
  readonly count: number;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** Whether brokers encoded it: only then its `mq` headers are trusted. */
  readonly brokerEncoded: boolean;
  /** Subject of each record in order where the publisher already knew it; null: read them from the batch. */
  readonly subjects: readonly (Subject | null)[] | null;
}
