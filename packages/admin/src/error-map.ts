import { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '@robustmq/kernel';
import type { AdminErrorCode } from './errors.ts';

/** What a refused request is answered with. */
export interface ErrorAnswer {
  readonly status: number;
  readonly body: { readonly code: string; readonly message: string; readonly detail?: object };
}

/** HTTP status of every kernel error. */
const statusOf = {
  TOPIC_NOT_FOUND: 404,
  TOPIC_EXISTS: 409,
  TOPIC_NAME_INVALID: 400,
  TOPIC_LIMIT: 409,
  TOPIC_CONFIG_INVALID: 400,
  TOPIC_POLICY: 409,
  SHARD_COUNT_INVALID: 400,
  SHARD_NOT_FOUND: 404,
  SHARD_NOT_OWNED: 503,
  SHARD_FENCED: 503,
  SHARD_UNAVAILABLE: 503,
  OFFSET_OUT_OF_RANGE: 400,
  BATCH_TOO_LARGE: 413,
  BATCH_INVALID: 400,
  SEQUENCE_OUT_OF_ORDER: 409,
  PRODUCER_EPOCH_STALE: 409,
  PRODUCER_LIMIT: 409,
  RETAINED_LIMIT: 409,
  STORAGE_FULL: 507,
  JOURNAL_DATA_LOST: 500,
  JOURNAL_FENCED: 503,
  JOURNAL_GAP: 503,
  JOURNAL_DIVERGED: 503,
  JOURNAL_SEGMENT_UNKNOWN: 503,
  JOURNAL_INCARNATION: 503,
  JOURNAL_STOPPED: 503,
  METADATA_CONFLICT: 409,
  METADATA_UNAVAILABLE: 503,
  OUTCOME_UNKNOWN: 504,
  KERNEL_STOPPING: 503,
} as const satisfies Record<KernelErrorCode, number>;

/** Status of the codes that the HTTP layer gives. */
const byHttpCode = new Map<string, { code: AdminErrorCode; status: number }>([
  ['FST_ERR_VALIDATION', { code: 'REQUEST_INVALID', status: 400 }],
  ['FST_ERR_CTP_BODY_TOO_LARGE', { code: 'REQUEST_TOO_LARGE', status: 413 }],
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', { code: 'REQUEST_MEDIA_TYPE', status: 415 }],
]);

/** The answer to what a handler threw; null: nobody expects that error. */
export function errorAnswer(error: unknown): ErrorAnswer | null {
  if (error instanceof RobustError) {
    const status = statusOf[error.code as KernelErrorCode];
    if (status === undefined) return null;
    const { code, message, detail } = error;
    return { status, body: Object.keys(detail).length === 0 ? { code, message } : { code, message, detail } };
  }
  const { code = '', statusCode = 500, message } = error as Error & { code?: string; statusCode?: number };
  const known = byHttpCode.get(code);
  if (known !== undefined) return { status: known.status, body: { code: known.code, message } };
  // Everything else that the HTTP layer blames on the client: no JSON, a wrong length, a bad URL.
  if (statusCode >= 400 && statusCode < 500)
    return { status: statusCode, body: { code: 'REQUEST_INVALID', message } };
  return null;
}
