import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../fault.ts';
import type { Endpoint } from '../job.ts';
import { openSocket } from '../socket.ts';
import { createTopicFrame, metadataFrame } from '../wire/kafka-frames.ts';
import { readCreateTopic, readLeaders } from '../wire/kafka-responses.ts';
import { KafkaScanner, type KafkaFrameHandler } from '../wire/kafka-scanner.ts';

/** Reads are as large as this, so that a fetch of 1 MiB takes a few calls and not sixteen. */
const receiveBytes = 256 * 1024;

export interface KafkaLinkOptions {
  readonly endpoint: Endpoint;
  readonly fault: Fault;
  readonly onFrame: KafkaFrameHandler;
  /** After all frames of a chunk: the place to write the next requests, in one go. */
  readonly afterChunk?: () => void;
}

/** A Kafka connection whose response frames go to the handler. */
export function openKafka({ endpoint, fault, onFrame, afterChunk }: KafkaLinkOptions): Promise<Socket> {
  const scanner = new KafkaScanner(onFrame);
  return openSocket({
    endpoint,
    fault,
    receiveBytes,
    onChunk: (chunk) => {
      scanner.push(chunk);
      afterChunk?.();
    },
  });
}

const topicExists = 36;
const leaderPolls = 300;
const leaderPollMs = 50;

/** Creates the topic unless it exists, and waits until every partition has a leader. */
export async function ensureTopic(endpoint: Endpoint, topic: string, partitions: number): Promise<void> {
  const fault = new Fault();
  let answer: (frame: Buffer) => void = () => undefined;
  const socket = await openKafka({
    endpoint,
    fault,
    onFrame: (bytes, at, end) => answer(Buffer.from(bytes.subarray(at, end))),
  });
  const ask = (frame: Buffer) => {
    const answered = new Promise<Buffer>((resolve) => {
      answer = resolve;
    });
    socket.write(frame);
    return fault.race(answered);
  };
  try {
    const created = readCreateTopic(await ask(createTopicFrame(topic, partitions, 1)), 0);
    if (created !== 0 && created !== topicExists) {
      throw new Error(`CreateTopics answered with error ${created}`);
    }
    for (let poll = 0; poll < leaderPolls; poll++) {
      const { error, led } = readLeaders(await ask(metadataFrame(topic, 2)), 0);
      if (error === 0 && led >= partitions) return;
      await delay(leaderPollMs);
    }
    throw new Error(`topic ${topic} has no leader for each of its ${partitions} partitions`);
  } finally {
    fault.close();
    socket.destroy();
  }
}
