import type { Packet, PublishPacket } from '@robustmq/mqtt-codec';
import type { ExpiryModules } from './mqtt-expiry-client.ts';
import { ExpiringClient } from './mqtt-expiry-client.ts';
import type { ExpiringMessage } from './mqtt-expiry-ledger.ts';

/** One filter, at QoS 1 or 2; `matches` says which topics of the game it is for. */
export interface ExpiringFilter {
  readonly filter: string;
  readonly qos: 1 | 2;
  readonly topics: readonly string[];
}

/** Counts what it gets in each session that it has, from SUBACK on, and acknowledges at once or when it is told to. */
export class ExpiringSubscriber extends ExpiringClient {
  readonly #wanted: ExpiringFilter;
  /** In this session. */
  #received = new Map<ExpiringMessage, number>();
  /** Messages that it need not get any more in this session, their time was over. */
  #excused = new Set<ExpiringMessage>();
  /** Packet ids of QoS 2 messages that were not released; they end with the session. */
  readonly #held = new Set<number>();
  /** When its first SUBSCRIBE of this session was sent; Infinity: not yet, 0: nobody knows. */
  #askedOrder = Infinity;
  /** When the first SUBACK of this session came. */
  #subscribedOrder = Infinity;

  constructor(clientId: string, modules: ExpiryModules, wanted: ExpiringFilter) {
    super(clientId, modules);
    this.#wanted = wanted;
  }

  get subscribed(): boolean {
    return this.#subscribedOrder < Infinity;
  }

  /** Whether it has a QoS 2 message that was not released. */
  get holds(): boolean {
    return this.#held.size > 0;
  }

  subscribe(): void {
    if (this.client === null) return;
    if (this.#askedOrder === Infinity) this.#askedOrder = this.ledger.nextOrder();
    const { filter, qos } = this.#wanted;
    const options = { noLocal: false, retainAsPublished: false, retainHandling: 2 } as const;
    const subscriptions = [{ filter, qos, ...options }];
    this.client.send({ type: 'subscribe', packetId: 1, subscriptions, properties: {} });
  }

  protected override due(): string[] {
    const due: string[] = [];
    if (this.#askedOrder < Infinity && !this.subscribed) due.push(`${this.clientId}: no SUBACK`);
    for (const message of this.ledger.messages) {
      if (message.sentOrder < this.#subscribedOrder || message.acknowledgedAt === Infinity) continue;
      if (message.qos === 0 || !this.#wanted.topics.includes(message.topic)) continue;
      if (this.#received.has(message) || this.#excused.has(message)) continue;
      if (!this.ledger.mayBeOver(message)) due.push(`${this.clientId}: ${message.text} is missing`);
      else {
        this.#excused.add(message);
        this.ledger.tally.missed++;
      }
    }
    return due;
  }

  protected override begun({ isNew, doubtful }: { isNew: boolean; doubtful: boolean }): void {
    if (!isNew && !doubtful) {
      // SUBACK may have been lost.
      if (this.#askedOrder < Infinity && !this.subscribed) this.subscribe();
      return;
    }
    if (this.#held.size > 0) this.ledger.tally.openOutbound++;
    this.#held.clear();
    this.#received = new Map();
    this.#excused = new Set();
    this.#askedOrder = doubtful ? 0 : Infinity;
    this.#subscribedOrder = Infinity;
    // In the other cases it waits and sees that nothing comes.
    if (doubtful || this.random.chance(1 / 2)) this.subscribe();
  }

  protected override packet(packet: Packet): void {
    if (packet.type === 'suback')
      this.#subscribedOrder = Math.min(this.#subscribedOrder, this.ledger.nextOrder());
    else if (packet.type === 'publish') this.#message(packet);
    else if (packet.type === 'pubrel') {
      this.#held.delete(packet.packetId);
      this.owe('pubcomp', packet.packetId);
    }
  }

  #message(packet: PublishPacket): void {
    const { topic, qos, packetId, properties } = packet;
    const { faults } = this.ledger;
    if (qos > 0) this.owe(qos === 1 ? 'puback' : 'pubrec', packetId);
    const message = this.ledger.messageOf(Buffer.from(packet.payload).toString());
    if (message === undefined || message.topic !== topic || !this.#wanted.topics.includes(topic)) {
      faults.push(`${this.clientId}: a message of ${topic} that nobody sent to it`);
      return;
    }
    const left = properties.messageExpiry;
    this.ledger.delivered(message, { left, since: this.writtenSince, to: this.clientId });
    if (qos === 2) {
      if (this.#held.has(packetId)) return;
      this.#held.add(packetId);
    }
    // What was stored before this session asked for anything was for the one that is gone.
    if (message.acknowledgedOrder < this.#askedOrder || this.#askedOrder === Infinity) {
      faults.push(`${this.clientId}: ${message.text} was for a session that is gone`);
    }
    const count = (this.#received.get(message) ?? 0) + 1;
    this.#received.set(message, count);
    if (qos === 2 && count > 1 && !message.doubtful) faults.push(`${this.clientId}: ${message.text} twice`);
    // It was stored later than it was sent.
    if (this.#excused.delete(message)) this.ledger.tally.missed--;
  }
}
