import { RecordInput } from '@robustmq/record';
import type { Subject } from '../names/subject.ts';
import type { Guarantee } from '../router/match.ts';

/**
 * A message on its way in. One mutable object per adapter, filled anew for each message: publishing allocates nothing.
 * `record` holds the value, the encoded headers (the `mq` header among them) and the timestamp; the publisher sets
 * the key.
 */
export class PublishMessage {
  subject!: Subject;
  readonly record = new RecordInput();
  guarantee: Guarantee = 0;
  retain = false;
  /** Deduplication of an exactly-once publish: session producer id, or -1, and token. */
  tokenProducer = -1;
  token = 0;
  /** Chooses the shard of a message without a key, so that one publisher's order holds. Unsigned 32-bit. */
  publisherHash = 0;
}

/** Why a message was definitely not taken. */
export type PublishRefusal =
  | 'BATCH_TOO_LARGE'
  | 'RETAINED_LIMIT'
  | 'STORAGE_FULL'
  | 'TOPIC_NOT_FOUND'
  | 'TOPIC_POLICY'
  | 'KERNEL_STOPPING';
