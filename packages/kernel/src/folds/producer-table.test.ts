import { ByteReader, ByteWriter } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import { LogBatch } from '../log/log-batch.ts';
import type { ProducerBatch } from './producer-table.ts';
import { ProducerTable } from './producer-table.ts';

const hour = 3600 * 1000;

function batch(firstSequence: number, options: Partial<ProducerBatch> = {}): ProducerBatch {
  return { producerId: 1, epoch: 0, firstSequence, count: 1, ...options };
}

/** What a log that holds these batches in a row, each of one record, gives. */
function tableOf(sequences: readonly number[], options: Partial<ProducerBatch> = {}): ProducerTable {
  const table = new ProducerTable();
  sequences.forEach((sequence, at) => table.record(batch(sequence, options), { baseOffset: 100 + at }, 1000));
  return table;
}

function reloaded(table: ProducerTable, limit?: number): ProducerTable {
  const out = new ByteWriter(64);
  table.encode(out);
  const loaded = new ProducerTable(limit);
  loaded.decode(new ByteReader(out.finish()));
  return loaded;
}

function verdict(table: ProducerTable, of: ProducerBatch): string {
  const answer = table.check(of);
  if (answer.kind === 'committed') return `committed ${answer.baseOffset}`;
  return answer.kind === 'refuse' ? answer.code : answer.kind;
}

describe('sequences', () => {
  it('an unknown producer begins anywhere', () => {
    expect(verdict(new ProducerTable(), batch(17))).toBe('append');
  });

  it('what follows the last one is appended, a gap and what is older than five batches refused', () => {
    const table = tableOf([0, 1, 2, 3, 4, 5, 6]);
    expect(verdict(table, batch(7))).toBe('append');
    expect(verdict(table, batch(8))).toBe('SEQUENCE_OUT_OF_ORDER');
    for (let kept = 2; kept <= 6; kept++) expect(verdict(table, batch(kept))).toBe(`committed ${100 + kept}`);
    for (const old of [0, 1]) expect(verdict(table, batch(old))).toBe('SEQUENCE_OUT_OF_ORDER');
  });

  it('only the same first and last sequence is the same batch', () => {
    const table = tableOf([0]);
    table.record(batch(1, { count: 5 }), { baseOffset: 101 }, 1000);
    expect(verdict(table, batch(1, { count: 5 }))).toBe('committed 101');
    for (const count of [1, 4, 6]) expect(verdict(table, batch(1, { count }))).toBe('SEQUENCE_OUT_OF_ORDER');
    expect(verdict(table, batch(2, { count: 4 }))).toBe('SEQUENCE_OUT_OF_ORDER');
  });

  it('wrap behind 2^31 - 1', () => {
    const top = 2 ** 31 - 1;
    const table = tableOf([top]);
    expect(verdict(table, batch(top))).toBe('committed 100');
    expect(verdict(table, batch(0))).toBe('append');
    expect(verdict(table, batch(1))).toBe('SEQUENCE_OUT_OF_ORDER');
    const across = tableOf([top - 2]);
    across.record(batch(top - 1, { count: 5 }), { baseOffset: 101 }, 1000);
    // It took top - 1, top, 0, 1 and 2.
    expect(verdict(across, batch(3))).toBe('append');
    expect(verdict(reloaded(across), batch(top - 1, { count: 5 }))).toBe('committed 101');
  });

  it('an epoch begins at 0, ends the one before, and forgets its batches', () => {
    const table = tableOf([0, 1], { epoch: 3 });
    expect(verdict(table, batch(2, { epoch: 2 }))).toBe('PRODUCER_EPOCH_STALE');
    expect(verdict(table, batch(2, { epoch: 4 }))).toBe('SEQUENCE_OUT_OF_ORDER');
    expect(verdict(table, batch(0, { epoch: 4 }))).toBe('append');
    table.record(batch(0, { epoch: 4 }), { baseOffset: 200 }, 1000);
    expect(verdict(table, batch(1, { epoch: 3 }))).toBe('PRODUCER_EPOCH_STALE');
    expect(verdict(table, batch(0, { epoch: 4 }))).toBe('committed 200');
    expect(verdict(table, batch(1, { epoch: 4 }))).toBe('append');
  });

  it('producers do not see each other', () => {
    const table = tableOf([0, 1]);
    expect(verdict(table, batch(0, { producerId: 2 }))).toBe('append');
    expect(verdict(table, batch(2))).toBe('append');
  });
});

describe('a batch in flight', () => {
  it('is joined by its repetition until it commits, and then answered with its offset', () => {
    const table = new ProducerTable();
    const inflight = new LogBatch(false);
    table.record(batch(0), { inflight }, 1000);
    expect(table.check(batch(0))).toEqual({ kind: 'inflight', batch: inflight });
    expect(verdict(table, batch(1))).toBe('append');
    inflight.baseOffset = 55;
    table.committed(1, inflight);
    expect(verdict(table, batch(0))).toBe('committed 55');
  });

  it('regression: a snapshot held batches without an offset; what it says is what the log holds before it', () => {
    const table = tableOf([0, 1]);
    table.record(batch(2), { inflight: new LogBatch(false) }, 1000);
    const loaded = reloaded(table);
    expect(verdict(loaded, batch(2))).toBe('append');
    expect(verdict(loaded, batch(1))).toBe('committed 101');
    expect(verdict(loaded, batch(3))).toBe('SEQUENCE_OUT_OF_ORDER');
  });
});

describe('bounds', () => {
  function full(limit: number): ProducerTable {
    const table = new ProducerTable(limit);
    for (let producerId = 0; producerId < limit; producerId++) {
      table.record(batch(0, { producerId }), { baseOffset: producerId }, producerId === 0 ? 1 : 30 * hour);
    }
    return table;
  }

  it('a new producer takes the place of those that were silent a day by the time of the log', () => {
    const table = full(10);
    expect(verdict(table, batch(0, { producerId: 99 }))).toBe('append');
    table.record(batch(0, { producerId: 99 }), { baseOffset: 99 }, 90 * hour);
    expect(table.size).toBe(10);
    table.record(batch(0, { producerId: 100 }), { baseOffset: 100 }, 90 * hour);
    // All but the last two are of the day before.
    expect(table.size).toBe(2);
  });

  it('else of the one whose last batch is oldest: it was refused, and one client could keep all others out', () => {
    const table = new ProducerTable(3);
    for (const producerId of [1, 2, 3])
      table.record(batch(0, { producerId }), { baseOffset: producerId }, 1000);
    table.record(batch(1, { producerId: 1 }), { baseOffset: 4 }, 1000);
    expect(verdict(table, batch(0, { producerId: 4 }))).toBe('append');
    table.record(batch(0, { producerId: 4 }), { baseOffset: 5 }, 1000);
    expect(table.size).toBe(3);
    // The second is unknown now, so that it may begin anywhere; the others go on.
    expect(verdict(table, batch(7, { producerId: 2 }))).toBe('append');
    expect(verdict(table, batch(7, { producerId: 1 }))).toBe('SEQUENCE_OUT_OF_ORDER');
    expect(verdict(table, batch(1, { producerId: 1 }))).toBe('committed 4');
    expect(verdict(table, batch(0, { producerId: 3 }))).toBe('committed 3');
    // The order outlives a snapshot.
    const loaded = reloaded(table, 3);
    loaded.record(batch(0, { producerId: 5 }), { baseOffset: 6 }, 1000);
    expect(verdict(loaded, batch(7, { producerId: 3 }))).toBe('append');
    expect(verdict(loaded, batch(1, { producerId: 1 }))).toBe('committed 4');
  });

  it('a producer with a batch in flight is not forgotten, however old its timestamps', () => {
    const table = new ProducerTable(2);
    const inflight = new LogBatch(false);
    table.record(batch(0), { inflight }, 1);
    table.record(batch(0, { producerId: 2 }), { baseOffset: 1 }, 30 * hour);
    table.record(batch(0, { producerId: 3 }), { inflight: new LogBatch(false) }, 30 * hour);
    expect(table.check(batch(0))).toEqual({ kind: 'inflight', batch: inflight });
    expect(verdict(table, batch(0, { producerId: 2 }))).toBe('PRODUCER_LIMIT');
    expect(table.size).toBe(2);
  });
});

describe('I14: the table is a fold of the log', () => {
  it('is the same from the log, and from a snapshot and what follows it', () => {
    for (let cut = 0; cut <= 12; cut++) {
      const whole = new ProducerTable();
      const before = new ProducerTable();
      let after = before;
      for (let at = 0; at < 12; at++) {
        if (at === cut) after = reloaded(before);
        const each = batch(Math.floor(at / 3), { producerId: at % 3, epoch: at % 3 });
        for (const table of [whole, after]) table.record(each, { baseOffset: at }, at);
      }
      const image = (table: ProducerTable): string => {
        const out = new ByteWriter(64);
        table.encode(out);
        return out.finish().toString('hex');
      };
      expect(image(after)).toBe(image(whole));
    }
  });
});
