import { randomBytes } from 'node:crypto';
import { Fault } from '../fault.ts';
import { FrameRing } from '../frame-ring.ts';
import type { LoadResult, QosOneJob } from '../job.ts';
import { drain, measure } from '../measure.ts';
import { publishQosOneFrame } from '../wire/mqtt-frames.ts';
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

/** Pairs of one publisher and one subscriber, each with its own topic and window, all at QoS 1. */
export async function runQosOne(job: QosOneJob): Promise<LoadResult> {
  const fault = new Fault();
  const pairs: Pair[] = [];
  const turn = new TurnFlush();
  const sum = (of: (pair: Pair) => number) => pairs.reduce((total, pair) => total + of(pair), 0);
  try {
    for (let i = 0; i < job.pairs; i++) pairs.push(await Pair.open(job, { fault, turn }, i));
    for (const pair of pairs) pair.pump();
    const timed = await measure(job, fault, {
      count: () => sum((pair) => pair.delivered),
      bytesEach: job.payloadBytes,
    });
    for (const pair of pairs) pair.stop();
    const settled = () => pairs.every((pair) => pair.delivered >= pair.sent && pair.acked >= pair.sent);
    await drain(settled, () => sum((pair) => pair.delivered + pair.acked));
    const unacked = sum((pair) => pair.sent - pair.acked);
    if (unacked !== 0) throw new Error(`${unacked} publishes were never acknowledged`);
    return {
      ...timed,
      expected: sum((pair) => pair.sent),
      arrived: sum((pair) => pair.delivered),
      disordered: sum((pair) => pair.disordered),
    };
  } finally {
    fault.close();
    for (const pair of pairs) pair.close();
  }
}

const puback = 0x40;

/**
 * Every payload begins with the message's number. A message leaves the window when it is both
 * acknowledged and delivered, so no broker has to queue more than the window for a subscriber.
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
  #dueCount = 0;
  #dirty = false;
  #publisher: MqttLink | null = null;
  #subscriber: MqttLink | null = null;
  #stopped = false;

  private constructor(job: QosOneJob, topic: string) {
    const frame = publishQosOneFrame(topic, randomBytes(job.payloadBytes));
    this.#window = job.window;
    this.#due = new Uint16Array(1024);
    this.#ring = new FrameRing(frame.bytes, job.window, (bytes, at, sequence) => {
      bytes.writeUInt16BE((sequence % 0xffff) + 1, at + frame.packetIdAt);
      bytes.writeUInt32BE(sequence, at + frame.payloadAt);
    });
  }

  static async open(
    job: QosOneJob,
    { fault, turn }: { readonly fault: Fault; readonly turn: TurnFlush },
    index: number,
  ): Promise<Pair> {
    const topic = `${job.prefix}/qos1/${index}`;
    const pair = new Pair(job, topic);
    const { endpoint } = job;
    const subscriber = await MqttLink.open({
      endpoint,
      fault,
      clientId: `${job.prefix}-sub-${index}`,
      onPacket: (first, bytes, at) => pair.#message(first, bytes, at),
      onChunk: () => pair.#touch(turn),
    });
    pair.#subscriber = subscriber;
    await subscriber.subscribe(topic, 1);
    pair.#publisher = await MqttLink.open({
      endpoint,
      fault,
      clientId: `${job.prefix}-pub-${index}`,
      onPacket: (first) => {
        if (first === puback) pair.acked++;
      },
      onChunk: () => pair.#touch(turn),
    });
    return pair;
  }

  /** Acknowledges what has come and refills the window. */
  flush(): void {
    this.#dirty = false;
    if (this.#dueCount > 0) this.#acknowledge();
    this.pump();
  }

  /** Fills the window. */
  pump(): void {
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

  #message(first: number, bytes: Buffer, at: number): void {
    if ((first & 0xf6) !== 0x32) throw new Error(`unexpected packet type ${first >> 4}`);
    const packetIdAt = at + 2 + bytes.readUInt16BE(at);
    if (bytes.readUInt32BE(packetIdAt + 2) === this.delivered) this.delivered++;
    else this.disordered++;
    if (this.#dueCount === this.#due.length) this.#acknowledge();
    this.#due[this.#dueCount++] = bytes.readUInt16BE(packetIdAt);
  }

  #touch(turn: TurnFlush): void {
    if (this.#dirty) return;
    this.#dirty = true;
    turn.mark(this);
  }

  #acknowledge(): void {
    const frames = Buffer.allocUnsafe(this.#dueCount * 4);
    for (let i = 0; i < this.#dueCount; i++) {
      frames.writeUInt16BE(0x4002, i * 4);
      frames.writeUInt16BE(this.#due[i] as number, i * 4 + 2);
    }
    this.#dueCount = 0;
    this.#subscriber?.socket.write(frames);
  }
}
