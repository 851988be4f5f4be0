import { RobustError } from '@robustmq/core';
import type { ConnackPacket, ConnackProperties, ConnectPacket } from '@robustmq/mqtt-codec';
import { encodeConnack, encodeWithin, reasonCode } from '@robustmq/mqtt-codec';
import type { MqttContext, MqttLimits } from '../adapter.ts';
import type { ClientProfile, Connection, Refusal } from '../connection.ts';
import { willFault } from '../mapping/will.ts';
import { redeliver, resubscribe } from '../sessions/resume.ts';
import { neverExpires } from '../sessions/session-registry.ts';

const receiveMaximumDefault = 65_535;
/** Longest client id that MQTT 3.1 knows. */
const clientIdCharactersV3 = 23;

/** CONNECT: opens the session, answers, and begins to serve the client. */
export function acceptConnect(connection: Connection, packet: ConnectPacket): void {
  const { context } = connection;
  const assigned = packet.clientId === '' ? assignedClientId(context) : null;
  const profile = profileOf(packet, assigned ?? packet.clientId, context.limits);
  const refusal = refusalOf(packet, context) ?? tooManySessions(packet, profile, context);
  connection.accepted(profile);
  if (refusal !== null) {
    connection.end(refusal);
    return;
  }
  connection.hold();
  open(connection, packet, { profile, assigned }).catch((error: unknown) => {
    context.logger.error({ error, client: profile.clientId }, 'a session could not be opened');
    const reason = error instanceof RobustError ? error.message : 'no session';
    const served = connection.session !== null;
    connection.end({
      code: served ? reasonCode.implementationSpecificError : reasonCode.serverUnavailable,
      reason,
    });
  });
}

async function open(
  connection: Connection,
  packet: ConnectPacket,
  client: { profile: ClientProfile; assigned: string | null },
): Promise<void> {
  const { context } = connection;
  const { profile, assigned } = client;
  const opened = await context.sessions.open(
    {
      clientId: profile.clientId,
      cleanStart: packet.cleanStart,
      expirySeconds: profile.sessionExpirySeconds,
      will: packet.will,
      alive: () => !connection.closed,
    },
    connection,
  );
  if (opened === null) return;
  const { session, present } = opened;
  try {
    if (present) await session.inbound.load();
  } catch (error) {
    context.sessions.close(session, { will: true });
    throw error;
  }
  if (connection.closed) {
    context.sessions.close(session, { will: true });
    return;
  }
  connection.opened(session);
  const properties = connackProperties(packet, { profile, assigned, limits: context.limits });
  const connack = { type: 'connack', sessionPresent: present, reasonCode: 0, properties } as const;
  const { version, maxPacketBytes } = profile;
  const bytes = version === 5 ? encodeShort(connack, maxPacketBytes) : encodeConnack(version, connack);
  if (bytes === null) {
    connection.end(null);
    return;
  }
  connection.answer(bytes);
  if (present) await resubscribe(session);
  connection.proceed();
  if (present && !session.ended) await redeliver(session);
}

/** CONNACK where it fits, or else without the offer of topic aliases, or else null: the rest has to be said. */
function encodeShort(connack: ConnackPacket, maxBytes: number): Buffer | null {
  const { topicAliasMaximum: _, ...properties } = connack.properties;
  return encodeWithin(5, connack, maxBytes) ?? encodeWithin(5, { ...connack, properties }, maxBytes);
}

/** Why a client is not accepted; null when it is. */
function refusalOf(packet: ConnectPacket, context: MqttContext): Refusal | null {
  const { version, clientId, cleanStart, will, properties } = packet;
  const { limits } = context;
  if (properties.authenticationMethod !== undefined) {
    return { code: reasonCode.badAuthenticationMethod, reason: 'there is no enhanced authentication' };
  }
  const invalid = reasonCode.clientIdentifierNotValid;
  if (clientId === '' && version === 3) return { code: invalid, reason: 'the client id is empty' };
  // MQTT-3.1.3-8
  if (clientId === '' && version === 4 && !cleanStart) {
    return { code: invalid, reason: 'a session that is kept needs a client id' };
  }
  if (version === 3 && clientId.length > Math.max(clientIdCharactersV3, limits.clientIdBytesMax)) {
    return { code: invalid, reason: 'the client id is too long' };
  }
  if (Buffer.byteLength(clientId) > limits.clientIdBytesMax) {
    return { code: invalid, reason: `a client id has at most ${limits.clientIdBytesMax} bytes` };
  }
  if (will !== null) {
    if (!canPublish(context, will.topic)) {
      return { code: reasonCode.topicNameInvalid, reason: 'the will topic can not be published to' };
    }
    const fault = willFault(will);
    if (fault !== null)
      return { code: fault.reasonCode, reason: 'the will is not the UTF-8 text it is said to be' };
  }
  return null;
}

function tooManySessions(
  { will }: ConnectPacket,
  { clientId, sessionExpirySeconds }: ClientProfile,
  { sessions }: MqttContext,
): Refusal | null {
  const kept = sessionExpirySeconds > 0 || will !== null;
  if (!kept || !sessions.full(clientId)) return null;
  return { code: reasonCode.quotaExceeded, reason: 'there are as many kept sessions as there may be' };
}

function canPublish(context: MqttContext, topic: string): boolean {
  try {
    context.kernel.subjects.forPublish(topic);
    return true;
  } catch (error) {
    if (error instanceof RobustError && error.code === 'TOPIC_NAME_INVALID') return false;
    throw error;
  }
}

function profileOf(packet: ConnectPacket, clientId: string, limits: MqttLimits): ClientProfile {
  const { properties, version } = packet;
  return {
    version,
    clientId,
    keepAliveMs: keepAliveSeconds(packet, limits) * 1000,
    maxPacketBytes: properties.maximumPacketSize ?? Infinity,
    topicAliasMaximum: Math.min(properties.topicAliasMaximum ?? 0, limits.sendAliasesMax),
    inflightMax: Math.min(properties.receiveMaximum ?? receiveMaximumDefault, limits.inflightMax),
    problemInformation: version === 5 && properties.requestProblemInformation !== false,
    sessionExpirySeconds: Math.min(expirySeconds(packet), limits.sessionExpiryMax),
  };
}

function keepAliveSeconds(packet: ConnectPacket, limits: MqttLimits): number {
  const { keepAlive, version } = packet;
  // Before MQTT 5 a client can't be told of another interval than its own.
  if (limits.keepAliveMax === 0 || version !== 5) return keepAlive;
  return keepAlive === 0 ? limits.keepAliveMax : Math.min(keepAlive, limits.keepAliveMax);
}

/** Before MQTT 5 a session that is not clean is kept for ever. */
function expirySeconds(packet: ConnectPacket): number {
  if (packet.version === 5) return packet.properties.sessionExpiry ?? 0;
  return packet.cleanStart ? 0 : neverExpires;
}

function connackProperties(
  packet: ConnectPacket,
  client: { profile: ClientProfile; assigned: string | null; limits: MqttLimits },
): ConnackProperties {
  if (packet.version !== 5) return {};
  const { profile, assigned, limits } = client;
  const properties: ConnackProperties = {
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.packetBytesMax,
    topicAliasMaximum: limits.topicAliasMaximum,
    sharedSubscriptionsAvailable: false,
  };
  if (assigned !== null) properties.assignedClientId = assigned;
  if (profile.sessionExpirySeconds !== (packet.properties.sessionExpiry ?? 0)) {
    properties.sessionExpiry = profile.sessionExpirySeconds;
  }
  if (profile.keepAliveMs !== packet.keepAlive * 1000)
    properties.serverKeepAlive = profile.keepAliveMs / 1000;
  return properties;
}

function assignedClientId(context: MqttContext): string {
  return `auto-${context.random.bytes(12).toString('hex')}`;
}
