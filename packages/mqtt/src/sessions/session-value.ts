import type { BytesErrorCode, Offset, ShardId } from '@robustmq/core';
import { ByteReader, ByteWriter, RobustError } from '@robustmq/core';
import type { Qos } from '@robustmq/mqtt-codec';
import type { InflightEntry, SessionState, StoredSubscription } from './session-state.ts';

const version = 1;
const removed = 0;
const present = 1;

/** What the head of a session says. */
export type SessionHead = Pick<
  SessionState,
  'producerId' | 'connected' | 'expirySeconds' | 'disconnectedAt' | 'behind'
> & { readonly inboundShards: ReadonlySet<ShardId> };

const headFlag = { connected: 1, behind: 2 } as const;
const subscriptionFlag = { qos: 3, noLocal: 4, retainAsPublished: 8, retainedDue: 64 } as const;
const retainHandlingShift = 4;
const inflightFlag = { qos: 3, released: 4, retain: 8, retainedSubject: 16 } as const;

/** The error of a value that has not the expected form. */
export function malformed(message: string): RobustError<BytesErrorCode> {
  return new RobustError<BytesErrorCode>('BYTES_MALFORMED', message);
}

/** Begins the value of an item that exists: u8 version, u32 session epoch, u8 1; its body follows. */
export function beginValue(epoch: number, bodyBytes: number): ByteWriter {
  return new ByteWriter(6 + bodyBytes).u8(version).u32(epoch).u8(present);
}

/** The value of an item that is gone: u8 version, u32 session epoch, u8 0. Unlike a tombstone it can be fenced. */
export function removedValue(epoch: number): Buffer {
  return new ByteWriter(6).u8(version).u32(epoch).u8(removed).view();
}

/** Reads what all values begin with; `exists` is false for an item that is gone. */
export function readPrefix(value: Buffer): { epoch: number; exists: boolean; input: ByteReader } {
  const input = beginRead(value);
  const epoch = input.u32();
  const state = input.u8();
  if (state > present) throw malformed('an item neither exists nor is it gone');
  if (state === removed) endRead(input);
  return { epoch, exists: state === present, input };
}

/** A value must have no bytes behind what its version defines. */
export function endRead(input: ByteReader): void {
  if (input.remaining > 0) throw malformed('bytes after a value');
}

/** Body: i64 producer id, u8 flags, u32 expiry, i64 disconnected at, u32 count, u32 per inbound shard. */
export function writeHead(out: ByteWriter, head: SessionHead): void {
  const flags = (head.connected ? headFlag.connected : 0) | (head.behind ? headFlag.behind : 0);
  out.i64(head.producerId).u8(flags).u32(head.expirySeconds).i64(head.disconnectedAt);
  out.u32(head.inboundShards.size);
  for (const shard of head.inboundShards) out.u32(shard);
}

export function readHead(input: ByteReader): SessionHead {
  const producerId = input.i64();
  const flags = input.u8();
  const expirySeconds = input.u32();
  const disconnectedAt = input.i64();
  const inboundShards = new Set<ShardId>();
  for (let left = input.count(4); left > 0; left--) inboundShards.add(input.u32() as ShardId);
  endRead(input);
  return {
    producerId,
    connected: (flags & headFlag.connected) !== 0,
    behind: (flags & headFlag.behind) !== 0,
    expirySeconds,
    disconnectedAt,
    inboundShards,
  };
}

/** Body: u8 flags (bits 0–1 QoS, 4–5 retain handling), u32 subscription id, offsets. The filter is in the key. */
export function writeSubscription(out: ByteWriter, subscription: StoredSubscription): void {
  let flags = subscription.qos | (subscription.retainHandling << retainHandlingShift);
  if (subscription.noLocal) flags |= subscriptionFlag.noLocal;
  if (subscription.retainAsPublished) flags |= subscriptionFlag.retainAsPublished;
  if (subscription.retainedDue) flags |= subscriptionFlag.retainedDue;
  out.u8(flags).u32(subscription.subscriptionId);
  writeOffsets(out, subscription.since);
}

export function readSubscription(filter: string, input: ByteReader): StoredSubscription {
  const flags = input.u8();
  const qos = flags & subscriptionFlag.qos;
  const retainHandling = (flags >> retainHandlingShift) & 3;
  if (qos > 2 || retainHandling > 2) throw malformed('a subscription with unknown options');
  const subscriptionId = input.u32();
  const since = readOffsets(input);
  endRead(input);
  return {
    filter,
    qos: qos as Qos,
    noLocal: (flags & subscriptionFlag.noLocal) !== 0,
    retainAsPublished: (flags & subscriptionFlag.retainAsPublished) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
    subscriptionId,
    since,
    retainedDue: (flags & subscriptionFlag.retainedDue) !== 0,
    retainedSent: [],
  };
}

/** Body: u32 shard, i64 offset, u8 flags (bits 0–1 QoS), the retained subject if there is one, u32 count, u32 per id. */
export function writeInflight(out: ByteWriter, entry: InflightEntry): void {
  let flags: number = entry.qos;
  if (entry.phase === 'released') flags |= inflightFlag.released;
  if (entry.retain) flags |= inflightFlag.retain;
  if (entry.retainedSubject !== null) flags |= inflightFlag.retainedSubject;
  out.u32(entry.shard).i64(entry.offset).u8(flags);
  if (entry.retainedSubject !== null) out.string(entry.retainedSubject);
  out.u32(entry.subscriptionIds.length);
  for (const id of entry.subscriptionIds) out.u32(id);
}

export function readInflight(packetId: number, input: ByteReader): InflightEntry {
  const shard = input.u32() as ShardId;
  const offset = readOffset(input);
  const flags = input.u8();
  const qos = flags & inflightFlag.qos;
  if (qos !== 1 && qos !== 2) throw malformed('a message in flight with an unknown QoS');
  const retainedSubject = (flags & inflightFlag.retainedSubject) === 0 ? null : input.string();
  const subscriptionIds: number[] = [];
  for (let left = input.count(4); left > 0; left--) subscriptionIds.push(input.u32());
  endRead(input);
  return {
    packetId,
    shard,
    offset,
    qos,
    phase: (flags & inflightFlag.released) === 0 ? 'publish' : 'released',
    retainedSubject,
    retain: (flags & inflightFlag.retain) !== 0,
    subscriptionIds,
  };
}

/** Body: i64 offset. The shard is in the key. */
export function writeCursor(out: ByteWriter, offset: Offset): void {
  out.i64(offset);
}

export function readCursor(input: ByteReader): Offset {
  const offset = readOffset(input);
  endRead(input);
  return offset;
}

/** The whole value: u8 version, offsets. Floors belong to no session and have no epoch. */
export function floorsValue(floors: ReadonlyMap<ShardId, Offset>): Buffer {
  const out = new ByteWriter(5 + floors.size * 12).u8(version);
  writeOffsets(out, floors);
  return out.view();
}

export function readFloors(value: Buffer): Map<ShardId, Offset> {
  const input = beginRead(value);
  const floors = readOffsets(input);
  endRead(input);
  return floors;
}

function beginRead(value: Buffer): ByteReader {
  const input = new ByteReader(value);
  if (input.u8() !== version) throw malformed('an unknown version');
  return input;
}

function writeOffsets(out: ByteWriter, offsets: ReadonlyMap<ShardId, Offset>): void {
  out.u32(offsets.size);
  for (const [shard, offset] of offsets) out.u32(shard).i64(offset);
}

function readOffsets(input: ByteReader): Map<ShardId, Offset> {
  const offsets = new Map<ShardId, Offset>();
  for (let left = input.count(12); left > 0; left--) {
    const shard = input.u32() as ShardId;
    offsets.set(shard, readOffset(input));
  }
  return offsets;
}

function readOffset(input: ByteReader): Offset {
  const offset = input.i64();
  if (offset < 0) throw malformed('a negative offset');
  return offset;
}
