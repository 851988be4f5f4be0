import { setTimeout as delay } from 'node:timers/promises';
import type { ServerProcess } from '@robustmq/testkit';
import { MqttClient, RecordLog } from '@robustmq/testkit';

/** Between a message and the next. */
const pauseMs = 20;

/** What became of one message. */
export interface Outcome {
  /** `stored`; `closed` without a word; or the code of the refusal, with its packet or request. */
  readonly answer: string;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/**
 * Sends one message after the other, the next when the one before has its answer, and connects again after a refusal.
 * Speaks the protocol without a client's library, which would hide the answers and repeat what was refused.
 */
export abstract class Writer {
  readonly name: string;
  readonly outcomes: Outcome[] = [];
  #sentAt: number | null = null;
  #stopped = false;
  #running: Promise<void> | null = null;

  constructor(name: string) {
    this.name = name;
  }

  start(): void {
    this.#running = this.#run();
    // Thrown by `stop`; a test that fails before has another reason.
    this.#running.catch(() => undefined);
  }

  /** Sends no more; resolves when the last message has its answer. Throws what no server should cause. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    this.close();
  }

  /** Ms that the longest message waited, also one that still waits. */
  get longestWaitMs(): number {
    const open = this.#sentAt === null ? 0 : performance.now() - this.#sentAt;
    return Math.max(open, ...this.outcomes.map(({ sentAt, answeredAt }) => answeredAt - sentAt));
  }

  /** Of what was sent later than that. */
  outcomesSince(time: number): Outcome[] {
    return this.outcomes.filter(({ sentAt }) => sentAt >= time);
  }

  /** Sends one message, and resolves to what the server said to it. */
  protected abstract send(number: number): Promise<string>;
  protected abstract connect(): Promise<void>;
  protected abstract close(): void;
  protected abstract get connected(): boolean;

  async #run(): Promise<void> {
    for (let number = 0; !this.#stopped; number++) {
      if (!this.connected) await this.connect();
      this.#sentAt = performance.now();
      const answer = await this.send(number);
      this.outcomes.push({ answer, sentAt: this.#sentAt, answeredAt: performance.now() });
      this.#sentAt = null;
      await delay(pauseMs);
    }
  }
}

/** A raw MQTT connection that publishes at QoS 1 or 2, the latter to the end of the exchange. */
export class MqttWriter extends Writer {
  readonly #server: ServerProcess;
  readonly #version: 4 | 5;
  readonly #qos: 1 | 2;
  #client: MqttClient | null = null;
  #answered: ((answer: string) => void) | null = null;

  constructor(server: ServerProcess, version: 4 | 5, qos: 1 | 2) {
    super(`mqtt ${version} qos ${qos}`);
    this.#server = server;
    this.#version = version;
    this.#qos = qos;
  }

  protected get connected(): boolean {
    return this.#client?.closed === false;
  }

  protected async connect(): Promise<void> {
    const { client } = await MqttClient.connect(this.#server.ports.mqtt, this.#version, {
      clientId: this.name.replaceAll(' ', '-'),
    });
    this.#client = client;
    client.listen(
      (packet) => {
        if (packet.type === 'disconnect') this.#settle(`disconnect ${hex(packet.reasonCode)}`);
        else if (packet.type === 'pubrec' && packet.reasonCode < 0x80) client.ack('pubrel', packet.packetId);
        else if ('reasonCode' in packet && packet.reasonCode > 0) {
          this.#settle(`${packet.type} ${hex(packet.reasonCode)}`);
        } else this.#settle('stored');
      },
      () => this.#settle('closed'),
    );
  }

  protected async send(number: number): Promise<string> {
    const client = this.#client!;
    const answer = await new Promise<string>((resolve) => {
      this.#answered = resolve;
      client.publish({
        topic: 'writers',
        qos: this.#qos,
        packetId: (number % 60_000) + 1,
        payload: String(number),
      });
    });
    // A server that says farewell also closes.
    if (answer.startsWith('disconnect')) await client.whenClosed();
    return answer;
  }

  protected close(): void {
    this.#client?.drop();
  }

  #settle(answer: string): void {
    this.#answered?.(answer);
    this.#answered = null;
  }
}

/** A raw Kafka connection that produces with acks=all. */
export class KafkaWriter extends Writer {
  readonly #server: ServerProcess;
  #log: RecordLog | null = null;

  constructor(server: ServerProcess) {
    super('kafka');
    this.#server = server;
  }

  protected get connected(): boolean {
    return this.#log !== null;
  }

  protected async connect(): Promise<void> {
    this.#log = await RecordLog.connect(this.#server.ports.kafka);
  }

  protected async send(number: number): Promise<string> {
    try {
      await this.#log!.produce('writers', [{ value: String(number) }]);
      return 'stored';
    } catch (error) {
      const code = /answered with (\d+)$/.exec((error as Error).message)?.[1];
      if (code === undefined) throw error;
      return `produce ${code}`;
    }
  }

  protected close(): void {
    this.#log?.close();
  }
}

function hex(code: number): string {
  return `0x${code.toString(16)}`;
}
