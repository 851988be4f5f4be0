import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import type { Clock, Logger } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import { createMqttAdapter } from '@robustmq/mqtt';
import type { MqttAdapter, MqttLimits } from '@robustmq/mqtt';
import type { ConnackPacket, ProtocolVersion } from '@robustmq/mqtt-codec';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import type { MemoryKernelOptions, MemoryStorage } from './memory-kernel.ts';
import { MqttClient } from './mqtt-client.ts';
import type { ConnectInput } from './mqtt-client.ts';

export interface MqttBrokerOptions extends MemoryKernelOptions {
  readonly limits?: Partial<MqttLimits>;
  /** A simulated one for deadlines of many seconds. */
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly webSocket?: boolean;
}

/** One run of kernel and adapter, which a crash cuts off from everything that outlives it. */
class Run {
  readonly kernel: Kernel;
  readonly adapter: MqttAdapter;
  readonly #plug: { dead: boolean };

  private constructor(kernel: Kernel, adapter: MqttAdapter, plug: { dead: boolean }) {
    this.kernel = kernel;
    this.adapter = adapter;
    this.#plug = plug;
  }

  static async start(storage: MemoryStorage, options: MqttBrokerOptions): Promise<Run> {
    const plug = { dead: false };
    const clock = pluggedClock(options.clock ?? systemClock, plug);
    const logger = options.logger ?? silentLogger;
    const kernel = await startKernel(storage, {
      ...options,
      modules: { clock, logger, ...options.modules },
    });
    const loopback = { hosts: ['127.0.0.1'], port: 0 };
    const adapter = createMqttAdapter(
      {
        tcp: loopback,
        webSocket: options.webSocket === true ? loopback : null,
        ...(options.limits === undefined ? {} : { limits: options.limits }),
      },
      { kernel, clock, random: systemRandom, logger },
    );
    await adapter.start();
    return new Run(kernel, adapter, plug);
  }

  async stop(): Promise<void> {
    await this.adapter.stop();
    await this.kernel.stop();
  }

  /** Nothing that this run does from now on reaches storage or time; its sockets are closed. */
  crash(): void {
    this.#plug.dead = true;
    // Its sessions wait for ever for what a dead journal will not say.
    void this.adapter.stop();
  }
}

/**
 * A broker with MQTT on a kernel in memory, for tests of what the adapter does: it can be restarted, and it can crash.
 * `await using` ends its clients and itself.
 */
export class MqttBroker {
  readonly storage: MemoryStorage;
  readonly #options: MqttBrokerOptions;
  readonly #clients = new Set<MqttClient>();
  #run: Run;

  private constructor(storage: MemoryStorage, options: MqttBrokerOptions, run: Run) {
    this.storage = storage;
    this.#options = options;
    this.#run = run;
  }

  static async start(options: MqttBrokerOptions = {}): Promise<MqttBroker> {
    const storage = await createMemoryStorage();
    return new MqttBroker(storage, options, await Run.start(storage, options));
  }

  get kernel(): Kernel {
    return this.#run.kernel;
  }

  get adapter(): MqttAdapter {
    return this.#run.adapter;
  }

  /** Of TCP. */
  get port(): number {
    return this.adapter.tcp!.port;
  }

  get webSocketUrl(): string {
    return `ws://127.0.0.1:${this.adapter.webSocket!.port}/mqtt`;
  }

  /** Opens a connection without a word. */
  async open(version: ProtocolVersion): Promise<MqttClient> {
    const client = await MqttClient.open(this.port, version);
    this.#clients.add(client);
    return client;
  }

  /** A connected client; rejects unless CONNACK says success. */
  async connect(version: ProtocolVersion, input: ConnectInput = {}): Promise<MqttClient> {
    return (await this.connectWith(version, input)).client;
  }

  async connectWith(
    version: ProtocolVersion,
    input: ConnectInput = {},
  ): Promise<{ client: MqttClient; connack: ConnackPacket }> {
    const connected = await MqttClient.connect(this.port, version, input);
    this.#clients.add(connected.client);
    return connected;
  }

  /** Stops in good order and starts again on the same storage. */
  async restart(): Promise<void> {
    await this.#run.stop();
    this.#drop();
    this.#run = await Run.start(this.storage, this.#options);
  }

  /** Dies without a word and starts again on the same storage. */
  async crash(): Promise<void> {
    this.storage.journal.crash();
    this.#run.crash();
    this.#drop();
    this.#run = await Run.start(this.storage, this.#options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#drop();
    await this.#run.stop();
  }

  #drop(): void {
    for (const client of this.#clients) client.drop();
    this.#clients.clear();
  }
}

function pluggedClock(clock: Clock, plug: { readonly dead: boolean }): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (delayMs, task) =>
      clock.after(delayMs, () => {
        if (!plug.dead) task();
      }),
  };
}
