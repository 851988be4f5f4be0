import { setTimeout as delay } from 'node:timers/promises';
import type { History, Promised, ServerProcess } from '@robustmq/testkit';
import { waitUntil } from '@robustmq/testkit';
import { Kafka, logLevel } from 'kafkajs';
import type { Consumer, Producer } from 'kafkajs';
import { connect } from 'mqtt';
import type { MqttClient } from 'mqtt';

/** Messages of one publisher that wait for their acknowledgement. */
const inFlightMax = 8;
const ledger = 'ledger';
/** What MQTT.js says of publishes that waited for older ones to be sent again, when the connection broke meanwhile. */
const neverSent = 'Connection closed';

/** A publisher of numbers on a subject of its own; it goes on through every loss of its connection. */
export interface Publisher {
  readonly subject: string;
  /** What a client reported that no loss of a connection explains. */
  readonly errors: readonly string[];
  /** Sent and not acknowledged. */
  readonly inFlight: number;
  /** Sends no more, and resolves when all that was sent is acknowledged. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

export interface MqttPublisherOptions {
  readonly qos: 1 | 2;
  readonly protocolVersion: 4 | 5;
  readonly retain?: boolean;
}

/** MQTT.js with a persistent session, `inFlightMax` messages in flight: what is unanswered it sends again by itself. */
export class MqttPublisher implements Publisher {
  readonly subject: string;
  readonly errors: string[] = [];
  readonly #history: History;
  readonly #options: MqttPublisherOptions;
  readonly #client: MqttClient;
  /** Numbers that MQTT.js gave back, lowest first. */
  readonly #unsent: number[] = [];
  #inFlight = 0;
  #stopped = false;
  #drained: (() => void) | null = null;

  constructor(server: ServerProcess, history: History, subject: string, options: MqttPublisherOptions) {
    this.subject = subject;
    this.#history = history;
    this.#options = options;
    history.publisher(subject, options.qos === 2 ? 'exactly-once' : 'at-least-once');
    this.#client = persistentClient(server, subject.replaceAll('/', '-'), options.protocolVersion);
    this.#client.once('connect', () => this.#fill());
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  async finish(): Promise<void> {
    this.#stopped = true;
    if (this.#inFlight === 0 && this.#unsent.length === 0) return;
    await new Promise<void>((resolve) => (this.#drained = resolve));
  }

  /** Loses its connection, as on a bad network. */
  loseConnection(): void {
    this.#client.stream.destroy();
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }

  #fill(): void {
    while (this.#inFlight < inFlightMax && (!this.#stopped || this.#unsent.length > 0)) {
      const number = this.#unsent.shift() ?? this.#history.send(this.subject);
      const { qos, retain = false } = this.#options;
      this.#inFlight++;
      this.#client.publish(this.subject, String(number), { qos, retain }, (error) =>
        this.#answered(number, error ?? null),
      );
    }
  }

  #answered(number: number, error: Error | null): void {
    this.#inFlight--;
    if (error === null) this.#history.acknowledge(this.subject, number);
    else if (error.message === neverSent) this.#unsent.push(number);
    else this.errors.push(`${this.subject} ${number}: ${error.message}`);
    if (this.#inFlight === 0 && this.#unsent.length === 0) this.#drained?.();
    // A turn between messages, so that others run; the pace of a device, not of a benchmark.
    setTimeout(() => this.#fill(), 2);
  }
}

/** kafkajs with acks=all, a few records of one key a batch, the same batch again until it is acknowledged. */
export class KafkaPublisher implements Publisher {
  readonly subject: string;
  readonly errors: string[] = [];
  inFlight = 0;
  readonly #history: History;
  readonly #producer: Producer;
  readonly #key: string;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(
    server: ServerProcess,
    history: History,
    { key, promised }: { key: string; promised: Promised },
  ) {
    this.subject = `${ledger}/${key}`;
    this.#key = key;
    this.#history = history;
    history.publisher(this.subject, promised);
    const idempotent = promised === 'exactly-once';
    this.#producer = kafkaOf(server).producer({ idempotent, maxInFlightRequests: 1 });
    this.#running = this.#run();
  }

  async finish(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
  }

  async #run(): Promise<void> {
    await this.#producer.connect();
    for (let batch = 0; !this.#stopped; batch++) {
      const numbers = Array.from({ length: 1 + (batch % 5) }, () => this.#history.send(this.subject));
      const messages = numbers.map((number) => ({ key: this.#key, value: String(number) }));
      this.inFlight = numbers.length;
      try {
        // One key, so one partition and one batch, whose records have the offsets from the answered one on.
        const [answer] = await this.#producer.send({ topic: ledger, acks: -1, messages });
        const shard = answer!.partition;
        const base = Number(answer!.baseOffset);
        numbers.forEach((number, index) => {
          this.#history.acknowledge(this.subject, number, { shard, offset: base + index });
        });
        this.inFlight = 0;
      } catch (error) {
        this.errors.push(`${this.subject} ${numbers[0]}: ${String(error)}`);
        return;
      }
      await delay(2);
    }
  }
}

/** A persistent MQTT session that subscribes to everything and writes down what it is given. */
export class MqttReader {
  readonly name: string;
  /** Session Present of every CONNACK. */
  readonly sessionPresent: boolean[] = [];
  readonly #client: MqttClient;
  /** Packet ids of messages at QoS 2 whose exchange has begun and not ended. */
  readonly #open = new Set<number>();

  private constructor(name: string, client: MqttClient, history: History) {
    this.name = name;
    this.#client = client;
    client.on('connect', ({ sessionPresent }) => this.sessionPresent.push(sessionPresent));
    client.on('message', (subject, payload) => history.give(name, subject, Number(payload.toString())));
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'publish' && packet.qos === 2) this.#open.add(packet.messageId!);
    });
    client.on('packetsend', (packet) => {
      if (packet.cmd === 'pubcomp') this.#open.delete(packet.messageId!);
    });
  }

  /** Messages at QoS 2 between PUBLISH and PUBCOMP. */
  get inFlight(): number {
    return this.#open.size;
  }

  static async open(
    server: ServerProcess,
    history: History,
    { name, qos, protocolVersion }: { name: string; qos: 1 | 2; protocolVersion: 4 | 5 },
  ): Promise<MqttReader> {
    history.reader(name, qos === 2 ? 'exactly-once' : 'at-least-once');
    const client = persistentClient(server, name, protocolVersion);
    const reader = new MqttReader(name, client, history);
    await client.subscribeAsync(['fleet/#', `${ledger}/#`], { qos });
    return reader;
  }

  /** Leaves; the session stays. MQTT.js that is asked to end while it reconnects leaves that connection open. */
  async leave(): Promise<void> {
    await waitUntil(() => this.#client.connected, { what: `${this.name} to be connected` });
    await this.#client.endAsync();
  }

  /** Loses its connection, as on a bad network. */
  loseConnection(): void {
    this.#client.stream.destroy();
  }

  comeBack(): void {
    this.#client.reconnect();
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }
}

/** A consumer group of one member on both topics, which commits as it goes. */
export async function openGroup(server: ServerProcess, history: History, name: string): Promise<Consumer> {
  history.reader(name, 'at-least-once');
  const consumer = kafkaOf(server).consumer({ groupId: name, maxWaitTimeInMs: 100, sessionTimeout: 6000 });
  await consumer.connect();
  await consumer.subscribe({ topics: ['mqtt', ledger], fromBeginning: true });
  await consumer.run({
    autoCommitInterval: 200,
    eachMessage: async ({ topic, message }) => {
      const key = String(message.key);
      history.give(name, topic === ledger ? `${ledger}/${key}` : key, Number(String(message.value)));
    },
  });
  return consumer;
}

/** kafkajs that outlasts a restart. */
export function kafkaOf(server: ServerProcess): Kafka {
  return new Kafka({
    clientId: 'crash',
    brokers: [server.address('kafka')],
    logLevel: logLevel.NOTHING,
    requestTimeout: 5000,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 100 },
  });
}

/** MQTT.js with a session that stays; it never subscribes again by itself, which would hide a lost session. */
export function persistentClient(
  server: ServerProcess,
  clientId: string,
  protocolVersion: 4 | 5,
): MqttClient {
  const client = connect(`mqtt://${server.address('mqtt')}`, {
    clientId,
    protocolVersion,
    clean: false,
    resubscribe: false,
    reconnectPeriod: 50,
    connectTimeout: 10_000,
    ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {}),
  });
  client.on('error', () => undefined);
  return client;
}
