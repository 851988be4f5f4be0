import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Epoch, SegmentId, ShardId } from '@robustmq/core';
import { checkEntry, decodeEntryHeader, encodeEntryHeader, entryFlag } from '@robustmq/kernel';
import type { CatchUpReader, LogBatch } from '@robustmq/kernel';
import { BatchEncoder, RecordInput } from '@robustmq/record';
import { describe, expect, it, vi } from 'vitest';
import { brokerBatch, createShard, lastSegment, publishThrough } from './kernel-fixture.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { MqttClient } from './mqtt-client.ts';
import { ServerProcess } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const header = {
  flags: entryFlag.brokerEncoded,
  shard: 7 as ShardId,
  entryId: 3,
  segment: 5 as SegmentId,
  epoch: 2 as Epoch,
  count: 2,
  baseOffset: 40,
  lastCommitted: 39,
  previousCrc: 0x1234_5678,
};

function batchOf(text: string): Buffer {
  const encoder = new BatchEncoder();
  const record = new RecordInput();
  record.timestamp = 1000;
  encoder.append(record.setKey(Buffer.from('k')).setValue(Buffer.from(text)));
  return encoder.finish({ baseOffset: 40, leaderEpoch: 2 });
}

function entryOf(payload: readonly Buffer[], flags: number): Buffer {
  const payloadBytes = payload.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([encodeEntryHeader({ ...header, flags, payloadBytes }, payload), ...payload]);
}

describe('storage 3.1: entries', () => {
  it('have a header with exactly these bytes', () => {
    const entry = entryOf([batchOf('a'), batchOf('b')], header.flags);
    const [magic, rest] = [entry.subarray(0, 4).toString(), entry.subarray(4, 60).toString('hex')];
    expect(magic).toBe('RMQE');
    // Version and flags, shard, entry id, segment, epoch, count, base offset, last committed, bytes, previous crc, zero.
    const fields = ['01080000', '00000007', '00000003', '0000000000000005', '00000002', '00000002'];
    fields.push('0000000000000028', '0000000000000027', '0000008c', '12345678', '00000000');
    expect(rest).toBe(fields.join(''));
    expect(decodeEntryHeader(entry)).toEqual({ ...header, payloadBytes: 140 });
  });

  it.each([
    ['of records', [batchOf('a'), batchOf('b')], entryFlag.brokerEncoded],
    ['of records that a client encoded', [batchOf('a')], 0],
    ['of control', [Buffer.from('a release, or a piece of a snapshot')], entryFlag.control],
  ] as const)('an entry %s has every byte under a checksum', (_name, payload, flags) => {
    const entry = entryOf(payload, flags);
    expect(checkEntry(entry)).toBe(entry.readUInt32BE(60));
    for (let bit = 0; bit < entry.length * 8; bit++) {
      const damaged = Buffer.from(entry);
      damaged[bit >>> 3]! ^= 1 << (bit & 7);
      expect(checkEntry(damaged), `bit ${bit}`).toBeNull();
    }
    for (let length = 0; length < entry.length; length++) {
      expect(checkEntry(entry.subarray(0, length)), `${length} bytes`).toBeNull();
    }
  });

  it('hold any message that a topic may allow', async () => {
    const kernel = await startKernel(await createMemoryStorage());
    const sized = (bytes: number) =>
      kernel.topics.create(`s${bytes}`, 1, new Map([['max.message.bytes', `${bytes}`]]));
    await expect(sized(1_900_001)).rejects.toMatchObject({ code: 'TOPIC_CONFIG_INVALID' });
    expect((await sized(1_900_000)).shards).toHaveLength(1);
    await kernel.topics.configure(kernel.topics.defaultTopic, new Map([['max.message.bytes', '1900000']]));
    expect(await publishThrough(kernel, 'large', Buffer.alloc(1_899_800))).toBe(0);
    expect(await publishThrough(kernel, 'large', Buffer.alloc(1_900_000))).toBe('BATCH_TOO_LARGE');
    await kernel.stop();
  });
});

describe('storage 3.6: one scan serves all sessions that are behind on a shard', () => {
  it('a block is read once for all, and each gets what lies behind its own offset', async () => {
    const storage = await createMemoryStorage();
    const kernel = await startKernel(storage);
    const count = 60;
    const text = 'v'.repeat(50_000);
    for (let at = 0; at < count; at++) await publishThrough(kernel, 'scan/a', text);
    const { shard } = kernel.subjects.forPublish('scan/a');
    const shards = await kernel.subscriptions.prepare(['scan/a']);
    const read = vi.spyOn(storage.journal, 'readCached');
    const seen = new Map<object, number[]>();
    const readers = Array.from({ length: 100 }, (_, index) => {
      const subscriber = { index };
      const request = {
        filter: 'scan/a',
        subscriber,
        guarantee: 1,
        options: null,
        since: new Map(),
      } as const;
      kernel.subscriptions.subscribe([request], shards);
      seen.set(subscriber, []);
      return { subscriber, next: index % count };
    });
    await Promise.all(
      readers.map(
        ({ subscriber, next }) =>
          new Promise<void>((resolve) => {
            const reader: CatchUpReader = {
              subscriber,
              filters: ['scan/a'],
              next,
              take: (batch, row) => {
                seen.get(subscriber)!.push(batch.records.offset(row));
                return true;
              },
              caughtUp: resolve,
              skipped: () => undefined,
            };
            kernel.catchUp.add(shard, reader);
          }),
      ),
    );
    for (const { subscriber } of readers) {
      const from = subscriber.index % count;
      expect(seen.get(subscriber)).toEqual(Array.from({ length: count - from }, (_, at) => from + at));
    }
    // 3 MB in blocks of 256 KiB, and one more for those that came while the first was read.
    expect(read.mock.calls.length).toBeLessThan(20);
    await kernel.stop();
  });
});

describe('storage 3.4: what is committed', () => {
  it('regression: the batches of committed entries stayed in memory while others were on their way', async () => {
    const storage = await createMemoryStorage();
    const kernel = await startKernel(storage);
    const shard = await createShard(kernel, 'memory');
    const { journal } = storage;
    journal.durableUpTo = -1;
    const stage = (text: string): WeakRef<LogBatch> => {
      const batch = brokerBatch([text]);
      shard.stage(batch);
      return new WeakRef(batch);
    };
    const weak: WeakRef<LogBatch>[] = [];
    for (let at = 0; at < 20; at++) {
      weak.push(stage(`${at}`));
      // Each has an entry of its own, sent and received.
      await waitUntil(() => shard.log.nextOffset === at + 1);
    }
    const { id } = lastSegment(storage, shard.id);
    await waitUntil(() => journal.entriesOf(id).filter(({ count }) => count > 0).length === 20);
    // All but the last one is durable now.
    journal.durableUpTo = journal.entriesOf(id).length - 2;
    journal.acknowledge(shard.id, id);
    expect(shard.highWatermark).toBe(19);
    await vi.waitFor(() => {
      collect();
      expect(weak.map((each) => each.deref() !== undefined)).toEqual([...Array(19).fill(false), true]);
    });
    journal.durableUpTo = undefined;
    journal.acknowledge(shard.id, id);
    expect(shard.highWatermark).toBe(20);
    await kernel.stop();
  });
});

describe('storage 3.4: sources that are faster than the disk', () => {
  it('are paused; regression: what waited for the log was taken for a full disk, and nobody was answered', async () => {
    await using server = await ServerProcess.start();
    const payload = Buffer.alloc(256 * 1024, 'v');
    const [clients, count] = [12, 30];
    let acknowledged = 0;
    let closed = 0;
    for (let at = 0; at < clients; at++) {
      const { client } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: `p${at}` });
      client.listen(
        (packet) => {
          if (packet.type === 'puback' && packet.reasonCode === 0) acknowledged++;
        },
        () => {
          closed++;
        },
      );
      for (let id = 1; id <= count; id++) {
        client.publish({ topic: `flood/${at}/${id % 7}`, qos: 1, packetId: id, payload });
      }
    }
    await waitUntil(() => closed > 0 || acknowledged === clients * count, { timeoutMs: 40_000 });
    expect([acknowledged, closed]).toEqual([clients * count, 0]);
  }, 60_000);
});
