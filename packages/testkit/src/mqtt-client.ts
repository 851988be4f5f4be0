import { connect } from 'node:net';
import { encodePacket, PacketCollector, PacketReader } from '@robustmq/mqtt-codec';
import type {
  AckKind,
  ConnackPacket,
  ConnectPacket,
  Packet,
  ProtocolVersion,
  PublishPacket,
  Subscription,
} from '@robustmq/mqtt-codec';
import { WebSocket } from 'ws';

const answerTimeoutMs = 5000;

/** What a test says of its CONNECT; the rest has the plainest value. */
export type ConnectInput = Partial<Omit<ConnectPacket, 'type' | 'version'>>;
/** A PUBLISH of which a test names what matters; the payload may be text. */
export type PublishInput = Partial<Omit<PublishPacket, 'type' | 'payload'>> & {
  readonly topic: string;
  readonly payload?: Uint8Array | string;
};

/** Of a SUBSCRIBE, beside filters and QoS; `id` is the subscription identifier. */
export type SubscribeOptions = Partial<Subscription> & { readonly packetId?: number; readonly id?: number };

/** The packet of a type; one interface has four of them. */
type PacketOf<Type, Each = Packet> = Each extends { type: infer Types }
  ? Type extends Types
    ? Each
    : never
  : never;

/** The byte stream below a client. */
interface Wire {
  send(bytes: Uint8Array, taken?: () => void): void;
  destroy(): void;
  pause(): void;
  resume(): void;
}

/**
 * One raw MQTT connection, for tests that look at single packets: sends any packet, and gives what comes in the order in
 * which it came. It acknowledges nothing by itself.
 */
export class MqttClient {
  readonly version: ProtocolVersion;
  readonly #reader: PacketReader;
  readonly #packets: Packet[] = [];
  #wire!: Wire;
  #waiting: ((packet: Packet | null) => void) | null = null;
  #closed = false;
  #closedListeners: (() => void)[] = [];
  #receivedBytes = 0;
  #onPacket: ((packet: Packet) => void) | null = null;

  private constructor(version: ProtocolVersion) {
    this.version = version;
    this.#reader = new PacketReader({ role: 'client', maxPacketBytes: 256 * 1024 * 1024 });
    this.#reader.version = version;
  }

  /** Opens a connection without a word. */
  static open(port: number, version: ProtocolVersion): Promise<MqttClient> {
    return new Promise((resolve, reject) => {
      const client = new MqttClient(version);
      const socket = connect(port, '127.0.0.1');
      socket.setNoDelay(true);
      socket.once('error', reject);
      socket.on('error', () => undefined);
      socket.once('connect', () => resolve(client));
      socket.on('data', (chunk) => client.#data(chunk));
      socket.on('close', () => client.#lost());
      client.#wire = {
        send: (bytes, taken) => void socket.write(bytes, () => taken?.()),
        destroy: () => socket.destroy(),
        pause: () => void socket.pause(),
        resume: () => void socket.resume(),
      };
    });
  }

  /** Opens a WebSocket connection; rejects when it is refused. `protocol` null offers none. */
  static openWebSocket(
    url: string,
    version: ProtocolVersion,
    protocol: string | null = 'mqtt',
  ): Promise<{ client: MqttClient; socket: WebSocket }> {
    return new Promise((resolve, reject) => {
      const client = new MqttClient(version);
      const socket = protocol === null ? new WebSocket(url) : new WebSocket(url, protocol);
      socket.once('error', reject);
      socket.on('error', () => undefined);
      socket.once('open', () => resolve({ client, socket }));
      socket.on('message', (data) => client.#data(data as Buffer));
      socket.on('close', () => client.#lost());
      client.#wire = {
        send: (bytes, taken) => socket.send(bytes, () => taken?.()),
        destroy: () => socket.terminate(),
        pause: () => socket.pause(),
        resume: () => socket.resume(),
      };
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

  /** Hands over every packet as it comes, instead of keeping it for `next`. */
  listen(onPacket: (packet: Packet) => void, onClosed: () => void): void {
    this.#onPacket = onPacket;
    for (const packet of this.#packets.splice(0)) onPacket(packet);
    if (this.#closed) onClosed();
    else this.#closedListeners.push(onClosed);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Packets that came and were not taken. */
  get pending(): readonly Packet[] {
    return this.#packets;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
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
    this.#wire.send(encodePacket(this.version, packet));
  }

  /** Any bytes. */
  sendBytes(bytes: Uint8Array): void {
    this.#wire.send(bytes);
  }

  /** Any bytes; resolves when the system has taken them, so that a sender is not faster than its server reads. */
  sendWhenRead(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#wire.send(bytes, resolve);
    });
  }

  publish(input: PublishInput): void {
    const payload = input.payload ?? '';
    this.send({
      type: 'publish',
      qos: 0,
      retain: false,
      dup: false,
      packetId: 0,
      properties: {},
      ...input,
      payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
    });
  }

  /** Publishes at QoS 1 and waits for PUBACK; returns its code. */
  async publishAcknowledged(input: PublishInput): Promise<number> {
    this.publish({ qos: 1, packetId: 1, ...input });
    return (await this.next('puback')).reasonCode;
  }

  ack(type: AckKind, packetId: number, reasonCode = 0): void {
    this.send({ type, packetId, reasonCode, properties: {} });
  }

  /** Subscribes to filters at a QoS and returns the codes of SUBACK; a number is the packet id. */
  async subscribe(
    filters: string | readonly string[],
    qos: 0 | 1 | 2,
    how: number | SubscribeOptions = {},
  ): Promise<number[]> {
    const list = typeof filters === 'string' ? [filters] : filters;
    const options: SubscribeOptions = typeof how === 'number' ? { packetId: how } : how;
    const { packetId = 1, id, ...rest } = options;
    const subscriptions = list.map((filter) => ({
      filter,
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0 as const,
      ...rest,
    }));
    const properties = id === undefined ? {} : { subscriptionIdentifiers: [id] };
    this.send({ type: 'subscribe', packetId, subscriptions, properties });
    return (await this.next('suback')).reasonCodes;
  }

  /** The next packet, which has to be of this type. */
  async next<Type extends Packet['type']>(type: Type): Promise<PacketOf<Type>> {
    const packet = await this.#take(answerTimeoutMs);
    if (packet === null) throw new Error(`the connection was closed before ${type}`);
    if (packet.type !== type) throw new Error(`${packet.type} came instead of ${type}`);
    return packet as PacketOf<Type>;
  }

  /** The next `count` messages, each acknowledged to its end before the next is awaited. */
  async receive(count: number): Promise<PublishPacket[]> {
    const messages: PublishPacket[] = [];
    while (messages.length < count) {
      const packet = await this.#take(answerTimeoutMs);
      if (packet === null) throw new Error(`the connection was closed after ${messages.length} messages`);
      if (packet.type === 'pubrel') this.ack('pubcomp', packet.packetId);
      else if (packet.type !== 'publish') throw new Error(`${packet.type} came instead of publish`);
      else {
        messages.push(packet);
        if (packet.qos === 1) this.ack('puback', packet.packetId);
        if (packet.qos === 2) this.ack('pubrec', packet.packetId);
      }
    }
    return messages;
  }

  /** As `receive`, but only the texts. */
  async receiveTexts(count: number): Promise<string[]> {
    return (await this.receive(count)).map((message) => Buffer.from(message.payload).toString());
  }

  /** Resolves to what came within `ms`, or null when nothing did. */
  async nothingWithin(ms: number): Promise<Packet | null> {
    try {
      return await this.#take(ms);
    } catch {
      return null;
    }
  }

  /** Resolves when the server has answered a PINGREQ: what it had to say before has come. Returns it. */
  async settled(): Promise<Packet[]> {
    this.send({ type: 'pingreq' });
    const before: Packet[] = [];
    for (;;) {
      const packet = await this.#take(answerTimeoutMs);
      if (packet === null) throw new Error('the connection was closed before pingresp');
      if (packet.type === 'pingresp') return before;
      before.push(packet);
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
  async disconnect(sessionExpiry?: number): Promise<void> {
    const properties = sessionExpiry === undefined ? {} : { sessionExpiry };
    this.send({ type: 'disconnect', reasonCode: 0, properties });
    await this.whenClosed();
  }

  /** Closes without a word. */
  drop(): void {
    this.#wire.destroy();
  }

  /** Reads nothing any more, so that what the server sends piles up there. */
  stall(): void {
    this.#wire.pause();
  }

  resume(): void {
    this.#wire.resume();
  }

  #data(chunk: Buffer): void {
    this.#receivedBytes += chunk.length;
    const collector = new PacketCollector();
    this.#reader.push(chunk, collector);
    for (const packet of collector.packets) {
      if (this.#onPacket !== null) {
        this.#onPacket(packet);
        continue;
      }
      const waiting = this.#waiting;
      this.#waiting = null;
      if (waiting === null) this.#packets.push(packet);
      else waiting(packet);
    }
  }

  #lost(): void {
    this.#closed = true;
    this.#waiting?.(null);
    for (const listener of this.#closedListeners.splice(0)) listener();
  }

  #take(timeoutMs: number): Promise<Packet | null> {
    const packet = this.#packets.shift();
    if (packet !== undefined) return Promise.resolve(packet);
    if (this.#closed) return Promise.resolve(null);
    // Made here: its stack says which test waited.
    const nothing = new Error(`nothing came within ${timeoutMs} ms`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = null;
        reject(nothing);
      }, timeoutMs);
      this.#waiting = (next) => {
        clearTimeout(timer);
        this.#waiting = null;
        resolve(next);
      };
    });
  }
}
