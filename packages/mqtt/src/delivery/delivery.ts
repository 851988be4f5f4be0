import type { Offset, ShardId } from '@robustmq/core';
import type { DeliveryBatch, DeliveryPort, Match } from '@robustmq/kernel';
import { OutboundMessage } from '../mapping/outbound.ts';
import type { MqttCounters } from '../metrics.ts';
import type { SessionRegistry } from '../sessions/session-registry.ts';
import type { DeliveryPoint, Session } from '../sessions/session.ts';
import type { Plan, Receiver } from './plan.ts';
import { planOf, receiverOf, since, withoutLocal } from './plan.ts';

export interface DeliveryModules {
  readonly counters: MqttCounters;
  /** Wall clock, ms. */
  now(): number;
  sessions(): SessionRegistry;
}

/**
 * Takes records from the kernel and gives them to sessions: effective QoS 0 when the owner has appended them, QoS 1 and
 * 2 after the commit (docs/semantics.md 3.1, 3.2). Costs per record one decode and per receiver one copy of the encoded
 * packet; watched by the `bench` rows `mqtt-qos0`, `mqtt-fanout` and `mqtt-qos1`.
 */
export class Delivery implements DeliveryPort {
  readonly #modules: DeliveryModules;
  readonly #message = new OutboundMessage();
  /** Which row `#message` holds, so that many readers of one row decode it once. */
  #batch: DeliveryBatch | null = null;
  /** The records that it was decoded from: a new object for each decoding of a batch. */
  #bytes: Buffer | null = null;
  #row = -1;
  #serial = 0;
  /** Wall clock at the beginning of the present batch, ms: it is read once for all receivers. */
  #now = 0;
  readonly #point: DeliveryPoint = {
    shard: 0 as ShardId,
    offset: 0,
    now: 0,
    shared: false,
    retainedSubject: null,
    ids: [],
  };

  constructor(modules: DeliveryModules) {
    this.#modules = modules;
  }

  appended(batch: DeliveryBatch): void {
    this.#begin();
    const { matches, records } = batch;
    for (let row = 0; row < records.count; row++) {
      const match = matches[row]!;
      if (match.guaranteeMax < 0) continue;
      const plan = planOf(match);
      const message = this.#read(batch, row);
      // Somebody was granted QoS 0, or all get it because it was published so.
      if (message.guarantee > 0 && plan.qosMin > 0) continue;
      this.#atMostOnce(batch, plan, false);
    }
    this.#end();
  }

  committed(batch: DeliveryBatch): void {
    this.#begin();
    const { matches, records } = batch;
    for (let row = 0; row < records.count; row++) {
      const match = matches[row]!;
      if (match.guaranteeMax < 0) continue;
      const plan = planOf(match);
      if (plan.qosMax === 0 && !plan.bridging) continue;
      const message = this.#read(batch, row);
      if (plan.bridging) {
        this.#atMostOnce(batch, plan, true);
        plan.bridging = isBridging(plan);
      }
      if (message.guarantee === 0) continue;
      const offset = records.offset(row);
      this.#at(batch.shard, offset, plan.receivers.length > 1);
      for (const receiver of plan.receivers) {
        if (receiver.qos === 0) continue;
        const { session } = receiver;
        // Who is behind on this shard reads the record later, in its turn.
        if (session.isBehind(batch.shard)) continue;
        if (!this.#send(receiver)) session.fallBehind(batch.shard, offset);
      }
    }
    this.#end();
  }

  gap(shard: ShardId, from: Offset): void {
    this.#modules.sessions().fellBehind(shard, from);
  }

  /** Gives one record to a session that reads its backlog; false when it has no room. */
  catchUp(session: Session, batch: DeliveryBatch, row: number, match: Match): boolean {
    const plan = planOf(match);
    const receiver = receiverOf(plan, session);
    if (receiver === undefined || receiver.qos === 0) return true;
    const offset = batch.records.offset(row);
    const counted = since(receiver, batch.shard, offset);
    if (counted === null || counted.qos === 0) return true;
    if (session.window.wasInflight(batch.shard, offset)) return true;
    // The kernel calls for all readers of a row in succession; what was decoded for the first serves the others.
    const message = this.#read(batch, row);
    this.#now = this.#modules.now();
    this.#at(batch.shard, offset, plan.receivers.length > 1);
    if (message.guarantee === 0) return true;
    const { flusher } = session.context;
    flusher.gathers = true;
    try {
      return this.#send(counted);
    } finally {
      flusher.gathers = false;
    }
  }

  #at(shard: ShardId, offset: Offset, shared: boolean): void {
    const point = this.#point;
    point.shard = shard;
    point.offset = offset;
    point.shared = shared;
    point.now = this.#now;
  }

  /** A new batch begins: what was decoded before is void. */
  #begin(): void {
    this.#batch = null;
    this.#now = this.#modules.now();
  }

  #end(): void {
    this.#batch = null;
  }

  #read(batch: DeliveryBatch, row: number): OutboundMessage {
    const serial = batch.records.offset(row);
    const { buffer } = batch.records;
    const known = this.#batch === batch && this.#bytes === buffer;
    if (known && this.#row === row && this.#serial === serial) return this.#message;
    this.#batch = batch;
    this.#bytes = buffer;
    this.#row = row;
    this.#serial = serial;
    this.#message.read(batch, row);
    return this.#message;
  }

  /** Sends a record at QoS 0: when it is appended to those that do not bridge there, when it is committed to the rest. */
  #atMostOnce(batch: DeliveryBatch, plan: Plan, isCommitted: boolean): void {
    const message = this.#message;
    const shared = plan.receivers.length > 1;
    // What is not stored has no commit to wait for.
    const stored = batch.baseOffset >= 0;
    // What is retained at the high watermark does not hold it yet, and who published it has no answer yet.
    const pending = message.retain || message.guarantee > 0;
    for (let receiver of plan.receivers as readonly (Receiver | null)[]) {
      if (receiver === null) continue;
      if (plan.bridging && stored) {
        const record = { shard: batch.shard, offset: this.#serial, isCommitted, pending };
        if (waits(receiver, record) !== isCommitted) continue;
      }
      const { session } = receiver;
      if (receiver.noLocal && message.isFrom(session.clientIdBytes)) receiver = withoutLocal(receiver);
      // Without its own messages it may be left with QoS 0.
      if (receiver === null || (message.guarantee > 0 && receiver.qos > 0)) continue;
      session.output.atMostOnce(message, receiver, shared, this.#now);
    }
  }

  /** Sends the present record at QoS 1 or 2; false when the session has no room for it. */
  #send(receiver: Receiver): boolean {
    const message = this.#message;
    const { session } = receiver;
    let counted: Receiver | null = receiver;
    if (receiver.noLocal && message.isFrom(session.clientIdBytes)) counted = withoutLocal(receiver);
    if (counted === null || counted.qos === 0) return true;
    if (!session.hasRoom) return false;
    session.deliver(message, counted, this.#point);
    return true;
  }
}

function isBridging(plan: Plan): boolean {
  for (const { subscriptions } of plan.receivers) {
    for (const subscription of subscriptions) if (subscription.bridging !== null) return true;
  }
  return false;
}

/**
 * Whether a receiver gets the record at `offset` with its commit. When it was appended, those subscriptions of today
 * counted that do not bridge, or had begun before; if none of these bridged, it went out then. A subscription that
 * began later gets it only if it is `pending`: at QoS 0 it is over for everybody else.
 */
function waits(
  receiver: Receiver,
  record: {
    readonly shard: ShardId;
    readonly offset: Offset;
    readonly isCommitted: boolean;
    readonly pending: boolean;
  },
): boolean {
  let gone = false;
  let bridging = false;
  for (const subscription of receiver.subscriptions) {
    const from = subscription.bridging?.get(record.shard);
    if (from === undefined) gone = true;
    else if (record.offset >= from) return true;
    else bridging = true;
  }
  return bridging && !(record.isCommitted && (gone || !record.pending));
}
