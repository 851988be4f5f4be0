import type { ReadRequest } from '@robustmq/kernel';
import { keyTokens } from '@robustmq/kernel';
import { SimClock, SimDisk } from '@robustmq/sim';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { blockFilterBytesMax, BlockFilterBuilder, filterHolds, filterMatches } from './block-filter.ts';
import { BlockIndex } from './block-index.ts';
import {
  decodeFilters,
  decodeIndex,
  decodeTrailer,
  encodeFooter,
  indexRowBytes,
  trailerBytes,
} from './footer.ts';
import { FakeMetadata, startJournal } from './journal-fixture.ts';

const shard = 7 as TestLog['shard'];
const token = fc.integer({ min: 0, max: 0xffff_ffff });

describe('storage 3.2: filters', () => {
  it('hold every token that was added, alone and in what they are added to', () => {
    fc.assert(
      fc.property(fc.uniqueArray(token, { maxLength: 3000 }), fc.array(token), (tokens, others) => {
        const builder = new BlockFilterBuilder();
        const whole = new BlockFilterBuilder();
        for (const each of others) whole.add(each);
        for (const each of tokens) builder.add(each);
        builder.addTo(whole);
        const filter = builder.finish()!;
        const segment = whole.finish()!;
        for (const each of tokens) {
          expect(filterHolds(filter, each) && filterHolds(segment, each)).toBe(true);
        }
        for (const each of others) expect(filterHolds(segment, each)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('have at least 10 bits a token, at most 16 KiB, and match all above that', () => {
    const builder = new BlockFilterBuilder();
    const filterOf = (count: number): Uint32Array | null => {
      for (let at = 0; at < count; at++) builder.add(Math.imul(at + 1, 0x9e37_79b1) >>> 0);
      return builder.finish();
    };
    for (const count of [1, 25, 26, 100, 1000, 13_000]) {
      const bits = filterOf(count)!.byteLength * 8;
      expect(bits).toBeGreaterThanOrEqual(count * 10 * 0.98);
      expect(bits).toBeLessThanOrEqual(Math.max(256, count * 20));
    }
    expect(filterOf(13_000)!.byteLength).toBe(blockFilterBytesMax);
    expect(filterOf(20_000)).toBeNull();
  });

  it('let few strangers through', () => {
    const builder = new BlockFilterBuilder();
    const sink = { add: (each: number): void => builder.add(each) };
    for (let at = 0; at < 1000; at++) {
      const key = Buffer.from(`devices/${at}/state`);
      keyTokens(key, 0, key.length, sink);
    }
    const filter = builder.finish()!;
    let passed = 0;
    for (let at = 0; at < 10_000; at++) {
      const tokens: number[] = [];
      const key = Buffer.from(`meters/${at}/reading`);
      keyTokens(key, 0, key.length, { add: (each) => tokens.push(each) });
      if (filterMatches(filter, [Uint32Array.from(tokens)])) passed++;
    }
    expect(passed).toBeLessThan(100);
  });

  it('are the same bytes for the same tokens for ever', () => {
    const builder = new BlockFilterBuilder();
    for (const each of [1, 2, 3, 0xdead_beef]) builder.add(each);
    expect(Buffer.from(builder.finish()!.buffer).toString('hex')).toBe(
      '8000080802000500010201011042001024010200008010040000088010204200',
    );
  });
});

describe('storage 3.2: the footer', () => {
  const facts = {
    shard,
    segment: 5,
    epoch: 3,
    baseOffset: 100,
    endOffset: 400,
    maxTimestamp: 9000,
    endEntry: 11,
    chainCrc: 0xabcd_ef01,
  } as Parameters<typeof encodeFooter>[0];

  function indexWith(filters: readonly (readonly number[] | null)[]): BlockIndex {
    const index = new BlockIndex(1500);
    for (const [block, tokens] of filters.entries()) {
      index.addBlock(100 + block * 100, 7000 + block * 1000, block);
      index.dataBytes += 1500;
      const builder = new BlockFilterBuilder();
      for (const each of tokens ?? []) builder.add(each);
      if (tokens !== null) index.setFilter(block, builder.finish());
    }
    return index;
  }

  function regionsOf(footer: Buffer, blocks: number): { filters: Buffer; rows: Buffer; trailer: Buffer } {
    const rowsAt = footer.length - trailerBytes - blocks * indexRowBytes;
    return {
      filters: footer.subarray(0, rowsAt),
      rows: footer.subarray(rowsAt, footer.length - trailerBytes),
      trailer: footer.subarray(footer.length - trailerBytes),
    };
  }

  it('gives back facts, index and filters; a block without a filter has none', () => {
    const index = indexWith([[1, 2], null, [3]]);
    const builder = new BlockFilterBuilder();
    for (const each of [1, 2, 3]) builder.add(each);
    index.segmentFilter = builder.finish();
    const footer = encodeFooter(facts, index);
    const { filters, rows, trailer: bytes } = regionsOf(footer, 3);
    const trailer = decodeTrailer(bytes, index.dataBytes + footer.length)!;
    expect(trailer).toMatchObject({ ...facts, blocks: 3, dataBytes: index.dataBytes });
    const read = decodeIndex(trailer, rows, 1500)!;
    expect(read.filtersLoaded).toBe(false);
    expect(decodeFilters(trailer, read, { filters, rows })).toBe(true);
    for (let block = 0; block < 3; block++) {
      expect(read.firstOffset[block]).toBe(index.firstOffset[block]);
      expect(read.position[block]).toBe(index.position[block]);
      expect(read.maxTimestamp[block]).toBe(index.maxTimestamp[block]);
      expect(read.filters[block] ?? null).toEqual(index.filters[block] ?? null);
    }
    expect(read.segmentFilter).toEqual(index.segmentFilter);
  });

  it('with any flipped bit is refused, part by part', () => {
    const index = indexWith([[1, 2], [3]]);
    const footer = encodeFooter(facts, index);
    const fileBytes = index.dataBytes + footer.length;
    const sound = regionsOf(footer, 2);
    const whole = decodeTrailer(sound.trailer, fileBytes)!;
    for (let bit = 0; bit < footer.length * 8; bit++) {
      const damaged = Buffer.from(footer);
      damaged[bit >>> 3]! ^= 1 << (bit & 7);
      const { filters, rows, trailer } = regionsOf(damaged, 2);
      const read = decodeIndex(whole, sound.rows, 1500)!;
      const holds =
        decodeTrailer(trailer, fileBytes) !== null &&
        decodeIndex(whole, rows, 1500) !== null &&
        decodeFilters(whole, read, { filters, rows });
      expect(holds, `bit ${bit}`).toBe(false);
    }
  });

  it('of another file is refused', () => {
    const index = indexWith([[1]]);
    const footer = encodeFooter(facts, index);
    const { trailer } = regionsOf(footer, 1);
    expect(decodeTrailer(trailer, index.dataBytes + footer.length + 1)).toBeNull();
    expect(decodeTrailer(trailer.subarray(1), index.dataBytes + footer.length)).toBeNull();
  });
});

describe('storage 3.5: blocks', () => {
  it('the next block is read while the last one is being sent, and many readers share one read', async () => {
    const clock = new SimClock();
    const metadata = new FakeMetadata();
    const limits = { blockBytes: 1500, sweepBytes: 1, tailCacheBytes: 0, blockCacheBytes: 1 << 20 };
    const journal = await startJournal({ disk: new SimDisk(), clock, metadata, limits });
    const got = new AppendRecorder(journal);
    const log = new TestLog(shard, 1);
    for (let at = 0; at < 30; at++) {
      const entry = log.data(1, 1000, { bytes: 250 });
      got.stream.send([entry]);
      await got.durable(log.segment, entry.entryId);
      await clock.advance(1);
    }
    const sealed = { state: 'sealed' as const, endEntry: 29, endOffset: 30 };
    metadata.set(shard, [{ id: log.segment, ...sealed }]);
    await clock.advance(10);
    const page = (offset: number): ReadRequest => ({
      shard,
      segment: log.segment,
      offset,
      limit: 30,
      maxBytes: 600,
    });
    const before = journal.counters.blocksRead;
    expect(journal.readCached(page(0))).toBeNull();
    const answers = await Promise.all(Array.from({ length: 20 }, () => journal.read(page(0))));
    await clock.advance(10);
    expect(new Set(answers.map((answer) => answer.nextOffset)).size).toBe(1);
    // The one that was asked for, and the one behind it.
    expect(journal.counters.blocksRead - before).toBe(2);
    let cached = 0;
    for (let offset = 0; offset < 30; ) {
      const answer = journal.readCached(page(offset));
      if (answer !== null) cached++;
      offset = (answer ?? (await journal.read(page(offset)))).nextOffset;
      await clock.advance(10);
    }
    expect(cached).toBeGreaterThan(12);
  });
});

describe('storage 3.4: entries that are in no segment', () => {
  it('make sources pause at their bound, until a quarter of it is written', async () => {
    const clock = new SimClock();
    let slow = true;
    const latencyMs = (op: { io: string | null }): number => (slow && op.io === 'writeBehind' ? 60_000 : 0);
    const disk = new SimDisk({ clock, latencyMs });
    /** The disk works while this is awaited, but for what is slow. */
    const during = async <Result>(work: Promise<Result>): Promise<Result> => {
      let over = false;
      void work.finally(() => (over = true));
      while (!over) {
        await clock.advance(1);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return work;
    };
    const limits = { tailBytes: 4 << 20, walBytes: 64 << 20 };
    const journal = await during(startJournal({ disk, clock, limits }));
    const got = new AppendRecorder(journal);
    const log = new TestLog(shard, 1);
    const send = async (count: number): Promise<void> => {
      for (let at = 0; at < count; at++) {
        const entry = log.data(1, 1000, { bytes: 500_000 });
        got.stream.send([entry]);
        await got.durable(log.segment, entry.entryId);
      }
    };
    await during(send(8));
    expect([journal.counters.tailBytes < 4 << 20, got.pressed, got.admitted]).toEqual([true, false, true]);
    await during(send(1));
    expect([got.pressed, got.admitted, got.refusals]).toEqual([true, true, []]);
    // Who comes now is told at once.
    const late = new AppendRecorder(journal);
    await late.until(() => late.pressed);
    slow = false;
    await clock.advance(60_000);
    await during(got.until(() => !got.pressed));
    expect(journal.counters.tailBytes).toBeLessThanOrEqual(3 << 20);
  });
});

describe('storage 3.4: what waits for the log', () => {
  it('finds room as long as brokers pause their sources: 32 MiB in one turn are not refused', async () => {
    const journal = await startJournal({
      disk: new SimDisk(),
      clock: new SimClock(),
      limits: { walBytes: 128 << 20, walFileBytes: 8 << 20 },
    });
    const got = new AppendRecorder(journal);
    const log = new TestLog(shard, 1);
    const entries = Array.from({ length: 130 }, () => log.data(1, 1000, { bytes: 250_000 }));
    got.stream.send(entries);
    await got.durable(log.segment, 129);
    expect([got.admitted, got.refusals]).toEqual([true, []]);
  });
});
