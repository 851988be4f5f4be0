import { isUtf8 } from 'node:buffer';
import type { ShardId } from '@robustmq/core';
import { ByteReader } from '@robustmq/core';
import { malformed } from './session-value.ts';

/** Kinds of items; the numbers are on disk. */
const kinds = { head: 1, will: 2, subscription: 3, cursor: 4, inflight: 5, floors: 6 } as const;

/** What a record of `__sessions` is about. */
export type SessionKey =
  | { readonly kind: 'floors' }
  | { readonly kind: 'head' | 'will'; readonly clientId: string }
  | { readonly kind: 'subscription'; readonly clientId: string; readonly filter: string }
  | { readonly kind: 'cursor'; readonly clientId: string; readonly shard: ShardId }
  | { readonly kind: 'inflight'; readonly clientId: string; readonly packetId: number };

/**
 * A key on disk: u16 length of the client id, client id, u8 kind, then nothing (head, will, floors), the filter to the
 * end, u32 shard, or u16 packet id. The floors have an empty client id, which no session has.
 */
export function writeKey(key: SessionKey): Buffer {
  switch (key.kind) {
    case 'floors':
      return prefix('', kinds.floors, 0);
    case 'head':
    case 'will':
      return prefix(key.clientId, kinds[key.kind], 0);
    case 'subscription': {
      const bytes = Buffer.byteLength(key.filter);
      const out = prefix(key.clientId, kinds.subscription, bytes);
      out.write(key.filter, out.length - bytes, 'utf8');
      return out;
    }
    case 'cursor': {
      const out = prefix(key.clientId, kinds.cursor, 4);
      out.writeUInt32BE(key.shard, out.length - 4);
      return out;
    }
    case 'inflight': {
      const out = prefix(key.clientId, kinds.inflight, 2);
      out.writeUInt16BE(key.packetId, out.length - 2);
      return out;
    }
  }
}

/** Reads a key; throws `BYTES_TRUNCATED` or `BYTES_MALFORMED`. */
export function readKey(bytes: Buffer): SessionKey {
  const input = new ByteReader(bytes);
  const clientId = text(input, input.u16());
  const kind = input.u8();
  const key = clientId === '' ? floorsKey(kind) : itemKey(clientId, kind, input);
  if (input.remaining > 0) throw malformed('bytes after a key');
  return key;
}

function floorsKey(kind: number): SessionKey {
  if (kind !== kinds.floors) throw malformed('an item without a client');
  return { kind: 'floors' };
}

function itemKey(clientId: string, kind: number, input: ByteReader): SessionKey {
  switch (kind) {
    case kinds.head:
      return { kind: 'head', clientId };
    case kinds.will:
      return { kind: 'will', clientId };
    case kinds.subscription:
      return { kind: 'subscription', clientId, filter: text(input, input.remaining) };
    case kinds.cursor:
      return { kind: 'cursor', clientId, shard: input.u32() as ShardId };
    case kinds.inflight:
      return { kind: 'inflight', clientId, packetId: input.u16() };
    default:
      throw malformed('an unknown kind of item');
  }
}

function prefix(clientId: string, kind: number, itemBytes: number): Buffer {
  const bytes = Buffer.byteLength(clientId);
  const out = Buffer.allocUnsafe(3 + bytes + itemBytes);
  out.writeUInt16BE(bytes, 0);
  out.write(clientId, 2, 'utf8');
  out[2 + bytes] = kind;
  return out;
}

function text(input: ByteReader, length: number): string {
  const bytes = input.raw(length);
  if (!isUtf8(bytes)) throw malformed('a key is no UTF-8');
  return bytes.toString('utf8');
}
