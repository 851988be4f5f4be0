import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../fault.ts';
import type { IdleShardsJob, LoadResult } from '../job.ts';
import { residentBytes } from '../process-stat.ts';
import { recordBatch } from '../wire/record-batch.ts';
import { inTurns } from './in-turns.ts';
import { ensureTopic } from './kafka-link.ts';
import { ProduceLane } from './produce-lane.ts';

const settleMs = 1000;
const lanesMax = 50;

/** Writes one record into each of many shards and reads the server's memory before and after. */
export async function runIdleShards(job: IdleShardsJob): Promise<LoadResult> {
  const fault = new Fault();
  const { endpoint, topic, shards } = job;
  const before = residentBytes(job.pids);
  const startedAtMs = performance.now();
  await ensureTopic(endpoint, topic, shards);
  const batch = recordBatch(Buffer.from('1'), 1, Date.now());
  const lanes = Math.min(shards, lanesMax);
  // Opening a lane writes one batch to each of its partitions.
  const opened = await inTurns(lanes, (index) => {
    const count = Math.ceil((shards - index) / lanes);
    const partitions = Array.from({ length: count }, (_, place) => index + place * lanes);
    return ProduceLane.open({ endpoint, topic, batch, recordsPerBatch: 1, inFlight: 1, partitions }, fault);
  });
  const seconds = (performance.now() - startedAtMs) / 1000;
  fault.close();
  for (const lane of opened) lane.close();
  await delay(settleMs);
  const after = residentBytes(job.pids);
  return {
    seconds,
    count: shards,
    bytes: 0,
    serverCpuSeconds: null,
    generatorCpuSeconds: 0,
    expected: shards,
    arrived: opened.reduce((sum, lane) => sum + lane.acked, 0),
    disordered: 0,
    residentBytes: before === null || after === null ? undefined : { before, with: after },
    note: `${shards} shards were created and written to in ${seconds.toFixed(1)} s`,
  };
}
