import type { DisconnectPacket } from '@robustmq/mqtt-codec';
import { reasonCode } from '@robustmq/mqtt-codec';
import type { Connection } from '../connection.ts';

/** DISCONNECT from the client: the will is dropped unless it asks for it (MQTT-3.14.4-3), the expiry may change. */
export function acceptDisconnect(connection: Connection, packet: DisconnectPacket): void {
  const { profile, context } = connection;
  const { sessionExpiry } = packet.properties;
  if (sessionExpiry !== undefined && sessionExpiry > 0 && profile?.sessionExpirySeconds === 0) {
    connection.end({
      code: reasonCode.protocolError,
      reason: 'a session without expiry can not get one at its end',
    });
    return;
  }
  connection.finish({
    will: packet.reasonCode !== reasonCode.success,
    expirySeconds:
      sessionExpiry === undefined ? undefined : Math.min(sessionExpiry, context.limits.sessionExpiryMax),
  });
}
