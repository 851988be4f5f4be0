import { isUtf8 } from 'node:buffer';
import type { Guarantee, MqHeader, PublishMessage } from '@robustmq/kernel';
import { mqHeaderName, mqHeaderPrefixBytesMax, propertyToHeader, writeMqHeader } from '@robustmq/kernel';
import type { PublishView } from '@robustmq/mqtt-codec';
import { HeaderEncoder, partitionHash } from '@robustmq/record';
import { headerBytes } from './header-bytes.ts';
import type { MappingFault } from './mapping-fault.ts';
import { payloadFormatFault } from './mapping-fault.ts';
import { isStoredAsIs } from './plain-name.ts';

/** Identifies an open QoS 2 publish; may be one object that is filled again. */
export interface PublishToken {
  /** Producer id of the session. */
  readonly producerId: number;
  readonly packetId: number;
}

/** An encoder that one large message has grown beyond this is given back. */
const encoderBytesKept = 16_384;

/**
 * Makes records of what one connection publishes: all but the key, which the message's subject decides. A message
 * without properties and token gets a header block that was built once for its QoS and RETAIN: such a message costs no
 * allocation (10 ns; `bench` row `mqtt-qos0`). What `fill` leaves in a message is good until the next `fill` or until
 * the view's buffer is let go of.
 */
export class InboundMapping {
  readonly #clientId: Buffer;
  readonly #publisherHash: number;
  /** By QoS, plus 4 with RETAIN. */
  readonly #plainBlocks: (Buffer | undefined)[] = [];
  /** Most connections never need it. */
  #encoder: HeaderEncoder | null = null;
  /** Value of the header `mq`. */
  readonly #mq: Buffer;

  constructor(clientId: string) {
    this.#clientId = Buffer.from(clientId);
    this.#publisherHash = partitionHash(this.#clientId) & 0x7fffffff;
    this.#mq = Buffer.allocUnsafe(mqHeaderPrefixBytesMax + this.#clientId.length);
  }

  /**
   * Fills `message` from `view`, its subject aside; `now` is ms since 1970, and `token` is null but for QoS 2. Returns
   * null, or why the message is refused; the message is then not to be published. That a response topic is a
   * topic name (MQTT-3.3.2-14) the codec has checked.
   */
  fill(
    view: PublishView,
    message: PublishMessage,
    now: number,
    token: PublishToken | null,
  ): MappingFault | null {
    if (view.payloadFormat === 1 && !isUtf8(view.payload())) return payloadFormatFault;
    const { record } = message;
    record.timestamp = now;
    record.value = view.buffer;
    record.valueStart = view.payloadStart;
    record.valueEnd = view.payloadEnd;
    message.guarantee = view.qos as Guarantee;
    message.retain = view.retain;
    message.tokenProducer = token === null ? -1 : token.producerId;
    message.token = token === null ? 0 : token.packetId;
    message.publisherHash = this.#publisherHash;
    if (token !== null || hasMappedProperties(view)) {
      record.setHeaders(this.#encode(view, message, now));
      return null;
    }
    const block = this.#plainBlock(message);
    record.headers = block;
    record.headersStart = 0;
    record.headersEnd = block.length;
    record.headerCount = 1;
    return null;
  }

  #plainBlock(message: PublishMessage): Buffer {
    const slot = message.guarantee + (message.retain ? 4 : 0);
    const known = this.#plainBlocks[slot];
    if (known !== undefined) return known;
    const encoder = new HeaderEncoder(mqHeaderName.length + this.#mq.length + 8);
    this.#addMq(encoder, message, -1);
    const block = Buffer.from(encoder.buffer.subarray(0, encoder.length));
    this.#plainBlocks[slot] = block;
    return block;
  }

  #addMq(encoder: HeaderEncoder, message: PublishMessage, payloadFormat: number): void {
    const header: MqHeader = {
      guarantee: message.guarantee,
      retain: message.retain,
      textPayload: payloadFormat === 1,
      bytesPayload: payloadFormat === 0,
      tokenProducer: message.tokenProducer,
      token: message.token,
      tokenIsEpoch: false,
    };
    const end = writeMqHeader(this.#mq, 0, header, this.#clientId);
    encoder.addRange(mqHeaderName, this.#mq, 0, end);
  }

  /** `mq` comes first: a reader that wants nothing else stops there. */
  #encode(view: PublishView, message: PublishMessage, now: number): HeaderEncoder {
    if (this.#encoder === null || this.#encoder.buffer.length > encoderBytesKept) {
      this.#encoder = new HeaderEncoder();
    }
    const encoder = this.#encoder.reset();
    const { buffer } = view;
    this.#addMq(encoder, message, view.payloadFormat);
    if (view.propertiesStart === view.propertiesEnd) return encoder;
    if (view.contentTypeStart >= 0) {
      encoder.addRange(headerBytes.contentType, buffer, view.contentTypeStart, view.contentTypeEnd);
    }
    if (view.responseTopicStart >= 0) {
      encoder.addRange(headerBytes.replyTo, buffer, view.responseTopicStart, view.responseTopicEnd);
    }
    if (view.correlationDataStart >= 0) {
      encoder.addRange(headerBytes.correlationId, buffer, view.correlationDataStart, view.correlationDataEnd);
    }
    if (view.messageExpiry >= 0) {
      encoder.add(headerBytes.expiresAt, Buffer.from(String(now + view.messageExpiry * 1000), 'latin1'));
    }
    if (view.userPropertyCount > 0) addUserProperties(encoder, view);
    return encoder;
  }
}

/** Whether anything in the property section goes into the record: a topic alias alone does not. */
function hasMappedProperties(view: PublishView): boolean {
  return (
    view.propertiesStart !== view.propertiesEnd &&
    (view.payloadFormat >= 0 ||
      view.messageExpiry >= 0 ||
      view.contentTypeStart >= 0 ||
      view.responseTopicStart >= 0 ||
      view.correlationDataStart >= 0 ||
      view.userPropertyCount > 0)
  );
}

function addUserProperties(encoder: HeaderEncoder, view: PublishView): void {
  const { buffer } = view;
  let at = view.nextUserProperty(view.propertiesStart);
  for (; at >= 0; at = view.nextUserProperty(at)) {
    const { nameStart, nameEnd, valueStart, valueEnd } = view;
    if (isStoredAsIs(buffer, nameStart, nameEnd)) {
      encoder.addRange(buffer.subarray(nameStart, nameEnd), buffer, valueStart, valueEnd);
    } else {
      const name = buffer.toString('utf8', nameStart, nameEnd);
      const header = propertyToHeader(name, buffer.toString('utf8', valueStart, valueEnd));
      encoder.add(header.name, header.value);
    }
  }
}
