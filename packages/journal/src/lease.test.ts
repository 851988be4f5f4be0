import type { ReadAnswer, ReadRequest } from '@robustmq/kernel';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { SimClock, SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as TestLog['shard'];
const count = 60;
/** Blocks of three entries; a cache that holds one, and room for every buffer that leaves it. */
const tiny: Partial<JournalLimits> = {
  blockBytes: 1500,
  sweepBytes: 1,
  tailCacheBytes: 0,
  blockCacheBytes: 1500,
  spareBlockBytes: 1 << 20,
};

interface Rig {
  readonly journal: LocalJournal;
  readonly log: TestLog;
  /** Appends more entries, each written to its segment before the next. */
  readonly append: (entries: number) => Promise<void>;
}

async function rig(limits: Partial<JournalLimits> = tiny): Promise<Rig> {
  const clock = new SimClock();
  const journal = await startJournal({ disk: new SimDisk(), clock, limits });
  const log = new TestLog(shard, 1);
  const got = new AppendRecorder(journal);
  const append = async (entries: number): Promise<void> => {
    for (let at = 0; at < entries; at++) {
      const entry = log.data(1, 1000, { bytes: 250 });
      got.stream.send([entry]);
      await got.durable(log.segment, entry.entryId);
      await clock.advance(1);
    }
  };
  await append(count);
  return { journal, log, append };
}

async function read({ journal, log }: Rig, offset: number, range: Partial<ReadRequest>): Promise<ReadAnswer> {
  const request = { shard, segment: log.segment, offset, limit: count, maxBytes: 1000, ...range };
  return journal.readCached(request) ?? (await journal.read(request));
}

/** Reads everything, leases ended at once, so that every free buffer is used many times. */
async function churn(of: Rig): Promise<void> {
  for (let round = 0; round < 3; round++) {
    for (let offset = 0; offset < count - 6; ) {
      const answer = await read(of, offset, { lent: true });
      expectWhole(of, answer);
      answer.lease?.end();
      offset = answer.nextOffset;
    }
  }
}

function expectWhole({ log }: Rig, { entries }: ReadAnswer): void {
  for (const { baseOffset, payload } of entries) {
    expect(payload.equals(log.payloads[baseOffset]!), `entry at ${baseOffset}`).toBe(true);
  }
}

describe('a lent answer', () => {
  it('keeps its bytes until its lease ends, whatever else is read; then its buffer is used again', async () => {
    const of = await rig();
    const held = await read(of, 0, { lent: true });
    expect(held.entries.length).toBeGreaterThan(1);
    await churn(of);
    expectWhole(of, held);
    held.lease!.end();
    const first = Buffer.from(held.entries[0]!.payload);
    await churn(of);
    expect(held.entries[0]!.payload.equals(first)).toBe(false);
  });

  it('shares its block with others: the last of them ends it, and none twice', async () => {
    const of = await rig();
    const answers = await Promise.all([0, 0, 1, 1, 2].map((offset) => read(of, offset, { lent: true })));
    while (answers.length > 0) {
      await churn(of);
      for (const answer of answers) expectWhole(of, answer);
      const { lease } = answers.shift()!;
      lease!.end();
      lease!.end();
    }
  });

  it('is the caller’s for good when it was not asked for as lent', async () => {
    const of = await rig();
    const kept = await read(of, 0, {});
    const lent = await read(of, 0, { lent: true });
    expect(kept.lease).toBeUndefined();
    lent.lease!.end();
    await churn(of);
    expectWhole(of, kept);
  });

  it('from many readers of one log at once is whole while they thrash a cache of one block', async () => {
    const of = await rig();
    const readers = Array.from({ length: 12 }, async (_, at) => {
      const held: ReadAnswer[] = [];
      for (let offset = at; offset < count - 6; ) {
        const answer = await read(of, offset, { lent: at % 3 !== 0, maxBytes: 400 * (1 + (at % 5)) });
        held.push(answer);
        offset = answer.nextOffset;
        if (held.length > at % 4) {
          const oldest = held.shift()!;
          expectWhole(of, oldest);
          oldest.lease?.end();
        }
      }
      for (const answer of held) expectWhole(of, answer);
    });
    await Promise.all(readers);
  });
});

describe('storage 3.4: an answer from the memory tail', () => {
  it.each([false, true])(
    'is whole when its entries have left and their memory is used again, lent: %s',
    async (lent) => {
      const of = await rig({ ...tiny, tailCacheBytes: 1500 });
      const before = of.journal.counters.blocksRead;
      const held: ReadAnswer[] = [];
      for (let round = 0; round < 5; round++) {
        const newest = of.log.payloads.length - 1;
        held.push(await read(of, newest, { lent, limit: newest + 1 }));
        await of.append(40);
      }
      expect(of.journal.counters.blocksRead).toBe(before);
      expect(held.map(({ entries }) => entries.length)).toEqual([1, 1, 1, 1, 1]);
      for (const answer of held) expectWhole(of, answer);
    },
  );
});

describe('storage 3.4: the cache of blocks', () => {
  it('is not emptied by one pass over a log; what is read again is kept', async () => {
    const of = await rig({ ...tiny, blockCacheBytes: 12_000 });
    const { counters } = of.journal;
    // Twice: the first time it passes through, the second time it stays.
    for (let round = 0; round < 2; round++) {
      for (const offset of [0, 3, 6, 9]) (await read(of, offset, { lent: true })).lease?.end();
    }
    const readsOf = async (offsets: readonly number[]): Promise<number> => {
      const before = counters.blocksRead;
      for (const offset of offsets) (await read(of, offset, { lent: true, maxBytes: 1 })).lease?.end();
      return counters.blocksRead - before;
    };
    await readsOf(Array.from({ length: 14 }, (_, at) => 12 + at * 3));
    expect(await readsOf([0, 3, 6])).toBe(0);
    expect(counters.blockCacheBytes).toBeLessThanOrEqual(12_000);
  });
});
