import type { DiskFile, IoClass } from '@robustmq/core';
import { assert } from '@robustmq/core';
import { encodeFooter } from './footer.ts';
import type { Segment } from './segment.ts';

/** Bytes that lie back to back in a file, given out in order. */
export interface ByteRun {
  /** Where the first of them lies in the file. */
  readonly position: number;
  /** Copies the next ones to `target`, as many as fit; returns how many, 0 behind the last. */
  fill(target: Buffer): number;
}

/** Gathers entries into writes of at most `bytesMax`, each written before the next is filled. */
export class GatheringWriter {
  readonly #staging: Buffer;

  constructor(bytesMax: number) {
    this.#staging = Buffer.allocUnsafeSlow(bytesMax);
  }

  async write(io: IoClass, file: DiskFile, run: ByteRun): Promise<void> {
    const staging = this.#staging;
    let { position } = run;
    for (let bytes = run.fill(staging); bytes > 0; bytes = run.fill(staging)) {
      await file.pwrite(io, bytes === staging.length ? staging : staging.subarray(0, bytes), position);
      position += bytes;
    }
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
