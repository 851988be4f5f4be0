import type { ByteReader, ByteWriter } from '@robustmq/core';
import type { Qos, UserProperty, WillProperties } from '@robustmq/mqtt-codec';
import type { StoredWill } from './session-state.ts';
import { endRead, malformed } from './session-value.ts';

/** Which properties follow, in this order. */
const propertyFlag = {
  willDelay: 1,
  payloadFormat: 2,
  messageExpiry: 4,
  contentType: 8,
  responseTopic: 16,
  correlationData: 32,
  userProperties: 64,
} as const;

const properties = Object.keys(propertyFlag) as (keyof typeof propertyFlag)[];

/** Body: topic, payload, u8 QoS, u8 retain, u8 flags of the properties that follow, and these. */
export function writeWill(out: ByteWriter, will: StoredWill): void {
  const {
    willDelay,
    payloadFormat,
    messageExpiry,
    contentType,
    responseTopic,
    correlationData,
    userProperties,
  } = will.properties;
  let flags = 0;
  for (const name of properties) if (will.properties[name] !== undefined) flags |= propertyFlag[name];
  out.string(will.topic).bytes(will.payload).u8(will.qos).bool(will.retain).u8(flags);
  if (willDelay !== undefined) out.u32(willDelay);
  if (payloadFormat !== undefined) out.u8(payloadFormat);
  if (messageExpiry !== undefined) out.u32(messageExpiry);
  if (contentType !== undefined) out.string(contentType);
  if (responseTopic !== undefined) out.string(responseTopic);
  if (correlationData !== undefined) out.bytes(correlationData);
  if (userProperties === undefined) return;
  out.u32(userProperties.length);
  for (const [name, value] of userProperties) out.string(name).string(value);
}

/** Copies what it reads: the record's buffer is gone later. */
export function readWill(input: ByteReader): StoredWill {
  const topic = input.string();
  const payload = copied(input);
  const qos = input.u8();
  if (qos > 2) throw malformed('a will with an unknown QoS');
  const retain = input.bool();
  const found = readProperties(input);
  endRead(input);
  return { topic, payload, qos: qos as Qos, retain, properties: found };
}

function readProperties(input: ByteReader): WillProperties {
  const flags = input.u8();
  const found: WillProperties = {};
  if ((flags & propertyFlag.willDelay) !== 0) found.willDelay = input.u32();
  if ((flags & propertyFlag.payloadFormat) !== 0) found.payloadFormat = input.u8();
  if ((flags & propertyFlag.messageExpiry) !== 0) found.messageExpiry = input.u32();
  if ((flags & propertyFlag.contentType) !== 0) found.contentType = input.string();
  if ((flags & propertyFlag.responseTopic) !== 0) found.responseTopic = input.string();
  if ((flags & propertyFlag.correlationData) !== 0) found.correlationData = copied(input);
  if ((flags & propertyFlag.userProperties) !== 0) {
    const pairs: UserProperty[] = [];
    for (let left = input.count(8); left > 0; left--) pairs.push([input.string(), input.string()]);
    found.userProperties = pairs;
  }
  return found;
}

function copied(input: ByteReader): Buffer {
  const bytes = input.bytes();
  if (bytes === null) throw malformed('a will without its bytes');
  return Buffer.from(bytes);
}
