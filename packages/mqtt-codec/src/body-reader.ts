import { malformed, protocolError } from './error.ts';
import { readProperties } from './property-codec.ts';
import type { Properties } from './property.ts';
import { readText } from './text.ts';
import { readVarint, varintSize } from './varint.ts';

/** Walks over the body of one packet, off the PUBLISH path. Every read that passes the end is malformed input. */
export class BodyReader {
  readonly #bytes: Buffer;
  readonly #name: string;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, at: number, end: number, name: string) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    this.#name = name;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.#end - at) throw malformed(`${this.#name} is truncated`);
    this.#at = at + length;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  u16(): number {
    return this.#bytes.readUInt16BE(this.#take(2));
  }

  /** MQTT-2.2.1-3: never 0. */
  packetId(): number {
    const id = this.u16();
    if (id === 0) throw protocolError(`${this.#name} has packet id 0`);
    return id;
  }

  text(field: string): string {
    const length = this.u16();
    const at = this.#take(length);
    return readText(this.#bytes, at, at + length, field);
  }

  /** A copy. */
  binary(): Buffer {
    const length = this.u16();
    const at = this.#take(length);
    return Buffer.from(this.#bytes.subarray(at, at + length));
  }

  /** A property section with its length in front; `where` is one bit of `place`. */
  properties(where: number): Properties {
    const length = readVarint(this.#bytes, this.#at, this.#end);
    if (length < 0) throw malformed(`the property length of ${this.#name} is not valid`);
    this.#take(varintSize(length));
    const at = this.#take(length);
    return readProperties(this.#bytes, at, at + length, where);
  }

  /** MQTT allows nothing behind the last field. */
  finish(): void {
    if (this.#at !== this.#end) throw malformed(`${this.#name} has bytes behind its end`);
  }
}
