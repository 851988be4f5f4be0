import type { Epoch, Offset, ShardId } from '@robustmq/core';
import { SimClock, SimDisk, settle } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { FakeMetadata, makeJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const shard = 7 as ShardId;
const kibibyte = 1024;
const limits: Partial<JournalLimits> = {
  walFileBytes: 64 * kibibyte,
  walBytes: 192 * kibibyte,
  blockBytes: 8 * kibibyte,
  sweepBytes: 20 * kibibyte,
  writeBytes: 16 * kibibyte,
  tailCacheBytes: 0,
  poolFiles: 1,
  poolFileBytes: 32 * kibibyte,
  deleteAfterMs: 5,
};

/** What owners were told, and what they told metadata, which survives. */
class Owner {
  readonly metadata = new FakeMetadata();
  readonly logs: TestLog[] = [];
  /** Segment id -> last entry acknowledged as durable. */
  readonly durable = new Map<number, number>();
  /** Segments in front of this one were trimmed. */
  first = 0;
  /** Up to which offset the stored fold checkpoint certainly covers. */
  covered = -1;
  /** With the power, everything stops that has not ended. */
  dead = false;

  get open(): TestLog {
    return this.logs.at(-1)!;
  }

  hear(got: AppendRecorder): void {
    for (const ack of got.heard.splice(0)) this.durable.set(ack.segment, ack.durableUpTo);
  }

  roll(): TestLog {
    const baseOffset = this.logs.length === 0 ? 0 : this.open.next;
    this.logs.push(new TestLog(shard, this.logs.length + 1, { baseOffset }));
    this.publish();
    return this.open;
  }

  publish(): void {
    this.metadata.set(
      shard,
      this.logs.slice(this.first).map((log, at) => {
        const baseOffset = log.next - log.payloads.length;
        const row = { id: log.segment, baseOffset };
        if (this.first + at === this.logs.length - 1) return row;
        const end = { endEntry: log.payloads.length - 1, endOffset: log.next, chainCrc: log.crc };
        return { ...row, ...end, state: 'sealed' as const };
      }),
    );
  }
}

function open(disk: SimDisk, clock: SimClock, owner: Owner): LocalJournal {
  return makeJournal({ disk, clock, metadata: owner.metadata, limits, folder: '/journal' });
}

/** Three segments that are filled, swept, sealed and trimmed, over several files of the log. */
async function scripted(journal: LocalJournal, owner: Owner, clock: SimClock): Promise<void> {
  await journal.start();
  const got = new AppendRecorder(journal);
  for (let segment = 0; segment < 4; segment++) {
    const log = owner.roll();
    for (let at = 0; at < 4; at++) {
      const entry = log.data(1, 1000, { bytes: 9 * kibibyte });
      got.stream.send([entry]);
      while ((owner.durable.get(log.segment) ?? -1) < entry.entryId) {
        await settle();
        if (owner.dead) return new Promise(() => undefined);
        owner.hear(got);
      }
    }
    if (segment === 1) {
      await journal.saveCheckpoint(shard, 5, Buffer.from('state'));
      owner.covered = 5;
    }
    if (segment === 2) {
      owner.first = 1;
      owner.publish();
    }
    await clock.advance(10);
    if (owner.dead) return;
  }
  await journal.stop();
}

interface Interrupted {
  readonly survivor: SimDisk;
  readonly owner: Owner;
}

async function interrupted(disk: SimDisk, call: number, how: 'crash' | 'kill'): Promise<Interrupted> {
  const clock = new SimClock();
  const owner = new Owner();
  let survivor: SimDisk | null = null;
  disk.fault = (op) => {
    if (op.number === call) queueMicrotask(() => (survivor ??= disk[how]()));
    return undefined;
  };
  void scripted(open(disk, clock, owner), owner, clock);
  for (let turn = 0; survivor === null && turn < 3000; turn++) await settle();
  owner.dead = true;
  if (survivor === null) throw new Error(`the run never came to call ${call}`);
  return { survivor, owner };
}

async function readAll(journal: LocalJournal, log: TestLog, end: Offset): Promise<void> {
  const base = log.next - log.payloads.length;
  for (let offset = base; offset < end; ) {
    const request = { shard, segment: log.segment, offset, limit: end, maxBytes: 20 * kibibyte };
    const answer = journal.readCached(request) ?? (await journal.read(request));
    for (const { baseOffset, payload } of answer.entries) {
      expect(payload.equals(log.payloads[baseOffset - base]!), `the payload at ${baseOffset}`).toBe(true);
      expect(baseOffset).toBe(offset++);
    }
    expect(answer.nextOffset).toBe(offset);
  }
}

/** Everything acknowledged is there, and nothing that was never sent. */
async function verify(disk: SimDisk, owner: Owner, epoch: number): Promise<void> {
  const clock = new SimClock();
  const journal = open(disk, clock, owner);
  await journal.start();
  const checkpoint = await journal.loadCheckpoint(shard);
  if (owner.covered >= 0) expect(checkpoint).toMatchObject({ coveredTo: 5, state: Buffer.from('state') });
  if (owner.logs.length === 0) return;
  for (const log of owner.logs.slice(owner.first, -1)) await readAll(journal, log, log.next);
  const log = owner.open;
  const [answer] = await journal.fence([{ shard, segment: log.segment, epoch: epoch as Epoch }]);
  expect(answer!.status).toBe('ok');
  expect(answer!.endEntry).toBeGreaterThanOrEqual(owner.durable.get(log.segment) ?? -1);
  expect(answer!.endEntry).toBeLessThan(log.payloads.length);
  // What was answered is promised from now on.
  owner.durable.set(log.segment, answer!.endEntry);
  await readAll(journal, log, answer!.endOffset);
  // Long enough for what was recovered to be written and the log to be given back.
  await clock.advance(1200);
}

describe('storage 2 to 4: power cuts at every call of the disk', () => {
  for (const how of ['crash', 'kill'] as const) {
    it(`a ${how}, and a power cut after the restart, lose nothing`, async () => {
      const whole = new SimDisk();
      const clock = new SimClock();
      const owner = new Owner();
      const running = scripted(open(whole, clock, owner), owner, clock);
      let over = false;
      void running.then(() => (over = true));
      while (!over) await settle();
      expect(whole.ops).toBeGreaterThan(60);
      for (let call = 1; call <= whole.ops; call++) {
        try {
          const cut = await interrupted(new SimDisk({ seed: call }), call, how);
          await verify(cut.survivor, cut.owner, 2);
          await verify(cut.survivor.crash(), cut.owner, 3);
        } catch (error) {
          throw new Error(`${how} at call ${call}`, { cause: error });
        }
      }
    });
  }
});
