import { RobustError } from '@robustmq/core';
import type { Epoch, JournalUuid, NodeId, Offset, SegmentId, ShardId } from '@robustmq/core';
import { checkEntry, entryFlag, entryHeaderBytes, keyTokens } from '@robustmq/kernel';
import type {
  AppendAck,
  AppendEntry,
  AppendListener,
  AppendRefusal,
  AppendStream,
  BlockFilter,
  Durability,
  FenceAnswer,
  FenceRequest,
  JournalClient,
  KernelErrorCode,
  ReadAnswer,
  ReadRequest,
  StoredEntry,
  TimestampRequest,
} from '@robustmq/kernel';
import { nextBatch, readRecords, RecordTable } from '@robustmq/record';
import { Fuse } from './fuse.ts';

interface Segment {
  entries: (StoredEntry & {
    entryId: number;
    maxTimestamp: number;
    crc: number;
    previousCrc: number;
    bytes: number;
  })[];
}

/** A broker's connection; it counts the process's writes and dies with it. */
interface Stream {
  readonly listener: AppendListener;
  readonly fuse: Fuse;
  open: boolean;
}

/** Whether each token of some alternative is one of the entry's records'. */
function mayMatch(entry: StoredEntry, filter: BlockFilter): boolean {
  if ((entry.flags & entryFlag.control) !== 0) return true;
  const tokens = new Set<number>();
  const table = new RecordTable();
  const { payload } = entry;
  for (let at = 0; at < payload.length; at = nextBatch(payload, at)) {
    readRecords(table, payload, at);
    for (let row = 0; row < table.count; row++) {
      keyTokens(table.buffer, table.keyStart[row]!, table.keyEnd[row]!, tokens);
    }
  }
  return filter.some((alternative) => alternative.every((token) => tokens.has(token)));
}

/**
 * A journal in memory for tests of what lies above it. It checks every entry as the real one does and answers a turn
 * later; `hold` keeps acknowledgements back until `release`, and each kind of failure can be asked for.
 */
export class MemoryJournal implements JournalClient {
  readonly nodeId = 1 as NodeId;
  readonly uuid = 'a'.repeat(32) as JournalUuid;
  readonly #segments = new Map<SegmentId, Segment>();
  readonly #fences = new Map<ShardId, number>();
  /** The fuse of the process that opens streams from now on. */
  fuse = new Fuse();
  /** Entries above it are acknowledged as received only; undefined: all are durable. */
  durableUpTo: number | undefined;
  /** Code of the refusal that every entry gets; null: entries are taken. */
  refuseAll: AppendRefusal['code'] | null = null;
  /** Above 0: fences answer that what lies below this offset and is not there was lost. */
  lostTo = 0;
  /** Entries that filters proved to hold nothing wanted: every entry is a block here, its filter exact. */
  skippedEntries = 0;
  /** Leases of answers that were lent and not given back. */
  openLeases = 0;
  /** Fences are answered as by a journal that a newer owner has fenced. */
  answerFenced = false;
  /** Durability that the newest entry asked for. */
  lastDurability: Durability | null = null;
  /** The newest of each shard. */
  readonly checkpoints = new Map<ShardId, { coveredTo: Offset; state: Buffer }>();
  readonly #damaged = new Map<SegmentId, { from: Offset; to: Offset }>();
  #held: (() => void)[] | null = null;
  #stream: Stream | null = null;

  openAppendStream(listener: AppendListener): AppendStream {
    const stream: Stream = { listener, fuse: this.fuse, open: true };
    this.#stream = stream;
    return {
      send: (entries) => this.#send(stream, entries),
      close: () => {
        stream.open = false;
      },
    };
  }

  hold(): void {
    this.#held ??= [];
  }

  /** The broker that writes here is gone from now on: nothing of it arrives, and it hears nothing. */
  crash(): void {
    this.fuse.blowAfter(0);
    this.fuse = new Fuse();
    this.#held = null;
  }

  /** Ends the stream as a broken connection does. */
  disconnect(error: Error): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.open = false;
    stream.listener.closed(error);
  }

  /** Tells the broker whether there is room for new data. */
  admit(open: boolean): void {
    this.#stream?.listener.admission(open);
  }

  /** Tells the broker whether its sources should pause. */
  press(pressed: boolean): void {
    this.#stream?.listener.pressure(pressed);
  }

  /** Forgets the last `count` entries of a segment: they were acknowledged from memory only. */
  loseTail(segment: SegmentId, count: number): void {
    const known = this.#segments.get(segment);
    if (known !== undefined) known.entries = known.entries.slice(0, known.entries.length - count);
  }

  /** Forgets a segment, as one that was in memory only. */
  forget(segment: SegmentId): void {
    this.#segments.delete(segment);
  }

  /** Entries of a segment, in order. */
  entriesOf(segment: SegmentId): readonly StoredEntry[] {
    return this.#segments.get(segment)?.entries ?? [];
  }

  /** Checksums of a segment's entries, and of what each says of its predecessor. */
  chainOf(segment: SegmentId): { crcs: number[]; previous: number[] } {
    const entries = this.#segments.get(segment)?.entries ?? [];
    return { crcs: entries.map(({ crc }) => crc), previous: entries.map(({ previousCrc }) => previousCrc) };
  }

  /** Reads of these offsets fail as those of damaged blocks do. */
  damage(segment: SegmentId, from: Offset, to: Offset): void {
    this.#damaged.set(segment, { from, to });
  }

  /** Acknowledges a segment again, with what is durable now. */
  acknowledge(shard: ShardId, segment: SegmentId): void {
    this.#stream?.listener.acks([this.#ack(shard, segment, this.entriesOf(segment).length - 1)]);
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const answer of held) answer();
  }

  fence(requests: readonly FenceRequest[]): Promise<FenceAnswer[]> {
    return Promise.resolve(
      requests.map(({ shard, segment, epoch }) => {
        this.#fences.set(shard, epoch);
        const last = this.#segments.get(segment)?.entries.at(-1);
        const entries = this.#segments.get(segment)?.entries ?? [];
        return {
          shard,
          segment,
          status: this.answerFenced
            ? ('fenced' as const)
            : this.lostTo > 0
              ? ('lost' as const)
              : ('ok' as const),
          endEntry: last?.entryId ?? -1,
          endOffset: last === undefined ? 0 : last.baseOffset + last.count,
          maxTimestamp: Math.max(-1, ...entries.map((entry) => entry.maxTimestamp)),
          bytes: entries.reduce((sum, entry) => sum + entry.bytes, 0),
          chainCrc: last?.crc ?? 0,
          lostTo: this.lostTo,
          epoch,
        };
      }),
    );
  }

  /** What is lent is a copy that turns into rubbish when its lease ends: who goes on using it is found out. */
  readCached(request: ReadRequest): ReadAnswer | null {
    const answer = this.#find(request);
    if (request.lent !== true) return answer;
    const entries = answer.entries.map((entry) => ({ ...entry, payload: Buffer.from(entry.payload) }));
    let open = true;
    this.openLeases++;
    const end = (): void => {
      if (!open) return;
      open = false;
      this.openLeases--;
      for (const { payload } of entries) payload.fill(0xdd);
    };
    return { ...answer, entries, lease: { end } };
  }

  #find(request: ReadRequest): ReadAnswer {
    const segment = this.#segments.get(request.segment);
    if (segment === undefined) {
      throw new RobustError<KernelErrorCode>('JOURNAL_SEGMENT_UNKNOWN', 'no such segment');
    }
    const damaged = this.#damaged.get(request.segment);
    const entries: StoredEntry[] = [];
    let bytes = 0;
    let hasData = false;
    for (const entry of segment.entries) {
      const end = entry.baseOffset + entry.count;
      if (entry.count === 0 ? entry.baseOffset < request.offset : end <= request.offset) continue;
      if (entry.baseOffset >= request.limit && entry.count > 0) break;
      if (damaged !== undefined && entry.baseOffset >= damaged.from && entry.baseOffset < damaged.to) {
        if (entries.length > 0) return { entries, nextOffset: entry.baseOffset };
        throw new RobustError<KernelErrorCode>('JOURNAL_DATA_LOST', 'damaged', { detail: { ...damaged } });
      }
      if (request.filter !== undefined && !mayMatch(entry, request.filter)) {
        this.skippedEntries++;
        continue;
      }
      if (hasData && bytes + entry.bytes > request.maxBytes) {
        return { entries, nextOffset: entry.baseOffset };
      }
      entries.push(entry);
      bytes += entry.bytes;
      if (entry.count > 0) hasData = true;
    }
    return { entries, nextOffset: request.limit };
  }

  read(request: ReadRequest): Promise<ReadAnswer> {
    return Promise.resolve(this.readCached(request)!);
  }

  seekTimestamp(request: TimestampRequest): Promise<Offset | null> {
    const entries = this.#segments.get(request.segment)?.entries ?? [];
    return Promise.resolve(
      entries.find((entry) => entry.maxTimestamp >= request.timestamp)?.baseOffset ?? null,
    );
  }

  saveCheckpoint(shard: ShardId, coveredTo: Offset, state: Uint8Array): Promise<void> {
    if (this.fuse.take()) this.checkpoints.set(shard, { coveredTo, state: Buffer.from(state) });
    return Promise.resolve();
  }

  loadCheckpoint(shard: ShardId): Promise<{ coveredTo: Offset; state: Buffer } | null> {
    return Promise.resolve(this.checkpoints.get(shard) ?? null);
  }

  writeSegment(): Promise<void> {
    return Promise.reject(new RobustError<KernelErrorCode>('JOURNAL_STOPPED', 'not in memory'));
  }

  usage(): { shards: ReadonlyMap<ShardId, number>; freeBytes: number; totalBytes: number } {
    return { shards: new Map(), freeBytes: 1e12, totalBytes: 1e12 };
  }

  #send(stream: Stream, entries: readonly AppendEntry[]): void {
    const acks: AppendAck[] = [];
    const refusals: AppendRefusal[] = [];
    for (const entry of entries) {
      if (!stream.open || !stream.fuse.take()) continue;
      const refused = this.#refusalOf(entry);
      if (refused === null) acks.push(this.#append(entry));
      else refusals.push(refused);
    }
    const answer = (): void => {
      if (!stream.open || stream.fuse.blown) return;
      if (acks.length > 0) stream.listener.acks(acks);
      if (refusals.length > 0) stream.listener.refused(refusals);
    };
    if (this.#held !== null) this.#held.push(answer);
    else setImmediate(answer);
  }

  #refusalOf({ shard, segment, entryId, epoch }: AppendEntry): AppendRefusal | null {
    const fence = this.#fences.get(shard) ?? 0;
    const code = epoch < fence ? 'JOURNAL_FENCED' : this.refuseAll;
    if (code !== null) return { shard, segment, entryId, code, epoch: Math.max(epoch, fence) as Epoch };
    const next = this.#segments.get(segment)?.entries.length ?? 0;
    return entryId > next ? { shard, segment, entryId, code: 'JOURNAL_GAP', epoch } : null;
  }

  #append(entry: AppendEntry): AppendAck {
    this.lastDurability = entry.durability;
    const bytes = Buffer.concat(entry.parts);
    const crc = checkEntry(bytes);
    if (crc === null) throw new Error('an entry with a wrong checksum was sent');
    let segment = this.#segments.get(entry.segment);
    if (segment === undefined) {
      segment = { entries: [] };
      this.#segments.set(entry.segment, segment);
    }
    if (entry.entryId !== segment.entries.length) throw new Error('an entry came twice');
    const flags = bytes[5]!;
    const control = (flags & entryFlag.control) !== 0;
    const payload = bytes.subarray(entryHeaderBytes);
    segment.entries.push({
      entryId: entry.entryId,
      baseOffset: Number(bytes.readBigInt64BE(32)),
      count: bytes.readUInt32BE(28),
      flags,
      payload,
      maxTimestamp: control ? -1 : Number(payload.readBigInt64BE(35)),
      crc,
      previousCrc: bytes.readUInt32BE(52),
      bytes: bytes.length,
    });
    return this.#ack(entry.shard, entry.segment, entry.entryId);
  }

  #ack(shard: ShardId, segment: SegmentId, receivedUpTo: number): AppendAck {
    const durableUpTo = Math.min(receivedUpTo, this.durableUpTo ?? receivedUpTo);
    return { shard, segment, receivedUpTo, durableUpTo };
  }
}
