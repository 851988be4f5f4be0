import { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '@robustmq/kernel';

/** The answer to a command that changes nothing. */
export type Refusal = RobustError<KernelErrorCode>;

export function refusal(
  code: KernelErrorCode,
  message: string,
  detail: Record<string, unknown> = {},
  retriable = false,
): Refusal {
  return new RobustError<KernelErrorCode>(code, message, { detail, retriable });
}
