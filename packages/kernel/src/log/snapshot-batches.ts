import { entryFlag } from './entry.ts';
import { LogBatch } from './log-batch.ts';

/** Snapshot entries are cut at this many bytes. */
const chunkBytes = 1024 * 1024;

/** A fold's state as control batches: each begins with its number and how many there are, u32 both. */
export function snapshotBatches(state: Buffer): LogBatch[] {
  const parts = Math.max(1, Math.ceil(state.length / chunkBytes));
  return Array.from({ length: parts }, (_, part) => {
    const body = state.subarray(part * chunkBytes, (part + 1) * chunkBytes);
    const head = Buffer.allocUnsafe(8);
    head.writeUInt32BE(part, 0);
    head.writeUInt32BE(parts, 4);
    const buffer = Buffer.concat([head, body]);
    return new LogBatch(true, entryFlag.control | entryFlag.snapshot).fill(buffer, 0, buffer.length, 0, -1);
  });
}
