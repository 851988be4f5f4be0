import type { Disk, DiskFile, Logger, SegmentId, ShardId } from '@robustmq/core';
import type { EntryHeader, SegmentRecord } from '@robustmq/kernel';
import { decodeEntryHeader } from '@robustmq/kernel';
import type { Recovered, RecoveredItem } from '@robustmq/wal';
import { BlockIndex } from './block-index.ts';
import type { Checkpoint, CheckpointSegment } from './checkpoint.ts';
import { decodeCheckpoint } from './checkpoint.ts';
import type { JournalCounters } from './counters.ts';
import { isDiskError } from './errors.ts';
import { readTrailer } from './index-loader.ts';
import type { JournalLimits } from './limits.ts';
import { reviewRot } from './rot-review.ts';
import type { Segment, SegmentEnd } from './segment.ts';
import type { FoundFile, SegmentFiles } from './segment-files.ts';
import { scanSegment } from './segment-scan.ts';
import type { SegmentStore } from './segment-store.ts';
import { entryNumbersOf } from './tail-entry.ts';
import { decodeFence } from './wal-items.ts';

export interface RecoveryOptions {
  readonly disk: Disk;
  readonly walFolder: string;
  readonly store: SegmentStore;
  readonly files: SegmentFiles;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
  readonly logger: Logger;
  readonly now: () => number;
  readonly record: (shard: ShardId, segment: SegmentId) => SegmentRecord | undefined;
  /** Every open segment that metadata lists. */
  readonly openRecords: () => Iterable<{ readonly shard: ShardId; readonly record: SegmentRecord }>;
  /** Writes what is in memory into segments, so that recovery never holds more than its bound. */
  readonly drain: () => Promise<void>;
}

/**
 * Brings memory back to what was acknowledged: segments as the newest checkpoint has them, then every later entry from
 * the log. What lies in a segment's file behind the checkpoint is not trusted; the log's entries are written over it.
 */
export class Recovery {
  readonly #options: RecoveryOptions;
  /** Where in the log the newest entry of a segment was. */
  readonly #lastSeen = new Map<Segment, RecoveredItem['position']>();
  /** Of the frame being replayed. */
  #generation = 0;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  async run(recovered: Recovered, found: readonly FoundFile[]): Promise<void> {
    const checkpoint =
      recovered.checkpoint === null ? null : decodeCheckpoint(Buffer.concat(recovered.checkpoint));
    const unclaimed = new Map(found.map((file) => [file.segment, file]));
    this.#generation = recovered.checkpointGeneration;
    if (checkpoint !== null) this.#restore(checkpoint, unclaimed);
    for await (const frame of recovered.frames) {
      for (const item of frame) await this.#replay(item);
      if (this.#options.counters.tailBytes > this.#options.limits.tailBytes) await this.#options.drain();
    }
    for (const segment of this.#options.store.segments()) {
      const file = unclaimed.get(segment.id);
      // The file of a segment that is younger than the checkpoint: its bytes come again from the log.
      if (file !== undefined && file.shard === segment.shard) segment.named = true;
      unclaimed.delete(segment.id);
      segment.unprobed = segment.named && segment.phase === 'open';
    }
    // Before the review, which marks what may have lost its end: a segment that only its file knows is one of them.
    for (const file of unclaimed.values()) await this.#adopt(file);
    await this.#reviewRot(recovered);
  }

  #restore(checkpoint: Checkpoint, unclaimed: Map<number, FoundFile>): void {
    const { store, logger } = this.#options;
    for (const fence of checkpoint.fences) store.shard(fence.shard).fence = fence.epoch;
    for (const from of checkpoint.segments) {
      const file = unclaimed.get(from.id);
      const segment = this.#restoreSegment(from);
      if (file !== undefined && file.shard === from.shard) {
        segment.named = true;
        unclaimed.delete(from.id);
      } else if (from.stored.bytes > 0) {
        const listed = this.#options.record(from.shard, from.id) !== undefined;
        // Deleted, and the log ended before a checkpoint said so.
        if (!listed) store.remove(segment);
        else logger.error({ shard: from.shard, segment: from.id }, 'the file of a segment is missing');
        if (listed && segment.phase === 'open') segment.lostTo = Math.max(segment.lostTo, from.stored.offset);
      }
    }
  }

  #restoreSegment(from: CheckpointSegment): Segment {
    const { store } = this.#options;
    const { shard, id, epoch, baseOffset, stored } = from;
    const segment = store.create({ shard, id, epoch, baseOffset, memory: false });
    restoreEnd(segment, stored);
    segment.lostTo = from.lostTo;
    segment.phase = from.sealed ? 'sealed' : 'open';
    const index = segment.index!;
    for (const block of from.blocks) {
      index.dataBytes = block.position;
      index.addBlock(block.firstOffset, block.maxTimestamp, block.flags);
    }
    index.dataBytes = stored.bytes;
    index.endsWithControl = stored.control;
    if (from.sealed && stored.bytes > 0) segment.index = null;
    return segment;
  }

  async #replay(item: RecoveredItem): Promise<void> {
    const { store } = this.#options;
    this.#generation = item.position.generation;
    const fence = decodeFence(item.bytes);
    if (fence !== null) {
      const shard = store.shard(fence.shard);
      if (fence.epoch > shard.fence) shard.fence = fence.epoch;
      return;
    }
    const header = decodeEntryHeader(item.bytes);
    if (header === null) return;
    const shard = store.shard(header.shard);
    if (header.epoch > shard.fence) shard.fence = header.epoch;
    const segment = shard.segments.get(header.segment) ?? this.#create(header);
    if (segment === null || segment.phase !== 'open') return;
    this.#lastSeen.set(segment, item.position);
    if (header.entryId <= segment.end.entry) return;
    if (header.entryId > segment.end.entry + 1) await this.#fillFromFile(segment, header.entryId);
    const follows = header.entryId === segment.end.entry + 1 && header.previousCrc === segment.end.crc;
    // A loss that an earlier start found lies behind the end: what comes before it is still read from the log.
    const behindLoss = segment.lostTo > 0 && segment.lostTo <= segment.end.offset;
    if (!follows || behindLoss) {
      segment.lostTo = Math.max(segment.lostTo, header.baseOffset + Math.max(1, header.count));
      return;
    }
    this.#take(segment, header, item.bytes);
  }

  #create(header: EntryHeader): Segment | null {
    const record = this.#options.record(header.shard, header.segment);
    // Its beginning was released with the files that held it: a segment that was deleted since.
    if (header.entryId > 0 && record === undefined) return null;
    return this.#options.store.create({
      shard: header.shard,
      id: header.segment,
      epoch: header.epoch,
      baseOffset: record?.baseOffset ?? header.baseOffset,
      memory: false,
    });
  }

  #take(segment: Segment, header: EntryHeader, bytes: Buffer): void {
    const place = { position: segment.end.bytes, generation: this.#generation };
    const entry = entryNumbersOf(header, [bytes], place);
    this.#options.store.push(segment, entry, [bytes], this.#options.now());
    segment.durableEntry = entry.entryId;
  }

  /** Entries that the log lost may have been written to the segment before. */
  async #fillFromFile(segment: Segment, before: number): Promise<void> {
    if (segment.lostTo > 0) return;
    await probe(segment, this.#options, (header, entry) => {
      if (header.entryId < before) this.#take(segment, header, entry);
    });
  }

  async #reviewRot(recovered: Recovered): Promise<void> {
    const { store, counters, logger } = this.#options;
    if (recovered.rot.length > 0) {
      for (const segment of [...store.segments()]) {
        if (segment.unprobed) await this.#fillFromFile(segment, Number.POSITIVE_INFINITY);
      }
      await reviewRot(recovered.rot, {
        ...this.#options,
        continuedAfter: (segment, report) => {
          const seen = this.#lastSeen.get(segment);
          if (seen === undefined) return false;
          return (
            seen.generation > report.generation ||
            (seen.generation === report.generation && seen.position >= report.position + report.bytes)
          );
        },
      });
    }
    for (const segment of store.segments()) {
      if (segment.lostTo === 0) continue;
      counters.lostSegments++;
      const { shard, id, end, lostTo } = segment;
      logger.error({ shard, segment: id, from: end.offset, to: lostTo }, 'acknowledged entries are lost');
    }
  }

  /** A file that neither checkpoint nor log names: one that compaction wrote, or what a lost log left. */
  async #adopt(found: FoundFile): Promise<void> {
    const { disk, store, files, limits, logger } = this.#options;
    const path = files.path({ shard: found.shard, id: found.segment });
    const file = await disk.open('read', path);
    try {
      const trailer = await readTrailer(file);
      const sound = trailer !== null && trailer.segment === found.segment && trailer.shard === found.shard;
      const record = this.#options.record(found.shard, found.segment);
      if (!sound && record === undefined) {
        logger.warn({ path }, 'a file that belongs to no segment is removed');
        await disk.unlink(path);
        return;
      }
      const { epoch, baseOffset } = sound
        ? trailer
        : { epoch: record!.writerEpoch, baseOffset: record!.baseOffset };
      const identity = { shard: found.shard, id: found.segment, epoch, baseOffset, memory: false };
      const segment = store.create(identity);
      segment.named = true;
      if (sound) {
        restoreEnd(segment, {
          entry: trailer.endEntry,
          offset: trailer.endOffset,
          maxTimestamp: trailer.maxTimestamp,
          bytes: trailer.dataBytes,
          crc: trailer.chainCrc,
          control: false,
        });
        segment.index = null;
        segment.phase = 'sealed';
      } else {
        logger.error({ path }, 'a segment is taken in from its file alone');
        segment.index = new BlockIndex(limits.blockBytes);
        await takeFile(segment, file, found.bytes);
      }
    } finally {
      await file.close();
    }
  }
}

/**
 * Visits valid entries in the segment's file behind its end. An entry is written to a file only when it is durable in
 * the log, so one that the log does not have proves that the log has lost its tail.
 */
export async function probe(
  segment: Segment,
  modules: { readonly files: SegmentFiles },
  visit: (header: EntryHeader, entry: Buffer) => void,
): Promise<void> {
  segment.unprobed = false;
  const scan = async (file: DiskFile): Promise<void> => {
    const range = {
      io: 'read',
      position: segment.end.bytes,
      entryId: segment.end.entry + 1,
      previousCrc: segment.end.crc,
      end: await file.size(),
    } as const;
    await scanSegment(file, segment, range, visit);
  };
  try {
    await modules.files.use('read', segment, scan);
  } catch (error) {
    // Nothing of the segment was written to a file yet.
    if (!isDiskError(error, 'DISK_NOT_FOUND')) throw error;
  }
}

async function takeFile(segment: Segment, file: DiskFile, fileBytes: number): Promise<void> {
  const range = { io: 'read', position: 0, entryId: 0, previousCrc: 0, end: fileBytes } as const;
  await scanSegment(file, segment, range, (header, bytes, position) => {
    segment.push(entryNumbersOf(header, [bytes], { position, generation: 0 }), [bytes]);
    segment.tail.shift();
  });
  restoreEnd(segment, segment.end);
}

function restoreEnd(segment: Segment, end: SegmentEnd): void {
  Object.assign(segment.end, end);
  segment.stored = { ...end };
  segment.durableEntry = end.entry;
  // A control entry at the end takes no offset: a read there has to look into the file.
  segment.tail = segment.newTail(end.control ? end.offset + 1 : end.offset);
}
