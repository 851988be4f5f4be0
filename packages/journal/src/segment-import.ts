import type { Disk, DiskFile } from '@robustmq/core';
import { assert } from '@robustmq/core';
import type { AppendEntry, WriteSegmentRequest } from '@robustmq/kernel';
import { isDiskError, storageFull } from './errors.ts';
import { FilterMaker } from './filter-maker.ts';
import type { JournalLimits } from './limits.ts';
import { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { ByteRun } from './segment-writer.ts';
import { GatheringWriter, writeFooter } from './segment-writer.ts';
import { entryNumbersOf, headerOf } from './tail-entry.ts';

export interface SegmentImportOptions {
  readonly disk: Disk;
  readonly files: SegmentFiles;
  readonly limits: JournalLimits;
  /** Asked before each write; no: the import ends with `STORAGE_FULL`. */
  readonly hasRoomFor: (bytes: number) => Promise<boolean>;
}

/**
 * Writes a whole segment from entries that come in order, as compaction makes them: under another name, with footer,
 * synced and renamed. The result is sealed, and not known to anyone yet.
 */
export async function importSegment(
  request: WriteSegmentRequest,
  options: SegmentImportOptions,
): Promise<Segment> {
  const { disk, files } = options;
  const path = files.path({ shard: request.shard, id: request.segment });
  const draft = `${path}.new`;
  try {
    const file = await disk.open('compaction', draft, { create: true });
    let segment: Segment;
    try {
      await file.truncate('compaction', 0);
      const importer = new Importer(request, options.limits);
      for await (const entry of request.entries) {
        if (importer.add(entry)) await importer.flush(file, options.hasRoomFor);
      }
      await importer.flush(file, options.hasRoomFor);
      segment = importer.finish();
      if (segment.index !== null) await writeFooter('compaction', file, segment);
    } finally {
      await file.close();
    }
    await disk.rename(draft, path);
    await disk.syncDir(files.folder);
    segment.named = true;
    segment.phase = 'sealed';
    return segment;
  } catch (error) {
    await disk.unlink(draft);
    throw isDiskError(error, 'DISK_FULL') ? storageFull(error) : error;
  }
}

class Importer {
  readonly #writer: GatheringWriter;
  readonly #request: WriteSegmentRequest;
  readonly #limits: JournalLimits;
  readonly #filters = new FilterMaker();
  #segment: Segment | null = null;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(request: WriteSegmentRequest, limits: JournalLimits) {
    this.#request = request;
    this.#limits = limits;
    this.#writer = new GatheringWriter(limits.writeBytes);
  }

  /** True when it is time to flush. */
  add(entry: AppendEntry): boolean {
    const header = headerOf(entry);
    assert(header !== null, 'an entry agrees with its header');
    this.#segment ??= new Segment(
      {
        shard: this.#request.shard,
        id: this.#request.segment,
        epoch: this.#request.epoch,
        baseOffset: header.baseOffset,
        memory: false,
      },
      this.#limits.blockBytes,
    );
    const segment = this.#segment;
    const { end } = segment;
    assert(
      header.entryId === end.entry + 1 && header.previousCrc === end.crc,
      'entries are dense and chained',
    );
    const stored = entryNumbersOf(header, entry.parts, { position: end.bytes, generation: 0 });
    const blocks = segment.index!.blocks;
    segment.push(stored, entry.parts);
    if (segment.index!.blocks > blocks && blocks > 0) this.#closeBlock(segment, blocks - 1);
    // Not the tail's copy: an entry leaves it with its block, which may be before it is written.
    this.#pending.push(...entry.parts);
    this.#pendingBytes += stored.bytes;
    return this.#pendingBytes >= this.#limits.writeBytes;
  }

  async flush(file: DiskFile, hasRoomFor: (bytes: number) => Promise<boolean>): Promise<void> {
    if (!(await hasRoomFor(this.#pendingBytes))) throw storageFull();
    if (this.#pending.length > 0) {
      const position = this.#segment!.end.bytes - this.#pendingBytes;
      await this.#writer.write('compaction', file, new PartsRun(position, this.#pending));
    }
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  finish(): Segment {
    const { shard, segment: id, epoch } = this.#request;
    const segment =
      this.#segment ??
      new Segment({ shard, id, epoch, baseOffset: 0, memory: false }, this.#limits.blockBytes);
    const index = segment.index!;
    if (index.blocks > 0) this.#closeBlock(segment, index.blocks - 1);
    index.segmentFilter = this.#filters.finish(segment);
    while (segment.tail.length > 0) segment.tail.shift();
    segment.stored = { ...segment.end };
    segment.durableEntry = segment.end.entry;
    return segment;
  }

  #closeBlock(segment: Segment, block: number): void {
    this.#filters.build(segment, block, block + 1);
    const end = segment.index!.end(block);
    while (segment.tail.length > 0 && segment.tail.positionAt(0) < end) segment.tail.shift();
  }
}

/** Parts of entries, one behind the other. */
class PartsRun implements ByteRun {
  readonly position: number;
  readonly #parts: readonly Buffer[];
  #part = 0;
  #given = 0;

  constructor(position: number, parts: readonly Buffer[]) {
    this.position = position;
    this.#parts = parts;
  }

  fill(target: Buffer): number {
    let used = 0;
    while (used < target.length && this.#part < this.#parts.length) {
      const part = this.#parts[this.#part]!;
      const copied = part.copy(target, used, this.#given);
      used += copied;
      this.#given += copied;
      if (this.#given < part.length) break;
      this.#part++;
      this.#given = 0;
    }
    return used;
  }
}
