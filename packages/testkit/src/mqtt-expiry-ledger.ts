import type { Qos } from '@robustmq/mqtt-codec';
import type { SimClock } from '@robustmq/sim';

/** One message that was published, and when: times are ms of the game's clock, orders count what happened in it. */
export interface ExpiringMessage {
  readonly topic: string;
  readonly text: string;
  readonly qos: Qos;
  /** Seconds; null: it never expires. */
  readonly expiry: number | null;
  readonly sentAt: number;
  readonly sentOrder: number;
  /** Infinity until PUBACK or PUBREC: no copy of it is stored later. */
  acknowledgedAt: number;
  acknowledgedOrder: number;
  /** Whether it may be there twice also at QoS 2. */
  doubtful: boolean;
}

/** How much of what the game is about happened in it. */
export interface ExpiryTally {
  /** Sessions that had to be found at CONNECT, and were. */
  kept: number;
  /** Sessions that had to be gone for their time, and were. */
  gone: number;
  /** Connections in the moment of the expiry, where either is right. */
  close: number;
  /** Two connections of one client in that moment. */
  races: number;
  /** Exactly-once messages that a publisher had not released when its session was gone; subscribers that held such. */
  openInbound: number;
  openOutbound: number;
  /** Messages that were owed to a subscriber and expired first. */
  missed: number;
  /** Messages that were delivered with less than their whole time left. */
  aged: number;
}

/** How long virtual time may go on between the moment a message is written and that in which a client can tell. */
const writtenMs = 250;

/** The tally of no game. */
export const noExpiries: Readonly<ExpiryTally> = {
  kept: 0,
  gone: 0,
  close: 0,
  races: 0,
  openInbound: 0,
  openOutbound: 0,
  missed: 0,
  aged: 0,
};

/** What was published in a game with a virtual clock, and what was wrong with what came of it. */
export class ExpiryLedger {
  readonly clock: SimClock;
  readonly messages: ExpiringMessage[] = [];
  readonly faults: string[] = [];
  readonly tally: ExpiryTally = { ...noExpiries };
  readonly #byText = new Map<string, ExpiringMessage>();
  #order = 0;

  constructor(clock: SimClock) {
    this.clock = clock;
  }

  get now(): number {
    return this.clock.monotonic();
  }

  nextOrder(): number {
    return this.#order++;
  }

  sent(topic: string, qos: Qos, expiry: number | null): ExpiringMessage {
    const message: ExpiringMessage = {
      topic,
      text: `${this.messages.length}`,
      qos,
      expiry,
      sentAt: this.now,
      sentOrder: this.nextOrder(),
      acknowledgedAt: Infinity,
      acknowledgedOrder: Infinity,
      doubtful: false,
    };
    this.messages.push(message);
    this.#byText.set(message.text, message);
    return message;
  }

  acknowledged(message: ExpiringMessage): void {
    if (message.acknowledgedAt < Infinity) return;
    message.acknowledgedAt = this.now;
    message.acknowledgedOrder = this.nextOrder();
  }

  messageOf(text: string): ExpiringMessage | undefined {
    return this.#byText.get(text);
  }

  /** Whether its time may be over: from then on it need not be delivered. */
  mayBeOver({ expiry, sentAt }: ExpiringMessage): boolean {
    return expiry !== null && sentAt + expiry * 1000 <= this.now;
  }

  /** A message came that was written at `since` or later; `left` is the expiry in it, undefined before MQTT 5. */
  delivered(
    message: ExpiringMessage,
    { left, since, to }: { left: number | undefined; since: number; to: string },
  ): void {
    const { expiry, sentAt, acknowledgedAt, text } = message;
    const at = `${to}, message ${text}`;
    if (expiry === null) {
      if (left !== undefined) this.faults.push(`${at} never expires, and came with ${left} s`);
      return;
    }
    const written = since - writtenMs;
    // It was stored before now, and all its copies before the acknowledgement.
    const endsLatest = Math.min(acknowledgedAt, this.now) + expiry * 1000;
    if (written >= endsLatest) this.faults.push(`${at} came ${written - endsLatest} ms after its expiry`);
    if (left === undefined) {
      this.faults.push(`${at} came without its expiry`);
      return;
    }
    const most = Math.min(expiry, Math.max(1, Math.ceil((endsLatest - written) / 1000)));
    const least = Math.max(1, Math.ceil((sentAt + expiry * 1000 - this.now) / 1000));
    if (left > most || left < least) {
      this.faults.push(`${at} came with ${left} s left instead of ${least} to ${most}`);
    }
    if (left < expiry) this.tally.aged++;
  }
}
