import type { Packet, ProtocolVersion, PublishPacket, Qos } from '@robustmq/mqtt-codec';
import type { SimRandom } from '@robustmq/sim';
import type { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';

/** One message as the game counts them: its place among those of its subject, and the QoS it was published with. */
export interface Sent {
  readonly sequence: number;
  readonly qos: Qos;
  readonly retain: boolean;
  /** Newest of its subject that had been sent when it was sent again, for want of an acknowledgement; -1: never. */
  readonly repeatedAfter: number;
}

/** What a subscriber wants: filters with the QoS it asks for. */
export type Wanted = readonly { readonly filter: string; readonly qos: Qos }[];

/** Uniform integer in [from, to]. */
export function between(random: SimRandom, from: number, to: number): number {
  return from + random.below(to - from + 1);
}

export function pick<Item>(random: SimRandom, items: readonly Item[]): Item {
  return items[random.below(items.length)]!;
}

/** Reasons with which the broker may close a connection in the game: taken over, stopping. */
const fairReasons: ReadonlySet<number> = new Set([0x8b, 0x8e]);

/** A client of the game: keeps one session alive over connections that come and go. */
abstract class Player {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly faults: string[] = [];
  protected client: MqttClient | null = null;
  protected readonly broker: MqttBroker;
  protected readonly random: SimRandom;
  #known = false;

  constructor(broker: MqttBroker, clientId: string, random: SimRandom) {
    this.broker = broker;
    this.clientId = clientId;
    this.random = random;
    this.version = random.chance(1 / 2) ? 5 : 4;
  }

  get connected(): boolean {
    return this.client !== null;
  }

  /** Connects, or takes its own session over; keeps trying while the broker is away. */
  async connect(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if (await this.#tryConnect()) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`${this.clientId} can not connect`);
  }

  drop(): void {
    this.client?.drop();
    this.#lost(this.client);
  }

  protected abstract connectProperties(): object;
  /** A connection begins: what is left of the last one goes on. */
  protected abstract begun(client: MqttClient): void;
  protected abstract ended(): void;
  protected abstract packet(packet: Packet, client: MqttClient): void;

  async #tryConnect(): Promise<boolean> {
    let client: MqttClient;
    try {
      client = await this.broker.open(this.version);
      client.sendConnect({
        clientId: this.clientId,
        cleanStart: false,
        properties: this.version === 5 ? { sessionExpiry: 600, ...this.connectProperties() } : {},
      });
      const connack = await client.next('connack');
      if (connack.reasonCode !== 0) return false;
      if (connack.sessionPresent !== this.#known) this.faults.push(`session present: ${!this.#known}`);
    } catch {
      return false;
    }
    this.#known = true;
    this.#lost(this.client);
    this.client = client;
    this.begun(client);
    client.listen(
      (packet) => {
        if (packet.type === 'disconnect' && !fairReasons.has(packet.reasonCode)) {
          this.faults.push(`closed with ${packet.reasonCode}`);
        }
        if (this.client === client) this.packet(packet, client);
      },
      () => this.#lost(client),
    );
    return true;
  }

  #lost(client: MqttClient | null): void {
    if (client === null || this.client !== client) return;
    this.client = null;
    this.ended();
  }
}

type Message = { -readonly [Key in keyof Sent]: Sent[Key] };

/** Publishes numbered messages to subjects of its own, and brings every exchange to its end. */
export class GamePublisher extends Player {
  readonly sent = new Map<string, Message[]>();
  readonly #windowMax = 6;
  readonly #queue: { topic: string; message: Message }[] = [];
  readonly #open = new Map<number, { publish: PublishPacket; message: Message; released: boolean }>();
  /** By topic, the newest message that was sent. */
  readonly #newest = new Map<string, number>();
  #packetId = 0;

  get idle(): boolean {
    return this.#queue.length === 0 && this.#open.size === 0;
  }

  publish(topic: string, qos: Qos): void {
    let sent = this.sent.get(topic);
    if (sent === undefined) {
      sent = [];
      this.sent.set(topic, sent);
    }
    const message = { sequence: sent.length, qos, retain: this.random.chance(1 / 4), repeatedAfter: -1 };
    sent.push(message);
    this.#queue.push({ topic, message });
    this.#pump();
  }

  protected override connectProperties(): object {
    return {};
  }

  protected override begun(client: MqttClient): void {
    for (const [packetId, exchange] of this.#open) {
      const { publish, message, released } = exchange;
      if (released) client.ack('pubrel', packetId);
      else {
        message.repeatedAfter = this.#newest.get(publish.topic)!;
        client.send({ ...publish, dup: true });
      }
    }
    this.#pump();
  }

  protected override ended(): void {
    // What is open is sent again.
  }

  protected override packet(packet: Packet, client: MqttClient): void {
    if ('reasonCode' in packet && packet.reasonCode >= 0x80 && packet.type !== 'disconnect') {
      // A release that was committed before the connection broke.
      if (packet.type !== 'pubcomp' || packet.reasonCode !== 0x92) {
        this.faults.push(`${packet.type} with ${packet.reasonCode}`);
      }
    }
    if (packet.type === 'puback' || packet.type === 'pubcomp') {
      if (!this.#open.delete(packet.packetId)) this.faults.push(`${packet.type} for nothing`);
      this.#pump();
    }
    if (packet.type !== 'pubrec') return;
    const exchange = this.#open.get(packet.packetId);
    if (exchange === undefined) this.faults.push('pubrec for nothing');
    else exchange.released = true;
    client.ack('pubrel', packet.packetId);
  }

  #pump(): void {
    const { client } = this;
    while (client !== null && this.#open.size < this.#windowMax) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      const { topic, message } = next;
      const packetId = message.qos === 0 ? 0 : this.#allocate();
      const publish: PublishPacket = {
        type: 'publish',
        topic,
        qos: message.qos,
        packetId,
        retain: message.retain,
        dup: false,
        payload: Buffer.from(`${message.sequence}`.padEnd(this.random.below(400))),
        properties: {},
      };
      if (packetId > 0) this.#open.set(packetId, { publish, message, released: false });
      this.#newest.set(topic, message.sequence);
      client.send(publish);
    }
  }

  #allocate(): number {
    do this.#packetId = (this.#packetId % 50) + 1;
    while (this.#open.has(this.#packetId));
    return this.#packetId;
  }
}

/** Receives with a small window, acknowledges in its own time and order, and counts. */
export class GameSubscriber extends Player {
  readonly wanted: Wanted;
  readonly windowMax: number;
  readonly received = new Map<string, { sequence: number; qos: Qos }[]>();
  /** Packet ids of QoS 2 messages that it has and that were not released; they outlive the connection. */
  readonly #held = new Set<number>();
  #owed: { packetId: number; kind: 'puback' | 'pubrec' | 'pubcomp' }[] = [];
  #unacknowledged = new Set<number>();
  #timer: NodeJS.Timeout | null = null;
  #subscribed: (() => void) | null = null;
  #packetId = 0;
  stalled = false;
  /** Messages that came, repeated ones as well. */
  messages = 0;

  constructor(broker: MqttBroker, clientId: string, random: SimRandom, wanted: Wanted) {
    super(broker, clientId, random);
    this.wanted = wanted;
    this.windowMax = between(random, 1, 8);
  }

  /** Sends SUBSCRIBE for all it wants; resolves with SUBACK, or when the connection is gone. */
  subscribe(): Promise<void> {
    const { client } = this;
    if (client === null) return Promise.resolve();
    const subscriptions = this.wanted.map(({ filter, qos }) => ({
      filter,
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 2 as const,
    }));
    this.#packetId = (this.#packetId % 1000) + 1;
    client.send({ type: 'subscribe', packetId: this.#packetId, subscriptions, properties: {} });
    return new Promise((resolve) => {
      this.#subscribed?.();
      this.#subscribed = resolve;
    });
  }

  stall(): void {
    this.stalled = true;
    this.client?.stall();
  }

  resume(): void {
    this.stalled = false;
    this.client?.resume();
  }

  protected override connectProperties(): object {
    return { receiveMaximum: this.windowMax };
  }

  protected override begun(): void {
    this.stalled = false;
    this.#owed = [];
    this.#unacknowledged = new Set();
  }

  protected override ended(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#subscribed?.();
    this.#subscribed = null;
  }

  protected override packet(packet: Packet): void {
    if (packet.type === 'suback') {
      this.#subscribed?.();
      this.#subscribed = null;
    } else if (packet.type === 'publish') this.#message(packet);
    else if (packet.type === 'pubrel') {
      this.#held.delete(packet.packetId);
      this.#owe(packet.packetId, 'pubcomp');
    }
  }

  #message(message: PublishPacket): void {
    const { topic, qos, packetId } = message;
    this.messages++;
    const sequence = Number(Buffer.from(message.payload).toString());
    if (qos > 0) {
      if (this.#unacknowledged.has(packetId)) this.faults.push(`packet id ${packetId} is in use`);
      this.#unacknowledged.add(packetId);
      if (this.version === 5 && this.#unacknowledged.size > this.windowMax)
        this.faults.push('above the window');
      this.#owe(packetId, qos === 1 ? 'puback' : 'pubrec');
    }
    if (qos === 2) {
      if (this.#held.has(packetId)) return;
      this.#held.add(packetId);
    }
    // Before MQTT 5 every SUBSCRIBE brings what is retained, which is no delivery of the message.
    if (message.retain) return;
    const received = this.received.get(topic);
    if (received === undefined) this.received.set(topic, [{ sequence, qos }]);
    else received.push({ sequence, qos });
  }

  #owe(packetId: number, kind: 'puback' | 'pubrec' | 'pubcomp'): void {
    this.#owed.push({ packetId, kind });
    this.#timer ??= setTimeout(() => this.#pay(), this.random.below(3));
  }

  /** Acknowledges some of what it owes, in any order. */
  #pay(): void {
    this.#timer = null;
    const count = between(this.random, 1, this.#owed.length);
    for (let at = 0; at < count; at++) {
      const [owed] = this.#owed.splice(this.random.below(this.#owed.length), 1);
      if (owed === undefined) break;
      if (owed.kind !== 'pubrec') this.#unacknowledged.delete(owed.packetId);
      this.client?.ack(owed.kind, owed.packetId);
    }
    if (this.#owed.length > 0) this.#timer = setTimeout(() => this.#pay(), this.random.below(3));
  }
}

/**
 * Where what is retained, by subject, is older than the last that was acknowledged. Retained messages at QoS 0 may
 * have come later, or not at all.
 */
export function staleRetained(
  retained: ReadonlyMap<string, number>,
  published: ReadonlyMap<string, readonly Sent[]>,
): string[] {
  const found: string[] = [];
  for (const [topic, sent] of published) {
    const sequence = retained.get(topic);
    const last = sent.findLast(({ qos, retain }) => retain && qos > 0)?.sequence ?? -1;
    if (last >= 0 && (sequence === undefined || (sequence < last && !storedAgain(sent, sequence, last)))) {
      found.push(`${topic}: ${sequence} is retained instead of ${last}`);
    }
    if (sequence !== undefined && sent[sequence]?.retain !== true)
      found.push(`${topic}: ${sequence} was not retained`);
  }
  return found;
}

/**
 * Whether a message may stand behind the last retained one because it was sent again. Only one at QoS 1 is stored a
 * second time, and only those at QoS 2 that it overtook are not stored again behind it.
 */
function storedAgain(sent: readonly Sent[], sequence: number, last: number): boolean {
  const { qos, repeatedAfter } = sent[sequence]!;
  const later = sent.slice(sequence + 1, last + 1);
  return qos === 1 && repeatedAfter >= last && later.every((each) => !each.retain || each.qos !== 1);
}

/**
 * Where what a subscriber got is not what it was owed; empty when all is well. What is published again because it was not
 * acknowledged may come twice below QoS 2.
 */
export function discrepancies(
  subscriber: GameSubscriber,
  published: ReadonlyMap<string, readonly Sent[]>,
): string[] {
  const found = [...subscriber.faults];
  for (const [topic, sent] of published) {
    const granted = grantedFor(subscriber.wanted, topic);
    const received = subscriber.received.get(topic) ?? [];
    if (granted < 0 && received.length > 0) found.push(`${topic}: not wanted`);
    if (granted < 0) continue;
    const at = `${subscriber.clientId} ${topic}`;
    const counts = new Map<number, number>();
    const last: [number, number] = [-1, -1];
    for (const { sequence, qos } of received) {
      const owed = Math.min(sent[sequence]?.qos ?? -1, granted);
      if (owed !== qos) found.push(`${at}: ${sequence} at QoS ${qos} instead of ${owed}`);
      const known = counts.get(sequence) ?? 0;
      counts.set(sequence, known + 1);
      // Who is granted QoS 0 may have missed a message that is then published again, behind later ones.
      if (qos === 0 && sent[sequence]?.qos !== 0) continue;
      const path = qos === 0 ? 0 : 1;
      if (known === 0 && sequence < last[path]) found.push(`${at}: ${sequence} after ${last[path]}`);
      last[path] = Math.max(last[path], sequence);
    }
    for (const { sequence, qos } of sent) {
      const owed = Math.min(qos, granted);
      const count = counts.get(sequence) ?? 0;
      if (count > 1 && (owed === 2 || qos === 0)) found.push(`${at}: ${sequence} ${count} times`);
      if (count === 0 && owed > 0) found.push(`${at}: ${sequence} is missing at QoS ${owed}`);
    }
  }
  return found;
}

/** Highest QoS of the filters that match, -1 when none does. The game's filters have no more than `+` and a last `#`. */
function grantedFor(wanted: Wanted, topic: string): number {
  let granted = -1;
  for (const { filter, qos } of wanted) {
    const pattern = `^${filter.replaceAll('+', '[^/]*').replace(/\/#$/, '(/.*)?')}$`;
    if (new RegExp(pattern).test(topic)) granted = Math.max(granted, qos);
  }
  return granted;
}
