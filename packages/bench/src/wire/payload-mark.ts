/**
 * The beginning of a payload whose message must be found again after a crash: the message's number (4 bytes),
 * its pair (2), nothing (2), and a tag that no other load has (4).
 */
export interface PayloadMark {
  readonly pair: number;
  readonly tag: number;
}

const pairAt = 4;
const tagAt = 8;
export const markBytes = 12;

/** Writes all of the mark but the number, which differs from message to message. */
export function markPayload(payload: Buffer, { pair, tag }: PayloadMark): void {
  payload.writeUInt16BE(pair, pairAt);
  payload.writeUInt32BE(tag, tagAt);
}

/** The number in a payload with this tag at [at, end), and its pair; null for any other payload. */
export function readMark(
  bytes: Buffer,
  at: number,
  end: number,
  tag: number,
): { readonly pair: number; readonly sequence: number } | null {
  if (end - at < markBytes || bytes.readUInt32BE(at + tagAt) !== tag) return null;
  return { pair: bytes.readUInt16BE(at + pairAt), sequence: bytes.readUInt32BE(at) };
}
