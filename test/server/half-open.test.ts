import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConnectInput } from '@robustmq/testkit';
import { MqttClient, RecordLog, waitUntil } from '@robustmq/testkit';
import type { Consumer } from 'kafkajs';
import { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Door } from './far-server.ts';
import { FarServer, linksMissing } from './far-server.ts';

// The last peers are found by probes that begin after a minute.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 180_000 });

/** Node has the system probe a connection that is silent for so long (this is what the server asks for), once a second. */
const probeAfterMs = 60_000;
const probes = 10;
const probedMs = probeAfterMs + probes * 1000;
/**
 * Of the server's namespace only; the default of Linux is 15, which takes some 15 minutes. The first comes after 200 ms, each
 * twice as long after the one before, and at the end of one more wait the connection is given up.
 */
const retransmissions = 5;
const sysctls = { 'net.ipv4.tcp_retries2': retransmissions };
const retransmittedMs = 200 * (2 ** (retransmissions + 1) - 1);
/** How much later a busy machine may see it. */
const slackMs = 12_000;

/** The server looks for silence, and each client has said its last word a little before the cut. */
const keepAliveSeconds = 4;
const keepAliveMs = 1.5 * keepAliveSeconds * 1000;
const sessionTimeoutMs = 6000;
const heartbeatMs = 500;
const each = 3;
const ledger = 'ledger';
const partitions = [0, 1, 2, 3];
/** A round of the others; that they are served means an answer, not speed: other tests run beside this one. */
const roundEveryMs = 100;
const roundMsMax = 4000;
const lookEveryMs = 200;
/** Looks at what is open, of which the least counts. */
const socketLooks = 5;

/** Over the link that is cut: the listener of each kind of client. */
const kinds = {
  keepAlive: 'mqtt',
  keepAliveWebSocket: 'mqttWebSocket',
  idle: 'mqtt',
  idleWebSocket: 'mqttWebSocket',
  idleKafka: 'kafka',
  inFlight: 'mqtt',
  moved: 'mqtt',
  member: 'kafka',
} as const;
type Kind = keyof typeof kinds;

const missing = await linksMissing();
const title = 'peers that vanish behind a cut link';

describe.skipIf(missing !== null)(missing === null ? title : `${title} (${missing})`, () => {
  let scene: Scene | null = null;
  const the = (): Scene => scene!;

  beforeAll(async () => {
    scene = await Scene.start();
  });

  afterAll(async () => {
    await scene?.[Symbol.asyncDispose]();
  });

  it('give their session to a connection over another link at once, with what was in flight', async () => {
    const { client, connack } = await the().comeBack('moved');
    expect(connack.sessionPresent).toBe(true);
    expect(await client.receive(1)).toMatchObject([{ topic: 'news/1', qos: 1, dup: true }]);
    const { last } = await the().gone('moved', slackMs);
    expect(last).toBeLessThan(retransmittedMs);
    await client.disconnect(0);
  });

  it('with a keep alive are let go after one and a half of it, and their wills are sent', async () => {
    for (const kind of ['keepAlive', 'keepAliveWebSocket'] as const) {
      const { first, last } = await the().gone(kind, keepAliveMs + slackMs);
      expect(first, kind).toBeGreaterThan(keepAliveMs / 2);
      expect(last, kind).toBeLessThan(keepAliveMs + slackMs);
    }
    await waitUntil(() => the().willsOf('keepAlive') === each + 1, { what: 'their wills' });
  });

  it('as members of a Kafka group lose their partitions to the others after the session timeout', async () => {
    const { survivor } = the();
    await waitUntil(() => survivor.assigned.length === partitions.length, { timeoutMs: 60_000 });
    const after = survivor.assignedAt - the().cutAt;
    expect(after).toBeGreaterThan(sessionTimeoutMs / 2);
    expect(after).toBeLessThan(sessionTimeoutMs + slackMs);
    await waitUntil(
      () => partitions.every((partition) => survivor.values.has(`after the cut ${partition}`)),
      {
        what: 'records of all partitions',
      },
    );
  });

  it('with something unacknowledged are found by retransmission, and QoS 1 comes again to the session', async () => {
    const { first, last } = await the().gone('inFlight', 2 * retransmittedMs + slackMs);
    expect(first).toBeGreaterThan(0.8 * retransmittedMs);
    // Whether it is over is only looked at when the next one is due.
    expect(last).toBeLessThan(2 * retransmittedMs + slackMs);
    const { client, connack } = await the().comeBack('inFlight');
    expect(connack.sessionPresent).toBe(true);
    expect(await client.receive(1)).toMatchObject([{ topic: 'news/1', qos: 1, dup: true }]);
    await client.disconnect(0);
  });

  it('without a keep alive and idle are found by probes of TCP, on every listener', async () => {
    for (const kind of ['idle', 'idleWebSocket', 'idleKafka'] as const) {
      const { first, last } = await the().gone(kind, probedMs + slackMs);
      // Whatever else ends connections here is sooner; how long a client was silent before the cut is a matter of the machine.
      expect(first, kind).toBeGreaterThan(retransmittedMs);
      expect(last, kind).toBeLessThan(probedMs + slackMs);
    }
    await waitUntil(() => the().willsOf('idle') === each + 1, { what: 'their wills' });
    await the().gone('member', probedMs + slackMs);
  });

  it('leave nothing in the counters and no descriptor, and the others were served meanwhile', async () => {
    const { far, others, before } = the();
    await waitUntil(async () => JSON.stringify(await inUse(far)) === JSON.stringify(before), {
      what: 'counters and descriptors to be as before',
    }).catch(() => undefined);
    expect(await inUse(far)).toEqual(before);
    // Nothing but time and the system has ended them.
    expect(
      await far.metrics(
        'robustmq_mqtt_connections_stalled_total',
        'robustmq_kafka_connections_overdue_total',
      ),
    ).toEqual({ robustmq_mqtt_connections_stalled_total: 0, robustmq_kafka_connections_overdue_total: 0 });
    const { rounds, slowestMs } = await others.finish();
    the().print(slowestMs);
    expect(slowestMs).toBeLessThan(roundMsMax);
    expect(rounds).toBeGreaterThan(100);
    await the().close();
    expect(await far.stop()).toEqual({ code: 0, errors: [] });
  });
});

interface InUse {
  readonly mqtt: number;
  readonly kafka: number;
  readonly sockets: number;
}

/** What connections cost the server: its own count of them, and what the system has. */
async function inUse(far: FarServer): Promise<InUse> {
  const metrics = await far.metrics('robustmq_mqtt_connections', 'robustmq_kafka_connections');
  const { robustmq_mqtt_connections: mqtt, robustmq_kafka_connections: kafka } = metrics;
  // The connection that has just asked is not gone at once.
  let sockets = Infinity;
  for (let look = 0; look < socketLooks; look++) {
    sockets = Math.min(sockets, far.socketCount);
    await delay(lookEveryMs);
  }
  return { mqtt, kafka, sockets };
}

/** A server, clients of every kind behind a link that has just been cut, and others behind one that has not. */
class Scene {
  readonly far: FarServer;
  readonly others: Others;
  readonly survivor: GroupMember;
  /** Before the clients came that vanish. */
  before!: InUse;
  cutAt = 0;
  readonly #kept: Door;
  readonly #doors = new Map<Kind, Door>();
  /** When the server had closed the first and all connections of a kind, ms after the cut. */
  readonly #gone = new Map<Kind, { first: number; last: number }>();
  readonly #wills: string[] = [];
  #member: GroupMember | null = null;
  #looks: NodeJS.Timeout | undefined;

  private constructor(
    far: FarServer,
    kept: Door,
    clients: { readonly others: Others; readonly survivor: GroupMember },
  ) {
    this.far = far;
    this.#kept = kept;
    this.others = clients.others;
    this.survivor = clients.survivor;
  }

  static async start(): Promise<Scene> {
    const far = await FarServer.start(sysctls);
    try {
      const kept = await far.door('kept', 'mqtt');
      const keptKafka = await far.door('kept', 'kafka');
      await createLedger(keptKafka.port);
      const survivor = await GroupMember.join(keptKafka.port);
      const others = await Others.start(kept.port, keptKafka.port);
      const scene = new Scene(far, kept, { others, survivor });
      await scene.#begin();
      return scene;
    } catch (error) {
      await far[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Resolves when the server has closed all connections of that kind, to when that was, ms after the cut. */
  async gone(kind: Kind, timeoutMs: number): Promise<{ readonly first: number; readonly last: number }> {
    const leftMs = this.cutAt + timeoutMs - performance.now();
    const what = `${kind} to be gone ${timeoutMs} ms after the cut`;
    await waitUntil(() => (this.#gone.get(kind)?.last ?? Infinity) < Infinity, {
      timeoutMs: Math.max(leftMs, 1000),
      what,
    });
    return this.#gone.get(kind)!;
  }

  /** What was measured, where `TEST_FIGURES` is set. */
  print(slowestMs: number): void {
    if (process.env['TEST_FIGURES'] === undefined) return;
    const ended = [...this.#gone].map(
      ([kind, { first, last }]) => `${kind} ${first.toFixed(0)} to ${last.toFixed(0)}`,
    );
    const assigned = (this.survivor.assignedAt - this.cutAt).toFixed(0);
    console.log(
      `gone, ms after the cut: ${ended.join(', ')}; partitions given to another at ${assigned}; ` +
        `slowest round of the others ${slowestMs.toFixed(0)}`,
    );
  }

  willsOf(kind: Kind): number {
    return this.#wills.filter((topic) => topic.startsWith(`wills/${kind}-`)).length;
  }

  /** A client that has vanished comes over the link that is whole. */
  comeBack(kind: Kind): ReturnType<typeof MqttClient.connect> {
    return MqttClient.connect(this.#kept.port, 5, { ...keptSession(kind), cleanStart: false });
  }

  async close(): Promise<void> {
    clearInterval(this.#looks);
    for (const door of this.#doors.values()) door.close();
    await this.#member?.leave();
    await this.survivor.leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#looks);
    await this.others.finish().catch(() => undefined);
    await this.far[Symbol.asyncDispose]();
  }

  async #begin(): Promise<void> {
    const { client: watcher } = await MqttClient.connect(this.#kept.port, 5, { clientId: 'watcher' });
    await watcher.subscribe('wills/#', 0);
    watcher.listen(
      (packet) => {
        if (packet.type === 'publish') this.#wills.push(packet.topic);
      },
      () => undefined,
    );
    this.before = await inUse(this.far);
    for (const [kind, listener] of Object.entries(kinds)) {
      this.#doors.set(kind as Kind, await this.far.door('cuttable', listener));
    }
    await this.#connectKafka();
    await this.#connectMqtt();
    const open = new Map([...this.#doors].map(([kind, door]) => [kind, door.openThere]));
    expect(Object.fromEntries(open)).toMatchObject({ ...expectedOpen, member: open.get('member')! });
    await this.far.cut();
    this.cutAt = performance.now();
    this.#looks = setInterval(() => this.#look(open), lookEveryMs);
    await this.others.tell('news/1');
    for (const partition of partitions) await this.others.record(partition, `after the cut ${partition}`);
  }

  #look(open: ReadonlyMap<Kind, number>): void {
    const now = performance.now() - this.cutAt;
    for (const [kind, door] of this.#doors) {
      const { first, last } = this.#gone.get(kind) ?? { first: Infinity, last: Infinity };
      if (last < Infinity) continue;
      const left = door.openThere;
      this.#gone.set(kind, {
        first: left < open.get(kind)! ? Math.min(first, now) : first,
        last: left === 0 ? now : last,
      });
    }
  }

  #port(kind: Kind): number {
    return this.#doors.get(kind)!.port;
  }

  async #connectKafka(): Promise<void> {
    this.#member = await GroupMember.join(this.#port('member'));
    const { survivor } = this;
    await waitUntil(() => survivor.assigned.length === partitions.length / 2, {
      timeoutMs: 30_000,
      what: 'the group to share the partitions',
    });
    for (let n = 0; n < each; n++) {
      const idle = await RecordLog.connect(this.#port('idleKafka'));
      await idle.partitions(ledger);
    }
  }

  async #connectMqtt(): Promise<void> {
    for (const kind of ['inFlight', 'moved'] as const) {
      const { client } = await MqttClient.connect(this.#port(kind), 5, keptSession(kind));
      await client.subscribe('news/+', 1);
    }
    // At QoS 0 nothing but TCP waits for an answer.
    const { client } = await MqttClient.connect(this.#port('inFlight'), 4);
    await client.subscribe('news/+', 0);
    for (let n = 0; n < each; n++) await MqttClient.connect(this.#port('idle'), 4, withWill(`idle-${n}`, 0));
    await connectWebSocket(this.#port('idleWebSocket'), withWill('idle-web', 0));
    for (let n = 0; n < each; n++) {
      await MqttClient.connect(this.#port('keepAlive'), 5, withWill(`keepAlive-${n}`, keepAliveSeconds));
    }
    await connectWebSocket(this.#port('keepAliveWebSocket'), withWill('keepAlive-web', keepAliveSeconds));
  }
}

const expectedOpen: Partial<Record<Kind, number>> = {
  keepAlive: each,
  keepAliveWebSocket: 1,
  idle: each,
  idleWebSocket: 1,
  idleKafka: each,
  inFlight: 2,
  moved: 1,
};

function keptSession(kind: Kind): ConnectInput {
  return { clientId: kind, properties: { sessionExpiry: 3600 } };
}

function withWill(clientId: string, keepAlive: number): ConnectInput {
  const payload = Buffer.from('gone');
  const will = { topic: `wills/${clientId}`, payload, qos: 1, retain: false, properties: {} } as const;
  return { clientId, keepAlive, will };
}

async function connectWebSocket(port: number, input: ConnectInput): Promise<void> {
  const { client } = await MqttClient.openWebSocket(`ws://127.0.0.1:${port}/mqtt`, 4);
  client.sendConnect(input);
  expect((await client.next('connack')).reasonCode).toBe(0);
}

/** Clients that are always there: an MQTT publisher with its subscriber at QoS 1, and a Kafka producer. */
class Others {
  readonly #publisher: MqttClient;
  readonly #teller: MqttClient;
  readonly #subscriber: MqttClient;
  readonly #records: RecordLog;
  readonly #running: Promise<void>;
  #over = false;
  #rounds = 0;
  #slowestMs = 0;

  private constructor(clients: readonly [MqttClient, MqttClient, MqttClient], records: RecordLog) {
    [this.#publisher, this.#teller, this.#subscriber] = clients;
    this.#records = records;
    this.#running = this.#run();
    // `finish` says what happened.
    this.#running.catch(() => undefined);
  }

  static async start(mqttPort: number, kafkaPort: number): Promise<Others> {
    const { client: publisher } = await MqttClient.connect(mqttPort, 4, { clientId: 'publisher' });
    const { client: teller } = await MqttClient.connect(mqttPort, 4, { clientId: 'teller' });
    const { client: subscriber } = await MqttClient.connect(mqttPort, 5, { clientId: 'subscriber' });
    await subscriber.subscribe('others', 1);
    const records = await RecordLog.connect(kafkaPort);
    await records.produce('others-of-kafka', [{ value: 'x' }]);
    return new Others([publisher, teller, subscriber], records);
  }

  /** To those who subscribe to news; resolves when it is stored. */
  async tell(topic: string): Promise<void> {
    expect(await this.#teller.publishAcknowledged({ topic, payload: 'news' })).toBe(0);
  }

  async record(partition: number, value: string): Promise<void> {
    await this.#records.produce(ledger, [{ value }], { partition });
  }

  /** Rejects when one of them was not served. */
  async finish(): Promise<{ readonly rounds: number; readonly slowestMs: number }> {
    this.#over = true;
    await this.#running;
    return { rounds: this.#rounds, slowestMs: this.#slowestMs };
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      const since = performance.now();
      this.#publisher.publish({ topic: 'others', qos: 1, packetId: 1, payload: 'x' });
      await Promise.all([
        this.#publisher.next('puback'),
        this.#subscriber.receive(1),
        this.#records.produce('others-of-kafka', [{ value: 'x' }]),
      ]);
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - since);
      this.#rounds++;
      await delay(roundEveryMs);
    }
  }
}

async function createLedger(port: number): Promise<void> {
  const admin = kafkaBehind(port).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: ledger, numPartitions: partitions.length }] });
  await admin.disconnect();
}

/** kafkajs whose every connection goes through that port, whatever address it is told. */
function kafkaBehind(port: number): Kafka {
  return new Kafka({
    brokers: [`127.0.0.1:${port}`],
    logLevel: logLevel.NOTHING,
    socketFactory: ({ onConnect }) => connect(port, '127.0.0.1', onConnect).setNoDelay(true),
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 3 },
  });
}

/** A member of the group that reads the ledger. */
class GroupMember {
  assigned: readonly number[] = [];
  assignedAt = 0;
  readonly values = new Set<string>();
  readonly #consumer: Consumer;

  private constructor(consumer: Consumer) {
    this.#consumer = consumer;
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[ledger] ?? [];
      this.assignedAt = performance.now();
    });
  }

  /** Resolves when it is assigned something. */
  static async join(port: number): Promise<GroupMember> {
    const consumer = kafkaBehind(port).consumer({
      groupId: 'readers',
      sessionTimeout: sessionTimeoutMs,
      heartbeatInterval: heartbeatMs,
      maxWaitTimeInMs: 200,
    });
    const member = new GroupMember(consumer);
    await consumer.connect();
    await consumer.subscribe({ topics: [ledger], fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => void member.values.add(String(message.value)),
    });
    await waitUntil(() => member.assigned.length > 0, { timeoutMs: 30_000, what: 'an assignment' });
    return member;
  }

  /** It may not be able to say so any more. */
  async leave(): Promise<void> {
    await Promise.race([this.#consumer.disconnect(), delay(5000, undefined, { ref: false })]);
  }
}
