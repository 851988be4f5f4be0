import { codecError, malformed, protocolError } from './error.ts';
import { place, propertyById, propertyDefinitions, propertyId, type PropertyKind } from './property.ts';
import { scanText } from './text.ts';
import { scanTopicName } from './topic.ts';
import { readVarint, varintSize } from './varint.ts';

/** Most user properties that a client may put into one packet. */
export const userPropertiesMax = 64;
/** Most bytes of their names and values together. */
export const userPropertyBytesMax = 8192;

/** Sections that a client sends: the limits on user properties bind senders only. */
const fromClient =
  place.connect |
  place.publishFromClient |
  place.will |
  place.subscribe |
  place.unsubscribe |
  place.disconnectFromClient;

/** The dense form of the property table that the scanner indexes; kind 0 is an unknown id. */
const kindCodes: Readonly<Record<PropertyKind, number>> = {
  flag: 1,
  u8: 1,
  u16: 2,
  u32: 4,
  varint: 5,
  text: 6,
  binary: 7,
  pair: 8,
};
const kinds = new Uint8Array(256);
const places = new Uint16Array(256);
for (const definition of propertyDefinitions) {
  kinds[definition.id] = kindCodes[definition.kind];
  places[definition.id] = definition.places;
}

/** Is told of each property that is good: its id, where its value begins, and where the next property begins. */
export interface PropertyVisitor {
  visit(id: number, at: number, next: number): void;
}

/**
 * Validates the property section `[start, end)` completely, without making anything: ids, types, text, value ranges,
 * repetition, and whether each property may stand at `where` (a bit of `place`). Truncated or unknown is malformed, and
 * wins over misplaced, which is a protocol error.
 */
export function scanProperties(
  bytes: Buffer,
  start: number,
  end: number,
  where: number,
  visitor: PropertyVisitor | null,
): void {
  let at = start;
  let seenLow = 0;
  let seenHigh = 0;
  let pairs = 0;
  let pairBytes = 0;
  while (at < end) {
    const id = bytes[at]!;
    const kind = kinds[id]!;
    if (kind === 0) throw malformed('a property id is unknown');
    const value = at + 1;
    const next = kind <= 4 ? value + kind : skipVariable(bytes, value, end, kind);
    if (next > end) throw malformed('a property is truncated');
    if ((places[id]! & where) === 0) throw misplaced(id);
    if (id === propertyId.userProperty) {
      pairs++;
      pairBytes += next - value - 4;
    } else {
      const bit = 1 << (id & 31);
      const seen = id < 32 ? seenLow : seenHigh;
      if (
        (seen & bit) !== 0 &&
        !(id === propertyId.subscriptionIdentifier && where === place.publishFromServer)
      ) {
        throw protocolError(`the property ${propertyById[id]!.name} is there twice`);
      }
      if (id < 32) seenLow |= bit;
      else seenHigh |= bit;
      checkRange(bytes, id, value, next);
    }
    if (visitor !== null) visitor.visit(id, value, next);
    at = next;
  }
  if ((pairs > userPropertiesMax || pairBytes > userPropertyBytesMax) && (where & fromClient) !== 0) {
    throw codecError('MQTT_QUOTA_EXCEEDED', 'too many user properties', { pairs, pairBytes });
  }
}

function misplaced(id: number): Error {
  return protocolError(`the property ${propertyById[id]!.name} may not be in this packet`);
}

/** The position behind a value of variable length; beyond `end` when it is truncated. */
function skipVariable(bytes: Buffer, at: number, end: number, kind: number): number {
  if (kind === kindCodes.varint) {
    const value = readVarint(bytes, at, end);
    if (value < 0) throw malformed('a variable byte integer of a property is not valid');
    return at + varintSize(value);
  }
  const next = skipField(bytes, at, end, kind !== kindCodes.binary);
  return kind === kindCodes.pair && next <= end ? skipField(bytes, next, end, true) : next;
}

function skipField(bytes: Buffer, at: number, end: number, text: boolean): number {
  if (at + 2 > end) return end + 1;
  const next = at + 2 + ((bytes[at]! << 8) | bytes[at + 1]!);
  if (text && next <= end && scanText(bytes, at + 2, next) < 0) {
    throw malformed('a string of a property is no MQTT-safe text');
  }
  return next;
}

/** Values that their type allows and the specification does not. */
function checkRange(bytes: Buffer, id: number, at: number, next: number): void {
  switch (id) {
    case propertyId.topicAlias:
      // MQTT-3.3.2-8
      if (bytes[at] === 0 && bytes[at + 1] === 0) {
        throw codecError('MQTT_TOPIC_ALIAS_INVALID', 'topic alias 0 is not allowed');
      }
      return;
    case propertyId.subscriptionIdentifier:
      if (bytes[at] === 0) throw outOfRange(id);
      return;
    case propertyId.receiveMaximum:
      if (bytes[at] === 0 && bytes[at + 1] === 0) throw outOfRange(id);
      return;
    case propertyId.maximumPacketSize:
      if (bytes.readUInt32BE(at) === 0) throw outOfRange(id);
      return;
    case propertyId.responseTopic:
      // MQTT-3.3.2-14: a topic name
      if (scanTopicName(bytes, at + 2, next) < 0) throw outOfRange(id);
      return;
    default:
      // All properties of one byte are flags, or a maximum QoS of 0 or 1.
      if (kinds[id] === 1 && bytes[at]! > 1) throw outOfRange(id);
  }
}

function outOfRange(id: number): Error {
  return protocolError(`the property ${propertyById[id]!.name} has a value that is not allowed`);
}
