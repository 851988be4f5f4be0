import type { Epoch } from '@robustmq/core';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import type { SimOp } from '@robustmq/sim';
import { SimClock, SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { FakeMetadata, startJournal } from './journal-fixture.ts';

const shard = 7 as TestLog['shard'];
const entries = 20;

/** Which call of the disk fails, once. */
const cases: readonly (readonly [string, (op: SimOp) => boolean])[] = [
  ['a write of the log', (op) => op.kind === 'pwrite' && op.io === 'wal'],
  ['a write of a segment', (op) => op.kind === 'pwrite' && op.path.endsWith('.seg')],
  ['a sync of a segment', (op) => op.kind === 'sync' && op.path.endsWith('.seg')],
];

describe('storage 1.9: an input/output error', () => {
  it.each(cases)(
    'of %s ends the process, and what was acknowledged survives the power cut behind it',
    async (_, hits) => {
      const fatal: string[] = [];
      const note = (error: Error): void => void fatal.push((error as Error & { code: string }).code);
      const disk = new SimDisk({ seed: 3, onFatal: note });
      const clock = new SimClock();
      const metadata = new FakeMetadata();
      const journal = await startJournal({
        disk,
        clock,
        metadata,
        limits: { tailAgeMs: 100 },
        onFatal: note,
      });
      const got = new AppendRecorder(journal);
      const log = new TestLog(shard, 1);
      metadata.set(shard, [{ id: log.segment }]);
      for (let at = 0; at < entries; at++) {
        if (at === entries / 2) {
          let failed = false;
          disk.fault = (op) => (!failed && (failed = hits(op)) ? 'DISK_IO' : undefined);
        }
        got.stream.send([log.data(1, 1000, { bytes: 2000 })]);
        await clock.advance(50);
        if (fatal.length > 0) break;
      }
      expect(new Set(fatal)).toEqual(new Set(['DISK_IO']));
      const acknowledged = got.lastAck(log.segment).durableUpTo;
      expect(acknowledged).toBeGreaterThanOrEqual(entries / 2 - 1);
      const survivor = await startJournal({ disk: disk.crash(), clock: new SimClock(), metadata });
      const [answer] = await survivor.fence([{ shard, segment: log.segment, epoch: 2 as Epoch }]);
      expect(answer!.status).toBe('ok');
      expect(answer!.endEntry).toBeGreaterThanOrEqual(acknowledged);
    },
  );
});
