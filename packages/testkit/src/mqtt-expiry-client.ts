import { setImmediate as turn } from 'node:timers/promises';
import type { AckKind, Packet } from '@robustmq/mqtt-codec';
import type { SimRandom } from '@robustmq/sim';
import type { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import type { ExpiryLedger } from './mqtt-expiry-ledger.ts';

/** A session is ended by a timer that looks this often, and not at once. */
const lateMs = 500;
const patienceMs = 5000;
/** Reasons with which the broker may close a connection in the game: taken over, stopping. */
const fairReasons: ReadonlySet<number> = new Set([0x8b, 0x8e]);

type Presence = 'present' | 'absent' | 'either';

/** Resolves when it holds, or false after some seconds; passes no virtual time. */
export async function until(holds: () => boolean): Promise<boolean> {
  const deadline = performance.now() + patienceMs;
  while (!holds()) {
    if (performance.now() > deadline) return false;
    await turn();
  }
  return true;
}

/** Between which times, by the game's clock, the session of a client that is away ends. */
interface Away {
  earliest: number;
  latest: number;
  /** How much later than that it may be found. */
  lateMs: number;
  /** What the log may hold instead when the broker crashes: not that the client left, but this expiry. */
  uncommitted: number | null;
}

export interface ExpiryModules {
  readonly broker: MqttBroker;
  readonly ledger: ExpiryLedger;
  readonly random: SimRandom;
}

/** A client that keeps a session for some seconds, and knows when it has to be there and when it has to be gone. */
export abstract class ExpiringClient {
  readonly clientId: string;
  protected readonly broker: MqttBroker;
  protected readonly ledger: ExpiryLedger;
  protected readonly random: SimRandom;
  protected client: MqttClient | null = null;
  /** All that comes now was written at this time or later. */
  protected writtenSince = 0;
  /** Whether it leaves some answers for later, so that exchanges stay open. */
  lazy = false;
  #owed: { kind: AckKind; packetId: number }[] = [];
  #expiry = 0;
  /** Null while it is connected, and before its first session. */
  #away: Away | null = null;
  #pings: number[] = [];

  constructor(clientId: string, { broker, ledger, random }: ExpiryModules) {
    this.clientId = clientId;
    this.broker = broker;
    this.ledger = ledger;
    this.random = random;
  }

  get connected(): boolean {
    return this.client !== null;
  }

  /** When its session may end at the earliest; null while it is connected. */
  get endsAt(): number | null {
    return this.#away?.earliest ?? null;
  }

  /** Answers all, now and from now on. */
  hurry(): void {
    this.lazy = false;
    for (const { kind, packetId } of this.#owed.splice(0)) this.client?.ack(kind, packetId);
  }

  /** What is still to come while it is connected. */
  unsettled(): string[] {
    if (this.client === null) return [];
    return this.client.closed ? [`${this.clientId}: closed`] : this.due();
  }

  /** What it still has to get, of what it can get now. */
  protected abstract due(): string[];

  /** Resumes, or takes itself over. */
  async connect(expiry: number): Promise<void> {
    const client = await this.broker.open(5);
    const from = this.ledger.now;
    this.#sendConnect(client, expiry);
    const { reasonCode, sessionPresent } = await client.next('connack');
    if (reasonCode !== 0) throw new Error(`${this.clientId}: CONNACK says ${reasonCode}`);
    const wanted = this.#presence(from);
    this.#compare(wanted, sessionPresent);
    this.#serve(client, expiry, { from, isNew: !sessionPresent, doubtful: false });
  }

  /** Two connections at once, of which one takes the other over; expiry above 0. */
  async race(expiry: number): Promise<void> {
    const clients = [await this.broker.open(5), await this.broker.open(5)];
    const from = this.ledger.now;
    for (const client of clients) this.#sendConnect(client, expiry);
    const answers = await Promise.all(clients.map((client) => presentOf(client)));
    const decided = await until(() => clients.some(({ closed }) => closed));
    const at = clients.findIndex(({ closed }) => !closed);
    const present = answers[at] ?? null;
    if (!decided || at < 0 || present === null) {
      throw new Error(`${this.clientId}: of two connections one has to stay: ${answers.join(', ')}`);
    }
    const wanted = this.#presence(from);
    const first = answers[1 - at] ?? null;
    // Who comes second finds at least what the first one made.
    if (first !== null) {
      if (!present) this.ledger.faults.push(`${this.clientId}: taken over, and no session`);
      this.#compare(wanted, first);
    } else if (wanted === 'present' || !present) this.#compare(wanted, present);
    this.ledger.tally.races++;
    const doubtful = first === null && present && wanted !== 'present';
    this.#serve(clients[at]!, expiry, { from, isNew: first === false || !present, doubtful });
  }

  /** Breaks the connection, and waits until the broker knows. */
  async drop(): Promise<void> {
    const { client } = this;
    if (client === null) return;
    const { connected } = this.broker.adapter.sessions;
    const from = this.ledger.now;
    client.drop();
    const ended = await until(() => this.broker.adapter.sessions.connected < connected);
    if (!ended) throw new Error(`${this.clientId}: the connection does not end`);
    this.#left(from, this.#expiry);
  }

  /** DISCONNECT with another expiry, for a session that has one. */
  async leave(expiry: number): Promise<void> {
    if (this.client === null || this.#expiry === 0) return;
    const from = this.ledger.now;
    await this.client.disconnect(expiry);
    this.#left(from, expiry);
  }

  /** The broker was started again after it stopped or crashed at `from`. */
  restarted(from: number, crashed: boolean): void {
    if (this.client !== null) this.#left(from, this.#expiry);
    const away = this.#away;
    if (away === null) return;
    if (crashed && away.uncommitted !== null) {
      away.earliest = Math.min(away.earliest, from + away.uncommitted * 1000);
      away.latest = Math.max(away.latest, this.ledger.now + away.uncommitted * 1000);
      away.lateMs = lateMs;
    }
    away.uncommitted = null;
  }

  /** Virtual time went on, so that all that happened before is in the log. */
  passed(): void {
    if (this.#away !== null) this.#away.uncommitted = null;
  }

  /** Asks for an answer: what was written before it has come with it. */
  ping(): void {
    this.#pings.push(this.ledger.now);
    this.client?.send({ type: 'pingreq' });
  }

  get answered(): boolean {
    return this.client === null || this.client.closed || this.#pings.length === 0;
  }

  /** What is left of the last connection goes on; where the session is new there is nothing left. */
  protected abstract begun(how: { isNew: boolean; doubtful: boolean }): void;
  protected abstract packet(packet: Packet): void;

  protected owe(kind: AckKind, packetId: number): void {
    if (this.lazy && this.random.chance(1 / 2)) this.#owed.push({ kind, packetId });
    else this.client?.ack(kind, packetId);
  }

  #sendConnect(client: MqttClient, expiry: number): void {
    const { clientId } = this;
    const properties = { sessionExpiry: expiry, receiveMaximum: 5 };
    client.sendConnect({ clientId, cleanStart: false, properties });
  }

  /** What CONNACK has to say to a CONNECT that was sent at `from`. */
  #presence(from: number): Presence {
    if (this.client !== null) return this.#expiry > 0 ? 'present' : 'absent';
    if (this.#away === null) return 'absent';
    const { earliest, latest, lateMs: late } = this.#away;
    if (this.ledger.now < earliest) return 'present';
    return from >= latest + late ? 'absent' : 'either';
  }

  #compare(wanted: Presence, present: boolean): void {
    const { faults, tally } = this.ledger;
    if (wanted === 'either') tally.close++;
    else if (present !== (wanted === 'present')) {
      faults.push(`${this.clientId}: session ${wanted} at ${this.ledger.now}, ${JSON.stringify(this.#away)}`);
    } else if (present) tally.kept++;
    else if (this.#away !== null && this.#expiry > 0) tally.gone++;
  }

  #serve(client: MqttClient, expiry: number, how: { from: number; isNew: boolean; doubtful: boolean }): void {
    this.client = client;
    this.#owed = [];
    this.#expiry = expiry;
    this.#away = null;
    this.#pings = [];
    this.writtenSince = how.from;
    this.begun(how);
    client.listen(
      (packet) => this.#packet(packet, client),
      () => undefined,
    );
  }

  #packet(packet: Packet, client: MqttClient): void {
    if (this.client !== client) return;
    if (packet.type === 'pingresp') this.writtenSince = this.#pings.shift()!;
    else if (packet.type !== 'disconnect') this.packet(packet);
    else if (!fairReasons.has(packet.reasonCode)) {
      this.ledger.faults.push(`${this.clientId}: closed with ${packet.reasonCode}`);
    }
  }

  #left(from: number, expiry: number): void {
    const uncommitted = this.#expiry;
    this.client = null;
    this.#expiry = expiry;
    this.#away = {
      earliest: from + expiry * 1000,
      latest: this.ledger.now + expiry * 1000,
      // A session that ends with its connection is over at once.
      lateMs: expiry === 0 ? 0 : lateMs,
      uncommitted,
    };
    this.#owed = [];
  }
}

/** What CONNACK says of the session; null when there is none. */
async function presentOf(client: MqttClient): Promise<boolean | null> {
  try {
    const { reasonCode, sessionPresent } = await client.next('connack');
    return reasonCode === 0 ? sessionPresent : null;
  } catch {
    return null;
  }
}
