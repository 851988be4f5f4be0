import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import type { Lifecycle, OpenListener } from '@robustmq/core';
import { assert, listenOn, openGates, Pulse } from '@robustmq/core';
import type { KafkaContext, KafkaModules, KafkaOptions } from './adapter.ts';
import { AnswerTurn } from './answer-turn.ts';
import { Connection } from './connection.ts';
import type { ConnectionLimits } from './connection.ts';
import { GroupCoordinator } from './groups/coordinator.ts';
import { handlerOf } from './handlers/index.ts';
import { createKafkaCounters } from './metrics.ts';
import type { KafkaCounters } from './metrics.ts';
import { ProduceDeadlines } from './produce-deadlines.ts';

/** Connections are looked at this often, or twice in the shortest time that one may take. */
const overdueCheckMs = 10_000;
/** What is not answered this long after the stop began has no answer. */
const drainMs = 1000;

/** The listener for stock Kafka clients. */
export class KafkaAdapter implements Lifecycle {
  readonly counters: KafkaCounters = createKafkaCounters();
  readonly #options: KafkaOptions;
  readonly #modules: KafkaModules;
  readonly #groups: GroupCoordinator;
  readonly #limits: ConnectionLimits;
  readonly #partialBytesMax: number;
  readonly #connections = new Set<Connection>();
  #listener: OpenListener | null = null;
  readonly #overdue: Pulse;
  readonly #produceDeadlines: ProduceDeadlines;

  constructor(options: KafkaOptions, modules: KafkaModules) {
    this.#options = options;
    this.#modules = modules;
    this.#groups = new GroupCoordinator(modules, options.groups);
    this.#produceDeadlines = new ProduceDeadlines(modules.clock);
    this.#limits = {
      idleMs: options.idleMs ?? 600_000,
      partialRequestMs: options.partialRequestMs ?? 30_000,
      stalledMs: options.stalledMs ?? 60_000,
    };
    this.#partialBytesMax = options.partialBytesMax ?? 512 * 1024 * 1024;
    const { idleMs, partialRequestMs } = this.#limits;
    const checkMs = Math.min(overdueCheckMs, idleMs / 2, partialRequestMs / 2);
    this.#overdue = new Pulse(modules.clock, checkMs, () => this.#closeOverdue());
  }

  /** What is really bound; null before `start` and after `stop`. */
  get listener(): OpenListener | null {
    return this.#listener;
  }

  /** What clients are told to connect to. */
  address(): { host: string; port: number } {
    const { advertisedHost, advertisedPort, hosts, port } = this.#options;
    return {
      host: advertisedHost ?? hosts[0]!,
      port: advertisedPort ?? this.#listener?.port ?? port,
    };
  }

  /** Loads the groups, then listens. */
  async start(): Promise<void> {
    await this.#groups.start();
    const context = this.#context();
    this.#listener = await listenOn(this.#options, {
      createServer: () => createServer((socket) => this.#accept(socket, context)),
      gate: context.gates.connections,
      acceptFailed: (error) => context.logger.warn({ error }, 'a connection could not be accepted'),
    });
    this.#overdue.start();
  }

  /** Answers what was received, but for a fetch that waits longer than a second, and closes every connection. */
  async stop(): Promise<void> {
    const listener = this.#listener;
    this.#listener = null;
    this.#overdue.stop();
    this.#groups.stop();
    if (listener === null) return;
    const closed = listener.close();
    for (const connection of this.#connections) connection.end();
    const timer = this.#modules.clock.after(drainMs, () => {
      for (const connection of this.#connections) connection.close();
    });
    await closed;
    timer.cancel();
    this.#produceDeadlines.stop();
  }

  #accept(socket: Socket, context: KafkaContext): void {
    if (socket.destroyed) return;
    if (this.#connections.size >= (this.#options.connectionsMax ?? 10_000)) {
      this.counters.connectionsRefused++;
      socket.destroy();
      return;
    }
    this.counters.connections++;
    const connection = new Connection(socket, context, handlerOf, this.#limits);
    this.#connections.add(connection);
    socket.on('close', () => {
      this.counters.connections--;
      this.#connections.delete(connection);
    });
  }

  #context(): KafkaContext {
    return {
      ...this.#modules,
      gates: this.#modules.gates ?? openGates,
      options: this.#options,
      counters: this.counters,
      groups: this.#groups,
      answers: new AnswerTurn(),
      produceDeadlines: this.#produceDeadlines,
      boundPartial: () => this.#boundPartial(),
      broker: () => ({ nodeId: this.#options.nodeId, ...this.address() }),
    };
  }

  /** Closes whoever holds most of what is not complete, until all of it is within its bound. */
  #boundPartial(): void {
    while (this.counters.partialBytes > this.#partialBytesMax) {
      let largest: Connection | null = null;
      for (const connection of this.#connections) {
        if (connection.partialBytes > (largest?.partialBytes ?? 0)) largest = connection;
      }
      assert(largest !== null, 'what is held is held by somebody');
      largest.dropPartial();
    }
  }

  #closeOverdue(): void {
    const now = this.#modules.clock.monotonic();
    for (const connection of this.#connections) connection.closeIfOverdue(now);
  }
}

/** Makes the adapter; nothing is bound before `start`. */
export function createKafkaAdapter(options: KafkaOptions, modules: KafkaModules): KafkaAdapter {
  return new KafkaAdapter(options, modules);
}
