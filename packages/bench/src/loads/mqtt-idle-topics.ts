import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../fault.ts';
import { FrameRing } from '../frame-ring.ts';
import type { IdleTopicsJob, LoadResult } from '../job.ts';
import { drain } from '../measure.ts';
import { residentBytes } from '../process-stat.ts';
import { publishQosOneFrame } from '../wire/mqtt-frames.ts';
import { writeDigits } from '../wire/digits.ts';
import { MqttLink } from './mqtt-link.ts';

const digits = 6;
const window = 500;
const settleMs = 1000;

/**
 * Publishes once to each of many names and reads the server's memory before and after. As many messages to
 * few names go first, so that what the messages themselves take is there before.
 */
export async function runIdleTopics(job: IdleTopicsJob): Promise<LoadResult> {
  const fault = new Fault();
  let acked = 0;
  let advance = () => undefined as void;
  const link = await MqttLink.open({
    endpoint: job.endpoint,
    fault,
    clientId: `${job.prefix}-names`,
    onPacket: () => acked++,
    onChunk: () => advance(),
  });
  const publish = async (branch: string, names: number) => {
    const ring = ringOf(job, branch, names);
    acked = 0;
    let sent = 0;
    advance = () => {
      const to = Math.min(job.topics, acked + window);
      if (to > sent) ring.send(link.socket, sent, to);
      sent = Math.max(sent, to);
    };
    advance();
    await fault.race(
      drain(
        () => acked >= job.topics,
        () => acked,
        10_000,
      ),
    );
  };
  try {
    await publish('few', 100);
    await delay(settleMs);
    const before = residentBytes(job.pids);
    const startedAtMs = performance.now();
    await publish('many', job.topics);
    const seconds = (performance.now() - startedAtMs) / 1000;
    await delay(settleMs);
    const after = residentBytes(job.pids);
    return {
      seconds,
      count: job.topics,
      bytes: 0,
      serverCpuSeconds: null,
      generatorCpuSeconds: 0,
      expected: job.topics,
      arrived: acked,
      disordered: 0,
      residentBytes: before === null || after === null ? undefined : { before, with: after },
    };
  } finally {
    fault.close();
    link.close();
  }
}

function ringOf(job: IdleTopicsJob, branch: string, names: number): FrameRing {
  const topic = `${job.prefix}/${branch}/${'0'.repeat(digits)}`;
  const frame = publishQosOneFrame(topic, Buffer.alloc(job.payloadBytes, 7));
  return new FrameRing(frame.bytes, window, (bytes, at, sequence) => {
    bytes.writeUInt16BE((sequence % 0xffff) + 1, at + frame.packetIdAt);
    writeDigits(bytes, { end: at + frame.packetIdAt, digits }, sequence % names);
  });
}
