import { assert } from '@robustmq/core';
import type { DeliveryBatch, Guarantee, RetainedRecord, Subject } from '@robustmq/kernel';
import { MqHeaderReader, mqHeaderName } from '@robustmq/kernel';
import type { ProtocolVersion, PublishTemplate, Qos } from '@robustmq/mqtt-codec';
import {
  createPublishTemplate,
  patchPacketId,
  publishFirstByte,
  propertyId,
  varintSize,
  writeVarint,
} from '@robustmq/mqtt-codec';
import { copyBytes, HeaderCursor, RunCopier } from '@robustmq/record';
import { headerBytes, parseExpiresAt } from './header-bytes.ts';
import type { PropertySource } from './property-block.ts';
import { PropertyBlock } from './property-block.ts';
import { TemplateCache } from './template-cache.ts';

const nothing = Buffer.alloc(0);
const secondsMax = 0xffff_ffff;
/** One for all, so that one slab at most is kept from its pool: a run is of one batch for one receiver. */
const payloads = new RunCopier();

/** How a message goes to one receiver; may be one object that is filled again. */
export interface OutboundForm {
  readonly qos: Qos;
  /** What the receiver is owed; a record with a null value goes out with RETAIN 0 all the same. */
  readonly retain: boolean;
  readonly dup: boolean;
  /** Ignored at QoS 0. */
  readonly packetId: number;
  /** Encoded subscription identifiers, null for none; ignored before MQTT 5. */
  readonly properties: Buffer | null;
  /** Ms since 1970, for the seconds that are left. */
  readonly now: number;
  /** Topic alias of MQTT 5, 0 for none; only `write` and `size` know it, a template is for everybody. */
  readonly topicAlias?: number;
  /** Whether the alias stands for the name, which is then left out. */
  readonly aliasKnown?: boolean;
}

/** A topic alias as a property. */
const aliasBytes = 3;

/**
 * One record on its way to MQTT receivers. One object per adapter: `read` decodes a record for all of them, and what only
 * some need is made when the first asks: properties for MQTT 5, templates for fan-out. It refers to the batch until the
 * next `read` or `clear`. Reading a record that holds no header but `mq` takes 40 ns and allocates nothing;
 * `bench` row `mqtt-fanout` watches it.
 */
export class OutboundMessage implements PropertySource {
  /** QoS it was published with: 2 if no broker encoded it (docs/semantics.md 2.4). */
  guarantee: Guarantee = 2;
  /** RETAIN it was published with; false for a null value. */
  retain = false;
  /** Ms since 1970, -1 if it never expires. */
  expiresAt = -1;
  /** The topic name. Lives on: belongs to the subject. */
  topic: Buffer = nothing;
  /** Whether `topic` is the same buffer for every record of its subject. */
  topicIsInterned = true;
  /** Holds the payload in `[payloadStart, payloadEnd)`. */
  payload: Buffer = nothing;
  payloadStart = 0;
  payloadEnd = 0;
  headers: Buffer = nothing;
  headersStart = 0;
  headersEnd = 0;
  headerCount = 0;
  hiddenKey: Buffer | null = null;
  readonly #mq = new MqHeaderReader();
  readonly #cursor = new HeaderCursor();
  readonly #block = new PropertyBlock();
  readonly #templates = new TemplateCache();
  readonly #topicNames = new WeakMap<Subject, Buffer>();
  /** Where the headers that were decoded last stand, if they hold nothing but `mq`: those behind are often the same. */
  #plain: Buffer = nothing;
  #plainStart = 0;
  #plainEnd = 0;
  #hasProperties = false;
  #blockEncoded = false;
  #nullValue = false;

  /** Payload Format Indicator as the publisher sent it, -1 if it did not (MQTT-3.3.2-4). */
  get payloadFormat(): number {
    return this.#mq.textPayload ? 1 : this.#mq.bytesPayload ? 0 : -1;
  }

  get expires(): boolean {
    return this.expiresAt >= 0;
  }

  /** Decodes a row that has a subject. */
  read(batch: DeliveryBatch, row: number): void {
    const { records } = batch;
    const subject = batch.subjects[row] ?? null;
    assert(subject !== null, 'a delivered record has a subject');
    const { buffer } = records;
    this.topic = this.#topicOf(subject);
    this.topicIsInterned = true;
    const valueStart = records.valueStart[row] as number;
    this.payload = buffer;
    this.#nullValue = valueStart < 0;
    this.payloadStart = valueStart < 0 ? 0 : valueStart;
    this.payloadEnd = valueStart < 0 ? 0 : (records.valueEnd[row] as number);
    this.headers = buffer;
    this.headersStart = records.headersStart[row] as number;
    this.headersEnd = records.headersEnd[row] as number;
    this.headerCount = records.headerCount[row] as number;
    this.hiddenKey = subject.keyHidden ? records.key(row) : null;
    this.#decode(batch.brokerEncoded);
  }

  /** Decodes a retained record; only brokers make those. */
  readRetained(record: RetainedRecord): void {
    this.topic = Buffer.from(record.subject);
    this.topicIsInterned = false;
    this.payload = record.value;
    this.#nullValue = false;
    this.payloadStart = 0;
    this.payloadEnd = record.value.length;
    this.headers = record.headers;
    this.headersStart = 0;
    this.headersEnd = record.headers.length;
    this.headerCount = record.headerCount;
    this.hiddenKey = null;
    this.#decode(true);
  }

  /** Lets go of the record and of what was encoded from it. */
  clear(): void {
    this.topic = nothing;
    this.payload = nothing;
    this.payloadStart = 0;
    this.payloadEnd = 0;
    this.headers = nothing;
    this.headersStart = 0;
    this.headersEnd = 0;
    this.headerCount = 0;
    this.hiddenKey = null;
    this.#decode(false);
  }

  /** Whether the client with this id published the record; false where no broker says so. */
  isFrom(clientId: Buffer): boolean {
    return clientId.length > 0 && this.#mq.isFrom(this.headers, clientId);
  }

  /** Whether its time is over: it goes to nobody any more (MQTT-3.3.2-5). */
  expired(now: number): boolean {
    return this.expiresAt >= 0 && this.expiresAt <= now;
  }

  /** Bytes of the whole packet, as they count against Maximum Packet Size. */
  size(version: ProtocolVersion, form: OutboundForm): number {
    const remaining = this.#remainingLength(version, form, this.#propertyBytes(version, form));
    return 1 + varintSize(remaining) + remaining;
  }

  /** Writes the whole packet, `size` bytes, at `at`, and returns the position behind it. */
  write(target: Buffer, at: number, version: ProtocolVersion, form: OutboundForm): number {
    const topic = form.aliasKnown === true ? nothing : this.topic;
    const propertyBytes = this.#propertyBytes(version, form);
    target[at] = publishFirstByte(form.qos, form.retain && !this.#nullValue, form.dup);
    let position = writeVarint(target, at + 1, this.#remainingLength(version, form, propertyBytes));
    target[position] = topic.length >> 8;
    target[position + 1] = topic.length & 0xff;
    position = copyBytes(target, position + 2, topic, 0, topic.length);
    if (form.qos > 0) {
      patchPacketId(target, position, form.packetId);
      position += 2;
    }
    if (version === 5) {
      position = writeVarint(target, position, propertyBytes);
      if (this.#hasProperties) {
        position = copyBytes(target, position, this.#block.buffer, 0, this.#block.length);
      }
      const alias = form.topicAlias ?? 0;
      if (alias > 0) {
        target[position] = propertyId.topicAlias;
        target[position + 1] = alias >> 8;
        target[position + 2] = alias & 0xff;
        position += aliasBytes;
      }
      const own = form.properties;
      if (own !== null) position = copyBytes(target, position, own, 0, own.length);
    }
    return payloads.copy(target, position, this.payload, this.payloadStart, this.payloadEnd);
  }

  /**
   * The packet for many receivers, encoded once for all that it fits: at QoS 0 to be sent as it is, else with
   * `writeTemplate`. It stays good after the next `read`, holding its own bytes.
   */
  template(version: ProtocolVersion, form: OutboundForm): PublishTemplate {
    const v5 = version === 5;
    this.#prepare(version, form.now);
    const retain = form.retain && !this.#nullValue;
    const receiverProperties = v5 ? form.properties : null;
    const key = { v5, acknowledged: form.qos > 0, retain, receiverProperties };
    const known = this.#templates.get(key);
    if (known !== undefined) return known;
    const block = this.#block;
    const template = createPublishTemplate({
      version,
      qos: form.qos,
      retain,
      dup: false,
      packetId: 0,
      topic: this.topic,
      payload: this.payload.subarray(this.payloadStart, this.payloadEnd),
      properties: v5 && this.#hasProperties ? block.buffer.subarray(0, block.length) : null,
      receiverProperties,
    });
    this.#templates.set(key, template);
    return template;
  }

  #topicOf(subject: Subject): Buffer {
    if (subject.nameIsKey && subject.key !== null) return subject.key;
    let name = this.#topicNames.get(subject);
    if (name === undefined) {
      name = Buffer.from(subject.name);
      this.#topicNames.set(subject, name);
    }
    return name;
  }

  /** What all receivers need to know of the headers. */
  #decode(trusted: boolean): void {
    this.#templates.clear();
    this.#blockEncoded = false;
    const mq = this.#mq;
    const others = trusted && this.#isPlain() ? 0 : this.#decodeHeaders(trusted);
    this.guarantee = mq.guarantee;
    this.retain = mq.retain && !this.#nullValue;
    this.#hasProperties = others > 0 || mq.textPayload || mq.bytesPayload || this.hiddenKey !== null;
  }

  /** Whether the headers are like those of `#plain`, in the same batch: the bytes of another may be others' by now. */
  #isPlain(): boolean {
    const { headers } = this;
    if (headers !== this.#plain) return false;
    const end = this.#plainEnd | 0;
    const shift = (this.headersStart - this.#plainStart) | 0;
    if (this.headersEnd - end !== shift) return false;
    for (let at = this.#plainStart | 0; at < end; at = (at + 1) | 0) {
      if (headers[at] !== headers[(at + shift) | 0]) return false;
    }
    return true;
  }

  /** One pass over the headers; returns how many there are beside `mq`. */
  #decodeHeaders(trusted: boolean): number {
    const mq = this.#mq;
    const { headers } = this;
    mq.clear();
    this.expiresAt = -1;
    let others = 0;
    let mqSeen = !trusted;
    const cursor = this.#cursor.open(headers, this.headersStart, this.headersEnd, this.headerCount);
    while (cursor.next()) {
      if (cursor.nameIs(mqHeaderName)) {
        if (!mqSeen) mqSeen = mq.read(headers, cursor.valueStart, cursor.valueEnd);
        continue;
      }
      others++;
      if (this.expiresAt < 0 && cursor.nameIs(headerBytes.expiresAt)) {
        this.expiresAt = parseExpiresAt(headers, cursor.valueStart, cursor.valueEnd);
      }
    }
    const plain = trusted && others === 0;
    this.#plain = plain ? headers : nothing;
    this.#plainStart = plain ? this.headersStart : 0;
    this.#plainEnd = plain ? this.headersEnd : 0;
    return others;
  }

  /** Encodes the record's properties if a receiver of this version gets them and nobody before it did. */
  #prepare(version: ProtocolVersion, now: number): void {
    if (version !== 5 || !this.#hasProperties) return;
    if (!this.#blockEncoded) {
      this.#block.encode(this);
      this.#blockEncoded = true;
    }
    if (this.expiresAt >= 0 && this.#block.patchExpiry(this.#secondsLeft(now))) this.#templates.clear();
  }

  /** Rounded up: what was published with 60 s and is delivered at once still says 60. */
  #secondsLeft(now: number): number {
    return Math.min(Math.max(Math.ceil((this.expiresAt - now) / 1000), 1), secondsMax);
  }

  #propertyBytes(version: ProtocolVersion, form: OutboundForm): number {
    if (version !== 5) return 0;
    this.#prepare(version, form.now);
    const alias = (form.topicAlias ?? 0) > 0 ? aliasBytes : 0;
    return (this.#hasProperties ? this.#block.length : 0) + alias + (form.properties?.length ?? 0);
  }

  #remainingLength(version: ProtocolVersion, form: OutboundForm, propertyBytes: number): number {
    return (
      2 +
      (form.aliasKnown === true ? 0 : this.topic.length) +
      (form.qos > 0 ? 2 : 0) +
      (version === 5 ? varintSize(propertyBytes) + propertyBytes : 0) +
      this.payloadEnd -
      this.payloadStart
    );
  }
}
