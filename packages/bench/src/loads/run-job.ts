import type { Job, LoadResult } from '../job.ts';
import { runFetch } from './kafka-fetch.ts';
import { runIdleShards } from './kafka-idle.ts';
import { runFill, runProduce } from './kafka-produce.ts';
import { runIdle } from './mqtt-idle.ts';
import { runIdleTopics } from './mqtt-idle-topics.ts';
import { runMqttLatency } from './mqtt-latency.ts';
import { runOffline } from './mqtt-offline.ts';
import { runQosOne } from './mqtt-qos1.ts';
import { runQosZero } from './mqtt-qos0.ts';

/** Runs one load in this process. */
export function runJob(job: Job): Promise<LoadResult> {
  switch (job.kind) {
    case 'mqtt-qos0':
      return runQosZero(job);
    case 'mqtt-qos1':
      return runQosOne(job);
    case 'mqtt-latency':
      return runMqttLatency(job);
    case 'mqtt-offline':
      return runOffline(job);
    case 'mqtt-idle':
      return runIdle(job);
    case 'mqtt-idle-topics':
      return runIdleTopics(job);
    case 'kafka-idle':
      return runIdleShards(job);
    case 'kafka-produce':
      return runProduce(job);
    case 'kafka-fill':
      return runFill(job);
    case 'kafka-fetch':
      return runFetch(job);
  }
}
