import { randomBytes } from 'node:crypto';
import { Fault } from '../fault.ts';
import type { FillJob, LoadResult, ProduceJob } from '../job.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import { drain, measure } from '../measure.ts';
import { Pacer } from '../pacer.ts';
import { recordBatch } from '../wire/record-batch.ts';
import { inTurns } from './in-turns.ts';
import { ensureTopic } from './kafka-link.ts';
import { killServers } from './kill.ts';
import { ProduceLane } from './produce-lane.ts';

/** Producers with acks from all replicas: a few requests in flight on each connection. */
export async function runProduce(job: ProduceJob): Promise<LoadResult> {
  const fault = new Fault();
  const histogram = new LatencyHistogram();
  let lanes: ProduceLane[] = [];
  let pacer: Pacer | null = null;
  try {
    await ensureTopic(job.endpoint, job.topic, job.partitions);
    lanes = await openLanes(job, fault, (ms) => histogram.record(ms));
    const total = (of: (lane: ProduceLane) => number) => lanes.reduce((sum, lane) => sum + of(lane), 0);
    const acked = () => total((lane) => lane.acked) * job.recordsPerBatch;
    if (job.perSecond === undefined) for (const lane of lanes) lane.start();
    else pacer = pace(lanes, job.perSecond / job.recordsPerBatch);
    const timed = await measure(job, fault, {
      count: acked,
      bytesEach: job.valueBytes,
      onWindow: () => histogram.clear(),
    });
    const latency = histogram.summary(
      timed.count / timed.seconds / (job.perSecond ?? timed.count / timed.seconds),
    );
    pacer?.stop();
    if (job.kill === true) {
      fault.close();
      await killServers(job.pids, acked);
    } else {
      for (const lane of lanes) lane.stop();
      await fault.race(drain(() => total((lane) => lane.sent - lane.acked) === 0, acked));
    }
    const expected = job.kill === true ? acked() : total((lane) => lane.sent) * job.recordsPerBatch;
    const acknowledged = { partitions: { topic: job.topic, ends: endsOf(lanes, job.partitions) } };
    return { ...timed, expected, arrived: acked(), disordered: 0, latency, acknowledged };
  } finally {
    pacer?.stop();
    fault.close();
    for (const lane of lanes) lane.close();
  }
}

/** Writes a fixed number of records to partition 0, for the fetch loads. */
export async function runFill(job: FillJob): Promise<LoadResult> {
  const fault = new Fault();
  let lane: ProduceLane | null = null;
  try {
    await ensureTopic(job.endpoint, job.topic, 1);
    const batch = recordBatch(randomBytes(job.valueBytes), job.recordsPerBatch, Date.now());
    const requests = Math.ceil(job.records / job.recordsPerBatch);
    const { endpoint, topic, recordsPerBatch } = job;
    const options = { endpoint, topic, batch, recordsPerBatch, inFlight: 5, partitions: [0] };
    const opened = await ProduceLane.open(options, fault);
    lane = opened;
    const startedAtMs = performance.now();
    opened.start(requests);
    const acked = () => opened.acked;
    await fault.race(drain(() => acked() >= requests, acked, 10_000));
    if (acked() < requests) throw new Error('the server stopped acknowledging');
    const count = requests * job.recordsPerBatch;
    return {
      seconds: (performance.now() - startedAtMs) / 1000,
      count,
      bytes: count * job.valueBytes,
      serverCpuSeconds: null,
      generatorCpuSeconds: 0,
      expected: count,
      arrived: count,
      disordered: 0,
      offsets: { start: opened.firstOffsets[0] as number, end: opened.nextOffsets[0] as number },
    };
  } finally {
    fault.close();
    lane?.close();
  }
}

async function openLanes(
  job: ProduceJob,
  fault: Fault,
  onAnswer: (ms: number) => void,
): Promise<ProduceLane[]> {
  const { endpoint, topic, recordsPerBatch, inFlight, connections } = job;
  const batch = recordBatch(randomBytes(job.valueBytes), recordsPerBatch, Date.now());
  const share = job.partitions / connections;
  const lanes = await inTurns(connections, (connection) => {
    const partitions = Array.from({ length: share }, (_, i) => connection + i * connections);
    const options = { endpoint, topic, batch, recordsPerBatch, inFlight, partitions, onAnswer };
    return ProduceLane.open(options, fault);
  });
  return lanes;
}

/** Gives each lane its requests in turn. */
function pace(lanes: readonly ProduceLane[], requestsPerSecond: number): Pacer {
  let next = 0;
  for (const lane of lanes) lane.pace();
  const pacer = new Pacer(requestsPerSecond, (count, nowMs) => {
    for (let i = 0; i < count; i++) lanes[next++ % lanes.length]?.push(nowMs);
  });
  pacer.start();
  return pacer;
}

function endsOf(lanes: readonly ProduceLane[], partitions: number): number[] {
  const ends = Array.from({ length: partitions }, () => 0);
  for (const lane of lanes) {
    lane.partitions.forEach((partition, place) => {
      ends[partition] = Math.max(0, lane.nextOffsets[place] as number);
    });
  }
  return ends;
}
