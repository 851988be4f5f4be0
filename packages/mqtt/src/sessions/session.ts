import type { Offset, RobustError, ShardId, Timer } from '@robustmq/core';
import type { DeliveryBatch, Kernel, KernelErrorCode, Match, RetainedRecord } from '@robustmq/kernel';
import type { Subscription } from '@robustmq/kernel';
import { reasonCode, shortAckBytesMax, writePubrel } from '@robustmq/mqtt-codec';
import type { MqttContext } from '../adapter.ts';
import type { Receiver } from '../delivery/plan.ts';
import { optionsOf } from '../delivery/plan.ts';
import type { OutboundMessage } from '../mapping/outbound.ts';
import { HeldFrames } from '../output/held-frames.ts';
import type { Outbox } from '../output/outbox.ts';
import type { PublishForm, PublishOutput } from '../output/publish-output.ts';
import { Backlog } from './backlog.ts';
import { cursorFiltersOf, cursorShardsOf } from './cursor-shards.ts';
import { InboundExchanges } from './inbound-exchanges.ts';
import { RetainedDelivery } from './retained-delivery.ts';
import { acknowledgedItem, cursorItem, inflightItem } from './session-items.ts';
import type { SessionLog } from './session-log.ts';
import type { InflightEntry, SessionState } from './session-state.ts';
import { emptySession } from './session-state.ts';
import { Window } from './window.ts';

/** How long a backlog waits for more room than there is. */
const readLaterMs = 2;

/** The connection as its session sees it. */
export interface SessionConnection {
  readonly outbox: Outbox;
  readonly output: PublishOutput;
  /** Most QoS 1 and 2 messages that the client takes unacknowledged. */
  readonly inflightMax: number;
  /** Another connection has the session now. */
  takenOver(): void;
  /** The session can't go on: the outcome of something is not known. */
  failed(error: RobustError<KernelErrorCode>): void;
  /** Resolves when all that it published has an outcome; null when that is so now. */
  publishesSettled(): Promise<void> | null;
}

/** Where a record stands, and how it goes out. One object is filled again for each. */
export interface DeliveryPoint {
  shard: ShardId;
  offset: Offset;
  /** Ms since 1970. */
  now: number;
  /** Whether others get the same packet, so that encoding it once pays. */
  shared: boolean;
  /** Not null: a retained message, found again by its subject. */
  retainedSubject: string | null;
  /** Subscription identifiers that go with it. */
  ids: readonly number[];
}

/** How the present message is written: filled for each, so that delivering allocates nothing. */
const form: { -readonly [Key in keyof PublishForm]: PublishForm[Key] } = {
  qos: 1,
  retain: false,
  dup: false,
  packetId: 1,
  properties: null,
  now: 0,
};

/**
 * A session while a connection has it. Its durable part is `state`, a piece of the `__sessions` fold; everything here
 * can be made again from that, so the object ends with its connection.
 */
export class Session {
  readonly state: SessionState;
  readonly clientIdBytes: Buffer;
  /** Once the session has ended, what is left of it. */
  connection: SessionConnection;
  readonly output: PublishOutput;
  /** Null: the session ends with its connection and nothing of it is written. */
  readonly log: SessionLog | null;
  readonly inbound: InboundExchanges;
  readonly window: Window;
  /** In the router, by filter. */
  readonly subscriptions = new Map<string, Subscription>();
  readonly retained: RetainedDelivery;
  readonly context: MqttContext;
  readonly #backlogs = new Map<ShardId, Backlog>();
  readonly #held = new HeldFrames();
  readonly #heldReleases = new HeldFrames();
  #readLater: Timer | null = null;
  #writable: () => void = () => undefined;
  /** While messages in flight are sent again nothing new is. */
  redelivering = false;
  /** Kept from before, and its subscriptions are not in force yet: it stands where its cursors say, not at the live path. */
  resuming = false;
  ended = false;

  constructor(
    state: SessionState,
    connection: SessionConnection,
    log: SessionLog | null,
    context: MqttContext,
  ) {
    this.state = state;
    this.clientIdBytes = Buffer.from(state.clientId);
    this.connection = connection;
    this.output = connection.output;
    this.log = log;
    this.context = context;
    this.window = new Window(state, log !== null);
    this.inbound = new InboundExchanges(this);
    this.retained = new RetainedDelivery(this);
  }

  get kernel(): Kernel {
    return this.context.kernel;
  }

  /** Whether a QoS 1 or 2 message can be taken now. */
  get hasRoom(): boolean {
    return !this.redelivering && this.retained.empty && this.hasWindow;
  }

  /** Whether window and connection have room, whoever asks. */
  get hasWindow(): boolean {
    return (
      !this.ended &&
      this.window.size < this.connection.inflightMax &&
      !this.output.full &&
      this.#held.bytes < this.context.limits.unsentBytesMax
    );
  }

  get behind(): boolean {
    return this.#backlogs.size > 0;
  }

  isBehind(shard: ShardId): boolean {
    return this.#backlogs.size > 0 && this.#backlogs.has(shard);
  }

  /** Filters that need a cursor: granted more than QoS 0. */
  cursorFilters(): string[] {
    return cursorFiltersOf(this.state);
  }

  /** Sends a record at QoS 1 or 2; there is room. */
  deliver(message: OutboundMessage, receiver: Receiver, point: DeliveryPoint): void {
    form.qos = message.guarantee < receiver.qos ? message.guarantee : receiver.qos;
    form.retain = receiver.retainAsPublished && message.retain;
    form.properties = this.output.client.version === 5 ? receiver.properties : null;
    form.now = point.now;
    point.retainedSubject = null;
    point.ids = receiver.subscriptionIds;
    this.#transmit(message, point);
  }

  /** A retained message: like any other in flight, but found again by its subject. */
  deliverRetained(
    message: OutboundMessage,
    how: { qos: 1 | 2; properties: Buffer | null; now: number },
    from: { record: RetainedRecord; subscription: Subscription },
  ): void {
    const id = optionsOf(from.subscription).subscriptionId;
    form.qos = how.qos;
    form.retain = true;
    form.properties = how.properties;
    form.now = how.now;
    this.#transmit(message, {
      shard: 0 as ShardId,
      offset: from.record.sourceOffset,
      now: how.now,
      shared: false,
      retainedSubject: from.record.subject,
      ids: id === 0 ? [] : [id],
    });
  }

  /**
   * Puts a message in flight as `form` says and writes it, in its turn; one that the client can't be sent counts as
   * delivered. Allocates nothing where the session is not logged; watched by the `bench` row `mqtt-qos1`.
   */
  #transmit(message: OutboundMessage, point: DeliveryPoint): void {
    if (!this.output.fits(message, form)) return;
    const qos = form.qos as 1 | 2;
    form.packetId = this.window.add(qos, form.retain, point);
    const { log } = this;
    if (log !== null)
      this.context.sessions.sent(message.topic.length + message.payloadEnd - message.payloadStart);
    const after = qos === 2 && log !== null ? this.#recordExactlyOnce(form.packetId, log) : 0;
    if (after === 0 && this.#held.empty) this.output.write(message, form, point.shared);
    else this.#held.push(this.output.encode(message, form), after);
  }

  /** PUBACK. False when the message wants another answer; what is not in flight is ignored. */
  acknowledged(packetId: number): boolean {
    const entry = this.window.get(packetId);
    if (entry === undefined) return true;
    if (entry.qos !== 1) return false;
    this.#finish(packetId);
    return true;
  }

  /** PUBREC: the client has the message; the packet id stays in use until PUBCOMP. False as above. */
  received(packetId: number, code: number): boolean {
    const entry = this.window.get(packetId);
    if (entry === undefined) {
      // MQTT-4.3.3-4 has no other answer; the code says that we do not know the id.
      this.#writeRelease(
        packetId,
        this.output.client.version === 5 ? reasonCode.packetIdentifierNotFound : 0,
      );
      return true;
    }
    if (entry.qos !== 2) return false;
    if (code >= 0x80) this.#finish(packetId);
    else this.#release(packetId, entry);
    return true;
  }

  /** PUBCOMP. False as above. */
  completed(packetId: number): boolean {
    const entry = this.window.get(packetId);
    if (entry === undefined) return true;
    if (entry.phase !== 'released') return false;
    this.#finish(packetId);
    return true;
  }

  /** PUBREL goes out when the log knows that the message must not be sent again. */
  #release(packetId: number, entry: InflightEntry): void {
    const release = Buffer.allocUnsafe(shortAckBytesMax);
    const bytes = release.subarray(0, writePubrel(release, 0, packetId));
    if (entry.phase === 'publish') {
      const released = this.window.released(packetId);
      if (this.log !== null) {
        this.#heldReleases.push(bytes, this.log.record(inflightItem(this.state, released)));
        this.window.recorded(packetId);
        return;
      }
    }
    if (this.#heldReleases.empty) this.connection.outbox.append(bytes);
    else this.#heldReleases.push(bytes, 0);
  }

  /**
   * A message in flight can't be sent again: it is gone, expired, or too large for the client now. One of QoS 2 the
   * client may have: it must let go of the packet id, or would take the next message with it for the same one.
   */
  dropInflight(packetId: number): void {
    const entry = this.window.get(packetId);
    if (entry === undefined) return;
    if (entry.qos === 2) this.#release(packetId, entry);
    else this.#finish(packetId);
  }

  /** The session has no room for what is at `offset`, or was not told of it: from there on it reads the log. */
  fallBehind(shard: ShardId, offset: Offset): void {
    if (this.ended || this.#backlogs.has(shard)) return;
    this.#backlogs.set(shard, new Backlog(this, shard, offset));
    if (this.log !== null) this.context.sessions.lagging(this);
  }

  catchUp(batch: DeliveryBatch, row: number, match: Match): boolean {
    return this.context.delivery.catchUp(this, batch, row, match);
  }

  caughtUp(backlog: Backlog): void {
    if (this.#backlogs.get(backlog.shard) === backlog) this.#backlogs.delete(backlog.shard);
    for (const { reading } of this.#backlogs.values()) if (reading) return;
    this.connection.outbox.hurry();
  }

  /** Records were gone before they could be read. */
  truncated(shard: ShardId, why: 'lost' | 'truncated'): void {
    this.context.counters.sessionsTruncated++;
    this.context.logger.warn(
      { client: this.state.clientId, shard, why },
      'messages were gone before a session read them',
    );
  }

  /** There may be room again: sends what waits. */
  wake(): void {
    if (this.ended) return;
    if (this.redelivering) {
      if (!this.output.full) this.#writable();
      return;
    }
    this.retained.pump();
    if (this.#backlogs.size === 0 || !this.hasRoom) return;
    // A scan reads blocks: it is worth waiting a moment for room for more than one message. But not longer: a client
    // may keep its window nearly full and acknowledge the oldest only when the next has come.
    if (this.window.size * 2 > this.connection.inflightMax) {
      this.#readLater ??= this.context.clock.after(readLaterMs, () => {
        this.#readLater = null;
        if (!this.ended && this.hasRoom) this.#read();
      });
    } else this.#read();
  }

  /** Resolves when the connection has taken enough of what it holds, or has ended. */
  whenWritable(): Promise<void> {
    return new Promise((resolve) => {
      this.#writable = resolve;
    });
  }

  #read(): void {
    for (const backlog of this.#backlogs.values()) {
      if (backlog.reading) continue;
      backlog.reading = true;
      this.kernel.catchUp.add(backlog.shard, backlog);
    }
  }

  /** Filters changed: scans that are under way ask for them again. */
  filtersChanged(): void {
    for (const backlog of this.#backlogs.values()) {
      if (backlog.reading) this.kernel.catchUp.add(backlog.shard, backlog);
    }
  }

  /** Changes up to this number are committed. */
  committed(change: number): void {
    if (this.ended) return;
    this.#held.release(change, this.connection.outbox);
    this.#heldReleases.release(change, this.connection.outbox);
    this.wake();
  }

  /**
   * Takes the session out of router and scans; its state stays if it is logged. Matches from before may hold this object
   * for long: it lets go of its connection, and of all that can be much.
   */
  detach(): void {
    if (this.ended) return;
    this.ended = true;
    this.retained.leave();
    this.#readLater?.cancel();
    this.#writable();
    for (const subscription of this.subscriptions.values())
      this.kernel.subscriptions.unsubscribe(subscription);
    for (const backlog of this.#backlogs.values()) this.kernel.catchUp.remove(backlog.shard, backlog);
    this.subscriptions.clear();
    this.window.drop();
    this.#held.drop();
    this.#heldReleases.drop();
    if (this.log === null) emptySession(this.state);
    this.connection = leftOf(this.connection);
  }

  /**
   * Sets the cursors of all shards that its filters can match to where it stands, and returns their items, with those of
   * messages in flight that are not written yet.
   */
  cursorItems(): ReturnType<typeof cursorItem>[] {
    const { state, kernel } = this;
    const items = this.window.takeUnrecorded().map((entry) => inflightItem(state, entry));
    if (this.resuming) return items;
    const needed = this.cursorShards();
    for (const shard of state.cursors.keys()) {
      if (needed.has(shard)) continue;
      state.cursors.delete(shard);
      items.push(cursorItem(state, shard));
    }
    for (const shard of needed) {
      const next = this.#backlogs.get(shard)?.next ?? kernel.dispatcher.routedTo(shard);
      if (next === undefined || state.cursors.get(shard) === next) continue;
      state.cursors.set(shard, next);
      items.push(cursorItem(state, shard));
    }
    return items;
  }

  /** Where the session stands on a shard while nothing of it is written: below it nothing is needed any more. */
  floorOf(shard: ShardId, routedTo: Offset): Offset {
    const next = this.#backlogs.get(shard)?.next ?? routedTo;
    return Math.min(next, this.window.lowestUnrecorded(shard));
  }

  /** Shards that filters above QoS 0 can match. */
  cursorShards(): Set<ShardId> {
    return cursorShardsOf(this.state, this.kernel);
  }

  /** The entry, all before it in its shard that are not written, and the cursor behind it, as one unit. */
  #recordExactlyOnce(packetId: number, log: SessionLog): number {
    const { state } = this;
    const entry = this.window.get(packetId)!;
    if (entry.retainedSubject !== null) {
      this.window.recorded(entry.packetId);
      return log.record(inflightItem(state, entry));
    }
    const items = this.window.takeUnrecorded(entry.shard).map((each) => inflightItem(state, each));
    state.cursors.set(entry.shard, entry.offset + 1);
    return log.record(...items, cursorItem(state, entry.shard));
  }

  #finish(packetId: number): void {
    const wasRecorded = this.window.remove(packetId);
    if (wasRecorded) this.log?.record(acknowledgedItem(this.state, packetId));
    if (this.#backlogs.size > 0 || !this.retained.empty) this.wake();
  }

  #writeRelease(packetId: number, code: number): void {
    const { outbox } = this.connection;
    const slab = outbox.reserve(shortAckBytesMax);
    outbox.filled(writePubrel(slab, outbox.used, packetId, code));
  }
}

/** What a session that has ended may still ask of its connection. */
function leftOf({ outbox, output }: SessionConnection): SessionConnection {
  return {
    outbox,
    output,
    inflightMax: 0,
    takenOver: () => undefined,
    failed: () => undefined,
    publishesSettled: () => null,
  };
}
