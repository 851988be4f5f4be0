import { InvariantError, RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '@robustmq/kernel';
import type {
  AckKind,
  ControlPacket,
  MqttCodecErrorCode,
  PacketSink,
  ProtocolVersion,
  PublishView,
  ReasonProperties,
} from '@robustmq/mqtt-codec';
import {
  encodeConnack,
  encodeUnsupportedVersion,
  encodeWithin,
  PacketReader,
  pingrespBytes,
  reasonCode,
} from '@robustmq/mqtt-codec';
import type { MqttContext } from './adapter.ts';
import { acceptConnect } from './handlers/connect.ts';
import { acceptDisconnect } from './handlers/disconnect.ts';
import { PublishHandler } from './handlers/publish.ts';
import { acceptSubscribe } from './handlers/subscribe.ts';
import { acceptUnsubscribe } from './handlers/unsubscribe.ts';
import { Outbox } from './output/outbox.ts';
import { PublishOutput } from './output/publish-output.ts';
import { OwnedTimer } from './owned-timer.ts';
import type { Session, SessionConnection } from './sessions/session.ts';
import type { Transport, TransportListener } from './transport/transport.ts';

/** What the client said of itself in CONNECT. */
export interface ClientProfile {
  readonly version: ProtocolVersion;
  readonly clientId: string;
  readonly keepAliveMs: number;
  readonly maxPacketBytes: number;
  readonly topicAliasMaximum: number;
  readonly inflightMax: number;
  /** Whether it wants reason strings (MQTT-3.1.2-28). */
  readonly problemInformation: boolean;
  readonly sessionExpirySeconds: number;
}

/** A connection with more to read than this takes goes on in the next turn of the event loop. */
const turnMs = 5;
/** Only behind a chunk of this size there may be another in the same turn: the system's reads are of 64 KiB. */
const fullChunkBytes = 32 * 1024;

/** Reasons that CONNACK has no word for: before it was sent they close in silence. */
const afterConnackOnly: ReadonlySet<number> = new Set([
  reasonCode.sessionTakenOver,
  reasonCode.serverShuttingDown,
  reasonCode.keepAliveTimeout,
]);

/** How a connection ends from our side. */
export interface Refusal {
  readonly code: number;
  readonly reason: string;
}

const onIdle = (connection: Connection): void => connection.idle();
const onPartial = (connection: Connection): void => connection.partial();
const onOverdue = (connection: Connection): void => connection.overdue();
const onStalled = (connection: Connection): void => connection.stalled();

/** One client: its packets in, its packets out, and the session it has. */
export class Connection implements PacketSink, TransportListener, SessionConnection {
  readonly context: MqttContext;
  readonly outbox: Outbox;
  readonly transport: Transport;
  /** Set when CONNECT is accepted. */
  profile: ClientProfile | null = null;
  session: Session | null = null;
  output!: PublishOutput;
  publishes: PublishHandler | null = null;
  closed = false;
  readonly #reader: PacketReader;
  /** Keep alive; before, the time that a new connection has for CONNECT, and we have for CONNACK. */
  readonly #idle = new OwnedTimer<Connection>(this, onIdle);
  /** It holds all it may and sends nothing. */
  #stall: OwnedTimer<Connection> | null = null;
  /** What the client had taken when that began, bytes. */
  #takenAtStall = 0;
  /** Most clients send whole packets: it is made for the first that does not. */
  #partial: OwnedTimer<Connection> | null = null;
  /** Whether it ever published: others are read while memory is short. */
  #publisher = false;
  #connecting = false;
  /** The reader stands still until `proceed`. */
  #held = false;
  /** Made for the first packet whose answer has to be stored before the next is read. */
  #hold: OwnedTimer<Connection> | null = null;
  /** When the present turn of the event loop has been long enough; 0: it has just begun. */
  #turnEndsAt = 0;
  /** `proceed` was called and waits for the next turn. */
  #yielded = false;
  /** Nothing is read until the next turn. */
  #resting = false;
  /** Whether the transport gives us bytes. */
  #reading = true;
  readonly #relieved = (): void => this.#flow();
  /** CONNACK was sent with success. */
  #open = false;
  #closedListener: () => void = () => undefined;
  #willDue = true;
  #expiryAtClose: number | undefined = undefined;

  constructor(transport: Transport, context: MqttContext) {
    this.context = context;
    this.transport = transport;
    this.outbox = new Outbox(transport, context.flusher, {
      unsentBytesMax: context.limits.unsentBytesMax,
      full: () => this.#watchStall(),
      relieved: () => this.drained(),
    });
    this.#reader = new PacketReader({
      role: 'server',
      maxPacketBytes: context.limits.connectPacketBytes,
      topics: context.topicCache,
    });
  }

  get version(): ProtocolVersion {
    return this.profile?.version ?? (this.#reader.version || 4);
  }

  get inflightMax(): number {
    return this.profile?.inflightMax ?? 0;
  }

  /** Begins to read; `spentMs` of the time for CONNECT are gone already. */
  start(closed: () => void, spentMs = 0): void {
    this.#closedListener = closed;
    this.context.timers.schedule(this.#idle, Math.max(this.context.limits.connectTimeoutMs - spentMs, 0));
    this.transport.listen(this);
  }

  data(chunk: Buffer): void {
    if (this.closed) return;
    this.#postponeIdle();
    this.context.turn.now = this.context.clock.now();
    const unread = this.#reader.heldBytes + chunk.length;
    try {
      this.#reader.push(chunk, this);
    } catch (error) {
      this.#bad(error);
    }
    this.#watchPartial(unread, chunk.length);
    if (chunk.length >= fullChunkBytes && this.#turnIsOver()) this.#resting = true;
    this.#flow();
  }

  /** Reads no further packet until `proceed`: the present one has to be answered first. */
  hold(): void {
    this.#held = true;
    this.#reader.stop();
  }

  /** What the packet that is held asks for is being stored: it takes as long as a publish may, or the connection ends. */
  storing(): void {
    this.#hold ??= new OwnedTimer<Connection>(this, onOverdue);
    this.context.timers.schedule(this.#hold, this.context.limits.publishTimeoutMs);
  }

  /** Goes on after `hold`. */
  proceed(): void {
    if (this.closed) return;
    if (this.#turnIsOver()) {
      this.#yielded = true;
      return;
    }
    this.context.turn.now = this.context.clock.now();
    this.#held = false;
    if (this.#hold !== null) this.context.timers.cancel(this.#hold);
    const unread = this.#reader.heldBytes;
    try {
      this.#reader.resume(this);
    } catch (error) {
      this.#bad(error);
    }
    this.#watchPartial(unread, 0);
    this.#flow();
  }

  /**
   * A client that sends without pause is read without pause, and where answers are there at once, so is the next packet:
   * without an end to that, everybody else would wait.
   */
  #turnIsOver(): boolean {
    const now = this.context.clock.monotonic();
    if (this.#turnEndsAt === 0) {
      this.#turnEndsAt = now + turnMs;
      setImmediate(() => this.#nextTurn());
      return false;
    }
    return now >= this.#turnEndsAt;
  }

  #nextTurn(): void {
    this.#turnEndsAt = 0;
    if (this.#resting) {
      this.#resting = false;
      this.#flow();
    }
    if (!this.#yielded) return;
    this.#yielded = false;
    this.proceed();
  }

  packet(packet: ControlPacket): void {
    if (this.closed) return;
    switch (packet.type) {
      case 'connect':
        // The codec refuses everything else as a first packet; a second CONNECT is a protocol error (MQTT-3.1.0-2).
        if (this.#connecting) {
          this.end({ code: reasonCode.protocolError, reason: 'a second CONNECT' });
          return;
        }
        this.#connecting = true;
        acceptConnect(this, packet);
        return;
      case 'subscribe':
        if (this.session !== null) acceptSubscribe(this, this.session, packet);
        return;
      case 'unsubscribe':
        if (this.session !== null) acceptUnsubscribe(this, this.session, packet);
        return;
      case 'pingreq':
        this.outbox.append(pingrespBytes);
        return;
      case 'disconnect':
        acceptDisconnect(this, packet);
        return;
      case 'auth':
        this.end({ code: reasonCode.protocolError, reason: 'AUTH without an authentication method' });
        return;
      default:
        this.end({ code: reasonCode.protocolError, reason: 'a packet that only a server sends' });
    }
  }

  publish(view: PublishView): void {
    if (this.closed) return;
    this.#publisher = true;
    this.publishes?.accept(view);
  }

  ack(kind: AckKind, packetId: number, code: number, _properties: ReasonProperties | null): void {
    const { session } = this;
    if (this.closed || session === null) return;
    let fits = true;
    if (kind === 'puback') fits = session.acknowledged(packetId);
    else if (kind === 'pubrec') fits = session.received(packetId, code);
    else if (kind === 'pubcomp') fits = session.completed(packetId);
    else this.publishes?.release(packetId);
    if (!fits) this.end({ code: reasonCode.protocolError, reason: `${kind} is no answer to what was sent` });
  }

  /** Takes what CONNECT said; packets are limited and timed by it from now on. */
  accepted(profile: ClientProfile): void {
    const { limits, counters, timers } = this.context;
    this.profile = profile;
    this.output = new PublishOutput(profile, {
      outbox: this.outbox,
      counters,
      unsentBytesMax: limits.unsentBytesMax,
    });
    this.#reader.maxPacketBytes = limits.packetBytesMax;
    this.transport.trust();
    this.#reader.topicAliasMaximum = limits.topicAliasMaximum;
    timers.cancel(this.#idle);
    timers.schedule(this.#idle, limits.publishTimeoutMs);
  }

  /** The session is there: from CONNACK on the client is served. */
  opened(session: Session): void {
    this.session = session;
    this.publishes = new PublishHandler(this, session);
    this.#open = true;
    const { timers, counters } = this.context;
    const keepAliveMs = this.profile?.keepAliveMs ?? 0;
    timers.cancel(this.#idle);
    if (keepAliveMs > 0) timers.schedule(this.#idle, keepAliveMs * 1.5);
    counters.connectionsAccepted++;
  }

  /** Sends the bytes of an answer; null: the client takes none so large, and must not be left to wait for it. */
  answer(bytes: Buffer | null): void {
    if (this.closed) return;
    if (bytes !== null) this.outbox.append(bytes);
    else this.end({ code: reasonCode.packetTooLarge, reason: 'the answer is too large for the client' });
  }

  /** The reason string for an answer, if the client wants it. */
  reasonOf(reason: string): { reasonString?: string } {
    return this.profile?.problemInformation === true ? { reasonString: reason } : {};
  }

  /** Ends the connection and, where the version has words for it, says why. The will is due. */
  end(refusal: Refusal | null): void {
    if (this.closed) return;
    if (refusal !== null) this.#say(refusal);
    this.outbox.flush();
    this.transport.end();
    this.#gone();
  }

  /** DISCONNECT from the client; without a will unless it asks for it. */
  finish(how: { will: boolean; expirySeconds?: number | undefined }): void {
    this.#willDue = how.will;
    this.#expiryAtClose = how.expirySeconds;
    this.outbox.flush();
    this.transport.end();
    this.#gone();
  }

  takenOver(): void {
    this.end({ code: reasonCode.sessionTakenOver, reason: 'another connection has the session now' });
  }

  failed(error: RobustError<KernelErrorCode>): void {
    if (this.closed) return;
    this.context.logger.warn(
      { code: error.code, peer: this.transport.remoteAddress },
      'a session can not go on',
    );
    this.end({ code: reasonCode.implementationSpecificError, reason: error.message });
  }

  publishesSettled(): Promise<void> | null {
    return this.publishes?.whenSettled() ?? null;
  }

  /** Nothing came for too long. */
  idle(): void {
    if (this.profile === null) {
      this.context.counters.overdue++;
      this.transport.destroy();
      this.#gone();
      return;
    }
    if (!this.#open) {
      this.end({ code: reasonCode.serverUnavailable, reason: 'the session could not be opened in time' });
      return;
    }
    if (!this.#reading) {
      // We do not read, so the client can't be heard (docs/semantics.md 4.3).
      this.context.timers.schedule(this.#idle, this.profile.keepAliveMs);
      return;
    }
    this.end({
      code: reasonCode.keepAliveTimeout,
      reason: 'nothing came within one and a half keep alive intervals',
    });
  }

  /** A packet has not come to its end for so long. */
  partial(): void {
    if (this.closed || this.#reader.heldBytes === 0) return;
    if (this.#held || (!this.#reading && !this.#shutOut)) {
      // We do not read: what is missing may lie there.
      this.context.timers.schedule(this.#partial!, this.context.limits.partialPacketMs);
      return;
    }
    this.context.counters.overdue++;
    this.end({ code: reasonCode.implementationSpecificError, reason: 'a packet was not complete in time' });
  }

  /** Nobody knows what becomes of what the packet that is held asked for. */
  overdue(): void {
    this.end({
      code: reasonCode.implementationSpecificError,
      reason: 'what a packet asks for could not be stored in time',
    });
  }

  drained(): void {
    if (this.closed) return;
    if (this.#stall !== null) {
      this.context.timers.cancel(this.#stall);
      this.#stall = null;
    }
    this.session?.wake();
    this.#flow();
  }

  /** The client has taken nothing for the whole time that a full connection may wait. */
  stalled(): void {
    this.#stall = null;
    const { unsentBytes, takenBytes } = this.outbox;
    if (unsentBytes === 0) return;
    if (takenBytes > this.#takenAtStall) {
      this.#watchStall();
      return;
    }
    this.context.counters.stalled++;
    this.context.logger.info(
      { client: this.profile?.clientId },
      'a client reads nothing; its connection is closed',
    );
    this.transport.destroy();
    this.#gone();
  }

  lost(): void {
    this.#gone();
  }

  #watchStall(): void {
    if (this.#stall !== null || this.closed) return;
    this.#stall = new OwnedTimer<Connection>(this, onStalled);
    this.#takenAtStall = this.outbox.takenBytes;
    this.context.timers.schedule(this.#stall, this.context.limits.stalledMs);
  }

  /** Of `unread` bytes, `fresh` of which came now, some may be left: the beginning of a packet. */
  #watchPartial(unread: number, fresh: number): void {
    const { heldBytes } = this.#reader;
    // Something was read, or nothing was there: what is left began now.
    const begins = heldBytes > 0 && (heldBytes < unread || heldBytes === fresh);
    if (!begins || this.closed) return;
    const { timers, limits } = this.context;
    this.#partial ??= new OwnedTimer<Connection>(this, onPartial);
    if (this.#partial.wheelSlot === null) timers.schedule(this.#partial, limits.partialPacketMs);
    else timers.postpone(this.#partial, limits.partialPacketMs);
  }

  /** Memory is short, and this client may send more of what fills it. */
  get #shutOut(): boolean {
    return this.#publisher && this.context.gates.publishers.closed;
  }

  /**
   * Reads on only while this client's answers, the log and memory keep up, and while no packet waits for its answer.
   * Whatever it waits for calls again: the outbox when it has drained, publishes when they are answered, the log when it
   * is relieved, the gate when it opens, and `proceed`.
   */
  #flow(): void {
    if (this.closed) return;
    const { appender } = this.context.kernel;
    if (appender.pressed) appender.whenRelieved(this.#relieved);
    const shutOut = this.#shutOut;
    if (shutOut) this.context.gates.publishers.whenOpen(this.#relieved);
    const full = this.outbox.unsentBytes > this.context.limits.unsentBytesMax;
    const reading =
      !this.#held &&
      !this.#resting &&
      !full &&
      !appender.pressed &&
      !shutOut &&
      this.publishes?.full !== true;
    if (reading === this.#reading) return;
    this.#reading = reading;
    if (!reading) {
      this.transport.pause();
      return;
    }
    // What the client sent meanwhile is still to be read.
    this.#postponeIdle();
    this.transport.resume();
  }

  #postponeIdle(): void {
    const keepAliveMs = this.profile?.keepAliveMs ?? 0;
    if (this.#open && keepAliveMs > 0) this.context.timers.postpone(this.#idle, keepAliveMs * 1.5);
  }

  /** Publishes were answered: reading may go on. */
  flow(): void {
    if (!this.#reading) this.#flow();
  }

  /** What came is no MQTT, or not allowed here. */
  #bad(error: unknown): void {
    if (error instanceof InvariantError) throw error;
    this.context.counters.protocolErrors++;
    if (!(error instanceof RobustError)) {
      this.context.logger.error({ error, client: this.profile?.clientId }, 'a packet could not be handled');
      this.end({ code: reasonCode.unspecifiedError, reason: 'the packet could not be handled' });
      return;
    }
    const detail = error.detail as { reasonCode?: number };
    this.context.logger.debug(
      { code: error.code, peer: this.transport.remoteAddress },
      'a client sent what it must not',
    );
    if ((error.code as MqttCodecErrorCode) === 'MQTT_UNSUPPORTED_VERSION' && !this.#connecting) {
      this.outbox.append(
        encodeUnsupportedVersion((error.detail['protocolLevel'] as number | undefined) ?? 5),
      );
      this.end(null);
      return;
    }
    this.end({ code: detail.reasonCode ?? reasonCode.malformedPacket, reason: error.message });
  }

  /** CONNACK before the client is accepted, DISCONNECT after; MQTT 3 knows no DISCONNECT from a server. */
  #say(refusal: Refusal): void {
    const version = this.#reader.version;
    const maxBytes = this.profile?.maxPacketBytes ?? Infinity;
    if (this.#open) {
      if (version !== 5) return;
      const properties = this.reasonOf(refusal.reason);
      const bytes = encodeWithin(5, { type: 'disconnect', reasonCode: refusal.code, properties }, maxBytes);
      if (bytes !== null) this.outbox.append(bytes);
      return;
    }
    if (version === 0 || afterConnackOnly.has(refusal.code)) return;
    const properties = version === 5 && this.profile !== null ? this.reasonOf(refusal.reason) : {};
    const packet = { type: 'connack', sessionPresent: false, reasonCode: refusal.code, properties } as const;
    const bytes = version === 5 ? encodeWithin(5, packet, maxBytes) : encodeConnack(version, packet);
    // MQTT 3 has no return code for a malformed CONNECT (MQTT-3.1.4-1).
    const malformed =
      refusal.code === reasonCode.malformedPacket || refusal.code === reasonCode.protocolError;
    if (bytes !== null && (version === 5 || !malformed)) this.outbox.append(bytes);
  }

  #gone(): void {
    if (this.closed) return;
    this.closed = true;
    const { timers, sessions } = this.context;
    timers.cancel(this.#idle);
    if (this.#stall !== null) timers.cancel(this.#stall);
    if (this.#partial !== null) timers.cancel(this.#partial);
    if (this.#hold !== null) timers.cancel(this.#hold);
    this.context.gates.publishers.forget(this.#relieved);
    this.outbox.drop();
    if (this.profile !== null) this.output.drop();
    this.publishes?.stop();
    if (this.session !== null) {
      sessions.close(this.session, {
        will: this.#willDue,
        ...(this.#expiryAtClose === undefined ? {} : { expirySeconds: this.#expiryAtClose }),
      });
    }
    this.#closedListener();
  }
}
