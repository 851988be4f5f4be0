import { connect, type Socket } from 'node:net';
import type { Fault } from './fault.ts';
import type { Endpoint } from './job.ts';

export interface SocketOptions {
  readonly endpoint: Endpoint;
  readonly fault: Fault;
  /** Size of the buffer that every read goes into. */
  readonly receiveBytes: number;
  /** The chunk is valid during the call only: the next read overwrites it. */
  readonly onChunk: (chunk: Buffer) => void;
}

/** A connected socket that reads into one buffer of its own, without a stream or an allocation per chunk. */
export function openSocket(options: SocketOptions): Promise<Socket> {
  const { endpoint, fault, onChunk } = options;
  const buffer = Buffer.allocUnsafeSlow(options.receiveBytes);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: endpoint.host,
      port: endpoint.port,
      noDelay: true,
      onread: {
        buffer,
        callback: (bytes) => {
          try {
            onChunk(buffer.subarray(0, bytes));
            return true;
          } catch (error) {
            fault.raise(error instanceof Error ? error : new Error(String(error)));
            return false;
          }
        },
      },
    });
    socket.once('connect', () => resolve(socket));
    socket.on('error', (error) => {
      reject(error);
      fault.raise(error);
    });
    socket.on('close', () => fault.raise(new Error('the server closed a connection')));
  });
}
