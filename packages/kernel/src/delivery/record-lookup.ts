import type { Offset } from '@robustmq/core';
import { batchBaseOffset, batchLastOffset, nextBatch } from '@robustmq/record';
import { entryFlag } from '../log/entry.ts';
import type { StoredEntry } from '../ports/journal-client.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';
import type { Shard } from '../shards/shard.ts';
import { DecodedBatch } from './batch-decoder.ts';
import type { BatchDecoder } from './batch-decoder.ts';
import type { DeliveryBatch } from './delivery-port.ts';

const blockBytes = 256 * 1024;

/** Takes a record that was found; the batch is valid during the call. */
export type RecordTaker = (batch: DeliveryBatch, row: number) => void;

/** Reads single records again by their offsets, decoding each batch once. */
export class RecordLookup {
  readonly #decoder: BatchDecoder;

  constructor(decoder: BatchDecoder) {
    this.#decoder = decoder;
  }

  /**
   * Calls `take` for each offset that still holds a record; `offsets` rise. Records that were trimmed, lost or can't be
   * decoded are left out.
   */
  async read(shard: Shard, offsets: readonly Offset[], take: RecordTaker): Promise<void> {
    const view = new DecodedBatch();
    let at = 0;
    while (at < offsets.length) {
      const from = offsets[at]!;
      if (from < shard.startOffset) {
        at++;
        continue;
      }
      const options = { maxBytes: blockBytes, limit: shard.highWatermark, lost: () => undefined };
      if (from >= options.limit) return;
      const answer = shard.readCached(from, options) ?? (await shard.read(from, options));
      for (const entry of answer.entries) at = await this.#entry(shard, entry, { offsets, at, take, view });
      // What this answer covers and did not hold is gone.
      while (at < offsets.length && offsets[at]! < answer.nextOffset) at++;
    }
  }

  async #entry(
    shard: Shard,
    entry: StoredEntry,
    search: { offsets: readonly Offset[]; at: number; take: RecordTaker; view: DecodedBatch },
  ): Promise<number> {
    const { offsets, take, view } = search;
    let { at } = search;
    if ((entry.flags & entryFlag.control) !== 0) return at;
    const { payload } = entry;
    for (
      let start = 0, end = nextBatch(payload, 0);
      end !== -1;
      start = end, end = nextBatch(payload, start)
    ) {
      const baseOffset = batchBaseOffset(payload, start);
      const last = batchLastOffset(payload, start);
      while (at < offsets.length && offsets[at]! < baseOffset) at++;
      if (at === offsets.length) return at;
      if (offsets[at]! > last) continue;
      const batch: RoutedBatch = {
        baseOffset,
        count: last - baseOffset + 1,
        buffer: payload,
        start,
        end,
        brokerEncoded: (entry.flags & entryFlag.brokerEncoded) !== 0,
        subjects: null,
      };
      const section = await this.#decoder.recordsOf(batch);
      const source = { shard: shard.id, epoch: shard.epoch, topic: shard.topic };
      const decoded = section === null ? null : this.#decoder.decode(batch, section, source, view);
      for (let row = 0; decoded !== null && row < decoded.records.count && at < offsets.length; row++) {
        const offset = decoded.records.offset(row);
        while (at < offsets.length && offsets[at]! < offset) at++;
        if (offsets[at] !== offset) continue;
        take(decoded, row);
        at++;
      }
      while (at < offsets.length && offsets[at]! <= last) at++;
    }
    return at;
  }
}
