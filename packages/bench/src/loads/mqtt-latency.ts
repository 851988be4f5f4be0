import { randomBytes } from 'node:crypto';
import { Fault } from '../fault.ts';
import type { LoadResult, MqttLatencyJob } from '../job.ts';
import { LatencyHistogram } from '../latency-histogram.ts';
import { drain, measure } from '../measure.ts';
import { Pacer } from '../pacer.ts';
import { pubackFrames, publishFrame, publishQosOneFrame, repeatFrame } from '../wire/mqtt-frames.ts';
import { inTurns } from './in-turns.ts';
import { MqttLink } from './mqtt-link.ts';

/** Publishes of a publisher that are not acknowledged; more than this is not sent, and the rate is missed. */
const unackedMax = 1000;

/** Messages at a steady rate, timed from the write of the publisher to the read of each subscriber. */
export async function runMqttLatency(job: MqttLatencyJob): Promise<LoadResult> {
  const fault = new Fault();
  const histogram = new LatencyHistogram();
  const receivers: Receiver[] = [];
  const senders: Sender[] = [];
  const arrived = () => receivers.reduce((sum, receiver) => sum + receiver.count, 0);
  let turn = 0;
  const pacer = new Pacer(job.perSecond / job.subscribers, (count, nowMs) => {
    for (let i = 0; i < senders.length; i++) {
      const share = Math.floor(count / senders.length) + (i < count % senders.length ? 1 : 0);
      senders[(turn + i) % senders.length]?.send(share, nowMs);
    }
    turn += count % senders.length;
  });
  try {
    await inTurns(job.pairs * job.subscribers, async (index) => {
      receivers.push(await Receiver.open(job, { fault, histogram }, index));
    });
    senders.push(...(await inTurns(job.pairs, (index) => Sender.open(job, fault, index))));
    pacer.start();
    const timed = await measure(job, fault, {
      count: arrived,
      bytesEach: job.payloadBytes,
      onWindow: () => histogram.clear(),
    });
    const latency = histogram.summary(timed.count / timed.seconds / job.perSecond);
    pacer.stop();
    const expected = senders.reduce((sum, sender) => sum + sender.sent, 0) * job.subscribers;
    await fault.race(drain(() => arrived() >= expected, arrived));
    return { ...timed, expected, arrived: arrived(), disordered: 0, latency };
  } finally {
    pacer.stop();
    fault.close();
    for (const { link } of [...receivers, ...senders]) link.close();
  }
}

function topicOf(job: MqttLatencyJob, pair: number): string {
  return `${job.prefix}/latency/${pair}`;
}

class Sender {
  sent = 0;
  acked = 0;
  readonly link: MqttLink;
  readonly #frame: Buffer;
  readonly #payloadAt: number;
  readonly #qos: 0 | 1;

  private constructor(link: MqttLink, topic: string, job: MqttLatencyJob) {
    this.link = link;
    const payload = randomBytes(job.payloadBytes);
    this.#qos = job.qos;
    this.#frame = job.qos === 0 ? publishFrame(topic, payload) : publishQosOneFrame(topic, payload).bytes;
    this.#payloadAt = this.#frame.length - payload.length;
  }

  static async open(job: MqttLatencyJob, fault: Fault, pair: number): Promise<Sender> {
    let sender: Sender | null = null;
    const link = await MqttLink.open({
      endpoint: job.endpoint,
      fault,
      clientId: `${job.prefix}-pub-${pair}`,
      onPacket: () => {
        if (sender !== null) sender.acked++;
      },
    });
    sender = new Sender(link, topicOf(job, pair), job);
    return sender;
  }

  /** All messages of a tick are one write and have one time. */
  send(share: number, nowMs: number): void {
    const count = this.#qos === 0 ? share : Math.min(share, this.acked + unackedMax - this.sent);
    if (count <= 0) return;
    const bytes = repeatFrame(this.#frame, count);
    for (let i = 0; i < count; i++) {
      const at = i * this.#frame.length + this.#payloadAt;
      bytes.writeDoubleBE(nowMs, at);
      if (this.#qos === 1) bytes.writeUInt16BE(((this.sent + i) % 0xffff) + 1, at - 2);
    }
    this.sent += count;
    this.link.socket.write(bytes);
  }
}

class Receiver {
  count = 0;
  readonly link: MqttLink;

  private constructor(link: MqttLink) {
    this.link = link;
  }

  static async open(
    job: MqttLatencyJob,
    { fault, histogram }: { readonly fault: Fault; readonly histogram: LatencyHistogram },
    index: number,
  ): Promise<Receiver> {
    const due = new Uint16Array(1024);
    let dueCount = 0;
    let receiver: Receiver | null = null;
    const acknowledge = () => {
      if (dueCount > 0) receiver?.link.socket.write(pubackFrames(due, dueCount));
      dueCount = 0;
    };
    const link = await MqttLink.open({
      endpoint: job.endpoint,
      fault,
      clientId: `${job.prefix}-sub-${index}`,
      inspects: true,
      onPacket: (_, bytes, at, end) => {
        if (receiver === null) return;
        const payloadAt = end - job.payloadBytes;
        histogram.record(performance.now() - bytes.readDoubleBE(payloadAt));
        receiver.count++;
        if (job.qos === 0) return;
        if (dueCount === due.length) acknowledge();
        due[dueCount++] = bytes.readUInt16BE(payloadAt - 2);
      },
      onChunk: acknowledge,
    });
    receiver = new Receiver(link);
    await link.subscribe(topicOf(job, index % job.pairs), job.qos);
    return receiver;
  }
}
