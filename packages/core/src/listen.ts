import type { AddressInfo, Server, Socket } from 'node:net';
import type { ConnectionGate } from './gates.ts';

/** Where one listener is bound. */
export interface ListenAddress {
  /** Addresses of this machine; all get the same port. */
  readonly hosts: readonly string[];
  /** 0 takes a port that is free on every host. */
  readonly port: number;
}

/** What `listenOn` opened. */
export interface OpenListener {
  /** The hosts that are bound, in the order asked for. */
  readonly hosts: readonly string[];
  readonly port: number;
  /**
   * Accepts no more; resolves when the connections that were accepted are gone. Whoever has them ends them; what is left
   * after 3 s, and connections that nobody took (an HTTP server's before their first request), is destroyed.
   */
  close(): Promise<void>;
}

const closeGraceMs = 3000;
/** Tries for a port that is free on every host. */
const freePortTriesMax = 20;

/** How a listener makes its servers. */
export interface ListenHooks {
  createServer(): Server;
  /** A connection could not be accepted (no descriptors left); the server goes on. */
  acceptFailed(error: Error): void;
  /** Whether to serve a connection; one that it refuses is destroyed before the server's own listener sees it. */
  readonly gate?: ConnectionGate;
}

/**
 * Opens one server per host on one port. `::1` beside another host is left out where the machine has no IPv6. Rejects
 * with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL) when a host can not be bound; then nothing is open.
 */
export async function listenOn({ hosts, port }: ListenAddress, hooks: ListenHooks): Promise<OpenListener> {
  for (let tries = 1; ; tries++) {
    try {
      return await bindAll(hosts, port, hooks);
    } catch (error) {
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (!taken || port !== 0 || tries >= freePortTriesMax) throw error;
    }
  }
}

async function bindAll(hosts: readonly string[], port: number, hooks: ListenHooks): Promise<OpenListener> {
  const open = new Map<string, Server>();
  const sockets = new Set<Socket>();
  const close = async (): Promise<void> => {
    const timer = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, closeGraceMs);
    await Promise.all(
      [...open.values()].map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    );
    clearTimeout(timer);
  };
  let bound = port;
  for (const host of hosts) {
    const server = hooks.createServer();
    try {
      await bind(server, host, bound);
    } catch (error) {
      if (host === '::1' && hosts.length > 1 && isMissing(error)) continue;
      await close();
      throw error;
    }
    server.on('error', (error) => hooks.acceptFailed(error));
    const { gate } = hooks;
    // Before the server's own listener, which finds the socket destroyed.
    server.prependListener('connection', (socket: Socket) => {
      if (gate !== undefined && !gate.admit(socket.remoteAddress ?? '')) {
        socket.destroy();
        return;
      }
      sockets.add(socket);
      socket.once('close', () => {
        sockets.delete(socket);
        gate?.left();
      });
    });
    open.set(host, server);
    bound = (server.address() as AddressInfo).port;
  }
  return { hosts: [...open.keys()], port: bound, close };
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, ipv6Only: host === '::1' }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether the machine, or its kernel, has no such address. */
function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT' || code === 'EINVAL';
}
