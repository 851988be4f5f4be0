import { isUtf8 } from 'node:buffer';
import type { PublishMessage } from '@robustmq/kernel';
import { mqHeaderName, mqHeaderPrefixBytesMax, propertyToHeader, writeMqHeader } from '@robustmq/kernel';
import type { Will, WillProperties } from '@robustmq/mqtt-codec';
import { HeaderEncoder, partitionHash } from '@robustmq/record';
import { headerBytes } from './header-bytes.ts';
import type { MappingFault } from './mapping-fault.ts';
import { payloadFormatFault } from './mapping-fault.ts';

/** Whose will it is, and when it is published. */
export interface WillOrigin {
  readonly clientId: string;
  /** Producer id of the session. */
  readonly producerId: number;
  /** Below 2^31. */
  readonly sessionEpoch: number;
  /** Ms since 1970; the will's expiry counts from here. */
  readonly now: number;
}

/**
 * The dedup token of a session's one will in one epoch. Its upper bit keeps it apart from packet ids, which are tokens
 * of the same producer: else a will in epoch 7 would look like an open QoS 2 publish with packet id 7, and that
 * message would be lost as a duplicate.
 */
export function epochToken(sessionEpoch: number): number {
  return (sessionEpoch | 0x8000_0000) >>> 0;
}

/** Why a will can't be accepted, or null. To be asked at CONNECT; a will that passed never fails later. */
export function willFault(will: Will): MappingFault | null {
  return will.properties.payloadFormat === 1 && !isUtf8(will.payload) ? payloadFormatFault : null;
}

/**
 * Fills `message` from a will, its subject aside, as `InboundMapping.fill` does from a PUBLISH; at every QoS its token
 * is the session's epoch, so that it is published once although two brokers may try. Source: docs/mapping.md.
 */
export function fillWill(will: Will, message: PublishMessage, origin: WillOrigin): void {
  const clientId = Buffer.from(origin.clientId);
  message.guarantee = will.qos;
  message.retain = will.retain;
  message.tokenProducer = origin.producerId;
  message.token = epochToken(origin.sessionEpoch);
  message.publisherHash = partitionHash(clientId) & 0x7fffffff;
  const mq = Buffer.allocUnsafe(mqHeaderPrefixBytesMax + clientId.length);
  const header = {
    guarantee: will.qos,
    retain: will.retain,
    textPayload: will.properties.payloadFormat === 1,
    bytesPayload: will.properties.payloadFormat === 0,
    tokenProducer: message.tokenProducer,
    token: message.token,
    tokenIsEpoch: true,
  };
  const encoder = new HeaderEncoder();
  encoder.addRange(mqHeaderName, mq, 0, writeMqHeader(mq, 0, header, clientId));
  addProperties(encoder, will.properties, origin.now);
  message.record.timestamp = origin.now;
  message.record.setValue(will.payload).setHeaders(encoder);
}

function addProperties(encoder: HeaderEncoder, properties: WillProperties, now: number): void {
  const { contentType, responseTopic, correlationData, messageExpiry, userProperties } = properties;
  if (contentType !== undefined) encoder.add(headerBytes.contentType, Buffer.from(contentType));
  if (responseTopic !== undefined) encoder.add(headerBytes.replyTo, Buffer.from(responseTopic));
  if (correlationData !== undefined) encoder.add(headerBytes.correlationId, correlationData);
  if (messageExpiry !== undefined) {
    encoder.add(headerBytes.expiresAt, Buffer.from(String(now + messageExpiry * 1000), 'latin1'));
  }
  for (const [name, value] of userProperties ?? []) {
    const header = propertyToHeader(name, value);
    encoder.add(header.name, header.value);
  }
}
