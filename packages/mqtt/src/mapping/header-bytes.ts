import { headerNames } from '@robustmq/kernel';

/** The names of headers that MQTT has properties for, as they stand in a record. */
export const headerBytes = {
  contentType: Buffer.from(headerNames.contentType),
  replyTo: Buffer.from(headerNames.replyTo),
  correlationId: Buffer.from(headerNames.correlationId),
  expiresAt: Buffer.from(headerNames.expiresAt),
} as const;

/** Digits of the largest safe integer. */
const digitsMax = 16;

/**
 * The time in an `expires-at` header, ms since 1970 in ASCII decimal, or -1 when `bytes[start, end)` is none: a record
 * from elsewhere may hold anything there. `start` -1 is a null value.
 */
export function parseExpiresAt(bytes: Uint8Array, start: number, end: number): number {
  if (start < 0 || start === end || end - start > digitsMax) return -1;
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return Number.isSafeInteger(value) ? value : -1;
}
