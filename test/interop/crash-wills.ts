import type { History, ServerProcess } from '@robustmq/testkit';
import { connectAsync } from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
import type { Witness } from './crash-witness.ts';

const keptClients = 2;

/** How the client of each will is connected, in turns. */
const kinds: readonly IClientOptions[] = [
  { protocolVersion: 4, clean: true },
  { protocolVersion: 5, clean: true },
  { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } },
  { protocolVersion: 4, clean: false },
  // This one has lost its connection already when the server dies, and its will waits.
  { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } },
];
const delayed = kinds.length - 1;

/**
 * Wills whose clients die with the server: each is published once, and readers get it. Wills whose clients come back within
 * the grace, and at last say goodbye: they are never published.
 */
export class Wills implements Witness {
  readonly #server: ServerProcess;
  readonly #history: History;
  readonly #kept: MqttClient[] = [];
  #lost: MqttClient | null = null;

  private constructor(server: ServerProcess, history: History) {
    this.#server = server;
    this.#history = history;
  }

  static async open(server: ServerProcess, history: History): Promise<Wills> {
    const wills = new Wills(server, history);
    for (let at = 0; at < keptClients; at++) {
      const topic = `fleet/will/kept/${at}`;
      history.publisher(topic, 'exactly-once');
      const options = kinds[2]!;
      wills.#kept.push(await wills.#connect(`kept-will-${at}`, topic, { ...options, reconnectPeriod: 50 }));
    }
    return wills;
  }

  async before(kill: number): Promise<void> {
    const topic = `fleet/will/lost/${kill}`;
    this.#history.publisher(topic, 'exactly-once');
    const number = this.#history.send(topic);
    const kind = kill % kinds.length;
    this.#lost = await this.#connect(`lost-will-${kill}`, topic, kinds[kind]!, kind === delayed ? 1 : 0);
    // CONNACK: the server has taken the will.
    this.#history.acknowledge(topic, number);
    if (kind === delayed) this.#lost.stream.destroy();
  }

  async after(): Promise<string[]> {
    await this.#lost?.endAsync(true);
    return [];
  }

  async close(): Promise<void> {
    for (const client of this.#kept) await client.endAsync();
  }

  async #connect(
    clientId: string,
    topic: string,
    options: IClientOptions,
    willDelayInterval = 0,
  ): Promise<MqttClient> {
    const client = await connectAsync(`mqtt://${this.#server.address('mqtt')}`, {
      clientId,
      reconnectPeriod: 0,
      ...options,
      will: {
        topic,
        payload: Buffer.from('0'),
        qos: 2,
        retain: false,
        ...(willDelayInterval > 0 ? { properties: { willDelayInterval } } : {}),
      },
    });
    client.on('error', () => undefined);
    return client;
  }
}
