import type { PublishPacket, Qos } from '@robustmq/mqtt-codec';
import { SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const names = ['a', 'a/b', 'a/b/c', 'x/y'];
const filters: Readonly<Record<string, readonly string[]>> = {
  '#': names,
  'a/#': ['a', 'a/b', 'a/b/c'],
  'a/+': ['a/b'],
  '+/+': ['a/b', 'x/y'],
  'a/b': ['a/b'],
  'x/y': ['x/y'],
};
/** Games to play. */
const seeds = Number(process.env['MQTT_OPTIONS_SEEDS'] ?? 5);
const steps = 100;
/** How long a message may take to come. */
const patienceMs = 5000;
const answers = new Set(['puback', 'pubcomp', 'pingresp', 'suback', 'unsuback']);

interface Message {
  readonly topic: string;
  readonly text: string;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly from: string;
}

interface Sub {
  readonly filter: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly id: number;
}

/** How one message is to come, in a form that can be compared. */
function shown(message: Message, qos: number, retain: boolean, ids: readonly number[]): string {
  const sorted = [...ids].sort((a, b) => a - b).join(',');
  return `${message.topic} ${message.text} QoS ${qos}${retain ? ' retained' : ''} [${sorted}]`;
}

function shownPacket(packet: PublishPacket): string {
  const text = Buffer.from(packet.payload).toString();
  const { topic, qos, retain, properties } = packet;
  const message = { topic, text, qos, retain, from: '' };
  return shown(message, qos, retain, properties.subscriptionIdentifiers ?? []);
}

/** One kept session: its connection, and what a model of the rules says that it gets. */
class Player {
  readonly clientId: string;
  readonly subs = new Map<string, Sub>();
  expected: string[] = [];
  came: string[] = [];
  client: MqttClient | null = null;
  #answered: () => void = () => undefined;

  constructor(clientId: string) {
    this.clientId = clientId;
  }

  async connect(broker: MqttBroker): Promise<void> {
    const session = { clientId: this.clientId, cleanStart: false, properties: { sessionExpiry: 600 } };
    const client = await broker.connect(5, session);
    client.listen(
      (packet) => {
        if (packet.type === 'pubrel') client.ack('pubcomp', packet.packetId);
        if (packet.type === 'pubrec') client.ack('pubrel', packet.packetId);
        if (answers.has(packet.type)) this.#answered();
        if (packet.type !== 'publish') return;
        this.came.push(shownPacket(packet));
        if (packet.qos === 1) client.ack('puback', packet.packetId);
        if (packet.qos === 2) client.ack('pubrec', packet.packetId);
      },
      () => undefined,
    );
    this.client = client;
  }

  /** Sends, and waits for the answer. */
  async ask(send: (client: MqttClient) => void): Promise<void> {
    const answered = new Promise<void>((resolve) => {
      this.#answered = resolve;
    });
    send(this.client!);
    await answered;
  }

  /** What is published now comes as one copy of what its filters make together. */
  published(message: Message): void {
    const matching = [...this.subs.values()].filter(
      ({ filter, noLocal }) =>
        filters[filter]!.includes(message.topic) && !(noLocal && message.from === this.clientId),
    );
    if (matching.length === 0) return;
    const granted = Math.max(...matching.map(({ qos }) => qos));
    const qos = Math.min(granted, message.qos);
    if (qos === 0 && this.client === null) return;
    const retain = message.retain && matching.some(({ retainAsPublished }) => retainAsPublished);
    const ids = matching.map(({ id }) => id).filter((id) => id > 0);
    this.expected.push(shown(message, qos, retain, [...new Set(ids)]));
  }

  /** What is retained comes for the one filter that was asked for. */
  subscribed(sub: Sub, retained: Iterable<Message>): void {
    for (const message of retained) {
      if (!filters[sub.filter]!.includes(message.topic)) continue;
      if (sub.noLocal && message.from === this.clientId) continue;
      this.expected.push(shown(message, Math.min(sub.qos, message.qos), true, sub.id > 0 ? [sub.id] : []));
    }
  }

  async settle(): Promise<void> {
    if (this.client === null) return;
    const deadline = performance.now() + patienceMs;
    do await this.ask((client) => client.send({ type: 'pingreq' }));
    while (this.came.length < this.expected.length && performance.now() < deadline);
    expect([...this.came].sort()).toEqual([...this.expected].sort());
    this.came = [];
    this.expected = [];
  }
}

class Game {
  readonly players = ['p0', 'p1', 'p2'].map((name) => new Player(name));
  readonly retained = new Map<string, Message>();
  readonly #broker: MqttBroker;
  readonly #random: SimRandom;
  #texts = 0;

  constructor(broker: MqttBroker, seed: number) {
    this.#broker = broker;
    this.#random = new SimRandom(seed);
  }

  async play(): Promise<void> {
    for (const player of this.players) await player.connect(this.#broker);
    for (let step = 0; step < steps; step++) {
      await this.#step(this.#pick(this.players));
      for (const player of this.players) await player.settle();
    }
  }

  async #step(player: Player): Promise<void> {
    const chance = this.#random.below(20);
    if (chance === 10) {
      await this.#restart();
      return;
    }
    if (player.client === null) {
      await player.connect(this.#broker);
      return;
    }
    if (chance < 7) await this.#subscribe(player);
    else if (chance < 9) await this.#unsubscribe(player);
    else if (chance === 9) await this.#leave(player);
    else await this.#publish(player);
  }

  async #subscribe(player: Player): Promise<void> {
    const filter = this.#pick(Object.keys(filters));
    const retainHandling = this.#pick([0, 1, 2] as const);
    const sub: Sub = {
      filter,
      qos: this.#pick([0, 1, 2] as const),
      noLocal: this.#random.below(3) === 0,
      retainAsPublished: this.#random.below(2) === 0,
      id: this.#random.below(4),
    };
    const isNew = !player.subs.has(filter);
    player.subs.set(filter, sub);
    if (retainHandling === 0 || (retainHandling === 1 && isNew))
      player.subscribed(sub, this.retained.values());
    const { id, ...options } = sub;
    const subscriptions = [{ ...options, retainHandling }];
    const properties = id === 0 ? {} : { subscriptionIdentifiers: [id] };
    await player.ask((client) => client.send({ type: 'subscribe', packetId: 1, subscriptions, properties }));
  }

  async #unsubscribe(player: Player): Promise<void> {
    const filter = this.#pick(Object.keys(filters));
    player.subs.delete(filter);
    const packet = { type: 'unsubscribe', packetId: 2, filters: [filter], properties: {} } as const;
    await player.ask((client) => client.send({ ...packet, filters: [filter] }));
  }

  async #leave(player: Player): Promise<void> {
    const { connected } = this.#broker.adapter.sessions;
    player.client!.drop();
    player.client = null;
    await waitUntil(() => this.#broker.adapter.sessions.connected < connected);
  }

  async #restart(): Promise<void> {
    await this.#broker.restart();
    for (const player of this.players) player.client = null;
  }

  async #publish(player: Player): Promise<void> {
    const message: Message = {
      topic: this.#pick(names),
      text: this.#random.below(8) === 0 ? '' : `${this.#texts++}`,
      qos: this.#pick([0, 1, 2] as const),
      retain: this.#random.below(3) === 0,
      from: player.clientId,
    };
    const { topic, text, qos, retain } = message;
    if (retain) this.retained.delete(topic);
    if (retain && text !== '') this.retained.set(topic, message);
    for (const each of this.players) each.published(message);
    await player.ask((client) => {
      client.publish({ topic, payload: text, qos, retain, packetId: qos === 0 ? 0 : 3 });
      if (qos === 0) client.send({ type: 'pingreq' });
    });
  }

  #pick<Of>(list: readonly Of[]): Of {
    return list[this.#random.below(list.length)]!;
  }
}

describe('semantics 3.5, 5.3: subscriptions with any options, of clients that come and go, against a model', () => {
  it.each(Array.from({ length: seeds }, (_, at) => at + 1))(
    'seed %i',
    async (seed) => {
      await using broker = await MqttBroker.start();
      await new Game(broker, seed).play();
    },
    60_000,
  );
});
