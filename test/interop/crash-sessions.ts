import type { ServerProcess } from '@robustmq/testkit';
import { waitUntil } from '@robustmq/testkit';
import { connect, connectAsync } from 'mqtt';
import type { MqttClient } from 'mqtt';
import type { Witness } from './crash-witness.ts';

const message = 'left behind';
const probe = 'probe';
const end = 'end';

interface Guest {
  readonly name: 'subscribed' | 'unsubscribed' | 'ended';
  /** What CONNACK says after the crash. */
  readonly present: boolean;
  /** What the session gives its client after the crash, a probe of the subscription included. */
  readonly given: readonly string[];
}

const guests: readonly Guest[] = [
  { name: 'subscribed', present: true, given: [message, probe, end] },
  { name: 'unsubscribed', present: true, given: [end] },
  { name: 'ended', present: false, given: [end] },
];

/** Sessions of clients that are away at a kill: subscribed, with a message that waits; unsubscribed; and ended. */
export class Sessions implements Witness {
  readonly #server: ServerProcess;

  constructor(server: ServerProcess) {
    this.#server = server;
  }

  async before(kill: number): Promise<void> {
    await Promise.all(guests.map((guest) => this.#visit(kill, guest)));
  }

  async after(kill: number): Promise<string[]> {
    return (await Promise.all(guests.map((guest) => this.#comeBack(kill, guest)))).flat();
  }

  async close(): Promise<void> {}

  async #visit(kill: number, { name }: Guest): Promise<void> {
    const topic = topicOf(kill, name);
    const client = await this.#connect(topic, false);
    await client.subscribeAsync(topic, { qos: 1 });
    if (name === 'unsubscribed') await client.unsubscribeAsync(topic);
    await client.endAsync();
    // Clean Start ends the session, CONNACK says so; the new one ends with its connection.
    if (name === 'ended') await (await this.#connect(topic, true)).endAsync();
    else await this.#publish(topic, message);
  }

  async #comeBack(kill: number, { name, present, given }: Guest): Promise<string[]> {
    const topic = topicOf(kill, name);
    const url = `mqtt://${this.#server.address('mqtt')}`;
    const client = connect(url, { ...kept(topic, false), reconnectPeriod: 50 });
    const texts: string[] = [];
    client.on('message', (_topic, payload) => texts.push(payload.toString()));
    const sessionPresent = await new Promise<boolean>((resolve) =>
      client.once('connect', (connack) => resolve(connack.sessionPresent)),
    );
    await this.#publish(topic, probe);
    // Nothing comes later that was published before this subscription.
    await client.subscribeAsync(topic, { qos: 1 });
    await this.#publish(topic, end);
    await waitUntil(() => texts.includes(end), { what: `the end of ${topic}` });
    await client.endAsync();
    const problems: string[] = [];
    if (sessionPresent !== present) problems.push(`session ${topic}: present is ${sessionPresent}`);
    if (texts.join() !== given.join()) problems.push(`session ${topic}: was given ${texts.join()}`);
    return problems;
  }

  #connect(clientId: string, clean: boolean): Promise<MqttClient> {
    return connectAsync(`mqtt://${this.#server.address('mqtt')}`, kept(clientId, clean));
  }

  async #publish(topic: string, text: string): Promise<void> {
    const client = await connectAsync(`mqtt://${this.#server.address('mqtt')}`, { protocolVersion: 5 });
    await client.publishAsync(topic, text, { qos: 1 });
    await client.endAsync();
  }
}

function topicOf(kill: number, name: string): string {
  return `guests/${kill}/${name}`;
}

function kept(clientId: string, clean: boolean) {
  const expiry = clean ? {} : { properties: { sessionExpiryInterval: 3600 } };
  return { clientId, clean, protocolVersion: 5, resubscribe: false, reconnectPeriod: 0, ...expiry } as const;
}
