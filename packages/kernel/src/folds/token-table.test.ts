import { ByteReader, ByteWriter } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import { TokenTable } from './token-table.ts';

describe('open tokens', () => {
  it('are known from the record until the release, by session', () => {
    const table = new TokenTable();
    table.add(900, 1, 10);
    table.add(900, 2, 11);
    table.add(901, 1, 12);
    expect([table.has(900, 1), table.has(901, 1), table.has(901, 2), table.has(902, 1)]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    table.release(900, 1);
    expect([table.has(900, 1), table.size, table.openOf(900), table.openOf(902)]).toEqual([
      false,
      2,
      [2],
      [],
    ]);
  });

  it('count once, however often their record or their release comes', () => {
    const table = new TokenTable();
    for (let times = 0; times < 3; times++) table.add(900, 1, times);
    expect(table.size).toBe(1);
    for (let times = 0; times < 3; times++) table.release(900, 1);
    table.release(7, 7);
    expect(table.size).toBe(0);
  });

  it('are the same from a snapshot, which replaces what was known', () => {
    const table = new TokenTable();
    for (let token = 0; token < 1000; token++) table.add(token % 7, token * 4_000_003, token);
    const out = new ByteWriter(64);
    table.encode(out);
    const loaded = new TokenTable();
    loaded.add(5, 5, 5);
    loaded.decode(new ByteReader(out.finish()));
    expect(loaded.size).toBe(1000);
    expect(loaded.has(5, 5)).toBe(false);
    for (let id = 0; id < 7; id++) expect(loaded.openOf(id)).toEqual(table.openOf(id));
  });
});
