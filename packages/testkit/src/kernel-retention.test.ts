import type { Offset, ShardId } from '@robustmq/core';
import type { Fold, FoldKind, Kernel, Shard } from '@robustmq/kernel';
import { SimClock } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, brokerBatch, createShard, recordOf, valuesOf } from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

const hour = 3600 * 1000;

let storage: MemoryStorage;
let clock: SimClock;
let kernel: Kernel;
let shard: Shard;
let fold: Fold<Map<ShardId, Offset>> | null;

beforeEach(async () => {
  clock = new SimClock();
  fold = null;
  storage = await createMemoryStorage();
  kernel = await startKernel(storage, { modules: { clock }, options: { sessionBacklogBytes: 1_500_000 } });
  shard = await createShard(kernel, 'data', {
    'retention.ms': String(hour),
    'segment.bytes': String(1024 * 1024),
  });
});

afterEach(() => storage.journal.crash());

/** A state that still has to read a data shard from an offset on. */
function cursors(): FoldKind<Map<ShardId, Offset>> {
  return {
    topic: '__cursors',
    shards: 1,
    create: () => new Map(),
    apply: (state, { key, value }) => {
      const id = key.readUInt32BE(0) as ShardId;
      if (value === null) state.delete(id);
      else state.set(id, value.readUInt32BE(0));
    },
    live: () => [],
    liveBytes: () => 0,
    floors: (state) => state,
  };
}

async function setCursor(offset: Offset | null): Promise<void> {
  fold ??= await kernel.folds.open(cursors());
  const key = Buffer.alloc(4);
  key.writeUInt32BE(shard.id);
  const value = offset === null ? null : Buffer.alloc(4);
  value?.writeUInt32BE(offset!);
  await fold.shards[0]!.append([{ key, value }]);
}

/** Six records in three sealed segments, all of them too old in the end unless less time passes. */
async function fill(passMs = hour + 1): Promise<void> {
  for (let at = 0; at < 6; at++) {
    await append(shard, brokerBatch(['x'.repeat(550_000)], { timestamp: clock.now() }));
  }
  await waitUntil(() => recordOf(storage, shard.id).segments.length === 4);
  await clock.advance(passMs);
}

describe('a retention pass', () => {
  it('trims what is too old, and readers from below are told', async () => {
    await fill();
    await kernel.enforceRetention();
    expect(shard.startOffset).toBe(6);
    expect(recordOf(storage, shard.id).segments.map(({ state }) => state)).toEqual(['open']);
    await expect(shard.read(5, { maxBytes: 1000, limit: 6 })).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
    });
    expect(await append(shard, brokerBatch(['y']))).toBe(6);
    expect(await valuesOf(shard)).toEqual(['6:y']);
  });

  it.each([-hour, hour / 2])('trims nothing early because the wall clock jumps by %i ms', async (shift) => {
    await fill(0);
    clock.shiftWall(shift);
    expect(await append(shard, brokerBatch(['y'], { timestamp: clock.now() }))).toBe(6);
    await kernel.enforceRetention();
    expect(shard.startOffset).toBe(0);
    expect((await valuesOf(shard)).length).toBe(7);
  });

  it('runs by itself', async () => {
    await fill();
    await clock.advance(10_000);
    await waitUntil(() => shard.startOffset === 6);
  });

  it('semantics 6.1: waits for the lowest cursor while what it holds back is within the bound', async () => {
    await fill();
    // One segment of 1.1 MB lies behind it; 1.5 MB may.
    await setCursor(4);
    await kernel.enforceRetention();
    expect(shard.startOffset).toBe(4);
    await setCursor(null);
    await kernel.enforceRetention();
    expect(shard.startOffset).toBe(6);
  });

  it('semantics 6.1: beyond the bound a cursor holds back no more than the bound', async () => {
    await fill();
    await setCursor(0);
    await kernel.enforceRetention();
    // Two segments would be 2.2 MB.
    expect(shard.startOffset).toBe(4);
  });

  it('trims nothing while some cursors are not known', async () => {
    await fill();
    const { id } = shard;
    await setCursor(4);
    storage.journal.crash();
    kernel = await startKernel(storage, { modules: { clock } });
    const opening = kernel.folds.open(cursors());
    await kernel.enforceRetention();
    expect(recordOf(storage, id).startOffset).toBe(0);
    await opening;
    await kernel.enforceRetention();
    expect(recordOf(storage, id).startOffset).toBe(4);
  });
});

describe('DeleteRecords', () => {
  it('raises the log start inside a segment, up to the high watermark and never back', async () => {
    for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
    expect(await kernel.trim(shard, 2)).toBe(2);
    expect(await valuesOf(shard)).toEqual(['2:c']);
    expect(await kernel.trim(shard, 1)).toBe(2);
    await expect(kernel.trim(shard, 4)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    await expect(kernel.trim(shard, -1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    expect(await kernel.trim(shard, 3)).toBe(3);
    expect(await append(shard, brokerBatch(['d']))).toBe(3);
    storage.journal.crash();
    kernel = await startKernel(storage, { modules: { clock } });
    const again = await kernel.openShard(shard.id);
    expect(await valuesOf(again)).toEqual(['3:d']);
  });
});
