import type { Offset, ShardId } from '@robustmq/core';
import type { Guarantee, Match, Subscription } from '@robustmq/kernel';
import { isSince } from '@robustmq/kernel';
import { encodePublishProperties } from '@robustmq/mqtt-codec';
import { Session } from '../sessions/session.ts';

/** What the adapter keeps with a subscription in the router. */
export interface SubscriptionOptions {
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0: none. */
  readonly subscriptionId: number;
}

/** One session of a match with what its overlapping filters make together: one copy (docs/semantics.md 3.5). */
export interface Receiver {
  readonly session: Session;
  readonly subscriptions: readonly Subscription[];
  /** Highest granted QoS. */
  readonly qos: Guarantee;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** Subscription identifiers as encoded properties, null when there are none. */
  readonly properties: Buffer | null;
  readonly subscriptionIds: readonly number[];
}

/** What a match means for this adapter; kept with the match until the subscriptions change. */
export interface Plan {
  readonly receivers: readonly Receiver[];
  /** Lowest QoS at which a record may go to one of them. */
  readonly qosMin: Guarantee;
  readonly qosMax: Guarantee;
  /** Whether a subscription may still be bridging: at-most-once messages then come with the commit for some. */
  bridging: boolean;
  bySession: Map<Session, Receiver> | null;
}

const nobody: Plan = { receivers: [], qosMin: 0, qosMax: 0, bridging: false, bySession: null };

/** The plan of a match, made once. */
export function planOf(match: Match): Plan {
  match.plan ??= createPlan(match);
  return match.plan as Plan;
}

/** The receiver of one session in a plan; undefined when it has none. */
export function receiverOf(plan: Plan, session: Session): Receiver | undefined {
  if (plan.receivers.length <= 4) return plan.receivers.find((receiver) => receiver.session === session);
  plan.bySession ??= new Map(plan.receivers.map((receiver) => [receiver.session, receiver]));
  return plan.bySession.get(session);
}

/** The receiver without the subscriptions that do not count for a record; null when none is left. */
export function narrowed(receiver: Receiver, keep: (subscription: Subscription) => boolean): Receiver | null {
  const left = receiver.subscriptions.filter(keep);
  if (left.length === 0) return null;
  return left.length === receiver.subscriptions.length ? receiver : createReceiver(receiver.session, left);
}

/** The receiver for a record at an offset: subscriptions made after it do not count. */
export function since(receiver: Receiver, shard: ShardId, offset: Offset): Receiver | null {
  for (const subscription of receiver.subscriptions) {
    if (!isSince(subscription, shard, offset)) {
      return narrowed(receiver, (each) => isSince(each, shard, offset));
    }
  }
  return receiver;
}

/** The receiver for a record that its own client published. */
export function withoutLocal(receiver: Receiver): Receiver | null {
  return narrowed(receiver, (subscription) => !optionsOf(subscription).noLocal);
}

export function optionsOf(subscription: Subscription): SubscriptionOptions {
  return subscription.options as SubscriptionOptions;
}

function createPlan(match: Match): Plan {
  const bySession = new Map<Session, Subscription[]>();
  let bridging = false;
  for (const subscription of match.subscriptions) {
    const session = subscription.subscriber;
    if (!(session instanceof Session)) continue;
    if (subscription.bridging !== null) bridging = true;
    const known = bySession.get(session);
    if (known === undefined) bySession.set(session, [subscription]);
    else known.push(subscription);
  }
  if (bySession.size === 0) return nobody;
  const receivers = [...bySession].map(([session, subscriptions]) => createReceiver(session, subscriptions));
  let qosMin: Guarantee = 2;
  let qosMax: Guarantee = 0;
  for (const receiver of receivers) {
    const { qos } = receiver;
    if (qos > qosMax) qosMax = qos;
    // What its own client published may come through another filter, at less.
    const least = receiver.noLocal ? (withoutLocal(receiver)?.qos ?? qos) : qos;
    if (least < qosMin) qosMin = least;
  }
  return { receivers, qosMin, qosMax, bridging, bySession: null };
}

function createReceiver(session: Session, subscriptions: readonly Subscription[]): Receiver {
  let qos: Guarantee = 0;
  let noLocal = false;
  let retainAsPublished = false;
  const subscriptionIds: number[] = [];
  for (const subscription of subscriptions) {
    const options = optionsOf(subscription);
    if (subscription.guarantee > qos) qos = subscription.guarantee;
    if (options.noLocal) noLocal = true;
    if (options.retainAsPublished) retainAsPublished = true;
    const id = options.subscriptionId;
    if (id !== 0 && !subscriptionIds.includes(id)) subscriptionIds.push(id);
  }
  const properties = subscriptionIds.length === 0 ? null : identifiers(subscriptionIds);
  return { session, subscriptions, qos, noLocal, retainAsPublished, properties, subscriptionIds };
}

/** Subscription identifiers as a property block; null for none. */
export function identifiers(subscriptionIds: readonly number[]): Buffer | null {
  if (subscriptionIds.length === 0) return null;
  return encodePublishProperties({ subscriptionIdentifiers: [...subscriptionIds] });
}
