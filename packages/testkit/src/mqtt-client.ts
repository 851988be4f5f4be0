import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { encodePacket, PacketCollector, PacketReader } from '@robustmq/mqtt-codec';
import type {
  ConnackPacket,
  ConnectPacket,
  Packet,
  ProtocolVersion,
  PublishPacket,
} from '@robustmq/mqtt-codec';

const answerTimeoutMs = 5000;

/** What a test says of its CONNECT; the rest has the plainest value. */
export type ConnectInput = Partial<Omit<ConnectPacket, 'type' | 'version'>>;
/** A PUBLISH of which a test names what matters. */
export type PublishInput = Partial<Omit<PublishPacket, 'type'>> & { readonly topic: string };

/**
 * One raw MQTT connection, for tests that look at single packets: sends any packet, and gives what comes in the order in
 * which it came. It acknowledges nothing by itself.
 */
export class MqttClient {
  readonly version: ProtocolVersion;
  readonly #socket: Socket;
  readonly #reader: PacketReader;
  readonly #packets: Packet[] = [];
  #waiting: ((packet: Packet | null) => void) | null = null;
  #closed = false;
  #closedListeners: (() => void)[] = [];

  private constructor(socket: Socket, version: ProtocolVersion) {
    this.version = version;
    this.#socket = socket;
    this.#reader = new PacketReader({ role: 'client', maxPacketBytes: 256 * 1024 * 1024 });
    this.#reader.version = version;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#data(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#closed = true;
      this.#waiting?.(null);
      for (const listener of this.#closedListeners.splice(0)) listener();
    });
  }

  /** Opens a connection without a word. */
  static open(port: number, version: ProtocolVersion): Promise<MqttClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('error', reject);
      socket.once('connect', () => resolve(new MqttClient(socket, version)));
    });
  }

  /** Opens a connection and sends CONNECT; rejects unless CONNACK says success. */
  static async connect(
    port: number,
    version: ProtocolVersion,
    input: ConnectInput = {},
  ): Promise<{ client: MqttClient; connack: ConnackPacket }> {
    const client = await MqttClient.open(port, version);
    client.sendConnect(input);
    const connack = await client.next('connack');
    if (connack.reasonCode !== 0) throw new Error(`CONNACK says ${connack.reasonCode}`);
    return { client, connack };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Packets that came and were not taken. */
  get pending(): readonly Packet[] {
    return this.#packets;
  }

  sendConnect(input: ConnectInput = {}): void {
    this.send({
      type: 'connect',
      version: this.version,
      cleanStart: true,
      keepAlive: 0,
      clientId: '',
      username: null,
      password: null,
      will: null,
      properties: {},
      ...input,
    });
  }

  send(packet: Packet): void {
    this.#socket.write(encodePacket(this.version, packet));
  }

  /** Any bytes. */
  sendBytes(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  publish(input: PublishInput): void {
    this.send({
      type: 'publish',
      qos: 0,
      retain: false,
      dup: false,
      packetId: 0,
      payload: Buffer.alloc(0),
      properties: {},
      ...input,
    });
  }

  /** Subscribes to filters at a QoS and returns the codes of SUBACK. */
  async subscribe(filters: string | readonly string[], qos: 0 | 1 | 2, packetId = 1): Promise<number[]> {
    const list = typeof filters === 'string' ? [filters] : filters;
    const subscriptions = list.map((filter) => ({
      filter,
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0 as const,
    }));
    this.send({ type: 'subscribe', packetId, subscriptions, properties: {} });
    return (await this.next('suback')).reasonCodes;
  }

  /** The next packet, which has to be of this type. */
  async next<Type extends Packet['type']>(type: Type): Promise<Extract<Packet, { type: Type }>> {
    const packet = await this.#take(answerTimeoutMs);
    if (packet === null) throw new Error(`the connection was closed before ${type}`);
    if (packet.type !== type) throw new Error(`${packet.type} came instead of ${type}`);
    return packet as Extract<Packet, { type: Type }>;
  }

  /** Resolves to what came within `ms`, or null when nothing did. */
  async nothingWithin(ms: number): Promise<Packet | null> {
    try {
      return await this.#take(ms);
    } catch {
      return null;
    }
  }

  /** Resolves when the server has closed the connection. */
  whenClosed(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the connection stays open')), answerTimeoutMs);
      this.#closedListeners.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** DISCONNECT and close. */
  async disconnect(): Promise<void> {
    this.send({ type: 'disconnect', reasonCode: 0, properties: {} });
    await this.whenClosed();
  }

  /** Closes without a word. */
  drop(): void {
    this.#socket.destroy();
  }

  /** Reads nothing any more, so that what the server sends piles up there. */
  stall(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #data(chunk: Buffer): void {
    const collector = new PacketCollector();
    this.#reader.push(chunk, collector);
    for (const packet of collector.packets) {
      const waiting = this.#waiting;
      this.#waiting = null;
      if (waiting === null) this.#packets.push(packet);
      else waiting(packet);
    }
  }

  #take(timeoutMs: number): Promise<Packet | null> {
    const packet = this.#packets.shift();
    if (packet !== undefined) return Promise.resolve(packet);
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = null;
        reject(new Error(`nothing came within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting = (next) => {
        clearTimeout(timer);
        this.#waiting = null;
        resolve(next);
      };
    });
  }
}
