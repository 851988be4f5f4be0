import type { Lifecycle, Logger } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import Fastify from 'fastify';
import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';

export interface AdminOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
}

/** Counters that a package offers, by metric name without the prefix `robustmq_`. */
export type MetricSource = () => Iterable<readonly [name: string, help: string, value: number]>;

export interface AdminModules {
  readonly kernel: Kernel;
  readonly logger: Logger;
  readonly metrics: readonly MetricSource[];
  /** Whether all listeners are open. */
  ready(): boolean;
}

/**
 * The admin HTTP server: `/healthz` (the process runs), `/readyz` (it serves), `/metrics` (Prometheus), and the topics
 * as JSON under `/api/v1/topics`.
 */
export class AdminServer implements Lifecycle {
  readonly #options: AdminOptions;
  readonly #modules: AdminModules;
  readonly #registry = new Registry();
  readonly #gauges = new Map<string, Gauge>();
  #app: FastifyInstance | null = null;
  #port = 0;

  constructor(options: AdminOptions, modules: AdminModules) {
    this.#options = options;
    this.#modules = modules;
  }

  /** The port that is really bound. */
  get port(): number {
    return this.#port;
  }

  async start(): Promise<void> {
    const app = Fastify({ bodyLimit: 1024 * 1024, forceCloseConnections: true });
    this.#app = app;
    collectDefaultMetrics({ register: this.#registry });
    app.get('/healthz', () => ({ status: 'ok' }));
    app.get('/readyz', (_request, reply) => {
      if (this.#modules.ready()) return { status: 'ready' };
      return reply.code(503).send({ status: 'starting' });
    });
    app.get('/metrics', async (_request, reply) => {
      this.#refresh();
      return reply.type(this.#registry.contentType).send(await this.#registry.metrics());
    });
    this.#topics(app);
    await app.listen({ host: this.#options.host, port: this.#options.port });
    const address = app.server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : this.#options.port;
  }

  async stop(): Promise<void> {
    const app = this.#app;
    this.#app = null;
    await app?.close();
    this.#registry.clear();
  }

  #topics(app: FastifyInstance): void {
    const { kernel } = this.#modules;
    app.get('/api/v1/topics', () =>
      kernel.topics.list().map((topic) => ({
        name: topic.name,
        id: topic.id,
        shards: topic.shards.length,
        config: Object.fromEntries(topic.config),
      })),
    );
  }

  #refresh(): void {
    for (const source of this.#modules.metrics) {
      for (const [name, help, value] of source()) {
        let gauge = this.#gauges.get(name);
        if (gauge === undefined) {
          gauge = new Gauge({ name: `robustmq_${name}`, help, registers: [this.#registry] });
          this.#gauges.set(name, gauge);
        }
        gauge.set(value);
      }
    }
  }
}
