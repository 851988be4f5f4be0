import assert from 'node:assert/strict';
import { RobustError } from '@robustmq/core';
import type { Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import { BatchEncoder, RecordInput } from '@robustmq/record';
import { encodeEntryHeader, entryCrcOf, entryFlag } from '../log/entry.ts';
import type {
  AppendAck,
  AppendEntry,
  AppendListener,
  AppendRefusal,
  AppendStream,
  Durability,
  JournalClient,
  ReadAnswer,
} from '../ports/journal-client.ts';
import type { ConformanceTestApi } from './metadata.ts';

/** A journal under test: new and empty. */
export interface JournalSubject {
  readonly journal: JournalClient;
  close(): Promise<void>;
}

export type MakeJournal = () => Promise<JournalSubject>;

const shard = 7 as ShardId;
const deadlineMs = 5000;

/** The promises of `JournalClient` that every implementation keeps; each test runs on a subject of its own. */
export function journalClientConformance(api: ConformanceTestApi, make: MakeJournal): void {
  const withJournal = (body: (journal: JournalClient, got: AppendRecorder) => Promise<void>) => async () => {
    const subject = await make();
    try {
      await body(subject.journal, new AppendRecorder(subject.journal));
    } finally {
      await subject.close();
    }
  };
  api.describe('JournalClient', () => {
    appending(api, withJournal);
    fencing(api, withJournal);
    reading(api, withJournal);
    storing(api, withJournal);
  });
}

type WithJournal = (
  body: (journal: JournalClient, got: AppendRecorder) => Promise<void>,
) => () => Promise<void>;

function appending(api: ConformanceTestApi, withJournal: WithJournal): void {
  api.test(
    'replication 2.2: an append is acknowledged when it is durable, after send has returned',
    withJournal(async (_journal, got) => {
      const log = new TestLog(shard, 1);
      got.stream.send([log.data(3), log.data(2)]);
      assert.equal(got.heard.length, 0);
      await got.durable(log.segment, 1);
      assert.equal(got.lastAck(log.segment).receivedUpTo, 1);
    }),
  );
  api.test(
    'replication 2.2: the same entry again is acknowledged again, another under its id is refused',
    withJournal(async (_journal, got) => {
      const log = new TestLog(shard, 1);
      const first = log.data(1);
      got.stream.send([first]);
      await got.durable(log.segment, 0);
      got.heard.length = 0;
      got.stream.send([first]);
      await got.durable(log.segment, 0);
      got.stream.send([new TestLog(shard, 1).data(2)]);
      await got.until(() => got.refusals.length > 0);
      assert.equal(got.refusals[0]!.code, 'JOURNAL_DIVERGED');
    }),
  );
  api.test(
    'replication 2.2: a gap and a broken chain are refused, and so is everything behind them',
    withJournal(async (_journal, got) => {
      const log = new TestLog(shard, 1);
      const first = log.data(1);
      log.data(1);
      got.stream.send([first, log.data(1), log.data(1)]);
      await got.durable(log.segment, 0);
      await got.until(() => got.refusals.length > 0);
      assert.equal(got.refusals[0]!.code, 'JOURNAL_GAP');
      assert.equal(got.refusals[0]!.entryId, 2);
      const other = new TestLog(shard, 1);
      other.data(2);
      got.refusals.length = 0;
      got.stream.send([other.data(1)]);
      await got.until(() => got.refusals.length > 0);
      assert.equal(got.refusals[0]!.code, 'JOURNAL_DIVERGED');
      assert.equal(got.lastAck(log.segment).durableUpTo, 0);
    }),
  );
  api.test(
    'replication 2.2: a lower epoch than the highest seen is refused',
    withJournal(async (_journal, got) => {
      const young = new TestLog(shard, 2, { epoch: 5 });
      got.stream.send([young.data(1)]);
      await got.durable(young.segment, 0);
      got.stream.send([new TestLog(shard, 1, { epoch: 4 }).data(1)]);
      await got.until(() => got.refusals.length > 0);
      assert.equal(got.refusals[0]!.code, 'JOURNAL_FENCED');
      assert.equal(got.refusals[0]!.epoch, 5);
    }),
  );
  api.test(
    'storage 4.7: an interval append is acknowledged as received, and as durable later',
    withJournal(async (_journal, got) => {
      const log = new TestLog(shard, 1, { durability: { kind: 'interval', ms: 20 } });
      got.stream.send([log.data(1)]);
      await got.until(() => got.heard.length > 0);
      assert.equal(got.heard[0]!.receivedUpTo, 0);
      await got.durable(log.segment, 0);
    }),
  );
  api.test(
    'storage 4.7: a memory append is acknowledged as received and read back',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1, { durability: { kind: 'memory' } });
      got.stream.send([log.data(4)]);
      await got.until(() => got.heard.length > 0);
      assert.deepEqual([got.heard[0]!.receivedUpTo, got.heard[0]!.durableUpTo], [0, -1]);
      const answer = await read(journal, log, { offset: 0 });
      assert.equal(answer.nextOffset, 4);
    }),
  );
}

function fencing(api: ConformanceTestApi, withJournal: WithJournal): void {
  api.test(
    'replication 2.5: a fence answers the end and refuses lower epochs from then on',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1, { epoch: 3, baseOffset: 100 });
      got.stream.send([log.data(5), log.control('x'), log.data(5)]);
      await got.durable(log.segment, 2);
      const [answer] = await journal.fence([{ shard, segment: log.segment, epoch: 4 as Epoch }]);
      assert.deepEqual(
        [answer!.status, answer!.endEntry, answer!.endOffset, answer!.chainCrc, answer!.epoch],
        ['ok', 2, 110, log.crc, 4],
      );
      assert.equal(answer!.maxTimestamp, log.maxTimestamp);
      got.stream.send([log.data(1)]);
      await got.until(() => got.refusals.length > 0);
      assert.equal(got.refusals[0]!.code, 'JOURNAL_FENCED');
    }),
  );
  api.test(
    'replication 2.5: a fence below the highest epoch says so, and an unknown segment is empty',
    withJournal(async (journal) => {
      const segment = 9 as SegmentId;
      await journal.fence([{ shard, segment, epoch: 4 as Epoch }]);
      const [old, same] = await journal.fence([
        { shard, segment, epoch: 3 as Epoch },
        { shard, segment, epoch: 4 as Epoch },
      ]);
      assert.deepEqual([old!.status, old!.epoch], ['fenced', 4]);
      assert.deepEqual([same!.status, same!.endEntry], ['ok', -1]);
    }),
  );
}

function reading(api: ConformanceTestApi, withJournal: WithJournal): void {
  api.test(
    'replication 2.3: a read starts at the entry that holds the offset and ends below the limit',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1, { baseOffset: 50 });
      got.stream.send([log.data(10), log.data(10), log.data(10)]);
      await got.durable(log.segment, 2);
      const middle = await read(journal, log, { offset: 65, limit: 70 });
      assert.deepEqual(
        middle.entries.map((entry) => entry.baseOffset),
        [60],
      );
      assert.equal(middle.nextOffset, 70);
      assert.deepEqual(middle.entries[0]!.payload, log.payloads[1]);
      const all = await read(journal, log, { offset: 0 });
      assert.deepEqual(
        all.entries.map((entry) => entry.baseOffset),
        [50, 60, 70],
      );
      assert.equal(all.nextOffset, 80);
    }),
  );
  api.test(
    'replication 2.3: at least one entry is returned, more only while they fit',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1);
      got.stream.send([log.data(10), log.data(10)]);
      await got.durable(log.segment, 1);
      const small = await read(journal, log, { offset: 0, maxBytes: 1 });
      assert.deepEqual([small.entries.length, small.nextOffset], [1, 10]);
    }),
  );
  api.test(
    'storage 3.1: control entries are returned in their place, those at the very end included',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1);
      got.stream.send([log.control('head'), log.data(4), log.control('tail')]);
      await got.durable(log.segment, 2);
      const all = await read(journal, log, { offset: 0, limit: 4 });
      assert.deepEqual(
        all.entries.map((entry) => entry.count),
        [0, 4, 0],
      );
      assert.equal(all.entries[2]!.payload.toString(), 'tail');
      const paged: number[] = [];
      for (let offset = 0; offset < 4; ) {
        const page = await read(journal, log, { offset, limit: 4, maxBytes: 1 });
        paged.push(...page.entries.map((entry) => entry.count));
        offset = page.nextOffset;
      }
      assert.deepEqual(paged.slice(0, 2), [0, 4]);
    }),
  );
  api.test(
    'storage 3.1: a read that ends where it begins returns the control entries that stand there',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1, { baseOffset: 50 });
      got.stream.send([log.control('head')]);
      await got.durable(log.segment, 0);
      const head = await read(journal, log, { offset: 50, limit: 50 });
      assert.deepEqual(
        head.entries.map((entry) => entry.payload.toString()),
        ['head'],
      );
      const behind = new TestLog(shard, 2);
      got.stream.send([behind.control('head'), behind.data(4), behind.control('one'), behind.control('two')]);
      await got.durable(behind.segment, 3);
      const tail = await read(journal, behind, { offset: 4, limit: 4 });
      assert.deepEqual(
        tail.entries.map((entry) => [entry.count, entry.payload.toString()]),
        [
          [0, 'one'],
          [0, 'two'],
        ],
      );
    }),
  );
  api.test(
    'replication 2.3: an unknown segment is an error, not an empty result',
    withJournal(async (journal) => {
      const request = { shard, segment: 99 as SegmentId, offset: 0, limit: 1, maxBytes: 1 };
      await assert.rejects(
        async () => journal.readCached(request) ?? journal.read(request),
        (error) => error instanceof RobustError && error.code === 'JOURNAL_SEGMENT_UNKNOWN',
      );
    }),
  );
  api.test(
    'storage 3.2: a timestamp is found at or before its first record, and null when all are older',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1);
      got.stream.send([log.data(2, 1000), log.data(2, 3000), log.data(2, 2000)]);
      await got.durable(log.segment, 2);
      const seek = (timestamp: number): Promise<Offset | null> =>
        journal.seekTimestamp({ shard, segment: log.segment, timestamp });
      assert.equal(await seek(0), 0);
      const found = await seek(2500);
      assert.ok(found !== null && found <= 2);
      assert.equal(await seek(5000), null);
    }),
  );
}

function storing(api: ConformanceTestApi, withJournal: WithJournal): void {
  api.test(
    'storage 4.2: a fold checkpoint is kept with its offset and replaced whole',
    withJournal(async (journal) => {
      assert.equal(await journal.loadCheckpoint(shard), null);
      await journal.saveCheckpoint(shard, 10, Buffer.from('a longer state'));
      await journal.saveCheckpoint(shard, 20, Buffer.from('state'));
      const found = await journal.loadCheckpoint(shard);
      assert.deepEqual([found!.coveredTo, found!.state.toString()], [20, 'state']);
    }),
  );
  api.test(
    'storage 3.7: a segment written whole is read like any other, with gaps in its offsets',
    withJournal(async (journal) => {
      const log = new TestLog(shard, 5);
      const first = log.data(2);
      log.skip(10);
      const second = log.data(2);
      const request = { shard, segment: log.segment, epoch: 1 as Epoch, entries: [first, second] };
      await journal.writeSegment(request);
      const all = await read(journal, log, { offset: 0 });
      assert.deepEqual(
        all.entries.map((entry) => entry.baseOffset),
        [0, 12],
      );
      const gap = await read(journal, log, { offset: 5 });
      assert.deepEqual([gap.entries[0]!.baseOffset, gap.nextOffset], [12, 14]);
    }),
  );
  api.test(
    'storage 4.6: usage counts bytes by shard',
    withJournal(async (journal, got) => {
      const log = new TestLog(shard, 1);
      got.stream.send([log.data(1)]);
      await got.durable(log.segment, 0);
      const usage = journal.usage();
      assert.equal(usage.shards.get(shard), log.bytes);
      assert.ok(usage.totalBytes >= usage.freeBytes && usage.freeBytes > 0);
    }),
  );
}

async function read(
  journal: JournalClient,
  log: TestLog,
  range: { offset: Offset; limit?: Offset; maxBytes?: number },
): Promise<ReadAnswer> {
  const { offset, limit = Number.MAX_SAFE_INTEGER, maxBytes = 2 ** 20 } = range;
  const request = { shard: log.shard, segment: log.segment, offset, limit, maxBytes };
  return journal.readCached(request) ?? journal.read(request);
}

/** Makes the entries of one segment, dense and chained, as an owner does. */
export class TestLog {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly epoch: Epoch;
  readonly payloads: Buffer[] = [];
  next: Offset;
  crc = 0;
  bytes = 0;
  maxTimestamp = -1;
  readonly #durability: Durability;
  readonly #encoder = new BatchEncoder();
  #entryId = 0;

  constructor(
    shardId: ShardId,
    segment: number,
    options: { epoch?: number; baseOffset?: Offset; durability?: Durability } = {},
  ) {
    this.shard = shardId;
    this.segment = segment as SegmentId;
    this.epoch = (options.epoch ?? 1) as Epoch;
    this.next = options.baseOffset ?? 0;
    this.#durability = options.durability ?? { kind: 'always' };
  }

  /** An entry of `count` records; keys are `key` or `k/<offset>`. */
  data(count: number, timestamp = 1000, value: { key?: string; bytes?: number } = {}): AppendEntry {
    const record = new RecordInput();
    for (let i = 0; i < count; i++) {
      record.timestamp = timestamp;
      record.setKey(Buffer.from(value.key ?? `k/${this.next + i}`));
      record.setValue(Buffer.alloc(value.bytes ?? 20, this.next + i));
      assert.ok(this.#encoder.append(record), 'the records of a test entry fit into one batch');
    }
    this.maxTimestamp = Math.max(this.maxTimestamp, timestamp);
    const batch = this.#encoder.finish({ baseOffset: this.next, leaderEpoch: this.epoch });
    return this.#entry(batch, count, entryFlag.brokerEncoded);
  }

  control(text: string): AppendEntry {
    return this.#entry(Buffer.from(text), 0, entryFlag.control | entryFlag.snapshot);
  }

  /** Leaves offsets out, as compaction does. */
  skip(offsets: number): void {
    this.next += offsets;
  }

  #entry(payload: Buffer, count: number, flags: number): AppendEntry {
    const entryId = this.#entryId++;
    const { shard: shardId, segment, epoch } = this;
    const header = encodeEntryHeader(
      {
        flags,
        shard: shardId,
        entryId,
        segment,
        epoch,
        count,
        baseOffset: this.next,
        lastCommitted: this.next,
        payloadBytes: payload.length,
        previousCrc: this.crc,
      },
      [payload],
    );
    this.crc = entryCrcOf(header);
    this.next += count;
    this.bytes += header.length + payload.length;
    this.payloads.push(payload);
    const durability = this.#durability;
    return {
      shard: shardId,
      segment,
      entryId,
      epoch,
      parts: [header, payload],
      bytes: header.length + payload.length,
      durability,
    };
  }
}

/** Listens on an append stream and lets a test wait for what it hears. */
export class AppendRecorder implements AppendListener {
  readonly heard: AppendAck[] = [];
  readonly refusals: AppendRefusal[] = [];
  readonly stream: AppendStream;
  admitted = true;
  pressed = false;
  ended = false;
  #waiting: (() => void)[] = [];

  constructor(journal: JournalClient) {
    this.stream = journal.openAppendStream(this);
  }

  lastAck(segment: SegmentId): AppendAck {
    const ack = this.heard.findLast((candidate) => candidate.segment === segment);
    assert.ok(ack, 'the segment was acknowledged');
    return ack;
  }

  /** Resolves when the segment is acknowledged as durable up to `entryId`. */
  durable(segment: SegmentId, entryId: number): Promise<void> {
    return this.until(() => this.heard.some((ack) => ack.segment === segment && ack.durableUpTo >= entryId));
  }

  /** Resolves when `done` holds; looked at whenever something was heard. */
  async until(done: () => boolean): Promise<void> {
    const late = setTimeout(() => this.#wake(), deadlineMs);
    const end = Date.now() + deadlineMs;
    while (!done()) {
      if (Date.now() >= end) assert.fail('the journal did not answer in time');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    clearTimeout(late);
  }

  acks(acks: readonly AppendAck[]): void {
    this.heard.push(...acks);
    this.#wake();
  }

  admission(open: boolean): void {
    this.admitted = open;
    this.#wake();
  }

  pressure(pressed: boolean): void {
    this.pressed = pressed;
    this.#wake();
  }

  closed(): void {
    this.ended = true;
    this.#wake();
  }

  refused(refusals: readonly AppendRefusal[]): void {
    this.refusals.push(...refusals);
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
