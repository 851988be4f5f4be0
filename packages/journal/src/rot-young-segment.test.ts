import type { Epoch, ShardId } from '@robustmq/core';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { SimClock, SimDisk, SimRandom } from '@robustmq/sim';
import { expect, it } from 'vitest';
import { FakeMetadata, startJournal } from './journal-fixture.ts';

const pageBytes = 4096;
const headerBytes = 64;
const walPath = '/journal/wal/0001.wal';

it('storage 4.5: a segment of which only its file is left says that the log lost its end', async () => {
  const disk = new SimDisk();
  const metadata = new FakeMetadata();
  const young = new TestLog(1 as ShardId, 1);
  const other = new TestLog(2 as ShardId, 2);
  for (const { shard, segment } of [young, other]) metadata.set(shard, [{ id: segment }]);
  const limits = { walFileBytes: 64 * 1024, walBytes: 256 * 1024, sweepBytes: 1 };
  const clock = new SimClock();
  const journal = await startJournal({ disk, clock, metadata, limits, random: new SimRandom(1) });
  const got = new AppendRecorder(journal);
  const append = async (log: TestLog): Promise<void> => {
    const entry = log.data(1, 1000, { bytes: 200 });
    got.stream.send([entry]);
    await got.durable(log.segment, entry.entryId);
    await clock.advance(10);
  };
  await append(young);
  const firstBytes = young.bytes;
  await append(young);
  await append(other);
  const survivor = disk.kill();
  // As if the second entry had not been written into the file yet: the log alone has it.
  const file = await survivor.open('read', '/journal/segments/1-1.seg');
  await file.truncate('read', firstBytes);
  const bytes = survivor.peek(walPath);
  const [first, second] = young.payloads.map((payload) => bytes.indexOf(payload));
  survivor.rot(walPath, (first! + 100) * 8);
  survivor.poke(walPath, Math.floor(second! / pageBytes) * pageBytes, Buffer.alloc(headerBytes));
  const again = await startJournal({
    disk: survivor,
    clock: new SimClock(),
    metadata,
    limits,
    random: new SimRandom(2),
  });
  const epoch = 2 as Epoch;
  const answers = await again.fence([young, other].map(({ shard, segment }) => ({ shard, segment, epoch })));
  expect(answers.map(({ status, endEntry }) => [status, endEntry])).toEqual([
    ['lost', 0],
    ['ok', 0],
  ]);
  expect(answers[0]!.lostTo).toBeGreaterThanOrEqual(young.next);
});
