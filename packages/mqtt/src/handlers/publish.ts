import { RobustError } from '@robustmq/core';
import type { ShardId } from '@robustmq/core';
import type { KernelErrorCode, Subject } from '@robustmq/kernel';
import { PublishMessage } from '@robustmq/kernel';
import type { PublishView, Qos } from '@robustmq/mqtt-codec';
import {
  encodeWithin,
  reasonCode,
  shortAckBytesMax,
  writePuback,
  writePubcomp,
  writePubrec,
} from '@robustmq/mqtt-codec';
import type { Connection } from '../connection.ts';
import { refusalCode } from '../error-map.ts';
import { InboundMapping } from '../mapping/inbound.ts';
import type { PublishOutcomes } from '../publish/publish-queue.ts';
import { PublishQueue } from '../publish/publish-queue.ts';
import { headItem } from '../sessions/session-items.ts';
import type { SessionLog } from '../sessions/session-log.ts';
import type { Session } from '../sessions/session.ts';
import type { TimerItem } from '../timers.ts';

/** One for all: publishing copies what it needs before it returns. */
const message = new PublishMessage();
/** Of the last refusals' texts, for acknowledgements that carry a reason string. */
const refusalTexts: ReadonlyMap<number, string> = new Map([
  [reasonCode.topicNameInvalid, 'the topic name can not be published to'],
  [reasonCode.quotaExceeded, 'the message is larger than its topic takes, or a quota is used up'],
  [reasonCode.payloadFormatInvalid, 'the payload is not the UTF-8 text that it is said to be'],
]);

/** A publish on its way, with a message that is the shared one or a copy. */
interface Inbound {
  readonly message: PublishMessage;
  readonly packetId: number;
  readonly qos: Qos;
}

/** PUBLISH and PUBREL of one client, to acknowledgements in the order of the publishes. */
export class PublishHandler implements PublishOutcomes {
  readonly #connection: Connection;
  readonly #session: Session;
  readonly #mapping: InboundMapping;
  readonly #queue: PublishQueue;
  #aliases: Map<number, string> | null = null;

  constructor(connection: Connection, session: Session) {
    this.#connection = connection;
    this.#session = session;
    this.#mapping = new InboundMapping(session.state.clientId);
    this.#queue = new PublishQueue(this);
  }

  /** Whether as many publishes wait as the client may send: MQTT 3 clients are paused there. */
  get full(): boolean {
    return this.#queue.size >= this.#connection.context.limits.receiveMaximum;
  }

  /** Publishes and exactly-once exchanges that the client counts against Receive Maximum. */
  get #unacknowledged(): number {
    return this.#queue.size + this.#session.inbound.recordedCount;
  }

  /** A PUBLISH. Costs one look-up of its subject and one encoding; watched by the `bench` rows `mqtt-qos0`, `mqtt-qos1`. */
  accept(view: PublishView): void {
    const { context } = this.#connection;
    context.counters.publishesReceived++;
    if (view.qos > 0 && this.#queue.givenUp) return;
    const name = this.#topicOf(view);
    if (name === null) return;
    if (view.qos === 2 && this.#again(view.packetId)) return;
    const { version } = this.#connection;
    if (view.qos > 0 && version === 5 && this.#unacknowledged >= context.limits.receiveMaximum) {
      this.#connection.end({
        code: reasonCode.receiveMaximumExceeded,
        reason: 'more publishes than Receive Maximum',
      });
      return;
    }
    const { state, log } = this.#session;
    const exactlyOnce = view.qos === 2 && log !== null && state.expirySeconds > 0;
    const token = exactlyOnce ? { producerId: state.producerId, packetId: view.packetId } : null;
    const fault = this.#mapping.fill(view, message, context.turn.now, token);
    if (fault !== null) {
      this.#refuse(view, fault.reasonCode);
      return;
    }
    const subject = this.#subjectOf(name);
    if (subject === null) this.#refuse(view, reasonCode.topicNameInvalid);
    else this.#publish(view, subject);
  }

  /** PUBREL. */
  release(packetId: number): void {
    this.#session.inbound.release(packetId, (found) => {
      if (this.#connection.closed) return;
      const code = found || this.#connection.version !== 5 ? 0 : reasonCode.packetIdentifierNotFound;
      const { outbox } = this.#connection;
      const slab = outbox.reserve(shortAckBytesMax);
      outbox.filled(writePubcomp(slab, outbox.used, packetId, code));
    });
  }

  answered(packetId: number, qos: 1 | 2, code: number): void {
    const { inbound } = this.#session;
    const refused = code >= 0x80;
    if (qos === 2) {
      if (refused) inbound.refused(packetId);
      else inbound.recorded(packetId);
    }
    const connection = this.#connection;
    if (connection.closed) return;
    if (refused) this.#answerRefused(packetId, qos, code);
    else {
      const { outbox } = connection;
      const slab = outbox.reserve(shortAckBytesMax);
      const write = qos === 1 ? writePuback : writePubrec;
      outbox.filled(write(slab, outbox.used, packetId, 0));
    }
    connection.flow();
  }

  undecided(_error: RobustError<KernelErrorCode> | null): void {
    const { appender } = this.#connection.context.kernel;
    const code = appender.admitting ? reasonCode.implementationSpecificError : reasonCode.quotaExceeded;
    this.#connection.end({ code, reason: 'a publish could not be stored in time' });
  }

  now(): number {
    return this.#connection.context.timers.now();
  }

  watch(item: TimerItem, sinceMs: number): void {
    const { timers, limits } = this.#connection.context;
    timers.schedule(item, limits.publishTimeoutMs - sinceMs);
  }

  isOverdue(sinceMs: number): boolean {
    return sinceMs >= this.#connection.context.limits.publishTimeoutMs;
  }

  whenSettled(): Promise<void> | null {
    return this.#queue.whenSettled();
  }

  stop(): void {
    this.#connection.context.timers.cancel(this.#queue);
  }

  #publish(view: PublishView, subject: Subject): void {
    message.subject = subject;
    const publish: Inbound = { message, packetId: view.packetId, qos: view.qos as Qos };
    if (message.tokenProducer >= 0) {
      const { log, state } = this.#session;
      const shard = shardOf(message);
      if (log !== null && !state.inboundShards.has(shard)) {
        this.#afterNaming(shard, log, publish);
        return;
      }
    }
    this.#take(publish);
  }

  #take(publish: Inbound): void {
    const { packetId, qos } = publish;
    const taken = this.#connection.context.kernel.publisher.publish(publish.message);
    if (typeof taken === 'string') {
      const code = refusalCode(taken);
      if (code !== null) this.#refuse(publish, code);
      else if (qos > 0) this.#queue.addUndecided(packetId, qos as 1 | 2);
      return;
    }
    if (qos === 0) return;
    if (qos === 2) this.#session.inbound.begin(packetId, shardOf(publish.message));
    this.#queue.add(packetId, qos, taken);
  }

  /**
   * The session's first exactly-once publish to a shard: the session says so before, so that whoever resumes it knows
   * where to ask for open exchanges. Nothing is read from the client until then.
   */
  #afterNaming(shard: ShardId, log: SessionLog, publish: Inbound): void {
    const { state } = this.#session;
    const connection = this.#connection;
    const copy: Inbound = { ...publish, message: copyOf(publish.message) };
    this.#session.inbound.begin(publish.packetId, shard);
    connection.hold();
    connection.storing();
    state.inboundShards.add(shard);
    log.commit(headItem(state)).then(
      () => {
        if (connection.closed) return;
        this.#take(copy);
        connection.proceed();
      },
      // The connection hears of it from the log, and the client, which has no answer, publishes again.
      () => undefined,
    );
  }

  /** A QoS 2 PUBLISH whose packet id is in use: nothing but another PUBREC (MQTT-4.3.3-10). */
  #again(packetId: number): boolean {
    const phase = this.#session.inbound.phaseOf(packetId);
    if (phase === undefined) return false;
    // The first one's PUBREC is still to come where it is not committed.
    if (phase !== 'publishing') this.#queue.addDecided(packetId, 2, 0);
    return true;
  }

  #topicOf(view: PublishView): string | null {
    if (view.topicAlias === 0) return view.topic();
    if (view.topicStart !== view.topicEnd) {
      const name = view.topic();
      this.#aliases ??= new Map();
      this.#aliases.set(view.topicAlias, name);
      return name;
    }
    const name = this.#aliases?.get(view.topicAlias);
    if (name !== undefined) return name;
    this.#connection.end({ code: reasonCode.protocolError, reason: 'a topic alias that was not set' });
    return null;
  }

  #subjectOf(name: string): Subject | null {
    try {
      return this.#connection.context.kernel.subjects.forPublish(name);
    } catch (error) {
      if (error instanceof RobustError && error.code === 'TOPIC_NAME_INVALID') return null;
      throw error;
    }
  }

  /**
   * A definite refusal. Before MQTT 5 there is no word for it: a name that is nobody's to publish to is acknowledged and
   * dropped, as one that is not allowed; for the rest, and at QoS 0 of MQTT 5, closing says it (docs/semantics.md 4.3).
   */
  #refuse(publish: { packetId: number; qos: number }, code: number): void {
    this.#connection.context.counters.publishesRefused++;
    const v5 = this.#connection.version === 5;
    const dropped = !v5 && code === reasonCode.topicNameInvalid;
    if (publish.qos > 0 && (v5 || dropped)) {
      if (dropped && publish.qos === 2) this.#session.inbound.dropped(publish.packetId);
      this.#queue.addDecided(publish.packetId, publish.qos as 1 | 2, dropped ? 0 : code);
      return;
    }
    if (dropped) return;
    this.#connection.end({ code, reason: refusalTexts.get(code) ?? 'the message was refused' });
  }

  #answerRefused(packetId: number, qos: 1 | 2, code: number): void {
    const connection = this.#connection;
    if (connection.version !== 5) {
      connection.end(null);
      return;
    }
    const properties = connection.reasonOf(refusalTexts.get(code) ?? 'the message was refused');
    const packet = { type: qos === 1 ? 'puback' : 'pubrec', packetId, reasonCode: code, properties } as const;
    connection.answer(encodeWithin(5, packet, connection.profile?.maxPacketBytes ?? Infinity));
  }
}

function shardOf(publish: PublishMessage): ShardId {
  const { subject, publisherHash } = publish;
  if (subject.shard >= 0) return subject.shard;
  return subject.topic.shards[publisherHash % subject.topic.shards.length]!;
}

function copyOf(from: PublishMessage): PublishMessage {
  const copy = new PublishMessage();
  copy.subject = from.subject;
  copy.guarantee = from.guarantee;
  copy.retain = from.retain;
  copy.tokenProducer = from.tokenProducer;
  copy.token = from.token;
  copy.publisherHash = from.publisherHash;
  const { record } = from;
  copy.record.timestamp = record.timestamp;
  copy.record.setValue(Buffer.from(record.value.subarray(record.valueStart, record.valueEnd)));
  copy.record.headers = Buffer.from(record.headers.subarray(record.headersStart, record.headersEnd));
  copy.record.headersEnd = record.headersEnd - record.headersStart;
  copy.record.headerCount = record.headerCount;
  return copy;
}
