import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { metricOf } from '../admin.ts';

/** What the write-ahead log has written, by the counters of the server's disk port. */
export interface DiskCounters {
  readonly writtenBytes: number;
  readonly writes: number;
  readonly syncs: number;
}

const logClass = 'class="wal"';

/** From the text of all metrics. */
export function diskCounters(metrics: string): DiskCounters {
  const of = (name: string) => metricOf(metrics, name, logClass);
  return {
    writtenBytes: of('robustmq_disk_written_bytes_total'),
    writes: of('robustmq_disk_writes_total'),
    syncs: of('robustmq_disk_syncs_total'),
  };
}

/** O_DSYNC in the flags that Linux shows of an open file: a write is on the disk when it returns. */
const dsync = 0o10000;

/** Open files whose path holds `part`, and how many of them were opened with O_DSYNC; null where /proc does not tell. */
export function synchronousFiles(
  pids: readonly number[],
  part: string,
): { readonly open: number; readonly synchronous: number } | null {
  let open = 0;
  let synchronous = 0;
  try {
    for (const pid of pids) {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (!linkOf(pid, fd).includes(part)) continue;
        const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1];
        open++;
        if ((Number.parseInt(flags ?? '0', 8) & dsync) !== 0) synchronous++;
      }
    }
  } catch {
    return null;
  }
  return { open, synchronous };
}

/** Descriptors come and go while they are listed. */
function linkOf(pid: number, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return '';
  }
}
