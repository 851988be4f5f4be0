import { createServer, type Server, type Socket } from 'node:net';

/**
 * The least that passes for an MQTT broker: it trusts every byte, takes all publishes of a connection
 * to have the topic of its first, and forwards whole runs of frames unread. It is the generator's
 * counterpart in tests and shows the ceiling of the generators; it is no peer to be compared with.
 */
export function createEchoMqtt(): Server {
  const subscribers = new Map<string, Set<Socket>>();
  return createServer({ noDelay: true }, (socket) => new EchoConnection(socket, subscribers));
}

const connack = Buffer.from([0x20, 2, 0, 0]);

class EchoConnection {
  readonly #socket: Socket;
  readonly #subscribers: Map<string, Set<Socket>>;
  #rest: Buffer = Buffer.alloc(0);
  #targets: Set<Socket> | null = null;

  constructor(socket: Socket, subscribers: Map<string, Set<Socket>>) {
    this.#socket = socket;
    this.#subscribers = subscribers;
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      for (const members of subscribers.values()) members.delete(socket);
    });
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const packetIds: number[] = [];
    let at = 0;
    let runAt = -1;
    while (at + 2 <= bytes.length) {
      const first = bytes[at] as number;
      // One length byte is enough for what the generators send, but for long client ids and topics.
      const low = bytes[at + 1] as number;
      if (low >= 0x80 && at + 3 > bytes.length) break;
      const header = low < 0x80 ? 2 : 3;
      const end = at + header + (low < 0x80 ? low : (low & 0x7f) + ((bytes[at + 2] as number) << 7));
      if (end > bytes.length) break;
      const type = first >> 4;
      if (type === 3) {
        if (runAt === -1) runAt = at;
        const topicEnd = at + header + 2 + bytes.readUInt16BE(at + header);
        this.#targets ??= this.#members(bytes.toString('utf8', at + header + 2, topicEnd));
        if ((first & 6) === 2) packetIds.push(bytes.readUInt16BE(topicEnd));
      } else this.#control(type, bytes, at + header);
      at = end;
    }
    // Publishers send nothing but publishes once they have begun, so the run is the rest of the chunk.
    if (runAt !== -1) this.#forward(bytes.subarray(runAt, at), packetIds);
    this.#rest = bytes.subarray(at);
  }

  #forward(run: Buffer, packetIds: readonly number[]): void {
    for (const target of this.#targets ?? []) target.write(run);
    if (packetIds.length === 0) return;
    const acks = Buffer.allocUnsafe(packetIds.length * 4);
    for (let i = 0; i < packetIds.length; i++) {
      acks.writeUInt16BE(0x4002, i * 4);
      acks.writeUInt16BE(packetIds[i] as number, i * 4 + 2);
    }
    this.#socket.write(acks);
  }

  #control(type: number, bytes: Buffer, at: number): void {
    if (type === 1) this.#socket.write(connack);
    if (type !== 8) return;
    const filterEnd = at + 4 + bytes.readUInt16BE(at + 2);
    this.#members(bytes.toString('utf8', at + 4, filterEnd)).add(this.#socket);
    const suback = Buffer.from([0x90, 3, 0, 0, bytes[filterEnd] as number]);
    suback.writeUInt16BE(bytes.readUInt16BE(at), 2);
    this.#socket.write(suback);
  }

  #members(topic: string): Set<Socket> {
    let members = this.#subscribers.get(topic);
    if (members === undefined) {
      members = new Set();
      this.#subscribers.set(topic, members);
    }
    return members;
  }
}
