import type { KernelErrorCode } from '@robustmq/kernel';
import { reasonCode } from '@robustmq/mqtt-codec';

/**
 * The reason code that ends a publish, for errors that are definite; null where the message may yet succeed or its
 * outcome is not known, so that it gets no acknowledgement (docs/semantics.md 4.3).
 */
const byKernelCode = {
  TOPIC_NOT_FOUND: null,
  TOPIC_EXISTS: reasonCode.unspecifiedError,
  TOPIC_NAME_INVALID: reasonCode.topicNameInvalid,
  TOPIC_LIMIT: reasonCode.quotaExceeded,
  TOPIC_CONFIG_INVALID: reasonCode.unspecifiedError,
  TOPIC_POLICY: reasonCode.topicNameInvalid,
  SHARD_COUNT_INVALID: reasonCode.unspecifiedError,
  SHARD_NOT_FOUND: null,
  SHARD_NOT_OWNED: null,
  SHARD_FENCED: null,
  SHARD_UNAVAILABLE: null,
  OFFSET_OUT_OF_RANGE: reasonCode.unspecifiedError,
  BATCH_TOO_LARGE: reasonCode.quotaExceeded,
  BATCH_INVALID: reasonCode.unspecifiedError,
  SEQUENCE_OUT_OF_ORDER: reasonCode.unspecifiedError,
  PRODUCER_EPOCH_STALE: reasonCode.unspecifiedError,
  PRODUCER_LIMIT: reasonCode.quotaExceeded,
  RETAINED_LIMIT: reasonCode.quotaExceeded,
  STORAGE_FULL: null,
  JOURNAL_DATA_LOST: null,
  JOURNAL_FENCED: null,
  JOURNAL_GAP: null,
  JOURNAL_DIVERGED: null,
  JOURNAL_SEGMENT_UNKNOWN: null,
  JOURNAL_INCARNATION: null,
  JOURNAL_STOPPED: null,
  METADATA_CONFLICT: null,
  METADATA_UNAVAILABLE: null,
  OUTCOME_UNKNOWN: null,
  KERNEL_STOPPING: null,
} as const satisfies Record<KernelErrorCode, number | null>;

/** The reason code for a definite refusal, null for everything that gets no acknowledgement. */
export function refusalCode(code: KernelErrorCode): number | null {
  return byKernelCode[code];
}
