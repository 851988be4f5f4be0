import type { Qos } from '@robustmq/mqtt-codec';
import { settle, SimClock, SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { ExpiringClient } from './mqtt-expiry-client.ts';
import { until } from './mqtt-expiry-client.ts';
import type { ExpiryTally } from './mqtt-expiry-ledger.ts';
import { ExpiryLedger, noExpiries } from './mqtt-expiry-ledger.ts';
import { ExpiringPublisher } from './mqtt-expiry-publisher.ts';
import type { ExpiringFilter } from './mqtt-expiry-subscriber.ts';
import { ExpiringSubscriber } from './mqtt-expiry-subscriber.ts';
import { between, pick } from './mqtt-game.ts';

const seeds = Number(process.env['MQTT_EXPIRY_SEEDS'] ?? 10);
const firstSeed = Number(process.env['MQTT_EXPIRY_FIRST'] ?? 1);
const steps = 140;
const topics = ['e/0', 'e/1', 'e/2'];
/** Most go to one, so that a packet id is used again where it was in use. */
const busyTopics = ['e/0', 'e/0', 'e/0', ...topics];
const filters: readonly ExpiringFilter[] = [
  { filter: 'e/#', qos: 2, topics },
  { filter: 'e/+', qos: 1, topics },
  { filter: 'e/0', qos: 2, topics: ['e/0'] },
  { filter: 'e/1', qos: 2, topics: ['e/1'] },
];
/** Seconds: some sessions outlive the absence of their client, some do not, and one has no life of its own. */
const sessionExpiries = [0, 1, 2, 3, 5, 600, 600];
/** Seconds; null: never. */
const messageExpiries = [null, 1, 1, 2, 3, 60];
/** How far virtual time goes at once: less than a session or a message lives. */
const paceMs = 250;

interface Retained {
  readonly text: string;
  /** Ms of the game's clock; Infinity: never. */
  readonly endsAt: number;
}

class ExpiryGame {
  readonly ledger: ExpiryLedger;
  /** Of all brokers that the game had. */
  readonly counted = { sessionsExpired: 0, droppedExpired: 0, takeovers: 0 };
  readonly #broker: MqttBroker;
  readonly #random: SimRandom;
  readonly #publishers: readonly ExpiringPublisher[];
  readonly #subscribers: readonly ExpiringSubscriber[];
  readonly #retained = new Map<string, Retained>();
  #texts = 0;

  constructor(broker: MqttBroker, clock: SimClock, seed: number) {
    this.#broker = broker;
    this.#random = new SimRandom(seed);
    this.ledger = new ExpiryLedger(clock);
    const modules = { broker, ledger: this.ledger, random: this.#random };
    this.#publishers = [0, 1].map((at) => new ExpiringPublisher(`publisher-${at}`, modules));
    this.#subscribers = filters.map(
      (filter, at) => new ExpiringSubscriber(`subscriber-${at}`, modules, filter),
    );
  }

  get #clients(): readonly ExpiringClient[] {
    return [...this.#publishers, ...this.#subscribers];
  }

  async play(): Promise<void> {
    for (let step = 0; step < steps && this.ledger.faults.length === 0; step++) {
      await this.#step(this.#random.below(100));
      // In half of the cases the next thing happens while this one is under way.
      if (this.#random.chance(1 / 2)) await this.#settle();
    }
    for (const client of this.#clients) if (!client.connected) await client.connect(600);
    await this.#settle();
    await this.#audit();
    this.#count();
  }

  async #step(chance: number): Promise<void> {
    const random = this.#random;
    const client = pick(random, this.#clients);
    const subscriber = pick(random, this.#subscribers);
    if (chance < 30) this.#publish(pick(random, this.#publishers));
    else if (chance < 40) await client.drop();
    else if (chance < 44) await client.leave(pick(random, [0, 1, 2, 5]));
    else if (chance < 58) await client.connect(pick(random, sessionExpiries));
    else if (chance < 68) subscriber.subscribe();
    else if (chance < 77) await this.#pass(between(random, 100, 2500));
    else if (chance < 85) await this.#meet(random.chance(1 / 2) ? client : pick(random, this.#publishers));
    else if (chance < 90) await this.#returnInTime(subscriber, pick(random, this.#publishers));
    else if (chance < 93) await this.#retain();
    else if (chance < 96) await this.#audit();
    else await this.#restart(chance === 96);
  }

  #publish(publisher: ExpiringPublisher): void {
    for (let count = between(this.#random, 1, 8); count > 0; count--) {
      const expiry = pick(this.#random, messageExpiries);
      publisher.publish({ topic: pick(this.#random, busyTopics), qos: this.#random.below(3) as Qos, expiry });
    }
  }

  /** Leaves in the midst of exchanges, and comes back when its session ends, by one connection or two, while time goes on. */
  async #meet(client: ExpiringClient): Promise<void> {
    for (const each of this.#clients) each.lazy = true;
    const reader = client instanceof ExpiringSubscriber ? client : null;
    if (!client.connected) await client.connect(5);
    const [publisher] = this.#publishers;
    if (publisher?.connected === false) await publisher.connect(5);
    reader?.subscribe();
    for (const publisher of this.#publishers) this.#publish(publisher);
    const turns = reader === null ? this.#random.below(6) : 40;
    for (let at = 0; at < turns && reader?.holds !== true; at++) await settle();
    await (this.#random.chance(1 / 2) ? client.drop() : client.leave(between(this.#random, 1, 2)));
    const { endsAt } = client;
    if (endsAt === null) return;
    const before = endsAt - this.ledger.now - between(this.#random, 0, 300);
    if (before > 5000) return;
    await this.#pass(before);
    const over = this.ledger.clock.advance(between(this.#random, 0, 900));
    const expiry = between(this.#random, 1, 3);
    await (this.#random.chance(1 / 2) ? client.race(expiry) : client.connect(expiry));
    await over;
  }

  /** A subscriber whose session lasts comes back a little before or after messages for it end. */
  async #returnInTime(subscriber: ExpiringSubscriber, publisher: ExpiringPublisher): Promise<void> {
    await subscriber.connect(600);
    subscriber.subscribe();
    if (!publisher.connected) await publisher.connect(600);
    await this.#settle();
    await subscriber.drop();
    this.#publish(publisher);
    await this.#retain();
    await this.#settle();
    await this.#pass(between(this.#random, 1, 3) * 1000 - between(this.#random, -200, 400));
    await subscriber.connect(600);
    await this.#settle();
    await this.#audit();
  }

  /** Virtual time goes on, in steps: what was written before one has arrived before the next. */
  async #pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= paceMs) {
      const connected = this.#clients.filter((client) => client.connected);
      for (const client of connected) client.ping();
      if (!(await until(() => connected.every(({ answered }) => answered)))) throw new Error('no PINGRESP');
      await this.ledger.clock.advance(Math.min(left, paceMs));
      for (const client of this.#clients) client.passed();
    }
  }

  /** All that can arrive now arrives. */
  async #settle(): Promise<void> {
    for (const client of this.#clients) client.hurry();
    const unsettled = (): string[] => this.#clients.flatMap((client) => client.unsettled());
    const deadline = performance.now() + 5000;
    while (unsettled().length > 0 && performance.now() < deadline) await this.ledger.clock.advance(1);
    this.ledger.faults.push(...unsettled());
  }

  async #restart(stops: boolean): Promise<void> {
    this.#count();
    const from = this.ledger.now;
    if (stops) await this.#broker.restart();
    else await this.#broker.crash();
    for (const client of this.#clients) client.restarted(from, !stops);
  }

  #count(): void {
    const { counters } = this.#broker.adapter;
    this.counted.sessionsExpired += counters.sessionsExpired;
    this.counted.droppedExpired += counters.droppedExpired;
    this.counted.takeovers += counters.takeovers;
    expect(counters.sessionsTruncated).toBe(0);
  }

  /** One more retained message; no time passes meanwhile. */
  async #retain(): Promise<void> {
    const topic = `r/${this.#random.below(4)}`;
    const expiry = pick(this.#random, messageExpiries);
    const text = `${this.#texts++}`;
    const client = await this.#broker.connect(5);
    const properties = expiry === null ? {} : { messageExpiry: expiry };
    expect(await client.publishAcknowledged({ topic, payload: text, retain: true, properties })).toBe(0);
    await client.disconnect();
    this.#retained.set(topic, { text, endsAt: expiry === null ? Infinity : this.ledger.now + expiry * 1000 });
  }

  /** A new subscriber gets what is retained and not over, with the time that is left. */
  async #audit(): Promise<void> {
    const client = await this.#broker.connect(5);
    await client.subscribe('r/#', 0);
    const found: string[] = [];
    for (let packets = await client.settled(); packets.length > 0; packets = await client.settled()) {
      for (const packet of packets) {
        if (packet.type !== 'publish') continue;
        const text = Buffer.from(packet.payload).toString();
        found.push(`${packet.topic} ${text} ${packet.properties.messageExpiry}`);
      }
    }
    await client.disconnect();
    const wanted: string[] = [];
    for (const [topic, { text, endsAt }] of this.#retained) {
      const left = endsAt - this.ledger.now;
      if (left > 0) wanted.push(`${topic} ${text} ${left === Infinity ? undefined : Math.ceil(left / 1000)}`);
    }
    if (found.sort().join() !== wanted.sort().join()) {
      this.ledger.faults.push(`retained: ${found.join()} instead of ${wanted.join()}`);
    }
  }
}

describe('a random game in virtual time: sessions and messages end in their time, and no earlier', () => {
  const total: Record<keyof ExpiryTally | keyof ExpiryGame['counted'], number> = {
    ...noExpiries,
    sessionsExpired: 0,
    droppedExpired: 0,
    takeovers: 0,
  };

  it.each(Array.from({ length: seeds }, (_, at) => firstSeed + at))(
    'seed %i',
    async (seed) => {
      const clock = new SimClock();
      const patience = { publishTimeoutMs: 1e9, stalledMs: 1e9, connectTimeoutMs: 1e9 };
      await using broker = await MqttBroker.start({ clock, limits: patience });
      const game = new ExpiryGame(broker, clock, seed);
      await game.play();
      expect(game.ledger.faults.slice(0, 10)).toEqual([]);
      const happened = { ...game.ledger.tally, ...game.counted };
      for (const each of Object.keys(total) as (keyof typeof total)[]) total[each] += happened[each];
    },
    60_000,
  );

  it.skipIf(seeds < 10)('has played all that it is about', () => {
    if (process.env['TEST_FIGURES'] !== undefined) console.log(total);
    for (const [what, count] of Object.entries(total)) {
      expect(count, what).toBeGreaterThanOrEqual(Math.floor(seeds / 4));
    }
  });
});
