import { entryFlag } from '@robustmq/kernel';
import { BlockFilterBuilder } from './block-filter.ts';
import { entryTokens } from './entry-tokens.ts';
import type { Segment } from './segment.ts';

/** Segment filters in the making, 16 KiB each; segments beyond have none and are asked block by block. */
const openFiltersMax = 512;

/**
 * Builds the filters of blocks while their entries are in memory, after they were written. Only of entries that brokers
 * encoded: decoding what clients sent waits until a filtered reader of the sealed segment asks for it.
 */
export class FilterMaker {
  readonly #block = new BlockFilterBuilder();
  /** Null: a block of the segment has no filter, so the segment gets none. */
  readonly #segments = new Map<Segment, BlockFilterBuilder | null>();

  /** Builds what is missing for the segment's blocks in `[from, to)`. */
  build(segment: Segment, from: number, to: number): void {
    const index = segment.index;
    if (index === null) return;
    for (let block = from; block < to; block++) {
      if (!index.isFiltered(block)) this.#buildBlock(segment, block);
    }
  }

  /** The filter of a segment whose blocks were all offered to `build`; null when it matches all. */
  finish(segment: Segment): Uint32Array | null {
    const { index } = segment;
    const builder = this.#segments.get(segment) ?? null;
    this.#segments.delete(segment);
    if (builder === null || index === null) return null;
    // One that misses a block would deny what it holds.
    for (let block = 0; block < index.blocks; block++) if (!index.isFiltered(block)) return null;
    return builder.finish();
  }

  drop(segment: Segment): void {
    this.#segments.delete(segment);
  }

  #buildBlock(segment: Segment, block: number): void {
    const index = segment.index!;
    const whole = this.#segmentBuilder(segment, block);
    const end = index.end(block);
    let at = segment.tail.find(index.firstOffset[block]!);
    while (at > 0 && segment.tail.positionAt(at - 1) >= index.position[block]!) at--;
    let position = index.position[block]!;
    let seen = true;
    for (; seen && position < end && at < segment.tail.length; at++) {
      const entry = segment.tail.at(at);
      seen =
        entry.position === position &&
        (entry.flags & (entryFlag.brokerEncoded | entryFlag.control)) !== 0 &&
        entryTokens(entry.payload, entry.flags, this.#block);
      position += entry.bytes;
    }
    if (!seen || position < end) {
      this.#block.reset();
      if (whole !== null) this.#segments.set(segment, null);
      return;
    }
    if (whole !== null) this.#block.addTo(whole);
    index.setFilter(block, this.#block.finish());
  }

  #segmentBuilder(segment: Segment, block: number): BlockFilterBuilder | null {
    const known = this.#segments.get(segment);
    if (known !== undefined) return known;
    // A filter that misses the first blocks would deny what they hold.
    const fresh = block === 0 && this.#segments.size < openFiltersMax ? new BlockFilterBuilder() : null;
    if (fresh !== null) this.#segments.set(segment, fresh);
    return fresh;
  }
}
