import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Lifecycle, OpenListener } from '@robustmq/core';
import { listenOn, openGates } from '@robustmq/core';
import { reasonCode, TopicCache } from '@robustmq/mqtt-codec';
import { WebSocketServer } from 'ws';
import type { MqttContext, MqttLimits, MqttModules, MqttOptions } from './adapter.ts';
import { defaultLimits } from './adapter.ts';
import { Connection } from './connection.ts';
import { Delivery } from './delivery/delivery.ts';
import type { MqttCounters } from './metrics.ts';
import { createMqttCounters } from './metrics.ts';
import { Flusher } from './output/flusher.ts';
import { Releases } from './publish/releases.ts';
import { SessionRegistry } from './sessions/session-registry.ts';
import { Timers } from './timers.ts';
import { TcpTransport } from './transport/tcp-transport.ts';
import type { Transport } from './transport/transport.ts';
import { WebSocketTransport } from './transport/websocket-transport.ts';

/** Paths that speak MQTT over WebSocket, and the subprotocols of its versions. */
const webSocketPaths: ReadonlySet<string> = new Set(['/mqtt', '/']);
const subprotocols: readonly string[] = ['mqtt', 'mqttv3.1'];
/** What a record may have beyond the bytes of its packet: longer header names, their lengths, and the header `mq`. */
const recordOverheadMax = 4 * 1024;
/** The largest packet that is announced is never smaller. */
const packetBytesMin = 4 * 1024;
/** Bytes of one WebSocket message beyond the largest packet. */
const webSocketMargin = 64 * 1024;
/** How often HTTP requests that are not complete are looked for, ms. */
const incompleteCheckMs = 1000;
/** As for TCP: a silent peer is asked by the system whether it is there. */
const probeAfterMs = 60_000;

/** The listeners for stock MQTT clients, and the sessions behind them. */
export class MqttAdapter implements Lifecycle {
  readonly counters: MqttCounters = createMqttCounters();
  readonly #options: MqttOptions;
  readonly #modules: MqttModules;
  readonly #limits: MqttLimits;
  readonly #connections = new Set<Connection>();
  readonly #open: OpenListener[] = [];
  #context: MqttContext | null = null;
  #tcp: OpenListener | null = null;
  #webSocket: OpenListener | null = null;

  constructor(options: MqttOptions, modules: MqttModules) {
    this.#options = options;
    this.#modules = modules;
    this.#limits = { ...defaultLimits, ...options.limits };
  }

  /** Where TCP is really bound; null when it is not. */
  get tcp(): { readonly hosts: readonly string[]; readonly port: number } | null {
    return this.#tcp;
  }

  /** Where WebSocket is really bound; null when it is not. */
  get webSocket(): { readonly hosts: readonly string[]; readonly port: number } | null {
    return this.#webSocket;
  }

  /** Sessions with and without a connection. */
  get sessions(): { readonly connected: number; readonly offline: number } {
    const sessions = this.#context?.sessions;
    return { connected: sessions?.connected ?? 0, offline: sessions?.offline ?? 0 };
  }

  /** Loads the sessions, then listens. */
  async start(): Promise<void> {
    const context = this.#createContext();
    this.#context = context;
    this.#modules.kernel.addDeliveryPort(context.delivery);
    context.timers.start();
    await context.sessions.start();
    const { tcp, webSocket } = this.#options;
    if (tcp !== null) this.#tcp = await this.#listen(tcp, () => this.#tcpServer(context));
    if (webSocket !== null) {
      this.#webSocket = await this.#listen(webSocket, () => this.#webSocketServer(context));
    }
  }

  /** Tells the clients, closes their connections and writes where their sessions stand. */
  async stop(): Promise<void> {
    const context = this.#context;
    if (context === null) return;
    this.#context = null;
    const closing = this.#open.splice(0).map((listener) => listener.close());
    context.flusher.stop();
    const sessions = context.sessions.stop();
    for (const connection of [...this.#connections]) {
      connection.end({ code: reasonCode.serverShuttingDown, reason: 'the broker is stopping' });
    }
    await sessions;
    await Promise.all(closing);
    context.timers.stop();
  }

  #createContext(): MqttContext {
    const { clock, kernel } = this.#modules;
    const { maxMessageBytes } = kernel.topics.configOf(kernel.topics.defaultTopic);
    // The largest packet that is announced has room in the default topic (docs/semantics.md 2.3).
    // Where that takes hardly anything, clients still have to connect and subscribe.
    const fitting = Math.max(maxMessageBytes - recordOverheadMax, packetBytesMin);
    const packetBytesMax = Math.min(this.#limits.packetBytesMax, fitting);
    const delivery = new Delivery({
      counters: this.counters,
      now: () => clock.now(),
      sessions: () => context.sessions,
    });
    const context: MqttContext & { sessions: SessionRegistry } = {
      ...this.#modules,
      gates: this.#modules.gates ?? openGates,
      limits: { ...this.#limits, packetBytesMax },
      counters: this.counters,
      flusher: new Flusher(clock),
      timers: new Timers(clock),
      topicCache: new TopicCache(4096),
      delivery,
      releases: new Releases(),
      turn: { now: clock.now() },
      sessions: undefined as unknown as SessionRegistry,
    };
    context.sessions = new SessionRegistry(context);
    return context;
  }

  async #listen(
    address: { readonly hosts: readonly string[]; readonly port: number },
    create: () => Server,
  ): Promise<OpenListener> {
    const { logger, gates = openGates } = this.#modules;
    const listener = await listenOn(address, {
      createServer: create,
      gate: gates.connections,
      acceptFailed: (error) => logger.warn({ error }, 'a connection could not be accepted'),
    });
    this.#open.push(listener);
    return listener;
  }

  #tcpServer(context: MqttContext): Server {
    return createServer({ allowHalfOpen: false }, (socket) => {
      this.#accept(new TcpTransport(socket, context.clock), context);
    });
  }

  #webSocketServer(context: MqttContext): Server {
    const { connectTimeoutMs } = this.#limits;
    const patience = {
      headersTimeout: connectTimeoutMs,
      requestTimeout: connectTimeoutMs,
      connectionsCheckingInterval: Math.min(incompleteCheckMs, connectTimeoutMs),
      keepAlive: true,
      keepAliveInitialDelay: probeAfterMs,
    };
    const http = createHttpServer(patience, (_request, response) => {
      response.writeHead(426, { 'content-type': 'text/plain', connection: 'close' });
      response.end('MQTT over WebSocket only\n');
    });
    http.maxConnections = this.#limits.connectionsMax;
    const sockets = new WebSocketServer({
      noServer: true,
      maxPayload: this.#limits.packetBytesMax + webSocketMargin,
      perMessageDeflate: false,
      autoPong: false,
      handleProtocols: (offered) => subprotocols.find((name) => offered.has(name)) ?? false,
    });
    const acceptedAt = new WeakMap<Socket, number>();
    http.on('connection', (socket: Socket) => acceptedAt.set(socket, context.clock.monotonic()));
    const limits = {
      strangerBytesMax: this.#limits.connectPacketBytes + webSocketMargin,
      partialMs: this.#limits.partialPacketMs,
    };
    const modules = { clock: context.clock, limits, overdue: () => void this.counters.overdue++ };
    http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (!webSocketPaths.has(pathOf(request))) {
        // A socket that was upgraded has no listener for its errors but ours.
        socket.on('error', () => socket.destroy());
        socket.once('finish', () => socket.destroy());
        socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
        return;
      }
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const below = request.socket;
        const now = context.clock.monotonic();
        const transport = new WebSocketTransport(webSocket, below, modules);
        this.#accept(transport, context, now - (acceptedAt.get(below) ?? now));
      });
    });
    return http;
  }

  /** `spentMs` of the time for CONNECT went into the upgrade. */
  #accept(transport: Transport, context: MqttContext, spentMs = 0): void {
    if (transport.closed) return;
    if (this.#connections.size >= this.#limits.connectionsMax || this.#context === null) {
      this.counters.connectionsRefused++;
      transport.destroy();
      return;
    }
    const connection = new Connection(transport, context);
    this.#connections.add(connection);
    this.counters.connections++;
    connection.start(() => {
      this.counters.connections--;
      this.#connections.delete(connection);
    }, spentMs);
  }
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '/';
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

/** Makes the adapter; nothing is bound before `start`. */
export function createMqttAdapter(options: MqttOptions, modules: MqttModules): MqttAdapter {
  return new MqttAdapter(options, modules);
}
