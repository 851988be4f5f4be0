import type { IoClass } from '@robustmq/core';

/** What one I/O class has done since the start; read by the metrics endpoint. */
export interface IoCounters {
  pwrites: number;
  writtenBytes: number;
  preads: number;
  readBytes: number;
  /** fdatasync calls; a write to a file opened with `dsync` is durable without one and counts as a pwrite only. */
  syncs: number;
}

export type DiskCounters = Readonly<Record<IoClass, IoCounters>>;

export function createCounters(): DiskCounters {
  return { wal: zero(), read: zero(), writeBehind: zero(), compaction: zero(), level: zero() };
}

function zero(): IoCounters {
  return { pwrites: 0, writtenBytes: 0, preads: 0, readBytes: 0, syncs: 0 };
}
