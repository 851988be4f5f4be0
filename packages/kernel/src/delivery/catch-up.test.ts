import { silentLogger, systemClock } from '@robustmq/core';
import type { Offset } from '@robustmq/core';
import { BatchEncoder, RecordInput } from '@robustmq/record';
import { describe, expect, it } from 'vitest';
import type { ReadOptions } from '../log/shard-reader.ts';
import { ImageFixture } from '../names/image-fixture.ts';
import { SubjectTable } from '../names/subject-table.ts';
import { filterTokens, keyTokens } from '../names/tokens.ts';
import type { BlockFilter, ReadAnswer, StoredEntry } from '../ports/journal-client.ts';
import { Router } from '../router/router.ts';
import type { Shard } from '../shards/shard.ts';
import { BatchDecoder } from './batch-decoder.ts';
import { CatchUp } from './catch-up.ts';
import type { CatchUpReader } from './delivery-port.ts';
import type { Dispatcher } from './dispatcher.ts';
import { RecordFilter } from './record-filter.ts';

const fixture = new ImageFixture();
const topic = fixture.topic('t', { shards: 1 });
const id = topic.shards[0]!;
const keys = ['a/x', 'a/y', 'b/x', 'b/y', 'c/z', 'c'];
const filters = ['t/a/x', 't/a/y', 't/+/x', 't/b/+', 't/c', 't/#', 't/c/z'];

function isMatch(filter: string, key: string): boolean {
  const pattern = filter.replaceAll('+', '[^/]+').replace(/\/#$/, '/.*');
  return new RegExp(`^${pattern}$`).test(`t/${key}`);
}

/** A log of blocks with one batch each. An answer goes on to the end of its last block, as those of the journal do. */
class Log {
  readonly records: string[] = [];
  readonly #blocks: { entry: StoredEntry; tokens: Set<number> }[] = [];
  reads = 0;

  append(batch: readonly string[]): void {
    const encoder = new BatchEncoder({ batchBytesMax: 1 << 20 });
    const tokens = new Set<number>();
    for (const key of batch) {
      const bytes = Buffer.from(key);
      encoder.append(new RecordInput().setKey(bytes).setValue(bytes));
      keyTokens(bytes, 0, bytes.length, tokens);
    }
    const baseOffset = this.records.length;
    const payload = encoder.finish({ baseOffset });
    this.#blocks.push({ entry: { baseOffset, count: batch.length, flags: 0, payload }, tokens });
    this.records.push(...batch);
  }

  read(offset: Offset, { limit, filter }: ReadOptions): ReadAnswer {
    this.reads++;
    for (const { entry, tokens } of this.#blocks) {
      const end = entry.baseOffset + entry.count;
      if (end <= offset) continue;
      if (entry.baseOffset >= limit) break;
      if (filter !== undefined && !holds(tokens, filter)) continue;
      // Lent: what is kept beyond the call is found to be rubbish.
      const payload = Buffer.from(entry.payload);
      const lease = { end: (): void => void payload.fill(0xdd) };
      return { entries: [{ ...entry, payload }], nextOffset: end, lease };
    }
    return { entries: [], nextOffset: this.records.length };
  }
}

function holds(tokens: ReadonlySet<number>, filter: BlockFilter): boolean {
  return filter.some((alternative) => alternative.every((token) => tokens.has(token)));
}

class Stage {
  readonly log = new Log();
  readonly router = new Router({ defaultTopic: fixture.defaultTopic });
  readonly catchUp: CatchUp;
  readonly #isCached: () => boolean;

  constructor(isCached: () => boolean = () => true) {
    this.#isCached = isCached;
    const subjects = new SubjectTable({ ...fixture, image: () => fixture.image() });
    const decoder = new BatchDecoder(this.router, subjects, () => Buffer.alloc(0));
    this.catchUp = new CatchUp({
      clock: systemClock,
      dispatcher: { routedTo: () => this.log.records.length } as unknown as Dispatcher,
      decoder,
      logger: silentLogger,
      defaultTopic: fixture.defaultTopic,
      openShard: () => Promise.resolve(this.#shard()),
    });
  }

  reader(wanted: readonly string[], next: Offset, room = Infinity): TestReader {
    return new TestReader(this, { wanted, next, room });
  }

  #shard(): Shard {
    return {
      id,
      topic,
      epoch: 1,
      startOffset: 0,
      highWatermark: this.log.records.length,
      readCached: (offset: Offset, options: ReadOptions) =>
        this.#isCached() ? this.log.read(offset, options) : null,
      read: async (offset: Offset, options: ReadOptions) => {
        await turn();
        return this.log.read(offset, options);
      },
    } as unknown as Shard;
  }
}

class TestReader implements CatchUpReader {
  readonly subscriber = this;
  readonly filters: readonly string[];
  readonly from: Offset;
  next: Offset;
  readonly got: Offset[] = [];
  /** Records it takes before it is full; then it comes again with as many. */
  readonly #room: number;
  #left: number;
  readonly #stage: Stage;
  #done: () => void = () => undefined;
  readonly done: Promise<void>;

  constructor(
    stage: Stage,
    { wanted, next, room }: { wanted: readonly string[]; next: Offset; room: number },
  ) {
    this.#stage = stage;
    this.filters = wanted;
    this.from = next;
    this.next = next;
    this.#room = room;
    this.#left = room;
    this.done = new Promise((resolve) => (this.#done = resolve));
  }

  start(): this {
    for (const filter of this.filters) {
      this.#stage.router.subscribe({
        filter,
        subscriber: this,
        guarantee: 1,
        options: null,
        since: new Map(),
        bridging: null,
      });
    }
    this.#stage.catchUp.add(id, this);
    return this;
  }

  take(batch: { records: { offset(row: number): Offset } }, row: number): boolean {
    if (this.#left === 0) {
      setImmediate(() => {
        this.#left = this.#room;
        this.#stage.catchUp.add(id, this);
      });
      return false;
    }
    this.#left--;
    this.got.push(batch.records.offset(row));
    return true;
  }

  caughtUp(): void {
    this.#done();
  }

  skipped(): void {
    throw new Error('nothing is lost here');
  }

  /** What it should have got. */
  due({ records }: Log): Offset[] {
    const offsets: Offset[] = [];
    records.forEach((key, offset) => {
      if (offset >= this.from && this.filters.some((filter) => isMatch(filter, key))) offsets.push(offset);
    });
    return offsets;
  }
}

/** Whole numbers below a bound, the same for the same seed. */
function dice(seed: number): (bound: number) => number {
  let state = seed + 1;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % bound;
  };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('storage 3.6: readers that are behind', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => [seed]))(
    'game %i: get each record from their offsets on, once and in order, whenever they come',
    async (seed) => {
      const below = dice(seed);
      const stage = new Stage(() => below(3) > 0);
      for (let block = 0; block < 60; block++) {
        stage.log.append(Array.from({ length: 1 + below(8) }, () => keys[below(keys.length)]!));
      }
      const readers: TestReader[] = [];
      for (let count = 0; count < 25; count++) {
        const wanted = new Set(Array.from({ length: 1 + below(2) }, () => filters[below(filters.length)]!));
        const room = below(3) === 0 ? 1 + below(5) : Infinity;
        readers.push(stage.reader([...wanted], below(stage.log.records.length), room).start());
        for (let turns = below(4); turns > 0; turns--) await turn();
      }
      await Promise.all(readers.map((reader) => reader.done));
      for (const reader of readers) {
        expect(reader.got, reader.filters.join(' ')).toEqual(reader.due(stage.log));
      }
    },
  );

  it('by thousands, coming one by one, are served while others come, by a few passes over the log', async () => {
    const stage = new Stage(() => false);
    for (let block = 0; block < 50; block++) stage.log.append(['a/x', 'c']);
    const readers: TestReader[] = [];
    for (let count = 0; count < 2000; count++) {
      readers.push(stage.reader(['t/a/x'], 0).start());
      if (count % 4 === 0) await turn();
    }
    // Who always reads for the hindmost gets no further than those who come.
    expect(readers.filter((reader) => reader.got.length === 50).length).toBeGreaterThan(500);
    await Promise.all(readers.map((reader) => reader.done));
    for (const reader of readers) expect(reader.got.length).toBe(50);
    expect(stage.log.reads).toBeLessThan(1500);
  });

  it('from behind end where those ahead stand, be it amid a batch', async () => {
    const stage = new Stage();
    stage.log.append(['a/x', 'a/y', 'a/x', 'a/y', 'a/x', 'a/y']);
    const ahead = stage.reader(['t/a/x', 't/a/y'], 3).start();
    const behind = stage.reader(['t/a/x'], 0).start();
    await Promise.all([ahead.done, behind.done]);
    expect([ahead.got, behind.got]).toEqual([
      [3, 4, 5],
      [0, 2, 4],
    ]);
  });

  it('that begin a little later than others are read for together with them', async () => {
    const stage = new Stage(() => false);
    for (let block = 0; block < 200; block++) stage.log.append(['a/x', 'c']);
    const first = stage.reader(['t/#'], 0).start();
    while (first.got.length < 80) await turn();
    const second = stage.reader(['t/#'], 0).start();
    await Promise.all([first.done, second.done]);
    expect(stage.log.reads).toBeLessThan(250);
  });

  it('by thousands with much to read, coming one by one, are waited for: one pass over the log serves them', async () => {
    const stage = new Stage();
    const block = ['a/x', ...Array.from({ length: 99 }, () => 'c')];
    for (let blocks = 0; blocks < 200; blocks++) stage.log.append(block);
    const readers: TestReader[] = [];
    for (let count = 0; count < 1000; count++) {
      readers.push(stage.reader(['t/a/x'], 0).start());
      if (count % 4 === 0) await turn();
    }
    await Promise.all(readers.map((reader) => reader.done));
    for (const reader of readers) expect(reader.got.length).toBe(200);
    // The first of them had 64 blocks already, at most.
    expect(stage.log.reads).toBeLessThan(300);
  });

  it('one after the other without end are not waited for longer than a second', async () => {
    const stage = new Stage();
    for (let blocks = 0; blocks < 200; blocks++)
      stage.log.append(['a/x', ...Array.from({ length: 99 }, () => 'c')]);
    const start = performance.now();
    const first = stage.reader(['t/a/x'], 0).start();
    let served = 0;
    void first.done.then(() => (served = performance.now() - start));
    while (served === 0 && performance.now() - start < 10_000) {
      stage.reader(['t/a/x'], 0).start();
      await new Promise((resolve) => void setTimeout(resolve, 5));
    }
    expect(served).toBeGreaterThan(0);
    expect(served).toBeLessThan(5000);
    expect(first.got.length).toBe(200);
  });

  it('from far behind do not stop those ahead, nor wait for them', async () => {
    const stage = new Stage(() => false);
    for (let block = 0; block < 200; block++) stage.log.append(['a/x', 'c']);
    const first = stage.reader(['t/#'], 0).start();
    while (first.got.length < 200) await turn();
    const second = stage.reader(['t/#'], 0).start();
    await first.done;
    // It had its head start of 64 blocks, and then one for each of the first's.
    expect(second.got.length).toBeGreaterThan(150);
    expect(second.got.length).toBeLessThan(2 * (100 + 64 + 10));
    await second.done;
    expect(first.got).toEqual(first.due(stage.log));
    expect(second.got).toEqual(second.due(stage.log));
  });
});

describe('a filter of records', () => {
  it('denies no record that a filter of a reader matches, and most others', () => {
    for (const wanted of filters) {
      const tokens = filterTokens(topic, wanted, { defaultTopic: fixture.defaultTopic });
      if (tokens === null) continue;
      const filter = new RecordFilter([tokens]);
      for (const key of keys) {
        const bytes = Buffer.from(`>${key}<`);
        if (isMatch(wanted, key)) expect(filter.mayMatch(bytes, 1, bytes.length - 1)).toBe(true);
      }
      let passed = 0;
      for (let at = 0; at < 1000; at++) {
        const other = Buffer.from(`other/${at}/of/them`);
        if (filter.mayMatch(other, 0, other.length)) passed++;
      }
      expect(passed, wanted).toBeLessThan(50);
    }
  });

  it('asks for the level that fewest filters share', () => {
    const many = Array.from({ length: 500 }, (_, at) => `t/dev/+/own${at}/state`);
    const tokens = many.map((each) => filterTokens(topic, each, { defaultTopic: fixture.defaultTopic })!);
    const filter = new RecordFilter(tokens);
    const stranger = Buffer.from('dev/7/nobody/state');
    const own = Buffer.from('dev/7/own77/state');
    expect(filter.mayMatch(own, 0, own.length)).toBe(true);
    expect(filter.mayMatch(stranger, 0, stranger.length)).toBe(false);
  });

  it('asks for records that show no key', () => {
    const filter = new RecordFilter([filterTokens(topic, 't', { defaultTopic: fixture.defaultTopic })!]);
    const hidden = Buffer.from('a/+/b');
    expect(filter.mayMatch(hidden, -1, -1)).toBe(true);
    expect(filter.mayMatch(hidden, 0, hidden.length)).toBe(true);
    expect(filter.mayMatch(Buffer.from('a/b'), 0, 3)).toBe(false);
  });
});
