import { randomBytes } from 'node:crypto';
import { Fault } from '../fault.ts';
import { FrameRing } from '../frame-ring.ts';
import type { Acknowledged, LoadResult, QosOneJob } from '../job.ts';
import { drain, measure } from '../measure.ts';
import { writeDigits } from '../wire/digits.ts';
import { pubackFrames, publishQosOneFrame } from '../wire/mqtt-frames.ts';
import { markPayload } from '../wire/payload-mark.ts';
import { inTurns } from './in-turns.ts';
import { killServers } from './kill.ts';
import { MqttLink } from './mqtt-link.ts';

/**
 * Flushes the pairs that received something once per event-loop turn, so that acknowledgements and
 * refills of a turn are one write per connection and the generator stays cheaper than the broker.
 */
class TurnFlush {
  #dirty: Pair[] = [];

  mark(pair: Pair): void {
    if (this.#dirty.length === 0) setImmediate(() => this.#flush());
    this.#dirty.push(pair);
  }

  #flush(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const pair of dirty) pair.flush();
  }
}

/** A server that fsyncs may need this long for what 10,000 connections have on the way. */
const drainPatienceMs = 30_000;

/** Pairs of one publisher and one subscriber, each with its own topics and window, all at QoS 1. */
export async function runQosOne(job: QosOneJob): Promise<LoadResult> {
  const fault = new Fault();
  const tag = randomBytes(4).readUInt32BE();
  const pairs: Pair[] = [];
  const turn = new TurnFlush();
  const sum = (of: (pair: Pair) => number) => pairs.reduce((total, pair) => total + of(pair), 0);
  try {
    pairs.push(...(await inTurns(job.pairs, (index) => Pair.open(job, { fault, turn, tag }, index))));
    for (const pair of pairs) pair.start();
    const timed = await measure(job, fault, {
      count: () => sum((pair) => pair.delivered),
      bytesEach: job.payloadBytes,
    });
    if (job.kill === true) {
      fault.close();
      await killServers(job.pids, () => sum((pair) => pair.acked));
      return { ...timed, ...killed(pairs, tag) };
    }
    for (const pair of pairs) pair.stop();
    const settled = () => pairs.every((pair) => pair.delivered >= pair.sent && pair.acked >= pair.sent);
    const moved = () => sum((pair) => pair.delivered + pair.acked);
    await fault.race(drain(settled, moved, drainPatienceMs));
    const unacked = sum((pair) => pair.sent - pair.acked);
    if (unacked !== 0) throw new Error(`${unacked} publishes were never acknowledged`);
    return {
      ...timed,
      expected: sum((pair) => pair.sent),
      arrived: sum((pair) => pair.delivered),
      disordered: sum((pair) => pair.disordered),
      acknowledged: acknowledgedOf(pairs, tag),
    };
  } finally {
    fault.close();
    for (const pair of pairs) pair.close();
  }
}

function killed(pairs: readonly Pair[], tag: number) {
  const acked = pairs.reduce((sum, pair) => sum + pair.acked, 0);
  return { expected: acked, arrived: acked, disordered: 0, acknowledged: acknowledgedOf(pairs, tag) };
}

function acknowledgedOf(pairs: readonly Pair[], tag: number): Acknowledged {
  return { pairs: { tag, counts: pairs.map((pair) => pair.acked) } };
}

const puback = 0x40;
const topicDigits = 5;

/**
 * Every payload begins with the mark of this load (wire/payload-mark). With several topics order holds
 * within each. A message leaves the window when it is both acknowledged and delivered, so no broker has
 * to queue more than the window for a subscriber.
 */
class Pair {
  sent = 0;
  acked = 0;
  delivered = 0;
  disordered = 0;
  readonly #window: number;
  readonly #ring: FrameRing;
  /** Packet ids to acknowledge at the end of the turn. */
  readonly #due: Uint16Array;
  /** By topic: the number that must come next. */
  readonly #next: Int32Array;
  #dueCount = 0;
  #dirty = false;
  #publisher: MqttLink | null = null;
  #subscriber: MqttLink | null = null;
  /** Until all pairs are there none publishes. */
  #stopped = true;

  private constructor(job: QosOneJob, { tag, index }: { readonly tag: number; readonly index: number }) {
    const topics = job.topics ?? 1;
    const payload = randomBytes(job.payloadBytes);
    markPayload(payload, { pair: index, tag });
    const frame = publishQosOneFrame(topicOf(job, index), payload);
    this.#window = job.window;
    this.#due = new Uint16Array(1024);
    this.#next = Int32Array.from({ length: topics }, (_, topic) => topic);
    this.#ring = new FrameRing(frame.bytes, job.window, (bytes, at, sequence) => {
      bytes.writeUInt16BE((sequence % 0xffff) + 1, at + frame.packetIdAt);
      bytes.writeUInt32BE(sequence, at + frame.payloadAt);
      if (topics > 1)
        writeDigits(bytes, { end: at + frame.packetIdAt, digits: topicDigits }, sequence % topics);
    });
  }

  static async open(
    job: QosOneJob,
    { fault, turn, tag }: { readonly fault: Fault; readonly turn: TurnFlush; readonly tag: number },
    index: number,
  ): Promise<Pair> {
    const pair = new Pair(job, { tag, index });
    const { endpoint, prefix } = job;
    const link = (clientId: string) =>
      MqttLink.open({
        endpoint,
        fault,
        clientId,
        receiveBytes: job.pairs > 100 ? 4096 : 65_536,
        onPacket: (first, bytes, at) => pair.#packet(first, bytes, at),
        onChunk: () => pair.#touch(turn),
      });
    const subscriber = await link(`${prefix}-sub-${index}`);
    pair.#subscriber = subscriber;
    const topic = topicOf(job, index);
    await subscriber.subscribe((job.topics ?? 1) > 1 ? `${topic.slice(0, -topicDigits)}+` : topic, 1);
    pair.#publisher = job.looped ? subscriber : await link(`${prefix}-pub-${index}`);
    return pair;
  }

  /** Acknowledges what has come and refills the window. */
  flush(): void {
    this.#dirty = false;
    if (this.#dueCount > 0) this.#acknowledge();
    this.#pump();
  }

  start(): void {
    this.#stopped = false;
    this.#pump();
  }

  /** Fills the window. */
  #pump(): void {
    if (this.#stopped || this.#publisher === null) return;
    const to = Math.min(this.acked, this.delivered) + this.#window;
    if (to <= this.sent) return;
    this.#ring.send(this.#publisher.socket, this.sent, to);
    this.sent = to;
  }

  stop(): void {
    this.#stopped = true;
  }

  close(): void {
    this.#publisher?.close();
    this.#subscriber?.close();
  }

  #packet(first: number, bytes: Buffer, at: number): void {
    if (first === puback) {
      this.acked++;
      return;
    }
    if ((first & 0xf6) !== 0x32) throw new Error(`unexpected packet type ${first >> 4}`);
    const packetIdAt = at + 2 + bytes.readUInt16BE(at);
    const sequence = bytes.readUInt32BE(packetIdAt + 2);
    const topic = sequence % this.#next.length;
    if (sequence === this.#next[topic]) {
      this.#next[topic] = sequence + this.#next.length;
      this.delivered++;
    } else this.disordered++;
    if (this.#dueCount === this.#due.length) this.#acknowledge();
    this.#due[this.#dueCount++] = bytes.readUInt16BE(packetIdAt);
  }

  #touch(turn: TurnFlush): void {
    if (this.#dirty) return;
    this.#dirty = true;
    turn.mark(this);
  }

  #acknowledge(): void {
    this.#subscriber?.socket.write(pubackFrames(this.#due, this.#dueCount));
    this.#dueCount = 0;
  }
}

/** The topic of a pair, or the first of its topics. */
function topicOf(job: QosOneJob, index: number): string {
  const topic = `${job.prefix}/qos1/${index}`;
  return (job.topics ?? 1) > 1 ? `${topic}/${'0'.repeat(topicDigits)}` : topic;
}
