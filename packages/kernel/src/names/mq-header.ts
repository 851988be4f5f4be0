import { writeInt64 } from '@robustmq/core';
import type { HeaderCursor } from '@robustmq/record';
import type { Guarantee } from '../router/match.ts';

/*
 * Value of the header `mq`, which brokers alone write, and which is trusted only in batches that they encoded:
 *
 *     0 u8 flags: bits 0-1 guarantee, 2 retain, 3 the payload is text, 4 a token follows, 5 the token is a session epoch,
 *       6 the publisher says that the payload is bytes (neither 3 nor 6: it says nothing)
 *     1 i64 session producer id    9 u32 token    (both only with bit 4)
 *     the rest: client id of the publisher, UTF-8
 */
const guaranteeMask = 0x03;
const retainBit = 0x04;
const textBit = 0x08;
const tokenBit = 0x10;
const epochBit = 0x20;
const bytesBit = 0x40;
const tokenBytes = 12;
const two32 = 0x1_0000_0000;

/** Name of the header. */
export const mqHeaderName: Uint8Array = Buffer.from('mq');
/** Bytes of a value before the client id, at most. */
export const mqHeaderPrefixBytesMax = 1 + tokenBytes;

/** What brokers note about a message in the header `mq`. */
export interface MqHeader {
  readonly guarantee: Guarantee;
  readonly retain: boolean;
  /** The publisher says that the payload is UTF-8 text. */
  readonly textPayload: boolean;
  /** The publisher says that it is unspecified bytes, which is told on as it was said. */
  readonly bytesPayload: boolean;
  /** Deduplication: the session's producer id, -1 without a token. */
  readonly tokenProducer: number;
  /** Unsigned 32 bit. */
  readonly token: number;
  /** The token is the session's epoch: one message per epoch, not one per number in use. */
  readonly tokenIsEpoch: boolean;
}

/**
 * Writes the value of the header at `target[at...)`, which has room for `mqHeaderPrefixBytesMax` and the client id;
 * returns the position after it. Allocates nothing.
 */
export function writeMqHeader(target: Buffer, at: number, header: MqHeader, clientId: Uint8Array): number {
  const hasToken = header.tokenProducer >= 0;
  target[at++] =
    header.guarantee |
    (header.retain ? retainBit : 0) |
    (header.textPayload ? textBit : 0) |
    (header.bytesPayload ? bytesBit : 0) |
    (hasToken ? tokenBit : 0) |
    (hasToken && header.tokenIsEpoch ? epochBit : 0);
  if (hasToken) {
    writeInt64(target, header.tokenProducer, at);
    target.writeUInt32BE(header.token, at + 8);
    at += tokenBytes;
  }
  target.set(clientId, at);
  return at + clientId.length;
}

/**
 * A decoded header, used again for every record. Before the first success, and after a failure, it says what is true
 * of records that no broker encoded: exactly once, no client.
 */
export class MqHeaderReader implements MqHeader {
  guarantee: Guarantee = 2;
  retain = false;
  textPayload = false;
  bytesPayload = false;
  tokenProducer = -1;
  token = 0;
  tokenIsEpoch = false;
  /** Positions of the client id in the buffer that was read; equal when there is none. */
  clientIdStart = 0;
  clientIdEnd = 0;

  /** Finds the header from where `cursor` stands in `buffer` and decodes it; false when there is none or it is broken. */
  find(cursor: HeaderCursor, buffer: Buffer): boolean {
    if (cursor.find(mqHeaderName)) return this.read(buffer, cursor.valueStart, cursor.valueEnd);
    this.clear();
    return false;
  }

  /** Decodes the value `buffer[start, end)`; `start` -1 is a null value. False when it is broken. */
  read(buffer: Buffer, start: number, end: number): boolean {
    this.clear();
    if (start < 0 || start === end) return false;
    const flags = buffer[start] as number;
    const hasToken = (flags & tokenBit) !== 0;
    const clientIdStart = start + 1 + (hasToken ? tokenBytes : 0);
    if ((flags & guaranteeMask) === 3 || clientIdStart > end) return false;
    if (hasToken) {
      const producer = buffer.readInt32BE(start + 1) * two32 + buffer.readUInt32BE(start + 5);
      if (producer < 0 || !Number.isSafeInteger(producer)) return false;
      this.tokenProducer = producer;
      this.token = buffer.readUInt32BE(start + 9);
      this.tokenIsEpoch = (flags & epochBit) !== 0;
    }
    this.guarantee = (flags & guaranteeMask) as Guarantee;
    this.retain = (flags & retainBit) !== 0;
    this.textPayload = (flags & textBit) !== 0;
    this.bytesPayload = (flags & bytesBit) !== 0;
    this.clientIdStart = clientIdStart;
    this.clientIdEnd = end;
    return true;
  }

  clear(): void {
    this.guarantee = 2;
    this.retain = false;
    this.textPayload = false;
    this.bytesPayload = false;
    this.tokenProducer = -1;
    this.token = 0;
    this.tokenIsEpoch = false;
    this.clientIdStart = 0;
    this.clientIdEnd = 0;
  }

  /** Whether the publisher is the client with this id. */
  isFrom(buffer: Uint8Array, clientId: Uint8Array): boolean {
    const start = this.clientIdStart;
    if (this.clientIdEnd - start !== clientId.length) return false;
    for (let i = 0; i < clientId.length; i++) {
      if (buffer[start + i] !== clientId[i]) return false;
    }
    return true;
  }
}
