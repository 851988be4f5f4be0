import { codecError } from './error.ts';
import { propertyById, propertyDefinitions, type Properties, type UserProperty } from './property.ts';
import { scanProperties } from './property-scanner.ts';
import { readVarint, varintSize, writeVarint } from './varint.ts';
import { textBytesMax } from './text.ts';

/** The properties of a packet that has none. */
export const noProperties: Readonly<Record<string, never>> = Object.freeze({});

/** Decodes a section that `scanProperties` has accepted. Binary values are copied out of `bytes`. */
export function decodeProperties(bytes: Buffer, start: number, end: number): Properties {
  const properties: Properties = {};
  const slots = properties as Record<string, unknown>;
  let at = start;
  while (at < end) {
    const definition = propertyById[bytes[at]!]!;
    at++;
    switch (definition.kind) {
      case 'flag':
        slots[definition.name] = bytes[at] === 1;
        at += 1;
        break;
      case 'u8':
        slots[definition.name] = bytes[at];
        at += 1;
        break;
      case 'u16':
        slots[definition.name] = bytes.readUInt16BE(at);
        at += 2;
        break;
      case 'u32':
        slots[definition.name] = bytes.readUInt32BE(at);
        at += 4;
        break;
      case 'varint': {
        const value = readVarint(bytes, at, end);
        (properties.subscriptionIdentifiers ??= []).push(value);
        at += varintSize(value);
        break;
      }
      case 'text':
        slots[definition.name] = fieldText(bytes, at);
        at = fieldEnd(bytes, at);
        break;
      case 'binary':
        slots[definition.name] = Buffer.from(bytes.subarray(at + 2, fieldEnd(bytes, at)));
        at = fieldEnd(bytes, at);
        break;
      case 'pair': {
        const value = fieldEnd(bytes, at);
        (properties.userProperties ??= []).push([fieldText(bytes, at), fieldText(bytes, value)]);
        at = fieldEnd(bytes, value);
        break;
      }
    }
  }
  return properties;
}

/** Validates and decodes. */
export function readProperties(bytes: Buffer, start: number, end: number, where: number): Properties {
  if (start === end) return noProperties;
  scanProperties(bytes, start, end, where, null);
  return decodeProperties(bytes, start, end);
}

function fieldEnd(bytes: Buffer, at: number): number {
  return at + 2 + bytes.readUInt16BE(at);
}

function fieldText(bytes: Buffer, at: number): string {
  return bytes.toString('utf8', at + 2, fieldEnd(bytes, at));
}

/** Bytes of the properties without the length in front. Throws `MQTT_UNENCODABLE` on a field that is too long. */
export function propertiesSize(properties: Properties): number {
  let size = 0;
  for (const { name, kind } of propertyDefinitions) {
    const value = properties[name];
    if (value === undefined) continue;
    switch (kind) {
      case 'flag':
      case 'u8':
        size += 2;
        break;
      case 'u16':
        size += 3;
        break;
      case 'u32':
        size += 5;
        break;
      case 'varint':
        for (const id of value as number[]) size += 1 + varintSize(id);
        break;
      case 'text':
        size += 1 + textSize(value as string);
        break;
      case 'binary':
        size += 1 + binarySize(value as Uint8Array);
        break;
      case 'pair':
        for (const [key, text] of value as UserProperty[]) size += 1 + textSize(key) + textSize(text);
        break;
    }
  }
  return size;
}

/** Bytes of a string with its length in front. */
export function textSize(text: string): number {
  return 2 + checkLength(Buffer.byteLength(text));
}

/** Bytes of binary data with its length in front. */
export function binarySize(bytes: Uint8Array): number {
  return 2 + checkLength(bytes.length);
}

function checkLength(bytes: number): number {
  if (bytes > textBytesMax)
    throw codecError('MQTT_UNENCODABLE', 'a field is longer than 65535 bytes', { bytes });
  return bytes;
}

/** Writes the properties without the length in front, in the order of their ids; `propertiesSize` bytes. */
export function writeProperties(target: Buffer, at: number, properties: Properties): number {
  let position = at;
  for (const { id, name, kind } of propertyDefinitions) {
    const value = properties[name];
    if (value === undefined) continue;
    switch (kind) {
      case 'flag':
      case 'u8':
        position = target.writeUInt8(Number(value), target.writeUInt8(id, position));
        break;
      case 'u16':
        position = target.writeUInt16BE(value as number, target.writeUInt8(id, position));
        break;
      case 'u32':
        position = target.writeUInt32BE(value as number, target.writeUInt8(id, position));
        break;
      case 'varint':
        for (const item of value as number[]) {
          position = writeVarint(target, target.writeUInt8(id, position), item);
        }
        break;
      case 'text':
        position = writeText(target, target.writeUInt8(id, position), value as string);
        break;
      case 'binary':
        position = writeBinary(target, target.writeUInt8(id, position), value as Uint8Array);
        break;
      case 'pair':
        for (const [key, text] of value as UserProperty[]) {
          position = writeText(target, target.writeUInt8(id, position), key);
          position = writeText(target, position, text);
        }
        break;
    }
  }
  return position;
}

/** Writes a string with its length in front. */
export function writeText(target: Buffer, at: number, text: string): number {
  const bytes = target.write(text, at + 2, 'utf8');
  target.writeUInt16BE(bytes, at);
  return at + 2 + bytes;
}

/** Writes binary data with its length in front. */
export function writeBinary(target: Buffer, at: number, bytes: Uint8Array): number {
  target.writeUInt16BE(bytes.length, at);
  target.set(bytes, at + 2);
  return at + 2 + bytes.length;
}
