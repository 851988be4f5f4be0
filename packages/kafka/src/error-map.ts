import { RobustError } from '@robustmq/core';
import { errorCodes } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { KernelErrorCode } from '@robustmq/kernel';

/** The wire code of every kernel error; what is unknown or passes is one that clients retry. */
const byKernelCode = {
  TOPIC_NOT_FOUND: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  TOPIC_EXISTS: errorCodes.TOPIC_ALREADY_EXISTS,
  TOPIC_NAME_INVALID: errorCodes.INVALID_TOPIC_EXCEPTION,
  TOPIC_LIMIT: errorCodes.POLICY_VIOLATION,
  TOPIC_CONFIG_INVALID: errorCodes.INVALID_CONFIG,
  TOPIC_POLICY: errorCodes.POLICY_VIOLATION,
  SHARD_COUNT_INVALID: errorCodes.INVALID_PARTITIONS,
  SHARD_NOT_FOUND: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  SHARD_NOT_OWNED: errorCodes.NOT_LEADER_OR_FOLLOWER,
  SHARD_FENCED: errorCodes.NOT_LEADER_OR_FOLLOWER,
  SHARD_UNAVAILABLE: errorCodes.KAFKA_STORAGE_ERROR,
  OFFSET_OUT_OF_RANGE: errorCodes.OFFSET_OUT_OF_RANGE,
  BATCH_TOO_LARGE: errorCodes.MESSAGE_TOO_LARGE,
  BATCH_INVALID: errorCodes.INVALID_RECORD,
  SEQUENCE_OUT_OF_ORDER: errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER,
  PRODUCER_EPOCH_STALE: errorCodes.INVALID_PRODUCER_EPOCH,
  PRODUCER_LIMIT: errorCodes.POLICY_VIOLATION,
  RETAINED_LIMIT: errorCodes.POLICY_VIOLATION,
  STORAGE_FULL: errorCodes.KAFKA_STORAGE_ERROR,
  JOURNAL_DATA_LOST: errorCodes.KAFKA_STORAGE_ERROR,
  JOURNAL_FENCED: errorCodes.NOT_LEADER_OR_FOLLOWER,
  JOURNAL_GAP: errorCodes.KAFKA_STORAGE_ERROR,
  JOURNAL_DIVERGED: errorCodes.KAFKA_STORAGE_ERROR,
  JOURNAL_SEGMENT_UNKNOWN: errorCodes.KAFKA_STORAGE_ERROR,
  JOURNAL_INCARNATION: errorCodes.KAFKA_STORAGE_ERROR,
  JOURNAL_STOPPED: errorCodes.NOT_LEADER_OR_FOLLOWER,
  METADATA_CONFLICT: errorCodes.NOT_LEADER_OR_FOLLOWER,
  METADATA_UNAVAILABLE: errorCodes.COORDINATOR_NOT_AVAILABLE,
  OUTCOME_UNKNOWN: errorCodes.REQUEST_TIMED_OUT,
  KERNEL_STOPPING: errorCodes.NOT_LEADER_OR_FOLLOWER,
} as const satisfies Record<KernelErrorCode, ErrorNumber>;

/** The wire code of an error; one of ours that is not the kernel's, or a foreign one, is UNKNOWN_SERVER_ERROR. */
export function errorNumber(error: unknown): ErrorNumber {
  if (!(error instanceof RobustError)) return errorCodes.UNKNOWN_SERVER_ERROR;
  return byKernelCode[error.code as KernelErrorCode] ?? errorCodes.UNKNOWN_SERVER_ERROR;
}
