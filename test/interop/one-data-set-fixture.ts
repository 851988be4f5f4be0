import { randomUUID } from 'node:crypto';
import type { NewRecord, ProduceOptions, StoredRecord } from '@robustmq/testkit';
import { MqttClient as RawMqtt, RecordLog, ServerProcess, waitUntil } from '@robustmq/testkit';
import { Kafka, logLevel } from 'kafkajs';
import type { Consumer, KafkaMessage } from 'kafkajs';
import { connect } from 'mqtt';
import type { IClientOptions, IPublishPacket, MqttClient } from 'mqtt';

/** A message as MQTT.js gives it. */
export interface MqttMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly packet: IPublishPacket;
}

/** A record as kafkajs gives it. */
export type KafkaRecord = KafkaMessage & { readonly topic: string; readonly partition: number };

/** Things that come one by one. */
export class Inbox<Item> {
  readonly items: Item[] = [];

  /** Resolves to the first `count` of those that `wanted` takes. */
  async first(count: number, wanted: (item: Item) => boolean = () => true): Promise<Item[]> {
    const found = (): Item[] => this.items.filter(wanted);
    await waitUntil(() => found().length >= count, { what: `${count} items; ${this.items.length} came` });
    return found().slice(0, count);
  }
}

/** One server with the clients of both protocols that its tests share. */
export class OneDataSet {
  readonly server: ServerProcess;
  readonly kafka: Kafka;
  /** Raw batches in and records out. */
  readonly log: RecordLog;
  readonly #closers: (() => Promise<unknown>)[] = [];

  private constructor(server: ServerProcess, log: RecordLog) {
    this.server = server;
    this.log = log;
    const brokers = [server.address('kafka')];
    this.kafka = new Kafka({ clientId: 'one-data-set', brokers, logLevel: logLevel.NOTHING });
  }

  static async start(): Promise<OneDataSet> {
    const server = await ServerProcess.start();
    return new OneDataSet(server, await RecordLog.connect(server.ports.kafka));
  }

  /** Connects MQTT.js; what comes is in `inbox`. */
  async mqtt(options: IClientOptions = {}): Promise<{ client: MqttClient; inbox: Inbox<MqttMessage> }> {
    const inbox = new Inbox<MqttMessage>();
    const url = `mqtt://${this.server.address('mqtt')}`;
    const client = connect(url, {
      protocolVersion: 5,
      clientId: `client-${randomUUID()}`,
      reconnectPeriod: 0,
      ...options,
    });
    // Before CONNACK: a session that is resumed gets its messages right behind it.
    client.on('message', (topic, payload, packet) => inbox.items.push({ topic, payload, packet }));
    await new Promise((resolve, reject) => {
      client.once('connect', resolve);
      client.once('error', reject);
    });
    this.#closers.push(() => client.endAsync(true));
    return { client, inbox };
  }

  /** Connects MQTT.js and subscribes. */
  async subscriber(
    filter: string,
    { qos = 1, ...options }: IClientOptions & { qos?: 0 | 1 | 2 } = {},
  ): Promise<{ client: MqttClient; inbox: Inbox<MqttMessage> }> {
    const connected = await this.mqtt(options);
    await connected.client.subscribeAsync(filter, { qos });
    return connected;
  }

  /** A raw MQTT 5 connection that shows properties in their order. */
  async rawMqtt(input: Parameters<typeof RawMqtt.connect>[2] = {}, version: 3 | 4 | 5 = 5): Promise<RawMqtt> {
    const { client } = await RawMqtt.connect(this.server.ports.mqtt, version, {
      clientId: `raw-${randomUUID().slice(0, 12)}`,
      ...input,
    });
    this.#closers.push(async () => client.drop());
    return client;
  }

  /** A kafkajs consumer group that reads the topic from its start. */
  async consumer(
    topic: string,
    groupId = `group-${randomUUID()}`,
  ): Promise<{ consumer: Consumer; inbox: Inbox<KafkaRecord> }> {
    const inbox = new Inbox<KafkaRecord>();
    const consumer = this.kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ partition, message }) => {
        inbox.items.push({ ...message, topic, partition });
      },
    });
    this.#closers.push(() => consumer.disconnect());
    return { consumer, inbox };
  }

  /** Produces one batch over the raw connection; returns its first offset. */
  produce(topic: string, records: readonly NewRecord[], options?: ProduceOptions): Promise<number> {
    return this.log.produce(topic, records, options);
  }

  /** The records of the default topic with this key, in the order of the log. */
  async stored(key: string): Promise<StoredRecord[]> {
    return (await this.log.read('mqtt')).filter((record) => record.key?.toString() === key);
  }

  /** Calls the admin API; returns status and body. */
  async admin(method: 'GET' | 'POST' | 'PATCH', path: string, body?: object): Promise<[number, unknown]> {
    const response = await fetch(`http://${this.server.address('admin')}/api/v1${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    return [response.status, await response.json()];
  }

  async stop(): Promise<void> {
    this.log.close();
    await Promise.all(this.#closers.map((close) => close()));
    await this.server[Symbol.asyncDispose]();
  }
}
