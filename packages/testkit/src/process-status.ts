import { readdirSync, readFileSync } from 'node:fs';

/** Resident memory of a process, bytes; of Linux. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(kib?.[1]) * 1024;
}

/** Descriptors that a process has open; of Linux. */
export function descriptorCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
