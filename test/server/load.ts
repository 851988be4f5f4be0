import type { ServerProcess } from '@robustmq/testkit';
import { History, waitUntil } from '@robustmq/testkit';
import type { Consumer } from 'kafkajs';
import type { Publisher } from '../interop/crash-clients.ts';
import { KafkaPublisher, kafkaOf, MqttPublisher, MqttReader, openGroup } from '../interop/crash-clients.ts';
import { recordLog } from '../interop/crash-log.ts';

const group = 'auditors';

/** Real clients of both protocols that publish and read until `finish`, and the history of what they did. */
export class Load {
  readonly history: History;
  readonly readers: readonly MqttReader[];
  readonly publishers: readonly Publisher[];
  /** How often the consumer joined its group. */
  joins = 0;
  readonly #server: ServerProcess;
  readonly #consumer: Consumer;

  private constructor(
    server: ServerProcess,
    history: History,
    { readers, consumer }: { readers: readonly MqttReader[]; consumer: Consumer },
  ) {
    this.#server = server;
    this.history = history;
    this.readers = readers;
    this.#consumer = consumer;
    consumer.on(consumer.events.GROUP_JOIN, () => this.joins++);
    this.publishers = [
      new MqttPublisher(server, history, 'fleet/q1', { qos: 1, protocolVersion: 5, retain: true }),
      new MqttPublisher(server, history, 'fleet/q2', { qos: 2, protocolVersion: 4 }),
      new KafkaPublisher(server, history, { key: 'idempotent', promised: 'exactly-once' }),
      new KafkaPublisher(server, history, { key: 'plain', promised: 'at-least-once' }),
    ];
  }

  /** `absent`: name of one more reader at QoS 2, whose session is kept and which is away from before the first message. */
  static async start(server: ServerProcess, { absent }: { absent?: string } = {}): Promise<Load> {
    const history = new History();
    const admin = kafkaOf(server).admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'ledger', numPartitions: 2 }] });
    await admin.disconnect();
    const readers = [
      await MqttReader.open(server, history, { name: 'reader-q1', qos: 1, protocolVersion: 4 }),
      await MqttReader.open(server, history, { name: 'reader-q2', qos: 2, protocolVersion: 5 }),
    ];
    if (absent !== undefined) {
      const away = await MqttReader.open(server, history, { name: absent, qos: 2, protocolVersion: 5 });
      // MQTT.js that leaves forgets messages at QoS 2 whose exchange has begun.
      await away.leave();
      readers.push(away);
    }
    const load = new Load(server, history, { readers, consumer: await openGroup(server, history, group) });
    await load.moreAcknowledged(200);
    return load;
  }

  /** Resolves when every publisher has had as many more acknowledgements. */
  async moreAcknowledged(count: number, timeoutMs = 30_000): Promise<void> {
    const { history } = this;
    const subjects = this.publishers.map(({ subject }) => subject);
    const wanted = subjects.map((subject) => history.acknowledgedCount(subject) + count / subjects.length);
    await waitUntil(
      () => subjects.every((subject, at) => history.acknowledgedCount(subject) >= wanted[at]!),
      {
        timeoutMs,
        what: `${count} more acknowledgements`,
      },
    );
  }

  /** Whether every reader has all that was acknowledged. */
  get isRead(): boolean {
    const names = [...this.readers.map(({ name }) => name), group];
    return names.every((name) => this.history.isComplete(name));
  }

  /** Stops publishing; what is wrong with the whole run, in words. */
  async finish(): Promise<string[]> {
    const { history, publishers } = this;
    await Promise.all(publishers.map((publisher) => publisher.finish()));
    // If it is not so in time, the problems say what is missing.
    await waitUntil(() => this.isRead, { timeoutMs: 30_000 }).catch(() => undefined);
    await recordLog(this.#server, history);
    return [...publishers.flatMap(({ errors }) => errors), ...history.problems()];
  }

  async close(): Promise<void> {
    await this.#consumer.disconnect();
    await Promise.all([...this.readers, ...this.publishers].map((client) => client.close()));
  }
}
