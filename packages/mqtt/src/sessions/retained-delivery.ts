import type { RetainedRecord, Subscription } from '@robustmq/kernel';
import { identifiers, optionsOf } from '../delivery/plan.ts';
import { OutboundMessage } from '../mapping/outbound.ts';
import type { PublishForm } from '../output/publish-output.ts';
import { RetainedQueue } from './retained-queue.ts';
import { inflightItem, subscriptionItem } from './session-items.ts';
import type { Session } from './session.ts';

/** Sends what is retained under new subscriptions, as far as window and connection have room. */
export class RetainedDelivery {
  readonly #session: Session;
  #queue: RetainedQueue | null = null;
  #message: OutboundMessage | null = null;

  constructor(session: Session) {
    this.#session = session;
  }

  get empty(): boolean {
    return this.#queue === null;
  }

  /** Owes these records to a subscription; `pump` sends them. */
  add(subscription: Subscription, records: readonly RetainedRecord[]): void {
    if (records.length === 0) return;
    this.#queue ??= new RetainedQueue();
    this.#queue.add(subscription, records);
  }

  /** A subscription takes the place of another and asks for nothing itself; returns whether it is owed something. */
  transfer(from: Subscription, to: Subscription): boolean {
    return this.#queue?.transfer(from, to) === true;
  }

  remove(subscription: Subscription): void {
    this.#queue?.remove(subscription);
    if (this.#queue?.empty === true) this.#queue = null;
  }

  /** Sends as much as there is room for. */
  pump(): void {
    const queue = this.#queue;
    if (queue === null) return;
    queue.drain(
      (record, subscription) => this.#send(record, subscription),
      (subscription) => this.finished(subscription),
    );
    if (queue.empty) {
      this.#queue = null;
      this.#message = null;
    }
  }

  #send(record: RetainedRecord, subscription: Subscription): boolean {
    const session = this.#session;
    const { output, context } = session;
    if (output.full || session.ended) return false;
    if (isReplaced(session, record)) return true;
    this.#message ??= new OutboundMessage();
    const message = this.#message;
    message.readRetained(record);
    const options = optionsOf(subscription);
    if (options.noLocal && message.isFrom(session.clientIdBytes)) return true;
    const qos = Math.min(message.guarantee, subscription.guarantee) as 0 | 1 | 2;
    if (qos > 0 && !session.hasWindow) return false;
    const form: PublishForm = {
      qos,
      retain: true,
      dup: false,
      packetId: 0,
      properties:
        output.client.version === 5 && options.subscriptionId !== 0
          ? identifiers([options.subscriptionId])
          : null,
      now: context.clock.now(),
    };
    if (qos > 0) {
      const how = { qos: qos as 1 | 2, properties: form.properties, now: form.now };
      session.deliverRetained(message, how, { record, subscription });
    } else if (output.fits(message, form)) output.write(message, form, false);
    return true;
  }

  /** The connection is gone: what it was sent need not be sent on the next one. */
  leave(): void {
    const progress = this.#queue?.progress ?? null;
    this.#queue = null;
    this.#message = null;
    if (progress === null) return;
    const stored = this.#session.state.subscriptions.get(progress.subscription.filter);
    if (stored !== undefined) stored.retainedSent = [...stored.retainedSent, ...progress.sent];
  }

  /** The log need not remember any more that retained messages are due; those in flight it must. */
  finished(subscription: Subscription): void {
    const { log, state, window } = this.#session;
    const stored = state.subscriptions.get(subscription.filter);
    if (log === null || stored === undefined || !stored.retainedDue) return;
    stored.retainedDue = false;
    stored.retainedSent = [];
    const inflight = window.takeUnrecorded().map((entry) => inflightItem(state, entry));
    log.record(...inflight, subscriptionItem(state, stored));
  }
}

/** Whether something newer is retained: that has gone out live, or will; what it replaced must not come after it. */
function isReplaced(session: Session, record: RetainedRecord): boolean {
  const { kernel } = session;
  const { shard } = kernel.subjects.forPublish(record.subject);
  const retained = shard < 0 ? null : kernel.readyShard(shard)?.retained;
  if (retained === null || retained === undefined) return false;
  return retained.records.get(record.subject)?.sourceOffset !== record.sourceOffset;
}
