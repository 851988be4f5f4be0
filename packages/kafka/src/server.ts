import { createServer } from 'node:net';
import type { Server } from 'node:net';
import type { Lifecycle, Timer } from '@robustmq/core';
import type { KafkaContext, KafkaModules, KafkaOptions } from './adapter.ts';
import { Connection } from './connection.ts';
import { GroupCoordinator } from './groups/coordinator.ts';
import { handlerOf } from './handlers/index.ts';
import { createKafkaCounters } from './metrics.ts';
import type { KafkaCounters } from './metrics.ts';

const idleCheckMs = 10_000;

/** The listener for stock Kafka clients. */
export class KafkaAdapter implements Lifecycle {
  readonly counters: KafkaCounters = createKafkaCounters();
  readonly #options: KafkaOptions;
  readonly #modules: KafkaModules;
  readonly #groups: GroupCoordinator;
  readonly #connections = new Set<Connection>();
  #server: Server | null = null;
  #idle: Timer | null = null;
  #port = 0;

  constructor(options: KafkaOptions, modules: KafkaModules) {
    this.#options = options;
    this.#modules = modules;
    this.#groups = new GroupCoordinator(modules, options.groups);
  }

  /** The address that is really bound. */
  address(): { host: string; port: number } {
    return { host: this.#options.host, port: this.#port };
  }

  /** Loads the groups, then listens. */
  async start(): Promise<void> {
    await this.#groups.start();
    const context = this.#context();
    const server = createServer((socket) => {
      this.counters.connections++;
      const connection = new Connection(socket, context, handlerOf);
      this.#connections.add(connection);
      socket.on('close', () => {
        this.counters.connections--;
        this.#connections.delete(connection);
      });
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#options.port, this.#options.host, resolve);
    });
    const address = server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : this.#options.port;
    this.#watchIdle();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    this.#idle?.cancel();
    this.#groups.stop();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const connection of this.#connections) connection.close();
    await closed;
  }

  #context(): KafkaContext {
    const { advertisedHost, advertisedPort, nodeId, host } = this.#options;
    return {
      ...this.#modules,
      options: this.#options,
      counters: this.counters,
      groups: this.#groups,
      broker: () => ({ nodeId, host: advertisedHost ?? host, port: advertisedPort ?? this.#port }),
    };
  }

  #watchIdle(): void {
    const { clock } = this.#modules;
    this.#idle = clock.after(idleCheckMs, () => {
      const oldest = clock.monotonic() - (this.#options.idleMs ?? 600_000);
      for (const connection of this.#connections) if (connection.lastRequestAt < oldest) connection.close();
      this.#watchIdle();
    });
  }
}

/** Makes the adapter; nothing is bound before `start`. */
export function createKafkaAdapter(options: KafkaOptions, modules: KafkaModules): KafkaAdapter {
  return new KafkaAdapter(options, modules);
}
