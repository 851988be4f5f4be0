import type { Kernel, Shard } from '@robustmq/kernel';
import { LogBatch } from '@robustmq/kernel';
import { BatchEncoder, codecs, compressBatch, computeBatchCrc, RecordInput } from '@robustmq/record';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, brokerBatch, createShard, lastSegment } from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

let storage: MemoryStorage;
let kernel: Kernel;
let shard: Shard;

beforeEach(async () => {
  storage = await createMemoryStorage();
  kernel = await startKernel(storage);
  shard = await createShard(kernel, 'orders');
});

afterEach(() => storage.journal.crash());

/** A compressed batch of `count` records of `bytes` each. */
function compressed(count: number, bytes: number): LogBatch {
  const encoder = new BatchEncoder({ batchBytesMax: 2 ** 22 });
  const record = new RecordInput();
  record.timestamp = 1;
  for (let at = 0; at < count; at++) {
    encoder.append(record.setKey(Buffer.from('k')).setValue(Buffer.from(`z${at}`.padEnd(bytes, '.'))));
  }
  const buffer = compressBatch(codecs.gzip, encoder.finish());
  return new LogBatch(false).fill(buffer, 0, buffer.length, count, 1);
}

async function lookUp(offsets: readonly number[]): Promise<string[]> {
  const found: string[] = [];
  await kernel.lookup.read(shard, offsets, (batch, row) => {
    const text = batch.records.value(row)!.toString().replace(/\.+$/, '');
    found.push(`${batch.records.offset(row)}:${text}:${batch.subjects[row]?.name}`);
  });
  return found;
}

describe('records looked up by their offsets', () => {
  it('are found wherever they are, several in a batch, each once and in order', async () => {
    await append(shard, brokerBatch(['a', 'b', 'c']));
    await append(shard, compressed(3, 10));
    await append(shard, compressed(2, 100_000));
    for (const value of ['d', 'e']) await append(shard, brokerBatch([value]));
    expect(await lookUp([0, 2, 4, 5, 7, 9])).toEqual([
      '0:a:orders/k',
      '2:c:orders/k',
      '4:z1:orders/k',
      '5:z2:orders/k',
      '7:z1:orders/k',
      '9:e:orders/k',
    ]);
    expect(await lookUp([])).toEqual([]);
    expect(await lookUp([8])).toEqual(['8:d:orders/k']);
  });

  it('are left out when they were trimmed, lost or never there', async () => {
    for (const value of ['a', 'b', 'c', 'd', 'e']) await append(shard, brokerBatch([value]));
    await kernel.trim(shard, 1);
    storage.journal.damage(lastSegment(storage, shard.id).id, 2, 4);
    expect(await lookUp([0, 1, 2, 3, 4, 5, 99])).toEqual(['1:b:orders/k', '4:e:orders/k']);
  });

  it('that can not be decoded are passed over', async () => {
    const bad = compressed(2, 50);
    // The checksum holds, as of a client that compresses wrongly.
    bad.buffer.fill(0xff, 75);
    bad.buffer.writeUInt32BE(computeBatchCrc(bad.buffer, 0, bad.buffer.length), 17);
    await append(shard, brokerBatch(['a']));
    await append(shard, bad);
    await append(shard, brokerBatch(['b']));
    expect(await lookUp([0, 1, 2, 3])).toEqual(['0:a:orders/k', '3:b:orders/k']);
  });
});

describe('producer ids', () => {
  it('are handed out once each, across blocks, callers and restarts', async () => {
    const ids = await Promise.all(Array.from({ length: 2500 }, () => kernel.producerIds.next()));
    expect(new Set(ids).size).toBe(2500);
    expect(ids.every((id) => Number.isSafeInteger(id) && id >= 0)).toBe(true);
    storage.journal.crash();
    kernel = await startKernel(storage);
    const later = await kernel.producerIds.next();
    expect(ids).not.toContain(later);
  });
});

describe('timestamps', () => {
  it('lead to the entry before the first record that is young enough, over segments and trims', async () => {
    const small = await createShard(kernel, 'small', { 'segment.bytes': String(1024 * 1024) });
    for (let at = 0; at < 6; at++) {
      await append(small, brokerBatch(['x'.repeat(600_000)], { timestamp: 1000 + at * 10 }));
    }
    expect(await small.seekTimestamp(0)).toBe(0);
    expect(await small.seekTimestamp(1020)).toBe(2);
    expect(await small.seekTimestamp(1021)).toBe(3);
    expect(await small.seekTimestamp(1051)).toBe(null);
    await kernel.trim(small, 4);
    expect(await small.seekTimestamp(0)).toBe(4);
    expect(await small.seekTimestamp(1050)).toBe(5);
  });
});
