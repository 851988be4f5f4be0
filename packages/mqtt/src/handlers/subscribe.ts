import { RobustError } from '@robustmq/core';
import type { RetainedRecord, Shard } from '@robustmq/kernel';
import type { SubackPacket, SubscribePacket, Subscription } from '@robustmq/mqtt-codec';
import { encodePacket, encodeWithin, parseSharedFilter, reasonCode } from '@robustmq/mqtt-codec';
import type { Connection } from '../connection.ts';
import type { SubscriptionOptions } from '../delivery/plan.ts';
import { subscriptionItem } from '../sessions/session-items.ts';
import type { StoredSubscription } from '../sessions/session-state.ts';
import type { Session } from '../sessions/session.ts';

/** Failure code of a filter before MQTT 5. */
const failureV3 = 0x80;

/** Why a filter is refused, by what SUBACK says of it. */
const refusals: ReadonlyMap<number, string> = new Map([
  [reasonCode.sharedSubscriptionsNotSupported, 'there are no shared subscriptions yet'],
  [reasonCode.quotaExceeded, 'no more such subscriptions are allowed'],
  [reasonCode.implementationSpecificError, 'the subscription can not be served now'],
]);

/** SUBSCRIBE: registers the filters, writes them if the session is kept, answers, and sends what is retained. */
export function acceptSubscribe(connection: Connection, session: Session, packet: SubscribePacket): void {
  connection.hold();
  subscribe(connection, session, packet).then(
    () => connection.proceed(),
    (error: unknown) => {
      connection.context.logger.error({ error, client: session.state.clientId }, 'a subscription failed');
      connection.end({ code: reasonCode.implementationSpecificError, reason: 'the subscription failed' });
    },
  );
}

async function subscribe(connection: Connection, session: Session, packet: SubscribePacket): Promise<void> {
  const codes = packet.subscriptions.map((wanted) => refusalOf(session, wanted));
  const accepted = packet.subscriptions.filter((_, at) => codes[at] === null);
  const shards = await openShards(
    session,
    accepted.map((wanted) => wanted.filter),
  );
  if (session.ended) return;
  const answers = codes.map((code, at) => {
    if (code !== null) return code;
    return shards === null ? reasonCode.implementationSpecificError : packet.subscriptions[at]!.qos;
  });
  const id = packet.properties.subscriptionIdentifiers?.[0] ?? 0;
  if (shards !== null) {
    const stored = accepted.map((wanted) => register(session, wanted, { shards, id }));
    const { log, state } = session;
    if (log !== null && stored.length > 0) {
      session.context.sessions.broad.update(state);
      connection.storing();
      await log.commit(...stored.map((each) => subscriptionItem(state, each)));
      if (session.ended) return;
    }
  }
  answer(connection, packet.packetId, answers);
  if (session.ended) return;
  session.filtersChanged();
  session.wake();
}

/** Null when some owner of a shard can't serve now. */
async function openShards(session: Session, filters: readonly string[]): Promise<Shard[] | null> {
  try {
    return await session.kernel.subscriptions.prepare(filters);
  } catch (error) {
    if (error instanceof RobustError) return null;
    throw error;
  }
}

function refusalOf(session: Session, wanted: Subscription): number | null {
  if (parseSharedFilter(wanted.filter) !== null) return reasonCode.sharedSubscriptionsNotSupported;
  const { subscriptions } = session.state;
  const { subscriptionsMax } = session.context.limits;
  if (!subscriptions.has(wanted.filter) && subscriptions.size >= subscriptionsMax)
    return reasonCode.quotaExceeded;
  const { sessions } = session.context;
  if (session.log !== null && !sessions.broad.allows(session.state, wanted.filter, wanted.qos)) {
    return reasonCode.quotaExceeded;
  }
  return null;
}

/** Puts one subscription in the place of what there was for its filter, without a moment between. */
function register(
  session: Session,
  wanted: Subscription,
  where: { shards: readonly Shard[]; id: number },
): StoredSubscription {
  const { state, kernel } = session;
  const { filter, qos } = wanted;
  const before = state.subscriptions.get(filter);
  const options: SubscriptionOptions = {
    noLocal: wanted.noLocal,
    retainAsPublished: wanted.retainAsPublished,
    subscriptionId: where.id,
  };
  // What was delivered at QoS 0 must not be read again from the log after a crash.
  const since = before === undefined || (before.qos === 0 && qos > 0) ? null : before.since;
  const replaced = session.subscriptions.get(filter);
  const request = { filter, subscriber: session, guarantee: qos, options, since, replaces: replaced };
  const shards = shardsOf(session, filter, where.shards);
  const registered = kernel.subscriptions.subscribe([request], shards)[0]!;
  session.subscriptions.set(filter, registered);
  const due = retainedOf(session, wanted, { isNew: before === undefined, shards });
  let owed = due.length > 0;
  if (replaced !== undefined) {
    kernel.subscriptions.unsubscribe(replaced);
    // What it is still owed must not be lost by that (MQTT-3.8.4-4).
    if (owed) session.retained.remove(replaced);
    else owed = session.retained.transfer(replaced, registered);
  }
  const stored: StoredSubscription = {
    filter,
    qos,
    noLocal: wanted.noLocal,
    retainAsPublished: wanted.retainAsPublished,
    retainHandling: wanted.retainHandling,
    subscriptionId: where.id,
    since: new Map(registered.since),
    retainedDue: owed,
    retainedSent: due.length === 0 ? (before?.retainedSent ?? []) : [],
  };
  state.subscriptions.set(filter, stored);
  session.retained.add(registered, due);
  return stored;
}

/** Of the shards opened for the whole packet those that this filter can match. */
function shardsOf(session: Session, filter: string, shards: readonly Shard[]): Shard[] {
  const topics = new Set(session.kernel.subscriptions.topicsOf(filter).map((topic) => topic.id));
  return shards.filter((shard) => topics.has(shard.topic.id));
}

function retainedOf(
  session: Session,
  wanted: Subscription,
  where: { isNew: boolean; shards: readonly Shard[] },
): RetainedRecord[] {
  if (wanted.retainHandling === 2 || (wanted.retainHandling === 1 && !where.isNew)) return [];
  return [...session.kernel.subscriptions.retained(wanted.filter, where.shards)];
}

function answer(connection: Connection, packetId: number, codes: readonly number[]): void {
  const { version } = connection;
  const reasonCodes = version === 5 ? [...codes] : codes.map((code) => (code >= 0x80 ? failureV3 : code));
  // One for all filters: that of the first that is refused.
  const reason = refusals.get(codes.find((code) => refusals.has(code)) ?? reasonCode.success);
  const properties = reason === undefined ? {} : connection.reasonOf(reason);
  const packet: SubackPacket = { type: 'suback', packetId, reasonCodes, properties };
  const max = connection.profile?.maxPacketBytes ?? Infinity;
  connection.answer(version === 5 ? encodeWithin(5, packet, max) : encodePacket(version, packet));
}
