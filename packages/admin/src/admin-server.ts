import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { ConnectionGate, Lifecycle, ListenAddress, Logger, OpenListener } from '@robustmq/core';
import { listenOn } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import Fastify from 'fastify';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { errorAnswer } from './error-map.ts';
import type { AdminErrorCode } from './errors.ts';
import { Metrics } from './metrics.ts';
import type { MetricSource } from './metric-source.ts';
import { refuseOrigin } from './request-guard.ts';
import { addShardRoutes } from './shard-routes.ts';
import { addTopicRoutes } from './topic-routes.ts';

export interface AdminOptions extends ListenAddress {
  /** Other machines may ask, under any name. */
  readonly open: boolean;
}

export interface AdminModules {
  readonly kernel: Kernel;
  readonly logger: Logger;
  readonly metrics: readonly MetricSource[];
  /** Which connections are served; left out, all. */
  readonly gate?: ConnectionGate;
  /** Whether all listeners are open. */
  ready(): boolean;
}

/** Longest body of a request, bytes. */
const bodyBytesMax = 256 * 1024;
/** A request has to be complete after this long. */
const requestTimeoutMs = 30_000;
/** How often requests that are not complete are looked for. */
const incompleteCheckMs = 1000;
const connectionsMax = 256;

/**
 * The admin HTTP server: `/healthz` (the process runs), `/readyz` (it serves), `/metrics` (Prometheus), and the API
 * under `/api/v1`.
 */
export class AdminServer implements Lifecycle {
  readonly #options: AdminOptions;
  readonly #modules: AdminModules;
  readonly #metrics: Metrics;
  #app: FastifyInstance | null = null;
  #servers: Server[] = [];
  #listener: OpenListener | null = null;

  constructor(options: AdminOptions, modules: AdminModules) {
    this.#options = options;
    this.#modules = modules;
    this.#metrics = new Metrics(modules.metrics);
  }

  /** What is really bound; null before `start` and after `stop`. */
  get listener(): OpenListener | null {
    return this.#listener;
  }

  async start(): Promise<void> {
    const app = Fastify({
      bodyLimit: bodyBytesMax,
      routerOptions: { maxParamLength: 256 },
      ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
    });
    // JSON only: a page of another origin may send plain text without asking first.
    app.removeContentTypeParser('text/plain');
    this.#app = app;
    this.#guard(app);
    this.#routes(app);
    await app.ready();
    const { gate } = this.#modules;
    this.#listener = await listenOn(this.#options, {
      createServer: () => this.#createServer(app),
      ...(gate === undefined ? {} : { gate }),
      acceptFailed: (error) => this.#modules.logger.warn({ error }, 'a connection could not be accepted'),
    });
  }

  async stop(): Promise<void> {
    const closed = this.#listener?.close();
    this.#listener = null;
    for (const server of this.#servers.splice(0)) server.closeAllConnections();
    await closed;
    await this.#app?.close();
    this.#app = null;
  }

  #createServer(app: FastifyInstance): Server {
    const server = createServer({ connectionsCheckingInterval: incompleteCheckMs }, (request, response) =>
      app.routing(request, response),
    );
    server.maxConnections = connectionsMax;
    server.requestTimeout = requestTimeoutMs;
    server.headersTimeout = requestTimeoutMs;
    this.#servers.push(server);
    return server;
  }

  #guard(app: FastifyInstance): void {
    app.addHook('onRequest', async ({ headers }, reply) => {
      const refused = refuseOrigin({ host: headers.host, origin: headers.origin }, this.#options.open);
      if (refused !== null) return refuse(reply, 403, 'REQUEST_ORIGIN', refused);
    });
    app.setNotFoundHandler((request, reply) =>
      refuse(reply, 404, 'ROUTE_NOT_FOUND', `there is no ${request.method} ${request.url.slice(0, 256)}`),
    );
    app.setErrorHandler((error, _request, reply) => {
      const answer = errorAnswer(error);
      if (answer !== null) return reply.code(answer.status).send(answer.body);
      this.#modules.logger.error({ error }, 'an admin request failed');
      return refuse(reply, 500, 'INTERNAL', 'the request failed; the log says why');
    });
  }

  #routes(app: FastifyInstance): void {
    app.get('/healthz', () => ({ status: 'ok' }));
    app.get('/readyz', (_request, reply) => {
      if (this.#modules.ready()) return { status: 'ready' };
      return reply.code(503).send({ status: 'not ready' });
    });
    app.get('/metrics', async (_request, reply) =>
      reply.type(this.#metrics.contentType).send(await this.#metrics.text()),
    );
    addTopicRoutes(app, this.#modules.kernel);
    addShardRoutes(app, this.#modules.kernel);
  }
}

function refuse(reply: FastifyReply, status: number, code: AdminErrorCode, message: string): FastifyReply {
  return reply.code(status).send({ code, message });
}
