import type { Fault } from '../fault.ts';
import type { OfflineJob } from '../job.ts';
import { pubackFrames } from '../wire/mqtt-frames.ts';
import { MqttLink } from './mqtt-link.ts';

const receiveBytes = 16 * 1024;

/** A session that comes back: counts its own messages, each once, and when the last of them came. */
export class ReturningSession {
  arrived = 0;
  repeated = 0;
  lastAtMs = 0;
  readonly #job: OfflineJob;
  readonly #index: number;
  readonly #seen: Uint8Array;
  readonly #due: Uint16Array;
  #dueCount = 0;
  #acceptedAtMs = 0;
  #link: MqttLink | null = null;

  constructor(job: OfflineJob, index: number) {
    this.#job = job;
    this.#index = index;
    this.#seen = new Uint8Array(job.own);
    this.#due = new Uint16Array(job.own);
  }

  async open(fault: Fault): Promise<void> {
    const { endpoint, prefix } = this.#job;
    const early: Buffer[] = [];
    this.#link = await MqttLink.open({
      endpoint,
      fault,
      clientId: `${prefix}-away-${this.#index}`,
      keepsSession: true,
      receiveBytes,
      onAccepted: () => {
        this.#acceptedAtMs = performance.now();
      },
      onPacket: (_, bytes, at) => this.#message(bytes, at),
      onChunk: () => {
        // Messages may come with the CONNACK, before there is a link to acknowledge on.
        if (this.#dueCount > 0) early.push(pubackFrames(this.#due, this.#dueCount));
        this.#dueCount = 0;
        if (this.#link === null) return;
        for (const frames of early.splice(0)) this.#link.socket.write(frames);
      },
    });
    for (const frames of early.splice(0)) this.#link.socket.write(frames);
  }

  /** From CONNACK to the last message. */
  servedMs(): number {
    return Math.max(0, this.lastAtMs - this.#acceptedAtMs);
  }

  close(): void {
    this.#link?.close();
  }

  #message(bytes: Buffer, at: number): void {
    const packetIdAt = at + 2 + bytes.readUInt16BE(at);
    const place = bytes.readUInt32BE(packetIdAt + 2);
    if (this.#seen[place] === 0) {
      this.#seen[place] = 1;
      this.arrived++;
      this.lastAtMs = performance.now();
    } else this.repeated++;
    if (this.#dueCount < this.#due.length) this.#due[this.#dueCount++] = bytes.readUInt16BE(packetIdAt);
  }
}
