import { setTimeout as delay } from 'node:timers/promises';
import type { ServerProcess } from '@robustmq/testkit';
import { waitUntil } from '@robustmq/testkit';
import { connectAsync } from 'mqtt';
import type { MqttClient } from 'mqtt';
import { persistentClient } from './crash-clients.ts';
import type { Witness } from './crash-witness.ts';

const subjects = 4;
const end = 'end';

/**
 * Retained messages that are set and cleared, one operation after the other on each subject. Half of the subjects rest at
 * a kill: their state must be that of the last acknowledged operation. The others are in the middle of one, which their
 * client sends again.
 */
export class RetainedStates implements Witness {
  readonly #server: ServerProcess;
  readonly #setters: Setter[];

  constructor(server: ServerProcess) {
    this.#server = server;
    this.#setters = Array.from({ length: subjects }, (_, at) => new Setter(server, `state/${at}`));
  }

  async before(kill: number): Promise<void> {
    for (const setter of this.#setters) setter.go();
    await waitUntil(() => this.#setters.every(({ operations }) => operations >= 3), {
      what: 'retained messages to be set and cleared',
    });
    await Promise.all(this.#setters.filter((_, at) => at % 2 === kill % 2).map((setter) => setter.rest()));
  }

  async after(): Promise<string[]> {
    await Promise.all(this.#setters.map((setter) => setter.rest()));
    const states = await this.#states();
    const problems: string[] = [];
    for (const { subject, state } of this.#setters) {
      const found = states.get(subject)!;
      if (found !== state) problems.push(`retained: ${subject} is '${found}' and should be '${state}'`);
    }
    return problems;
  }

  async close(): Promise<void> {
    await Promise.all(this.#setters.map((setter) => setter.close()));
  }

  /** What a new subscriber is given as retained, by subject; empty: nothing. */
  async #states(): Promise<Map<string, string>> {
    const client = await connectAsync(`mqtt://${this.#server.address('mqtt')}`, { protocolVersion: 5 });
    const states = new Map(this.#setters.map(({ subject }) => [subject, '']));
    let ends = 0;
    client.on('message', (subject, payload, { retain }) => {
      if (retain) states.set(subject, payload.toString());
      else ends++;
    });
    await client.subscribeAsync('state/#', { qos: 1 });
    // What is retained on a subject comes before anything that is published there afterwards.
    for (const { subject } of this.#setters) await client.publishAsync(subject, end, { qos: 1 });
    await waitUntil(() => ends === subjects, { what: 'the end of the retained messages' });
    await client.endAsync();
    return states;
  }
}

/** Sets and clears one subject. */
class Setter {
  readonly subject: string;
  /** What was acknowledged last; empty: cleared. */
  state = '';
  /** Acknowledged since `go`. */
  operations = 0;
  readonly #client: MqttClient;
  #number = 0;
  #goes = false;
  #running: Promise<void> = Promise.resolve();

  constructor(server: ServerProcess, subject: string) {
    this.subject = subject;
    this.#client = persistentClient(server, subject.replaceAll('/', '-'), 5);
  }

  go(): void {
    this.operations = 0;
    if (this.#goes) return;
    this.#goes = true;
    this.#running = this.#run();
  }

  /** Resolves when the operation in flight is acknowledged. */
  async rest(): Promise<void> {
    this.#goes = false;
    await this.#running;
  }

  async close(): Promise<void> {
    await this.rest();
    await this.#client.endAsync(true);
  }

  async #run(): Promise<void> {
    while (this.#goes) {
      const number = this.#number++;
      const state = number % 3 === 2 ? '' : String(number);
      await this.#client.publishAsync(this.subject, state, { qos: 1, retain: true });
      this.state = state;
      this.operations++;
      // The pace of a device, not of a benchmark.
      await delay(5);
    }
  }
}
