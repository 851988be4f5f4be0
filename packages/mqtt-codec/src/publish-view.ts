import { codecError, malformed, protocolError } from './error.ts';
import { decodeProperties, noProperties } from './property-codec.ts';
import { propertyId, type PublishProperties } from './property.ts';
import { type PropertyVisitor, scanProperties } from './property-scanner.ts';
import { decodeText } from './text.ts';
import { scanTopicName, topicNameError } from './topic.ts';
import type { TopicCache } from './topic-cache.ts';
import { readVarint, varintSize } from './varint.ts';

const noBytes = Buffer.alloc(0);

/**
 * One received PUBLISH, checked and not copied: positions in `buffer`. A reader has a single view and fills it again for
 * each message, so it is valid only during `sink.publish`. The bytes themselves are never overwritten by the reader:
 * a slice of `buffer` stays good for as long as the caller leaves its chunks alone.
 */
export class PublishView implements PropertyVisitor {
  buffer: Buffer = noBytes;
  qos = 0;
  retain = false;
  dup = false;
  /** 0 at QoS 0. */
  packetId = 0;
  topicStart = 0;
  /** Equal to `topicStart` when a topic alias stands for the name. */
  topicEnd = 0;
  payloadStart = 0;
  payloadEnd = 0;
  /** The property section without its length; empty before MQTT 5. */
  propertiesStart = 0;
  propertiesEnd = 0;
  /** 0 when there is none. */
  topicAlias = 0;
  /** -1 when there is none. */
  payloadFormat = -1;
  /** Seconds; -1 when there is none. */
  messageExpiry = -1;
  /** Positions of the values without their lengths; start is -1 when there is none. */
  contentTypeStart = -1;
  contentTypeEnd = -1;
  responseTopicStart = -1;
  responseTopicEnd = -1;
  correlationDataStart = -1;
  correlationDataEnd = -1;
  userPropertyCount = 0;
  /** Filled by `nextUserProperty`. */
  nameStart = 0;
  nameEnd = 0;
  valueStart = 0;
  valueEnd = 0;
  #wideTopic: 0 | 1 = 0;
  /** The topic as it was asked for, which packets behind this one in `buffer` may repeat; null: not asked for. */
  #topic: string | null = null;
  readonly #topics: TopicCache;

  constructor(topics: TopicCache) {
    this.#topics = topics;
  }

  /** The topic name, the same string for the same topic as a rule; empty when a topic alias stands for it. */
  topic(): string {
    const { buffer, topicStart, topicEnd } = this;
    this.#topic ??=
      this.#wideTopic === 1
        ? decodeText(buffer, topicStart, topicEnd, 1)
        : this.#topics.ascii(buffer, topicStart, topicEnd);
    return this.#topic;
  }

  /** A view of the topic name's bytes. */
  topicBytes(): Buffer {
    return this.buffer.subarray(this.topicStart, this.topicEnd);
  }

  /** A view of the payload. */
  payload(): Buffer {
    return this.buffer.subarray(this.payloadStart, this.payloadEnd);
  }

  /** All properties as an object of its own; binary values are copies. */
  properties(): PublishProperties {
    if (this.propertiesStart === this.propertiesEnd) return noProperties;
    return decodeProperties(this.buffer, this.propertiesStart, this.propertiesEnd);
  }

  /**
   * Steps through the user properties without making anything: sets `nameStart .. valueEnd` and returns the position to
   * go on from, or -1 when there is no further one. Begin with `propertiesStart`.
   */
  nextUserProperty(from: number): number {
    const { buffer, propertiesEnd } = this;
    let at = from;
    while (at < propertiesEnd) {
      const id = buffer[at]!;
      if (id === propertyId.userProperty) {
        this.nameStart = at + 3;
        this.nameEnd = this.nameStart + ((buffer[at + 1]! << 8) | buffer[at + 2]!);
        this.valueStart = this.nameEnd + 2;
        this.valueEnd = this.valueStart + ((buffer[this.nameEnd]! << 8) | buffer[this.nameEnd + 1]!);
        return this.valueEnd;
      }
      at = this.#skip(id, at + 1);
    }
    return -1;
  }

  /** Behind the value of a PUBLISH property other than a user property. */
  #skip(id: number, at: number): number {
    switch (id) {
      case propertyId.payloadFormat:
        return at + 1;
      case propertyId.topicAlias:
        return at + 2;
      case propertyId.messageExpiry:
        return at + 4;
      case propertyId.subscriptionIdentifier:
        return at + varintSize(readVarint(this.buffer, at, this.propertiesEnd));
      default:
        return at + 2 + ((this.buffer[at]! << 8) | this.buffer[at + 1]!);
    }
  }

  /** Takes note of a property that the scanner accepted. */
  visit(id: number, at: number, next: number): void {
    switch (id) {
      case propertyId.payloadFormat:
        this.payloadFormat = this.buffer[at]!;
        return;
      case propertyId.messageExpiry:
        this.messageExpiry = this.buffer.readUInt32BE(at);
        return;
      case propertyId.topicAlias:
        this.topicAlias = (this.buffer[at]! << 8) | this.buffer[at + 1]!;
        return;
      case propertyId.contentType:
        this.contentTypeStart = at + 2;
        this.contentTypeEnd = next;
        return;
      case propertyId.responseTopic:
        this.responseTopicStart = at + 2;
        this.responseTopicEnd = next;
        return;
      case propertyId.correlationData:
        this.correlationDataStart = at + 2;
        this.correlationDataEnd = next;
        return;
      case propertyId.userProperty:
        this.userPropertyCount++;
    }
  }

  #forgetProperties(): void {
    this.topicAlias = 0;
    this.payloadFormat = -1;
    this.messageExpiry = -1;
    this.contentTypeStart = -1;
    this.contentTypeEnd = -1;
    this.responseTopicStart = -1;
    this.responseTopicEnd = -1;
    this.correlationDataStart = -1;
    this.correlationDataEnd = -1;
    this.userPropertyCount = 0;
  }

  /**
   * Reads the packet whose body is `[at, end)`; throws on anything that is not allowed. `where` is the place of its
   * properties, or 0 before MQTT 5. About 0.1 us for a short topic without properties.
   */
  read(buffer: Buffer, first: number, at: number, end: number, where: number): void {
    const qos = (first >> 1) & 3;
    this.qos = qos;
    this.retain = (first & 1) === 1;
    this.dup = (first & 8) === 8;
    if (at + 2 > end) throw malformed('PUBLISH is truncated');
    const topicStart = at + 2;
    const topicEnd = topicStart + ((buffer[at]! << 8) | buffer[at + 1]!);
    // Most publishers send to one topic again and again: it is checked once in a chunk.
    const again = buffer === this.buffer && topicEnd <= end && this.#isTopic(topicStart, topicEnd);
    this.buffer = buffer;
    this.topicStart = topicStart;
    this.topicEnd = topicEnd;
    let position = topicEnd;
    this.packetId = 0;
    if (qos > 0) {
      position += 2;
      if (position <= end) {
        this.packetId = (buffer[topicEnd]! << 8) | buffer[topicEnd + 1]!;
        // MQTT-2.2.1-3
        if (this.packetId === 0) throw protocolError('PUBLISH has packet id 0');
      }
    }
    if (position > end) throw malformed('PUBLISH is truncated');
    if (this.propertiesEnd !== this.propertiesStart) this.#forgetProperties();
    this.propertiesStart = position;
    this.propertiesEnd = position;
    if (where !== 0) position = this.#readProperties(position, end, where);
    this.payloadStart = position;
    this.payloadEnd = end;
    if (!again) this.#checkTopic();
  }

  /** Lets go of the buffer, which may be another's from now on. */
  release(): void {
    this.buffer = noBytes;
    this.#topic = null;
  }

  /** Whether the topic of the packet before, in the same buffer, stands at `[start, end)` as well. */
  #isTopic(start: number, end: number): boolean {
    const { buffer, topicStart } = this;
    const bytes = end - start;
    if (bytes === 0 || bytes !== this.topicEnd - topicStart) return false;
    // Topics differ at their ends rather than at their beginnings.
    for (let index = bytes - 1; index >= 0; index--) {
      if (buffer[start + index] !== buffer[topicStart + index]) return false;
    }
    return true;
  }

  #readProperties(at: number, end: number, where: number): number {
    const length = readVarint(this.buffer, at, end);
    if (length < 0) throw malformed('the property length of PUBLISH is not valid');
    const start = at + varintSize(length);
    if (start + length > end) throw malformed('the properties of PUBLISH are truncated');
    this.propertiesStart = start;
    this.propertiesEnd = start + length;
    if (length > 0) scanProperties(this.buffer, start, start + length, where, this);
    return start + length;
  }

  #checkTopic(): void {
    this.#topic = null;
    if (this.topicStart === this.topicEnd) {
      if (this.topicAlias > 0) {
        this.#wideTopic = 0;
        return;
      }
      throw protocolError('PUBLISH has neither a topic name nor a topic alias');
    }
    const scan = scanTopicName(this.buffer, this.topicStart, this.topicEnd);
    if (scan < 0) throw topicNameError(scan, 'the topic of PUBLISH');
    this.#wideTopic = scan as 0 | 1;
  }

  /** Refuses an alias above what was announced (MQTT-3.3.2-9). */
  checkAlias(maximum: number): void {
    if (this.topicAlias > maximum) {
      throw codecError('MQTT_TOPIC_ALIAS_INVALID', 'a topic alias exceeds the maximum', {
        topicAlias: this.topicAlias,
        maximum,
      });
    }
  }
}
