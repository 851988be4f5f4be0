import { codecError } from './error.ts';
import {
  binarySize,
  propertiesSize,
  textSize,
  writeBinary,
  writeProperties,
  writeText,
} from './property-codec.ts';
import type { Properties } from './property.ts';
import { checkRemainingLength, varintSize, writeVarint } from './varint.ts';

/** Collects the body of one packet and puts the fixed header in front; for everything but the hot path. */
export class BodyWriter {
  #bytes = Buffer.allocUnsafe(128);
  #length = 0;

  #room(bytes: number): number {
    const at = this.#length;
    const need = at + bytes;
    if (need > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, at);
      this.#bytes = grown;
    }
    this.#length = need;
    return at;
  }

  u8(value: number): this {
    const at = this.#room(1);
    this.#bytes[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.#room(2);
    this.#bytes.writeUInt16BE(value, at);
    return this;
  }

  packetId(value: number): this {
    if (value < 1 || value > 65_535)
      throw codecError('MQTT_UNENCODABLE', 'a packet id is out of range', { value });
    return this.u16(value);
  }

  text(value: string): this {
    const at = this.#room(textSize(value));
    writeText(this.#bytes, at, value);
    return this;
  }

  binary(value: Uint8Array): this {
    const at = this.#room(binarySize(value));
    writeBinary(this.#bytes, at, value);
    return this;
  }

  raw(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  properties(value: Properties): this {
    const size = propertiesSize(value);
    const at = this.#room(varintSize(size) + size);
    writeProperties(this.#bytes, writeVarint(this.#bytes, at, size), value);
    return this;
  }

  /** The packet with `first` as its first byte. */
  packet(first: number): Buffer {
    checkRemainingLength(this.#length);
    const head = 1 + varintSize(this.#length);
    const packet = Buffer.allocUnsafe(head + this.#length);
    packet[0] = first;
    writeVarint(packet, 1, this.#length);
    this.#bytes.copy(packet, head, 0, this.#length);
    return packet;
  }
}
