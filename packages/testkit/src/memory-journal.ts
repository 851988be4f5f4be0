import { RobustError } from '@robustmq/core';
import type { JournalUuid, NodeId, Offset, SegmentId, ShardId } from '@robustmq/core';
import { checkEntry, entryFlag } from '@robustmq/kernel';
import type {
  AppendAck,
  AppendEntry,
  AppendListener,
  AppendStream,
  FenceAnswer,
  FenceRequest,
  JournalClient,
  KernelErrorCode,
  ReadAnswer,
  ReadRequest,
  StoredEntry,
  TimestampRequest,
} from '@robustmq/kernel';

interface Segment {
  readonly entries: (StoredEntry & { entryId: number; maxTimestamp: number; crc: number; bytes: number })[];
}

/**
 * A journal in memory for tests of what lies above it. It checks every entry as the real one does and answers a turn
 * later; `hold` keeps acknowledgements back until `release`.
 */
export class MemoryJournal implements JournalClient {
  readonly nodeId = 1 as NodeId;
  readonly uuid = 'a'.repeat(32) as JournalUuid;
  readonly #segments = new Map<SegmentId, Segment>();
  readonly #fences = new Map<ShardId, number>();
  #held: (() => void)[] | null = null;
  /** Rises with every crash: streams from before are dead. */
  #life = 0;

  openAppendStream(listener: AppendListener): AppendStream {
    const life = this.#life;
    return {
      send: (entries) => {
        if (life !== this.#life) return;
        const acks = entries.map((entry) => this.#append(entry));
        const answer = (): void => {
          if (life === this.#life) listener.acks(acks);
        };
        if (this.#held !== null) this.#held.push(answer);
        else setImmediate(answer);
      },
      close: () => undefined,
    };
  }

  hold(): void {
    this.#held ??= [];
  }

  /** The broker that writes here is gone from now on: nothing of it arrives, and it hears nothing. */
  crash(): void {
    this.#life++;
    this.#held = null;
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
          status: 'ok',
          endEntry: last?.entryId ?? -1,
          endOffset: last === undefined ? 0 : last.baseOffset + last.count,
          maxTimestamp: Math.max(-1, ...entries.map((entry) => entry.maxTimestamp)),
          bytes: entries.reduce((sum, entry) => sum + entry.bytes, 0),
          chainCrc: last?.crc ?? 0,
          lostTo: 0,
          epoch,
        };
      }),
    );
  }

  readCached(request: ReadRequest): ReadAnswer | null {
    const segment = this.#segments.get(request.segment);
    if (segment === undefined) {
      throw new RobustError<KernelErrorCode>('JOURNAL_SEGMENT_UNKNOWN', 'no such segment');
    }
    const entries: StoredEntry[] = [];
    let bytes = 0;
    for (const entry of segment.entries) {
      const end = entry.baseOffset + entry.count;
      if (entry.count === 0 ? entry.baseOffset < request.offset : end <= request.offset) continue;
      if (entry.baseOffset >= request.limit && entry.count > 0) break;
      if (entries.length > 0 && bytes + entry.bytes > request.maxBytes) {
        return { entries, nextOffset: entry.baseOffset };
      }
      entries.push(entry);
      bytes += entry.bytes;
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

  saveCheckpoint(): Promise<void> {
    return Promise.resolve();
  }

  loadCheckpoint(): Promise<null> {
    return Promise.resolve(null);
  }

  writeSegment(): Promise<void> {
    return Promise.reject(new RobustError<KernelErrorCode>('JOURNAL_STOPPED', 'not in memory'));
  }

  usage(): { shards: ReadonlyMap<ShardId, number>; freeBytes: number; totalBytes: number } {
    return { shards: new Map(), freeBytes: 1e12, totalBytes: 1e12 };
  }

  #append(entry: AppendEntry): AppendAck {
    const bytes = Buffer.concat([entry.header, ...entry.payload]);
    const crc = checkEntry(bytes);
    if (crc === null) throw new Error('an entry with a wrong checksum was sent');
    let segment = this.#segments.get(entry.segment);
    if (segment === undefined) {
      segment = { entries: [] };
      this.#segments.set(entry.segment, segment);
    }
    if (entry.entryId !== segment.entries.length) throw new Error('entry ids are not dense');
    const flags = entry.header[5]!;
    const control = (flags & entryFlag.control) !== 0;
    const payload = Buffer.concat(entry.payload);
    segment.entries.push({
      entryId: entry.entryId,
      baseOffset: Number(entry.header.readBigInt64BE(32)),
      count: entry.header.readUInt32BE(28),
      flags,
      payload,
      maxTimestamp: control ? -1 : Number(payload.readBigInt64BE(35)),
      crc,
      bytes: bytes.length,
    });
    return {
      shard: entry.shard,
      segment: entry.segment,
      receivedUpTo: entry.entryId,
      durableUpTo: entry.entryId,
    };
  }
}
