import type { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { codecError, malformed, protocolError } from './error.ts';
import type {
  ProtocolVersion,
  Qos,
  SubackPacket,
  SubscribePacket,
  Subscription,
  UnsubackPacket,
  UnsubscribePacket,
} from './packet.ts';
import { noProperties } from './property-codec.ts';
import { place } from './property.ts';
import { allowedReasonCodes } from './reason-code.ts';
import { checkTopicFilter, parseSharedFilter } from './topic.ts';

/** Most filters in one SUBSCRIBE or UNSUBSCRIBE. */
export const filtersPerPacketMax = 1000;

export function decodeSubscribe(body: BodyReader, version: ProtocolVersion): SubscribePacket {
  const packetId = body.packetId();
  const properties = version === 5 ? body.properties(place.subscribe) : noProperties;
  const subscriptions: Subscription[] = [];
  while (body.remaining > 0) {
    checkCount(subscriptions.length);
    const filter = readFilter(body);
    subscriptions.push(readOptions(filter, body.u8(), version));
  }
  // MQTT-3.8.3-2
  if (subscriptions.length === 0) throw protocolError('SUBSCRIBE names no filter');
  return { type: 'subscribe', packetId, subscriptions, properties };
}

function checkCount(count: number): void {
  if (count === filtersPerPacketMax)
    throw codecError('MQTT_QUOTA_EXCEEDED', 'too many filters in one packet');
}

function readFilter(body: BodyReader): string {
  const filter = body.text('a topic filter');
  checkTopicFilter(filter);
  return filter;
}

function readOptions(filter: string, byte: number, version: ProtocolVersion): Subscription {
  // MQTT 3.1 leaves the upper six bits undefined; 3.1.1 and 5 reserve what they do not use (MQTT-3.8.3-5).
  const options = version === 3 ? byte & 3 : byte;
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0)
    throw malformed('a subscription has reserved options set');
  const qos = options & 3;
  if (qos === 3) throw malformed('a subscription asks for QoS 3');
  const retainHandling = options >> 4;
  if (retainHandling === 3) throw protocolError('a subscription has retain handling 3');
  const noLocal = (options & 4) !== 0;
  // MQTT-3.8.3-4
  if (noLocal && parseSharedFilter(filter) !== null)
    throw protocolError('a shared subscription has no local set');
  return {
    filter,
    qos: qos as Qos,
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

/** SUBSCRIBE of a client. */
export function encodeSubscribe(version: ProtocolVersion, packet: Omit<SubscribePacket, 'type'>): Buffer {
  const body = new BodyWriter().packetId(packet.packetId);
  if (version === 5) body.properties(packet.properties);
  for (const { filter, qos, noLocal, retainAsPublished, retainHandling } of packet.subscriptions) {
    const options = (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4);
    body.text(filter).u8(version === 5 ? qos | options : qos);
  }
  return body.packet(0x82);
}

export function decodeUnsubscribe(body: BodyReader, version: ProtocolVersion): UnsubscribePacket {
  const packetId = body.packetId();
  const properties = version === 5 ? body.properties(place.unsubscribe) : noProperties;
  const filters: string[] = [];
  while (body.remaining > 0) {
    checkCount(filters.length);
    filters.push(readFilter(body));
  }
  // MQTT-3.10.3-2
  if (filters.length === 0) throw protocolError('UNSUBSCRIBE names no filter');
  return { type: 'unsubscribe', packetId, filters, properties };
}

/** UNSUBSCRIBE of a client. */
export function encodeUnsubscribe(version: ProtocolVersion, packet: Omit<UnsubscribePacket, 'type'>): Buffer {
  const body = new BodyWriter().packetId(packet.packetId);
  if (version === 5) body.properties(packet.properties);
  for (const filter of packet.filters) body.text(filter);
  return body.packet(0xa2);
}

export function decodeSuback(body: BodyReader, version: ProtocolVersion): SubackPacket {
  const packetId = body.packetId();
  const properties = version === 5 ? body.properties(place.suback) : noProperties;
  const reasonCodes: number[] = [];
  while (body.remaining > 0) {
    const code = body.u8();
    const allowed = version === 5 ? allowedReasonCodes.suback[code] === 1 : code < 3 || code === 0x80;
    if (!allowed) throw protocolError('SUBACK has a code that is not allowed'); // MQTT-3.9.3-2
    reasonCodes.push(code);
  }
  return { type: 'suback', packetId, reasonCodes, properties };
}

/** SUBACK; before MQTT 5 every failure is 0x80. */
export function encodeSuback(version: ProtocolVersion, packet: Omit<SubackPacket, 'type'>): Buffer {
  const body = new BodyWriter().packetId(packet.packetId);
  if (version === 5) body.properties(packet.properties);
  for (const code of packet.reasonCodes) body.u8(version === 5 || code < 0x80 ? code : 0x80);
  return body.packet(0x90);
}

export function decodeUnsuback(body: BodyReader, version: ProtocolVersion): UnsubackPacket {
  const packetId = body.packetId();
  const reasonCodes: number[] = [];
  const properties = version === 5 ? body.properties(place.unsuback) : noProperties;
  while (version === 5 && body.remaining > 0) {
    const code = body.u8();
    // MQTT-3.11.3-2
    if (allowedReasonCodes.unsuback[code] === 0)
      throw protocolError('UNSUBACK has a code that is not allowed');
    reasonCodes.push(code);
  }
  body.finish();
  return { type: 'unsuback', packetId, reasonCodes, properties };
}

/** UNSUBACK; before MQTT 5 it has neither codes nor properties. */
export function encodeUnsuback(version: ProtocolVersion, packet: Omit<UnsubackPacket, 'type'>): Buffer {
  const body = new BodyWriter().packetId(packet.packetId);
  if (version === 5) {
    body.properties(packet.properties);
    for (const code of packet.reasonCodes) body.u8(code);
  }
  return body.packet(0xb0);
}
