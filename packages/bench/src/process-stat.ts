import { readFileSync } from 'node:fs';

/** Linux counts process time in ticks of a hundredth of a second on every architecture Node runs on. */
const ticksPerSecond = 100;

/** CPU seconds (user and system, all threads) that the processes have used; null where /proc does not tell. */
export function cpuSeconds(pids: readonly number[]): number | null {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readProc(pid, 'stat');
    if (stat === null) return null;
    ticks += ticksOf(stat);
  }
  return pids.length === 0 ? null : ticks / ticksPerSecond;
}

/** Resident bytes of the processes together; null where /proc does not tell. */
export function residentBytes(pids: readonly number[]): number | null {
  let bytes = 0;
  for (const pid of pids) {
    const status = readProc(pid, 'status');
    const kib = status === null ? undefined : /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
    if (kib === undefined) return null;
    bytes += Number(kib) * 1024;
  }
  return pids.length === 0 ? null : bytes;
}

/** utime + stime of a /proc stat line. The name may hold spaces and brackets, so fields count from its last bracket. */
export function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return null;
  }
}
