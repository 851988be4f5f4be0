import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { Lifecycle, ListenAddress, Logger, OpenListener } from '@robustmq/core';
import { listenOn } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import Fastify from 'fastify';
import type { FastifyInstance } from 'fastify';
import { Metrics } from './metrics.ts';
import type { MetricSource } from './metric-source.ts';

export interface AdminModules {
  readonly kernel: Kernel;
  readonly logger: Logger;
  readonly metrics: readonly MetricSource[];
  /** Whether all listeners are open. */
  ready(): boolean;
}

/** Longest body of a request, bytes. */
const bodyBytesMax = 256 * 1024;
/** A request has to be complete after this long. */
const requestTimeoutMs = 30_000;
const connectionsMax = 256;

/**
 * The admin HTTP server: `/healthz` (the process runs), `/readyz` (it serves), `/metrics` (Prometheus), and the API
 * under `/api/v1`.
 */
export class AdminServer implements Lifecycle {
  readonly #address: ListenAddress;
  readonly #modules: AdminModules;
  readonly #metrics: Metrics;
  #app: FastifyInstance | null = null;
  #listener: OpenListener | null = null;

  constructor(address: ListenAddress, modules: AdminModules) {
    this.#address = address;
    this.#modules = modules;
    this.#metrics = new Metrics(modules.metrics);
  }

  /** What is really bound; null before `start` and after `stop`. */
  get listener(): OpenListener | null {
    return this.#listener;
  }

  async start(): Promise<void> {
    const { logger } = this.#modules;
    const servers: Server[] = [];
    const app = Fastify({ bodyLimit: bodyBytesMax, requestTimeout: requestTimeoutMs });
    this.#app = app;
    this.#routes(app);
    await app.ready();
    this.#listener = await listenOn(this.#address, {
      createServer: () => {
        const server = createServer((request, response) => app.routing(request, response));
        server.maxConnections = connectionsMax;
        server.requestTimeout = requestTimeoutMs;
        servers.push(server);
        return server;
      },
      acceptFailed: (error) => logger.warn({ error }, 'a connection could not be accepted'),
    });
    this.#servers = servers;
  }

  #servers: readonly Server[] = [];

  async stop(): Promise<void> {
    const closed = this.#listener?.close();
    this.#listener = null;
    for (const server of this.#servers) server.closeAllConnections();
    await closed;
    await this.#app?.close();
    this.#app = null;
  }

  #routes(app: FastifyInstance): void {
    app.get('/healthz', () => ({ status: 'ok' }));
    app.get('/readyz', (_request, reply) => {
      if (this.#modules.ready()) return { status: 'ready' };
      return reply.code(503).send({ status: 'starting' });
    });
    app.get('/metrics', async (_request, reply) =>
      reply.type(this.#metrics.contentType).send(await this.#metrics.text()),
    );
  }
}
