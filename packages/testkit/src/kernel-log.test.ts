import { batchBaseOffset, batchLeaderEpoch, batchMaxTimestamp } from '@robustmq/record';
import { SimClock } from '@robustmq/sim';
import type {
  Kernel,
  Metadata,
  MetadataCommand,
  MetadataImage,
  MetadataResult,
  MetadataUpdate,
  Shard,
} from '@robustmq/kernel';
import { decodeEntryHeader, entryFlag, LogBatch } from '@robustmq/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  append,
  brokerBatch,
  clientBatch,
  createShard,
  lastSegment,
  outcomeOf,
  produce,
  publishThrough,
  recordOf,
  valuesOf,
} from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

let storage: MemoryStorage;
let kernel: Kernel;
let clock: SimClock;
let shard: Shard;

beforeEach(async () => {
  clock = new SimClock();
  storage = await createMemoryStorage();
  kernel = await startKernel(storage, { modules: { clock } });
  shard = await createShard(kernel, 'orders');
});

afterEach(async () => {
  storage.journal.release();
  storage.journal.crash();
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function segmentsOf(of: Shard): string[] {
  return recordOf(storage, of.id).segments.map(
    ({ state, baseOffset, endOffset }) => `${state} ${baseOffset}-${state === 'open' ? '' : endOffset}`,
  );
}

/** Metadata whose commands wait until the test lets them through, one by one. */
class SlowMetadata implements Metadata {
  readonly #metadata: Metadata;
  #holding = false;
  #held: { kind: string; go: () => Promise<void> }[] = [];

  constructor(metadata: Metadata) {
    this.#metadata = metadata;
  }

  get image(): MetadataImage {
    return this.#metadata.image;
  }

  get held(): string[] {
    return this.#held.map(({ kind }) => kind);
  }

  hold(): void {
    this.#holding = true;
  }

  async releaseOne(): Promise<void> {
    await this.#held.shift()?.go();
  }

  propose(commands: readonly MetadataCommand[]): Promise<(MetadataResult | Error)[]> {
    if (!this.#holding) return this.#metadata.propose(commands);
    return new Promise((resolve) => {
      this.#held.push({
        kind: commands[0]!.kind,
        go: async () => resolve(await this.#metadata.propose(commands)),
      });
    });
  }

  watch(listener: (update: MetadataUpdate) => void): () => void {
    return this.#metadata.watch(listener);
  }
}

describe('offsets and entries', () => {
  it('gives every record the next offset, and batches of one turn share an entry', async () => {
    const outcomes = await Promise.all([
      append(shard, brokerBatch(['a', 'b'])),
      append(shard, brokerBatch(['c'])),
    ]);
    expect(outcomes).toEqual([0, 2]);
    expect(await append(shard, brokerBatch(['d']))).toBe(3);
    expect(await valuesOf(shard)).toEqual(['0:a', '1:b', '2:c', '3:d']);
    const counts = storage.journal.entriesOf(lastSegment(storage, shard.id).id).map(({ count }) => count);
    expect(counts).toEqual([0, 3, 1]);
  });

  it('storage 3.4: takes a batch out of the memory it came in at once, also when it has to wait', async () => {
    // The first one waits for its segment, the second for nothing; the last two share an entry.
    for (const values of [['first'], ['second'], ['third', 'fourth']]) {
      const outcomes = values.map((value) => {
        const { buffer, start, end } = clientBatch([value]);
        const chunk = Buffer.alloc(100 * 1024);
        buffer.copy(chunk, 100, start, end);
        const batch = new LogBatch(false).fill(
          chunk,
          100,
          100 + end - start,
          1,
          batchMaxTimestamp(chunk, 100),
        );
        batch.borrowed = true;
        const outcome = append(shard, batch);
        expect(batch.buffer.buffer.byteLength).toBeLessThan(chunk.length);
        chunk.fill(0xdd);
        return outcome;
      });
      await Promise.all(outcomes);
    }
    expect(await valuesOf(shard)).toEqual(['0:first', '1:second', '2:third', '3:fourth']);
  });

  it('tells of all batches of several entries that one acknowledgement covers, once and in order', async () => {
    await append(shard, brokerBatch(['first']));
    storage.journal.hold();
    const outcomes: ReturnType<typeof append>[] = [];
    for (const values of [['a'], ['b', 'c'], ['d']]) {
      for (const value of values) outcomes.push(append(shard, brokerBatch([value])));
      await turn();
    }
    storage.journal.acknowledge(shard.id, lastSegment(storage, shard.id).id);
    storage.journal.release();
    expect(await Promise.all(outcomes)).toEqual([1, 2, 3, 4]);
    expect(await valuesOf(shard)).toEqual(['0:first', '1:a', '2:b', '3:c', '4:d']);
  });

  it('storage 3.1: keeps the batches of brokers and of clients in entries of their own, in the order they came', async () => {
    const outcomes = [brokerBatch(['a']), clientBatch(['b']), clientBatch(['c']), brokerBatch(['d'])].map(
      (batch) => append(shard, batch),
    );
    expect(await Promise.all(outcomes)).toEqual([0, 1, 2, 3]);
    const entries = storage.journal.entriesOf(lastSegment(storage, shard.id).id).slice(1);
    const broker = entryFlag.brokerEncoded;
    expect(entries.map(({ flags, count }) => [flags & broker, count])).toEqual([
      [broker, 1],
      [0, 2],
      [broker, 1],
    ]);
  });

  it('storage 3.1: makes no entry of more than 2 MiB', async () => {
    const outcomes = [1, 2, 3].map(() => append(shard, brokerBatch(['x'.repeat(900_000)])));
    expect(await Promise.all(outcomes)).toEqual([0, 1, 2]);
    const entries = storage.journal.entriesOf(lastSegment(storage, shard.id).id);
    expect(entries.map(({ count }) => count)).toEqual([0, 2, 1]);
  });

  it('survives batches that claim two thousand million records each: their count fits an entry', async () => {
    const batches = [1, 2, 3].map(() => {
      const batch = clientBatch(['x']);
      batch.count = 2 ** 31 - 1;
      return batch;
    });
    const outcomes = await Promise.all(batches.map((batch) => append(shard, batch)));
    expect(outcomes).toEqual([0, 2 ** 31 - 1, 2 * (2 ** 31 - 1)]);
  });

  it('chains the entries of a segment and writes the owner epoch into batches', async () => {
    const first = brokerBatch(['a']);
    await append(shard, first);
    await append(shard, brokerBatch(['b']));
    expect(batchLeaderEpoch(first.buffer, first.start)).toBe(shard.epoch);
    expect(batchBaseOffset(first.buffer, first.start)).toBe(0);
    const { crcs, previous } = storage.journal.chainOf(lastSegment(storage, shard.id).id);
    expect(previous).toEqual([0, ...crcs.slice(0, -1)]);
  });

  it('moves the high watermark only with the acknowledgement, and wakes who waits for it once', async () => {
    await append(shard, brokerBatch(['a']));
    let woken = 0;
    shard.onAdvance(() => woken++);
    const untold = shard.onAdvance(() => expect.unreachable('taken back'));
    untold();
    storage.journal.hold();
    const waiting = append(shard, brokerBatch(['b']));
    await turn();
    await turn();
    expect([shard.highWatermark, shard.log.nextOffset, woken]).toEqual([1, 2, 0]);
    storage.journal.release();
    expect(await waiting).toBe(1);
    await append(shard, brokerBatch(['c']));
    expect([shard.highWatermark, woken]).toEqual([3, 1]);
  });
});

describe('roll', () => {
  it('by size: the next segment begins where the last one ends and has the state at its head', async () => {
    const small = await createShard(kernel, 'small', { 'segment.bytes': String(1024 * 1024) });
    for (let at = 0; at < 4; at++) await append(small, brokerBatch(['x'.repeat(600_000)]));
    await waitUntil(() => recordOf(storage, small.id).segments.length === 3);
    expect(segmentsOf(small)).toEqual(['sealed 0-2', 'sealed 2-4', 'open 4-']);
    // The head of a new segment is on its way in the turn behind the roll.
    await waitUntil(() => storage.journal.entriesOf(lastSegment(storage, small.id).id).length > 0);
    for (const { id } of recordOf(storage, small.id).segments) {
      const [head] = storage.journal.entriesOf(id);
      expect(head!.flags & (entryFlag.control | entryFlag.snapshot)).toBe(
        entryFlag.control | entryFlag.snapshot,
      );
    }
    expect((await valuesOf(small)).length).toBe(4);
  });

  it('seals what the journal holds: entries, bytes, highest timestamp and the chain', async () => {
    const small = await createShard(kernel, 'small', { 'segment.bytes': String(1024 * 1024) });
    await append(small, brokerBatch(['x'.repeat(600_000)], { timestamp: 5000 }));
    await append(small, brokerBatch(['x'.repeat(600_000)], { timestamp: 4000 }));
    await waitUntil(() => recordOf(storage, small.id).segments.length === 2);
    const sealed = recordOf(storage, small.id).segments[0]!;
    const [answer] = await storage.journal.fence([
      { shard: small.id, segment: sealed.id, epoch: small.epoch },
    ]);
    expect(answer).toMatchObject({
      endEntry: sealed.endEntry,
      endOffset: sealed.endOffset,
      bytes: sealed.bytes,
      chainCrc: sealed.chainCrc,
      maxTimestamp: 5000,
    });
    expect(sealed.maxTimestamp).toBe(5000);
  });

  it('I7: gives no acknowledgement on a segment between the proposal of its roll and the outcome', async () => {
    const small = await createShard(kernel, 'small', { 'segment.bytes': String(1024 * 1024) });
    await append(small, brokerBatch(['head']));
    storage.journal.hold();
    const first = append(small, brokerBatch(['x'.repeat(1_100_000)]));
    await turn();
    const second = append(small, brokerBatch(['y']));
    await turn();
    await turn();
    // The roll is due, and waits for what is in flight; nothing new is sent on the old segment.
    expect(segmentsOf(small)).toEqual(['open 0-']);
    expect(small.log.nextOffset).toBe(2);
    storage.journal.release();
    expect(await first).toBe(1);
    expect(await second).toBe(2);
    expect(segmentsOf(small)).toEqual(['sealed 0-2', 'open 2-']);
  });

  it('storage 3.2: by age, and not while the segment holds no record', async () => {
    const young = await createShard(kernel, 'young', { 'segment.ms': '1000' });
    await append(young, brokerBatch(['a'], { timestamp: clock.now() }));
    await clock.advance(999);
    await kernel.enforceRetention();
    expect(segmentsOf(young)).toEqual(['open 0-']);
    await clock.advance(2);
    await kernel.enforceRetention();
    await waitUntil(() => recordOf(storage, young.id).segments.length === 2);
    expect(segmentsOf(young)).toEqual(['sealed 0-1', 'open 1-']);
    // Regression: state at the head counted as content, and an idle shard rolled for ever.
    for (let pass = 0; pass < 3; pass++) {
      await clock.advance(5000);
      await kernel.enforceRetention();
    }
    expect(segmentsOf(young)).toEqual(['sealed 0-1', 'open 1-']);
  });
});

describe('retention of the open segment', () => {
  it('rolls a segment whose newest record is too old, so that it can be trimmed', async () => {
    const brief = await createShard(kernel, 'brief', { 'retention.ms': '5000' });
    await append(brief, brokerBatch(['a'], { timestamp: clock.now() }));
    await clock.advance(5001);
    await kernel.enforceRetention();
    await waitUntil(() => recordOf(storage, brief.id).segments.length === 2);
    await kernel.enforceRetention();
    // Regression: what was written stayed until the segment was a day old, whatever the retention.
    expect(brief.startOffset).toBe(1);
    expect(segmentsOf(brief)).toEqual(['open 1-']);
    expect(await append(brief, brokerBatch(['b']))).toBe(1);
  });
});

describe('an owner that lost its place', () => {
  it('is fenced: what is in flight is unknown, and the shard reopens under the new epoch', async () => {
    await append(shard, brokerBatch(['a']));
    const segment = lastSegment(storage, shard.id).id;
    await storage.journal.fence([
      { shard: shard.id, segment, epoch: (shard.epoch + 1) as typeof shard.epoch },
    ]);
    expect(await append(shard, brokerBatch(['b']))).toBe('OUTCOME_UNKNOWN');
    expect(await append(shard, brokerBatch(['c']))).toBe('OUTCOME_UNKNOWN');
    expect(kernel.readyShard(shard.id)).toBe(null);
  });

  it('a roll that metadata refuses ends it; nothing is acknowledged', async () => {
    await append(shard, brokerBatch(['a']));
    await storage.metadata.propose([
      { kind: 'startBroker', broker: kernel.modules.mesh.self, addresses: new Map(), takeAll: true },
    ]);
    const young = await createShard(kernel, 'other', { 'segment.ms': '1000' });
    await append(young, brokerBatch(['x']));
    await storage.metadata.propose([
      { kind: 'startBroker', broker: kernel.modules.mesh.self, addresses: new Map(), takeAll: true },
    ]);
    await clock.advance(2000);
    await kernel.enforceRetention();
    expect(await append(young, brokerBatch(['y']))).toBe('SHARD_FENCED');
    expect(recordOf(storage, young.id).segments.length).toBe(1);
  });
});

describe('a journal in trouble', () => {
  it('a broken stream makes what is in flight unknown; later appends go on over a new one', async () => {
    await append(shard, brokerBatch(['a']));
    storage.journal.hold();
    const lost = append(shard, brokerBatch(['b']));
    await turn();
    storage.journal.disconnect(new Error('cable'));
    expect(await lost).toBe('OUTCOME_UNKNOWN');
    storage.journal.release();
    // Regression: the stream was never opened again, and every append waited for ever.
    const again = await kernel.openShard(shard.id);
    expect(await append(again, brokerBatch(['c']))).toBe(2);
    // It was stored though nobody was told: unknown is not failed.
    expect(await valuesOf(again)).toEqual(['0:a', '1:b', '2:c']);
  });

  it('storage 4.6: a full disk ends no shard: the same entries are sent again until there is room', async () => {
    await append(shard, brokerBatch(['a']));
    storage.journal.refuseAll = 'STORAGE_FULL';
    const first = append(shard, brokerBatch(['b']));
    await turn();
    const second = append(shard, clientBatch(['c']));
    await turn();
    await turn();
    await clock.advance(10_000);
    expect(shard.highWatermark).toBe(1);
    storage.journal.refuseAll = null;
    await clock.advance(1000);
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    expect(kernel.readyShard(shard.id)).toBe(shard);
    expect(await valuesOf(shard)).toEqual(['0:a', '1:b', '2:c']);
  });

  it.each(['JOURNAL_GAP', 'JOURNAL_DIVERGED', 'JOURNAL_SEGMENT_UNKNOWN'] as const)(
    '%s: the outcome is unknown, and the shard goes on after it was opened again',
    async (code) => {
      await append(shard, brokerBatch(['a']));
      storage.journal.refuseAll = code;
      expect(await append(shard, brokerBatch(['b']))).toBe('OUTCOME_UNKNOWN');
      storage.journal.refuseAll = null;
      const again = await kernel.openShard(shard.id);
      expect(await append(again, brokerBatch(['c']))).toBe(1);
      expect(await valuesOf(again)).toEqual(['0:a', '1:c']);
    },
  );

  it('gives back the bytes of what failed', async () => {
    await append(shard, brokerBatch(['a']));
    storage.journal.hold();
    const outcomes = [brokerBatch(['b'.repeat(5000)]), brokerBatch(['c'.repeat(5000)])].map((batch) => {
      shard.stage(batch);
      return outcomeOf(batch);
    });
    expect(kernel.appender.inflightBytes).toBeGreaterThan(10_000);
    await turn();
    storage.journal.disconnect(new Error('cable'));
    expect(await Promise.all(outcomes)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    expect(kernel.appender.inflightBytes).toBe(0);
  });
});

describe('acknowledged before it is durable', () => {
  async function volatileShard(name: string, config: Record<string, string>): Promise<Shard> {
    const opened = await createShard(kernel, name, config);
    await append(opened, brokerBatch(['head']));
    return opened;
  }

  it('storage 4.7: flush=always waits for the disk, flush=interval for the journal', async () => {
    await append(shard, brokerBatch(['head']));
    const lazy = await volatileShard('lazy', { flush: 'interval' });
    storage.journal.durableUpTo = 0;
    expect(await append(lazy, brokerBatch(['a']))).toBe(1);
    let done = false;
    const waiting = append(shard, brokerBatch(['a'])).finally(() => (done = true));
    for (let turns = 0; turns < 10; turns++) await turn();
    expect(done).toBe(false);
    storage.journal.durableUpTo = undefined;
    storage.journal.acknowledge(shard.id, lastSegment(storage, shard.id).id);
    expect(await waiting).toBe(1);
  });

  it('storage 4.5: uses offsets below a limit in the metadata only', async () => {
    const lazy = await volatileShard('lazy', { flush: 'interval' });
    expect(recordOf(storage, lazy.id).offsetLimit).toBeGreaterThanOrEqual(2 ** 20);
    expect(recordOf(storage, shard.id).offsetLimit).toBe(0);
    const huge = clientBatch(['x']);
    huge.count = 2 ** 31 - 1;
    expect(await append(lazy, huge)).toBe(1);
    expect(recordOf(storage, lazy.id).offsetLimit).toBeGreaterThanOrEqual(2 ** 31);
  });

  it('regression: the raise of the limit overlapped with a roll, and offsets came apart', async () => {
    const slow = new SlowMetadata(storage.metadata);
    storage.journal.crash();
    kernel = await startKernel(storage, { modules: { clock, metadata: slow } });
    const lazy = await volatileShard('lazy', { flush: 'interval' });
    const limit = recordOf(storage, lazy.id).offsetLimit;
    const fill = clientBatch(['x']);
    fill.count = limit - lazy.log.nextOffset - 1;
    storage.journal.hold();
    const filled = append(lazy, fill);
    await turn();
    // Of the next batch one record is below the limit, one is not: the raise begins with the first batch in flight.
    slow.hold();
    const beyond = append(lazy, brokerBatch(['y', 'z']));
    await turn();
    storage.journal.release();
    expect(await filled).toBe(1);
    expect(slow.held).toEqual(['raiseOffsetLimit']);
    while (slow.held.length > 0) {
      await slow.releaseOne();
      for (let turns = 0; turns < 3; turns++) await turn();
    }
    expect(await beyond).toBe(limit - 1);
    expect(recordOf(storage, lazy.id).segments.length).toBe(1);
  });

  it('a changed flush policy holds at once: who was sent lazily is not waited for, who comes later is', async () => {
    const topic = await kernel.topics.create('changing', 1, new Map([['flush', 'interval']]));
    const changing = await kernel.openShard(topic.shards[0]!);
    await append(changing, brokerBatch(['head']));
    storage.journal.durableUpTo = 0;
    await kernel.topics.configure(topic, new Map([['flush', 'always']]));
    let done = false;
    const strict = append(changing, brokerBatch(['a'])).finally(() => (done = true));
    for (let turns = 0; turns < 10; turns++) await turn();
    // Regression: the policy stayed as it was when the shard was opened.
    expect(done).toBe(false);
    storage.journal.durableUpTo = undefined;
    storage.journal.acknowledge(changing.id, lastSegment(storage, changing.id).id);
    expect(await strict).toBe(1);
  });
});

describe('idempotent producers on the way through the log', () => {
  it('a repetition of a batch in flight joins it, one of a committed batch is answered at once', async () => {
    await append(shard, brokerBatch(['head']));
    storage.journal.hold();
    const first = produce(shard, { sequence: 0, count: 3 });
    const again = produce(shard, { sequence: 0, count: 3 });
    expect([first.verdict.kind, again.verdict.kind]).toEqual(['append', 'inflight']);
    await turn();
    storage.journal.release();
    expect(await Promise.all([first.outcome, again.outcome])).toEqual([1, 1]);
    const third = produce(shard, { sequence: 0, count: 3 });
    expect([third.verdict.kind, await third.outcome]).toEqual(['committed', 1]);
    expect((await valuesOf(shard)).length).toBe(4);
  });

  it('a repetition that joined a batch hears of its failure, too', async () => {
    await append(shard, brokerBatch(['head']));
    storage.journal.hold();
    const outcomes = [produce(shard, {}), produce(shard, {})].map(({ outcome }) => outcome);
    await turn();
    storage.journal.disconnect(new Error('cable'));
    expect(await Promise.all(outcomes)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
  });
});

it('a log that is closed tells the outcome of everything, and takes nothing more', async () => {
  await publishThrough(kernel, 'a/b', 'x');
  storage.journal.hold();
  const batch = new LogBatch(true);
  const waiting = append(shard, brokerBatch(['a']));
  await kernel.topics.delete(shard.topic);
  expect(await waiting).toBe('TOPIC_NOT_FOUND');
  batch.fill(Buffer.alloc(61), 0, 61, 1, 1);
  expect(await append(shard, batch)).toBe('TOPIC_NOT_FOUND');
  expect(decodeEntryHeader(batch.buffer)).toBe(null);
});
