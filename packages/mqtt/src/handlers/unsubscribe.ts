import type { FoldItem } from '@robustmq/kernel';
import type { UnsubackPacket, UnsubscribePacket } from '@robustmq/mqtt-codec';
import { encodePacket, encodeWithin, reasonCode } from '@robustmq/mqtt-codec';
import type { Connection } from '../connection.ts';
import { unsubscribedItem } from '../sessions/session-items.ts';
import type { Session } from '../sessions/session.ts';

/** UNSUBSCRIBE: acts at once; what is in flight finishes. The answer follows the commit if the session is kept. */
export function acceptUnsubscribe(connection: Connection, session: Session, packet: UnsubscribePacket): void {
  const items: FoldItem[] = [];
  const codes = packet.filters.map((filter) => {
    const known = session.state.subscriptions.has(filter);
    if (!known) return reasonCode.noSubscriptionExisted;
    remove(session, filter);
    items.push(unsubscribedItem(session.state, filter));
    return reasonCode.success;
  });
  if (session.log === null || items.length === 0) {
    answer(connection, packet.packetId, codes);
    return;
  }
  session.context.sessions.broad.update(session.state);
  connection.hold();
  connection.storing();
  session.log.commit(...items).then(
    () => {
      answer(connection, packet.packetId, codes);
      connection.proceed();
    },
    // The connection hears of it from the log.
    () => undefined,
  );
}

function remove(session: Session, filter: string): void {
  session.state.subscriptions.delete(filter);
  const registered = session.subscriptions.get(filter);
  if (registered === undefined) return;
  session.subscriptions.delete(filter);
  session.kernel.subscriptions.unsubscribe(registered);
  session.retained.remove(registered);
  session.filtersChanged();
}

function answer(connection: Connection, packetId: number, codes: readonly number[]): void {
  const { version } = connection;
  const packet: UnsubackPacket = {
    type: 'unsuback',
    packetId,
    reasonCodes: version === 5 ? [...codes] : [],
    properties: {},
  };
  const max = connection.profile?.maxPacketBytes ?? Infinity;
  connection.answer(version === 5 ? encodeWithin(5, packet, max) : encodePacket(version, packet));
}
