import type { DiskFile, IoClass } from '@robustmq/core';
import { assert } from '@robustmq/core';
import { encodeFooter } from './footer.ts';
import type { Segment } from './segment.ts';

/** An entry as it lies in its file, in parts. */
export interface WrittenEntry {
  readonly position: number;
  readonly parts: readonly Buffer[];
}

/** Gathers entries into writes of at most `bytesMax`, each written before the next is filled. */
export class GatheringWriter {
  readonly #staging: Buffer;
  #used = 0;

  constructor(bytesMax: number) {
    this.#staging = Buffer.allocUnsafeSlow(bytesMax);
  }

  /** Writes the entries, which lie back to back from the first one's position. */
  async write(io: IoClass, file: DiskFile, entries: readonly WrittenEntry[]): Promise<void> {
    const staging = this.#staging;
    let position = entries[0]?.position ?? 0;
    // A write that found no space may have left something.
    this.#used = 0;
    for (const entry of entries) {
      assert(entry.position === position + this.#used, 'entries lie back to back');
      for (const part of entry.parts) {
        let at = this.#add(part, 0);
        for (; this.#used === staging.length; at = this.#add(part, at)) {
          await file.pwrite(io, staging, position);
          position += staging.length;
          this.#used = 0;
        }
      }
    }
    if (this.#used > 0) await file.pwrite(io, staging.subarray(0, this.#used), position);
    this.#used = 0;
  }

  /** Copies in what the staging has room for, from `at` on; returns where it stopped. */
  #add(part: Buffer, at: number): number {
    const copied = part.copy(this.#staging, this.#used, at);
    this.#used += copied;
    return at + copied;
  }
}

/** Writes the footer behind the entries and makes the file exactly as long, durably. */
export async function writeFooter(io: IoClass, file: DiskFile, segment: Segment): Promise<void> {
  const { stored, index } = segment;
  assert(index !== null && index.dataBytes >= stored.bytes, 'the index covers the file');
  const footer = encodeFooter(
    {
      shard: segment.shard,
      segment: segment.id,
      epoch: segment.epoch,
      baseOffset: segment.baseOffset,
      endOffset: stored.offset,
      maxTimestamp: stored.maxTimestamp,
      endEntry: stored.entry,
      chainCrc: stored.crc,
    },
    index,
  );
  await file.pwrite(io, footer, stored.bytes);
  await file.truncate(io, stored.bytes + footer.length);
  await file.sync(io);
}
