import type { Packet, PublishPacket, Qos } from '@robustmq/mqtt-codec';
import { ExpiringClient } from './mqtt-expiry-client.ts';
import type { ExpiringMessage } from './mqtt-expiry-ledger.ts';

const windowMax = 4;

/** One message that waits for its turn. */
export interface ExpiringPublish {
  readonly topic: string;
  readonly qos: Qos;
  readonly expiry: number | null;
}

interface Exchange {
  readonly message: ExpiringMessage;
  readonly packet: PublishPacket;
  released: boolean;
}

/**
 * Brings its exchanges to an end as long as its session lasts. Where that is gone it forgets them, as a client has to
 * (MQTT-3.2.2-3), and uses their packet ids for other messages at once.
 */
export class ExpiringPublisher extends ExpiringClient {
  readonly #queue: ExpiringPublish[] = [];
  readonly #open = new Map<number, Exchange>();

  publish(publish: ExpiringPublish): void {
    this.#queue.push(publish);
    this.#pump();
  }

  protected override due(): string[] {
    return this.#open.size === 0 ? [] : [`${this.clientId}: exchanges that do not end`];
  }

  protected override begun({ isNew, doubtful }: { isNew: boolean; doubtful: boolean }): void {
    if (isNew) {
      for (const { released } of this.#open.values()) if (released) this.ledger.tally.openInbound++;
      this.#open.clear();
    }
    for (const [packetId, { message, packet, released }] of this.#open) {
      if (doubtful) message.doubtful = true;
      if (released) this.client?.ack('pubrel', packetId);
      else this.client?.send({ ...packet, dup: true });
    }
    this.#pump();
  }

  protected override packet(packet: Packet): void {
    if (packet.type !== 'puback' && packet.type !== 'pubrec' && packet.type !== 'pubcomp') return;
    const { type, packetId, reasonCode } = packet;
    const exchange = this.#open.get(packetId);
    if (exchange === undefined || reasonCode >= 0x80) {
      this.ledger.faults.push(`${this.clientId}: ${type} of ${packetId} with ${reasonCode}`);
      return;
    }
    if (type === 'pubrec') {
      exchange.released = true;
      this.ledger.acknowledged(exchange.message);
      this.owe('pubrel', packetId);
      return;
    }
    if (type === 'puback') this.ledger.acknowledged(exchange.message);
    this.#open.delete(packetId);
    this.#pump();
  }

  #pump(): void {
    const { client } = this;
    while (client !== null && this.#open.size < windowMax) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      const { topic, qos, expiry } = next;
      const message = this.ledger.sent(topic, qos, expiry);
      const packet: PublishPacket = {
        type: 'publish',
        topic,
        qos,
        packetId: qos === 0 ? 0 : this.#freeId(),
        retain: false,
        dup: false,
        payload: Buffer.from(message.text),
        properties: expiry === null ? {} : { messageExpiry: expiry },
      };
      if (qos > 0) this.#open.set(packet.packetId, { message, packet, released: false });
      client.send(packet);
    }
  }

  /** The lowest: it was in use a moment ago. */
  #freeId(): number {
    let packetId = 1;
    while (this.#open.has(packetId)) packetId++;
    return packetId;
  }
}
