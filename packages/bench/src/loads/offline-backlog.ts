import { Fault } from '../fault.ts';
import { FrameRing } from '../frame-ring.ts';
import type { OfflineJob } from '../job.ts';
import { drain } from '../measure.ts';
import { writeDigits } from '../wire/digits.ts';
import { publishQosOneFrame } from '../wire/mqtt-frames.ts';
import { MqttLink } from './mqtt-link.ts';

/** Devices whose messages match no session; a session's own messages are named like theirs. */
const devices = 1000;
const digits = 4;
const window = 1000;
const ownWindow = 1000;
const patienceMs = 10_000;

/** The exact filter of a session, and the one with a wildcard in the middle. */
export function filtersOf(job: OfflineJob, session: number): readonly [string, string] {
  return [`${job.prefix}/own-${session}/alarm`, `${job.prefix}/+/command-${session}`];
}

/** Publishes at QoS 1 what is stored while the sessions are away: others' messages, and between them their own. */
export class OfflineBacklog {
  readonly #job: OfflineJob;
  readonly #fault = new Fault();
  #othersSent = 0;
  #othersAcked = 0;
  #ownSent = 0;
  #ownAcked = 0;

  constructor(job: OfflineJob) {
    this.#job = job;
  }

  async publish(): Promise<void> {
    const { prefix, others, own, sessions } = this.#job;
    const ownTotal = own * sessions;
    let advance = () => undefined as void;
    const otherLink = await this.#open(`${prefix}-others`, {
      onPacket: () => this.#othersAcked++,
      onChunk: () => advance(),
    });
    const ownLink = await this.#open(`${prefix}-own`, {
      onPacket: () => this.#ownAcked++,
      onChunk: () => advance(),
    });
    const ring = this.#otherFrames();
    advance = () => {
      const to = Math.min(others, this.#othersAcked + window);
      if (
        to - this.#othersSent >= Math.min(window >> 2, others - this.#othersSent) &&
        to > this.#othersSent
      ) {
        ring.send(otherLink.socket, this.#othersSent, to);
        this.#othersSent = to;
      }
      const due = Math.floor((this.#othersSent / others) * ownTotal);
      this.#sendOwn(ownLink, Math.min(due, this.#ownAcked + ownWindow));
    };
    advance();
    const acked = () => this.#othersAcked + this.#ownAcked;
    await this.#fault.race(drain(() => acked() >= others + ownTotal, acked, patienceMs));
    this.#fault.close();
    otherLink.leave();
    ownLink.leave();
    if (acked() < others + ownTotal)
      throw new Error(`${acked()} of ${others + ownTotal} publishes were acknowledged`);
  }

  #open(clientId: string, handlers: { readonly onPacket: () => void; readonly onChunk: () => void }) {
    return MqttLink.open({ endpoint: this.#job.endpoint, fault: this.#fault, clientId, ...handlers });
  }

  /** The devices in turn, by digits in the topic. */
  #otherFrames(): FrameRing {
    const before = `${this.#job.prefix}/dev-`;
    const topic = `${before}${'0'.repeat(digits)}/state`;
    const frame = publishQosOneFrame(topic, Buffer.alloc(this.#job.payloadBytes, 7));
    const digitsEnd = frame.packetIdAt - '/state'.length;
    return new FrameRing(frame.bytes, window, (bytes, at, sequence) => {
      bytes.writeUInt16BE((sequence % 0xffff) + 1, at + frame.packetIdAt);
      writeDigits(bytes, { end: at + digitsEnd, digits }, sequence % devices);
    });
  }

  /** A payload begins with the place of the message among its session's own. */
  #sendOwn(link: MqttLink, to: number): void {
    const { prefix, sessions, payloadBytes } = this.#job;
    if (to <= this.#ownSent) return;
    const frames: Buffer[] = [];
    for (; this.#ownSent < to; this.#ownSent++) {
      const session = this.#ownSent % sessions;
      const place = Math.floor(this.#ownSent / sessions);
      const topic =
        place % 2 === 0 ? filtersOf(this.#job, session)[0] : `${prefix}/dev-${place}/command-${session}`;
      const payload = Buffer.alloc(payloadBytes);
      payload.writeUInt32BE(place);
      const frame = publishQosOneFrame(topic, payload);
      frame.bytes.writeUInt16BE((this.#ownSent % 0xffff) + 1, frame.packetIdAt);
      frames.push(frame.bytes);
    }
    link.socket.write(Buffer.concat(frames));
  }
}
