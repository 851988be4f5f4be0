import { headerToProperty, hiddenKeyProperty, isSubjectSafeRange, mqHeaderName } from '@robustmq/kernel';
import { validateTopicName } from '@robustmq/mqtt-codec';
import { copyBytes, HeaderCursor } from '@robustmq/record';
import { headerBytes, parseExpiresAt } from './header-bytes.ts';
import { isShownAsIs } from './plain-name.ts';

/** Ids of the properties of PUBLISH (MQTT 5, 2.2.2.2). */
const id = {
  payloadFormat: 0x01,
  messageExpiry: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  userProperty: 0x26,
} as const;

/** Most bytes of a string or of binary data. */
const fieldBytesMax = 65_535;
/** A block that one large record has grown beyond this is given back. */
const bytesKept = 65_536;
/** Where the seconds of the expiry stand: its property comes first. */
const secondsAt = 1;
const expiryBytes = 5;

/** The parts of a record that its properties come from. */
export interface PropertySource {
  readonly headers: Buffer;
  readonly headersStart: number;
  readonly headersEnd: number;
  readonly headerCount: number;
  /** -1: none. */
  readonly payloadFormat: number;
  /** An `expires-at` header holds a time. */
  readonly expires: boolean;
  /** The record's key where the topic name can't show it, else null. */
  readonly hiddenKey: Buffer | null;
}

/**
 * The MQTT 5 properties of one record as bytes, without their length in front. Used again for every record. A header
 * that is not fit for its own property (no text, wildcards, null, the second of its name) is a user property instead, so
 * that nothing is lost but what no property can hold.
 */
export class PropertyBlock {
  buffer = Buffer.allocUnsafe(512);
  length = 0;
  /** -1 while no seconds are written, or none are needed. */
  #seconds = -1;
  readonly #cursor = new HeaderCursor();
  #contentType = false;
  #replyTo = false;
  #correlationId = false;
  #expiresAt = false;

  /** Encodes the properties of a record; `patchExpiry` must follow if it expires. */
  encode(source: PropertySource): void {
    if (this.buffer.length > bytesKept) this.buffer = Buffer.allocUnsafe(512);
    this.length = 0;
    this.#seconds = -1;
    this.#contentType = false;
    this.#replyTo = false;
    this.#correlationId = false;
    this.#expiresAt = false;
    if (source.expires) {
      this.#reserve(expiryBytes);
      this.buffer[0] = id.messageExpiry;
      this.length = expiryBytes;
    }
    if (source.payloadFormat >= 0) {
      this.#reserve(2);
      this.buffer[this.length++] = id.payloadFormat;
      this.buffer[this.length++] = source.payloadFormat;
    }
    const cursor = this.#cursor.open(
      source.headers,
      source.headersStart,
      source.headersEnd,
      source.headerCount,
    );
    while (cursor.next()) this.#header(source.headers);
    if (source.hiddenKey !== null) this.#addText(hiddenKeyProperty, source.hiddenKey.toString('base64'));
  }

  /** Says how many seconds are left; true if that is news. Only after `encode` of a record that expires. */
  patchExpiry(seconds: number): boolean {
    if (seconds === this.#seconds) return false;
    this.#seconds = seconds;
    this.buffer.writeUInt32BE(seconds, secondsAt);
    return true;
  }

  #header(headers: Buffer): void {
    const cursor = this.#cursor;
    if (cursor.nameIs(mqHeaderName)) return;
    if (this.#ownProperty(headers)) return;
    const { nameStart, nameEnd, valueStart, valueEnd } = cursor;
    if (
      valueStart >= 0 &&
      isShownAsIs(headers, nameStart, nameEnd) &&
      isSubjectSafeRange(headers, nameStart, nameEnd) &&
      isSubjectSafeRange(headers, valueStart, valueEnd)
    ) {
      this.#reserve(5 + nameEnd - nameStart + valueEnd - valueStart);
      this.buffer[this.length++] = id.userProperty;
      this.#addField(headers, nameStart, nameEnd);
      this.#addField(headers, valueStart, valueEnd);
      return;
    }
    const value = valueStart < 0 ? null : headers.subarray(valueStart, valueEnd);
    const property = headerToProperty(headers.subarray(nameStart, nameEnd), value);
    if (property !== null) this.#addText(property.name, property.value);
  }

  /** Whether the header is, and has become, a property other than a user property. */
  #ownProperty(headers: Buffer): boolean {
    const cursor = this.#cursor;
    const { valueStart, valueEnd } = cursor;
    if (valueStart < 0) return false;
    if (!this.#contentType && cursor.nameIs(headerBytes.contentType)) {
      this.#contentType = isSubjectSafeRange(headers, valueStart, valueEnd);
      return this.#contentType && this.#addOwn(id.contentType, headers);
    }
    if (!this.#replyTo && cursor.nameIs(headerBytes.replyTo)) {
      this.#replyTo = validateTopicName(headers.subarray(valueStart, valueEnd)) === null;
      return this.#replyTo && this.#addOwn(id.responseTopic, headers);
    }
    if (!this.#correlationId && cursor.nameIs(headerBytes.correlationId)) {
      this.#correlationId = valueEnd - valueStart <= fieldBytesMax;
      return this.#correlationId && this.#addOwn(id.correlationData, headers);
    }
    if (!this.#expiresAt && cursor.nameIs(headerBytes.expiresAt)) {
      this.#expiresAt = parseExpiresAt(headers, valueStart, valueEnd) >= 0;
      return this.#expiresAt;
    }
    return false;
  }

  #addOwn(property: number, headers: Buffer): boolean {
    const { valueStart, valueEnd } = this.#cursor;
    this.#reserve(3 + valueEnd - valueStart);
    this.buffer[this.length++] = property;
    this.#addField(headers, valueStart, valueEnd);
    return true;
  }

  /** A user property; nothing when it is too long for one. */
  #addText(name: string, value: string): void {
    const nameBytes = Buffer.from(name);
    const valueBytes = Buffer.from(value);
    if (nameBytes.length > fieldBytesMax || valueBytes.length > fieldBytesMax) return;
    this.#reserve(5 + nameBytes.length + valueBytes.length);
    this.buffer[this.length++] = id.userProperty;
    this.#addField(nameBytes, 0, nameBytes.length);
    this.#addField(valueBytes, 0, valueBytes.length);
  }

  #addField(bytes: Buffer, start: number, end: number): void {
    const size = end - start;
    this.buffer[this.length] = size >> 8;
    this.buffer[this.length + 1] = size & 0xff;
    this.length = copyBytes(this.buffer, this.length + 2, bytes, start, end);
  }

  #reserve(bytes: number): void {
    const need = this.length + bytes;
    if (need <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(need, this.buffer.length * 2));
    this.buffer.copy(grown, 0, 0, this.length);
    this.buffer = grown;
  }
}
