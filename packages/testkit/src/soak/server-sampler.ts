import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { adminRequest } from '../admin-request.ts';
import type { LiveMemory } from '../fuzz/live-memory.ts';
import { descriptorCount, residentBytes } from '../process-status.ts';
import type { ServerProcess } from '../server-process.ts';
import type { Sample } from './sample.ts';

/** What can be seen of a server from outside: its metrics, its process, its files. */
export type ServerSample = Omit<Sample, 'atMs' | 'stuck' | 'acknowledged' | 'delivered'>;

/**
 * Looks at a server as it is; with a `memory`, whose option it runs with, has it collect its garbage behind that, to see
 * what it has in use. Throws when a metric is missing.
 */
export async function sampleServer(server: ServerProcess, memory: LiveMemory | null): Promise<ServerSample> {
  const resident = residentBytes(server.pid);
  const metrics = await adminRequest(server, 'GET', '/metrics');
  const log = filesBelow(join(server.dataDir, 'journal', 'wal'));
  const segments = filesBelow(join(server.dataDir, 'journal', 'segments'));
  const lag = metric(metrics, 'nodejs_eventloop_lag_p99_seconds') * 1000;
  return {
    residentBytes: resident,
    liveBytes: memory === null ? null : await memory.of(server.pid),
    heapBytes: metric(metrics, 'nodejs_heap_size_used_bytes'),
    externalBytes: metric(metrics, 'nodejs_external_memory_bytes'),
    descriptors: descriptorCount(server.pid),
    resources: metric(metrics, 'nodejs_active_resources_total'),
    timers: metric(metrics, 'robustmq_server_timers'),
    walFiles: log.files,
    walBytes: log.bytes,
    segmentFiles: segments.files,
    segmentBytes: segments.bytes,
    metadataBytes: filesBelow(join(server.dataDir, 'meta')).bytes,
    lagMs: lag,
  };
}

/** The value of a metric in Prometheus' text; throws if it is not there. */
export function metric(text: string, name: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  const value = Number(line?.slice(name.length + 1));
  if (Number.isNaN(value)) throw new Error(`the server has no metric ${name}`);
  return value;
}

function filesBelow(folder: string): { readonly files: number; readonly bytes: number } {
  let files = 0;
  let bytes = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    // It may have been deleted since.
    const found = statSync(join(folder, name), { throwIfNoEntry: false });
    if (found?.isFile() !== true) continue;
    files++;
    bytes += found.size;
  }
  return { files, bytes };
}
