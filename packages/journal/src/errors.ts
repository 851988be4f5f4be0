import type { Offset, SegmentId, ShardId } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '@robustmq/kernel';

interface SegmentName {
  readonly shard: ShardId;
  readonly segment: SegmentId;
}

export function segmentUnknown(name: SegmentName): RobustError<KernelErrorCode> {
  return new RobustError('JOURNAL_SEGMENT_UNKNOWN', 'this journal has no such segment', {
    detail: { shard: name.shard, segment: name.segment },
  });
}

/** `detail.from` and `detail.to` are the lost offsets: a reader that may skip them goes on at `to`. */
export function dataLost(name: SegmentName, from: Offset, to: Offset): RobustError<KernelErrorCode> {
  return new RobustError('JOURNAL_DATA_LOST', 'stored entries are damaged', {
    detail: { shard: name.shard, segment: name.segment, from, to },
  });
}

export function journalStopped(): RobustError<KernelErrorCode> {
  return new RobustError('JOURNAL_STOPPED', 'the journal is stopped', { retriable: true });
}

export function storageFull(cause?: unknown): RobustError<KernelErrorCode> {
  return new RobustError('STORAGE_FULL', 'there is no space for it', { retriable: true, cause });
}

export function isDiskError(error: unknown, code: string): boolean {
  return error instanceof RobustError && error.code === code;
}
