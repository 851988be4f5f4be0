import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../fault.ts';
import type { IdleJob, LoadResult } from '../job.ts';
import { residentBytes } from '../process-stat.ts';
import { inTurns } from './in-turns.ts';
import { MqttLink } from './mqtt-link.ts';

const settleMs = 1000;

/** Opens many silent connections and reads the server's memory before and with them. */
export async function runIdle(job: IdleJob): Promise<LoadResult> {
  const fault = new Fault();
  const links: MqttLink[] = [];
  try {
    const before = residentBytes(job.pids);
    const startedAtMs = performance.now();
    await inTurns(job.connections, async (index) => {
      const clientId = `${job.prefix}-idle-${index}`;
      links.push(await MqttLink.open({ endpoint: job.endpoint, fault, clientId, receiveBytes: 256 }));
    });
    const seconds = (performance.now() - startedAtMs) / 1000;
    await fault.race(delay(settleMs));
    const after = residentBytes(job.pids);
    return {
      seconds,
      count: links.length,
      bytes: 0,
      serverCpuSeconds: null,
      generatorCpuSeconds: 0,
      expected: job.connections,
      arrived: links.length,
      disordered: 0,
      residentBytes: before === null || after === null ? undefined : { before, with: after },
    };
  } finally {
    fault.close();
    for (const link of links) link.close();
  }
}
