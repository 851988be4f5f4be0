import type { Disk, DiskErrorCode, Epoch, Offset, RobustError, SegmentId, ShardId } from '@robustmq/core';
import type { AppendEntry, Durability, ReadAnswer, SegmentRecord, StoredEntry } from '@robustmq/kernel';
import { keyTokens } from '@robustmq/kernel';
import { firstFailure, LyingDisk, playSeeds, SimClock, SimDisk, SimRandom } from '@robustmq/sim';
import { seedGroups, seedGroupTimeoutMs, settle, traced } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { FakeMetadata, makeJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import type { LocalJournal } from './local-journal.ts';

const phasesPerGame = 6;

const folder = '/journal';
const kibibyte = 1024;
/** So small that every bound is met many times in a game. */
const limits: Partial<JournalLimits> = {
  walFileBytes: 64 * kibibyte,
  tailBytes: 64 * kibibyte,
  tailAgeMs: 200,
  sweepBytes: 12 * kibibyte,
  writeBytes: 4 * kibibyte,
  blockBytes: 2 * kibibyte,
  blockCacheBytes: 16 * kibibyte,
  tailCacheBytes: 8 * kibibyte,
  indexCacheBytes: kibibyte,
  openFiles: 3,
  poolFileBytes: 24 * kibibyte,
  poolFiles: 2,
  reserveBytes: 128 * kibibyte,
  pollMs: 100,
  lazyBytes: 8 * kibibyte,
  deleteAfterMs: 500,
  orphanGraceMs: 2000,
  stopMs: 1000,
};
const keys = ['a/1', 'a/2', 'b/1', 'b/2', 'c'];

/** An entry as its owner sent it. */
interface ModelEntry {
  readonly base: Offset;
  readonly count: number;
  readonly payload: Buffer;
  readonly timestamp: number;
  readonly key: string;
}

/** What an owner knows of one segment. */
class ModelSegment {
  readonly log: TestLog;
  readonly base: Offset;
  readonly entries: ModelEntry[] = [];
  /** Checksum after each entry. */
  readonly crcs: number[] = [];
  /** Last entry that was told to be durable. */
  durable = -1;
  sealed = false;

  constructor(log: TestLog, base: Offset) {
    this.log = log;
    this.base = base;
  }

  get id(): SegmentId {
    return this.log.segment;
  }

  /** Offset behind entry `id`; the segment's base for -1. */
  endOf(id: number): Offset {
    const entry = this.entries[id];
    return entry === undefined ? this.base : entry.base + entry.count;
  }

  get end(): Offset {
    return this.endOf(this.entries.length - 1);
  }

  /** The next entry, noted as sent. */
  make(count: number, value: { key: string; bytes: number; timestamp: number }): AppendEntry {
    const base = this.log.next;
    const { key, bytes, timestamp } = value;
    const entry =
      count === 0 ? this.log.control(`control ${base}`) : this.log.data(count, timestamp, { key, bytes });
    const payload = this.log.payloads.at(-1)!;
    this.entries.push({
      base,
      count,
      payload,
      timestamp: count === 0 ? -1 : timestamp,
      key: count === 0 ? '' : key,
    });
    this.crcs.push(this.log.crc);
    return entry;
  }

  /** Forgets what a fence did not answer: nobody was told that it exists. */
  cutAfter(id: number): void {
    this.entries.length = id + 1;
    this.crcs.length = id + 1;
  }

  record(): Partial<SegmentRecord> & { readonly id: SegmentId } {
    const record = { id: this.id, baseOffset: this.base, writerEpoch: this.log.epoch };
    if (!this.sealed) return record;
    const last = this.entries.length - 1;
    return {
      ...record,
      state: 'sealed',
      endEntry: last,
      endOffset: this.end,
      maxTimestamp: Math.max(-1, ...this.entries.map((entry) => entry.timestamp)),
      chainCrc: this.crcs[last] ?? 0,
    };
  }
}

interface ModelShard {
  readonly id: ShardId;
  readonly durability: Durability;
  epoch: number;
  /** The last one is open unless the shard is between two runs. */
  segments: ModelSegment[];
  /** A refusal ended what can be appended to the open segment. */
  broken: boolean;
  checkpoint: { coveredTo: number; maybe: number };
}

/** What a journal has for a disk. */
type UnderJournal = (disk: SimDisk) => Disk;

/**
 * A random run of one journal over many crashes, against a model of its owners. What was acknowledged as durable is there after
 * every crash, in order, at its offset and byte for byte; more is there only as a prefix of what was sent.
 */
class JournalGame {
  readonly #random: SimRandom;
  readonly #metadata = new FakeMetadata();
  readonly #shards = new Map<ShardId, ModelShard>();
  readonly #walBytes: number;
  readonly #under: UnderJournal;
  /** The disk fills up. */
  readonly #tight: boolean;
  #disk: SimDisk;
  #nextSegment = 1;
  #nextShard = 1;
  crashes = 0;
  /** Crashes before the journal had started. */
  crashesInRecovery = 0;
  #recovering = false;
  recoveredEntries = 0;
  reads = 0;
  skipped = 0;
  refusals = 0;
  rolls = 0;
  trims = 0;
  compactions = 0;
  /** Of all calls of all disks; the same for the same seed. */
  trace = 0;

  constructor(seed: number, under: UnderJournal = (disk) => disk) {
    this.#under = under;
    this.#random = new SimRandom(seed);
    const random = this.#random;
    this.#walBytes = (3 + random.below(4)) * 64 * kibibyte;
    this.#tight = random.chance(0.3);
    const capacityBytes = this.#walBytes + (this.#tight ? 300 + random.below(300) : 100_000) * kibibyte;
    this.#disk = new SimDisk({ seed, capacityBytes });
    for (let count = 1 + random.below(4); count > 0; count--) this.#addShard();
  }

  async play(): Promise<this> {
    for (let phase = 0; phase < phasesPerGame; phase++) {
      const random = this.#random;
      const survivor = await this.#phase(random.chance(0.3) ? 1 + random.below(60) : 1 + random.below(900));
      this.crashes++;
      if (this.#recovering) this.crashesInRecovery++;
      this.trace = traced(this.trace, this.#disk.traceHash);
      this.#disk = survivor;
    }
    return this;
  }

  #addShard(): void {
    const random = this.#random;
    const id = this.#nextShard++ as ShardId;
    const durability: Durability = random.chance(0.3) ? { kind: 'interval', ms: 100 } : { kind: 'always' };
    this.#shards.set(id, {
      id,
      durability,
      epoch: 0,
      segments: [],
      broken: false,
      checkpoint: { coveredTo: -1, maybe: -1 },
    });
  }

  /** Works until the power fails at the given call of the disk; the disk that survives. */
  async #phase(crashAt: number): Promise<SimDisk> {
    const disk = this.#disk;
    let survivor: SimDisk | null = null;
    const crash = (): void => {
      survivor ??= this.#random.chance(0.2) ? disk.kill() : disk.crash();
    };
    // One microtask later the call is under way, and not complete.
    disk.fault = (op) => {
      if (op.number === crashAt) queueMicrotask(crash);
      return run.full && op.kind === 'pwrite' && op.io !== 'wal' ? 'DISK_FULL' : undefined;
    };
    let failure: Error | null = null;
    let over = false;
    const clock = new SimClock();
    const run = new GameRun({
      disk,
      under: this.#under,
      clock,
      walBytes: this.#walBytes,
      metadata: this.#metadata,
      fail: (error) => {
        if (survivor === null) failure ??= error;
      },
    });
    this.#work(run, async () => {
      await settle();
      // With the power, everything stops that has not ended.
      if (survivor !== null) await new Promise(() => undefined);
    }).then(
      () => {
        over = true;
      },
      (error: Error) => {
        failure ??= error;
        over = true;
      },
    );
    while (survivor === null && !over && failure === null) {
      const leap = run.leapMs;
      run.leapMs = 1;
      await clock.advance(leap);
    }
    if (failure !== null) throw failure as Error;
    if (survivor === null) crash();
    return survivor!;
  }

  async #work(run: GameRun, turn: () => Promise<void>): Promise<void> {
    const random = this.#random;
    const { journal } = run;
    this.#recovering = true;
    try {
      await journal.start();
    } catch (error) {
      // Nothing is left for a file of the log: it says so, loses nothing, and starts when somebody makes room.
      if ((error as RobustError).code !== 'DISK_FULL' || !this.#tight) throw error;
      run.disk.capacityBytes += 128 * kibibyte;
      return;
    }
    this.#recovering = false;
    const got = new AppendRecorder(journal);
    expect(journal.counters.lostSegments, 'no false verdict of rot').toBe(0);
    for (const shard of this.#shards.values()) await this.#reopen(run, shard);
    await this.#verifyAll(run);
    const steps = 10 + random.below(120);
    for (let step = 0; step < steps; step++) {
      this.#hear(got);
      run.full = this.#tight && random.chance(run.full ? 0.8 : 0.1);
      for (const shard of this.#shards.values()) if (shard.broken) await this.#reopen(run, shard);
      await this.#act(run, got);
      this.#hear(got);
      for (let turns = random.below(4); turns > 0; turns--) await turn();
    }
    expect(journal.counters.rotEntries, 'no false verdict of rot').toBe(0);
    if (random.chance(0.3)) {
      await journal.stop();
      this.#hear(got);
    }
  }

  async #act(run: GameRun, got: AppendRecorder): Promise<void> {
    const random = this.#random;
    const dice = random.below(100);
    const shard = this.#pick([...this.#shards.values()]);
    if (dice < 50) this.#append(got);
    else if (dice < 60) run.leapMs = random.below(400);
    else if (dice < 80) await this.#read(run, shard);
    else if (dice < 82) await this.#reopen(run, shard);
    else if (dice < 84) this.#roll(got, shard);
    else if (dice < 88) this.#trim(shard);
    else if (dice < 91) await this.#compact(run, shard);
    else if (dice < 95) await this.#saveCheckpoint(run, shard);
    else if (dice < 97) await this.#verifyAll(run);
    else if (dice < 98 && this.#shards.size > 1) this.#deleteShard(shard);
    else if (this.#shards.size < 8) {
      this.#addShard();
      await this.#reopen(run, [...this.#shards.values()].at(-1)!);
    }
  }

  #append(got: AppendRecorder): void {
    const random = this.#random;
    if (!got.admitted) return;
    const entries: AppendEntry[] = [];
    for (let count = 1 + random.below(6); count > 0; count--) {
      const shard = this.#pick([...this.#shards.values()]);
      const bytes = random.chance(0.1) ? random.below(6000) : random.below(200);
      const records = random.chance(0.1) ? 0 : 1 + random.below(3);
      const timestamp = 1000 + random.below(100_000);
      entries.push(shard.segments.at(-1)!.make(records, { key: this.#pick(keys), bytes, timestamp }));
    }
    got.stream.send(entries);
  }

  /** Takes in what the journal has said since the last call. */
  #hear(got: AppendRecorder): void {
    for (const ack of got.heard.splice(0)) {
      const segment = this.#shards.get(ack.shard)?.segments.find((candidate) => candidate.id === ack.segment);
      if (segment === undefined) continue;
      expect(ack.durableUpTo).toBeLessThan(segment.entries.length);
      segment.durable = Math.max(segment.durable, ack.durableUpTo);
    }
    for (const refusal of got.refusals.splice(0)) {
      expect(refusal.code).toBe('STORAGE_FULL');
      this.refusals++;
      const shard = this.#shards.get(refusal.shard);
      if (shard?.segments.at(-1)?.id === refusal.segment) shard.broken = true;
    }
  }

  /** What a new owner does: fences, seals at the answer, and opens the next segment. */
  async #reopen(run: GameRun, shard: ModelShard): Promise<void> {
    shard.epoch++;
    shard.broken = false;
    const open = shard.segments.at(-1);
    if (open !== undefined && !open.sealed) {
      const epoch = shard.epoch as Epoch;
      const [answer] = await run.journal.fence([{ shard: shard.id, segment: open.id, epoch }]);
      expect(answer!.status).toBe('ok');
      expect(answer!.endEntry, `shard ${shard.id}: nothing acknowledged is missing`).toBeGreaterThanOrEqual(
        open.durable,
      );
      expect(answer!.endEntry, `shard ${shard.id}: nothing is invented`).toBeLessThan(open.entries.length);
      expect(answer!.chainCrc).toBe(open.crcs[answer!.endEntry] ?? 0);
      open.cutAfter(answer!.endEntry);
      open.durable = answer!.endEntry;
      expect(answer!.endOffset).toBe(open.end);
      open.sealed = true;
      this.recoveredEntries += open.entries.length;
    }
    this.#openNext(shard);
  }

  /** What an owner does when a segment is large: it seals what it knows to be durable, and opens the next one. */
  #roll(got: AppendRecorder, shard: ModelShard): void {
    this.#hear(got);
    const open = shard.segments.at(-1)!;
    const inFlight = open.durable < open.entries.length - 1;
    if (shard.broken || inFlight || open.entries.length === 0) return;
    open.sealed = true;
    this.#openNext(shard);
    this.rolls++;
  }

  #openNext(shard: ModelShard): void {
    const base = shard.segments.at(-1)?.end ?? 0;
    const { durability } = shard;
    const log = new TestLog(shard.id, this.#nextSegment++, {
      epoch: shard.epoch,
      baseOffset: base,
      durability,
    });
    shard.segments.push(new ModelSegment(log, base));
    this.#publish(shard);
  }

  #publish(shard: ModelShard): void {
    this.#metadata.set(
      shard.id,
      shard.segments.map((segment) => segment.record()),
    );
  }

  #trim(shard: ModelShard): void {
    if (shard.segments.length < 3) return;
    shard.segments.splice(0, 1 + this.#random.below(shard.segments.length - 2));
    this.trims++;
    this.#publish(shard);
  }

  #deleteShard(shard: ModelShard): void {
    this.#shards.delete(shard.id);
    this.#metadata.delete(shard.id);
  }

  /** Replaces a sealed segment by one with some of its entries, at their offsets. */
  async #compact(run: GameRun, shard: ModelShard): Promise<void> {
    const at = this.#random.below(shard.segments.length);
    const from = shard.segments[at]!;
    if (!from.sealed || from.entries.length === 0) return;
    shard.epoch++;
    const log = new TestLog(shard.id, this.#nextSegment++, { epoch: from.log.epoch, baseOffset: from.base });
    const to = new ModelSegment(log, from.base);
    const entries: AppendEntry[] = [];
    for (const { base, count, key, timestamp } of from.entries) {
      if (count === 0 || this.#random.chance(0.5)) continue;
      log.skip(base - log.next);
      entries.push(to.make(count, { key, timestamp, bytes: this.#random.below(300) }));
    }
    try {
      await run.journal.writeSegment({ shard: shard.id, segment: to.id, epoch: log.epoch, entries });
    } catch (error) {
      expect((error as RobustError<DiskErrorCode>).code).toBe('STORAGE_FULL');
      return;
    }
    if (!shard.segments.includes(from)) return;
    to.sealed = true;
    to.durable = to.entries.length - 1;
    if (to.entries.length === 0) return;
    shard.segments[at] = to;
    this.compactions++;
    this.#publish(shard);
  }

  async #saveCheckpoint(run: GameRun, shard: ModelShard): Promise<void> {
    const { checkpoint } = shard;
    const coveredTo = checkpoint.maybe + 1;
    checkpoint.maybe = coveredTo;
    const state = Buffer.alloc(this.#random.below(3000), coveredTo);
    try {
      await run.journal.saveCheckpoint(shard.id, coveredTo, state);
      checkpoint.coveredTo = coveredTo;
    } catch (error) {
      expect((error as RobustError<DiskErrorCode>).code).toBe('STORAGE_FULL');
    }
  }

  async #verifyAll(run: GameRun): Promise<void> {
    for (const shard of [...this.#shards.values()]) {
      for (const segment of shard.segments) await this.#verifySegment(run, shard, segment);
      const { coveredTo, maybe } = shard.checkpoint;
      const found = await run.journal.loadCheckpoint(shard.id);
      if (coveredTo >= 0) expect(found).not.toBeNull();
      if (found === null) continue;
      expect(found.coveredTo).toBeGreaterThanOrEqual(coveredTo);
      expect(found.coveredTo).toBeLessThanOrEqual(maybe);
      expect(found.state.every((byte) => byte === (found.coveredTo & 0xff))).toBe(true);
    }
  }

  /** Reads a segment from its base to its end in pages: every entry comes, data once. */
  async #verifySegment(run: GameRun, shard: ModelShard, segment: ModelSegment): Promise<void> {
    // A journal hears of a segment with its first entry.
    if (segment.entries.length === 0) return;
    const maxBytes = this.#random.chance(0.5) ? 1 + this.#random.below(3000) : 1 << 20;
    const limit = segment.end;
    const found = new Map<string, StoredEntry>();
    let offset = segment.base;
    do {
      const answer = await this.#page(run, { shard, segment, offset, limit, maxBytes });
      for (const entry of answer.entries)
        found.set(`${entry.baseOffset} ${entry.count} ${entry.payload.length}`, entry);
      if (answer.nextOffset === offset && offset < limit) throw new Error('a read makes no progress');
      offset = answer.nextOffset;
    } while (offset < limit);
    const wanted = new Set(
      segment.entries.map(({ base, count, payload }) => `${base} ${count} ${payload.length}`),
    );
    expect([...found.keys()].sort()).toEqual([...wanted].sort());
  }

  async #read(run: GameRun, shard: ModelShard): Promise<void> {
    const random = this.#random;
    const segment = this.#pick(shard.segments);
    if (segment.entries.length === 0) return;
    const { base, end } = segment;
    const offset = base + random.below(end - base + 1);
    const limit = offset + random.below(end - offset + 1);
    const maxBytes = 1 + random.below(6000);
    this.reads++;
    if (random.chance(0.3)) return this.#seek(run, shard, segment);
    if (random.chance(0.5)) await this.#page(run, { shard, segment, offset, limit, maxBytes });
    else await this.#filtered(run, { shard, segment, offset, limit: end, maxBytes });
  }

  /** One answer, whose entries are those of the model from `offset` on, without a gap. */
  async #page(run: GameRun, range: ReadRange): Promise<ReadAnswer> {
    const { segment, offset, limit } = range;
    const answer = await run.read(range);
    const known = segment.entries.filter(
      (entry) =>
        (entry.count === 0 ? entry.base >= offset : entry.base + entry.count > offset) &&
        (entry.count === 0 ? entry.base <= limit : entry.base < limit),
    );
    expectEntries(answer.entries, known.slice(0, answer.entries.length));
    const next = known[answer.entries.length];
    if (next !== undefined && next.count > 0) expect(answer.nextOffset).toBeLessThanOrEqual(next.base);
    const last = answer.entries.at(-1);
    if (last !== undefined) expect(answer.nextOffset).toBeGreaterThanOrEqual(last.baseOffset + last.count);
    if (limit > offset && known.some((entry) => entry.count > 0)) {
      expect(answer.entries.some((entry) => entry.count > 0)).toBe(true);
    }
    return answer;
  }

  /** Every entry that has the key comes, whatever is skipped. */
  async #filtered(run: GameRun, range: ReadRange): Promise<void> {
    const key = this.#pick(keys);
    const bytes = Buffer.from(key);
    const tokens: number[] = [];
    keyTokens(bytes, 0, bytes.length, { add: (token) => tokens.push(token) });
    const filter = [Uint32Array.from(tokens)];
    const found = new Set<Offset>();
    let { offset } = range;
    while (offset < range.limit) {
      const answer = await run.read({ ...range, offset, filter });
      for (const entry of answer.entries) if (entry.count > 0) found.add(entry.baseOffset);
      if (answer.nextOffset <= offset) throw new Error('a filtered read makes no progress');
      offset = answer.nextOffset;
    }
    for (const entry of range.segment.entries) {
      if (entry.key !== key || entry.base + entry.count <= range.offset || entry.base >= range.limit)
        continue;
      expect(found.has(entry.base), `the entry at ${entry.base} is skipped`).toBe(true);
    }
    this.skipped = run.journal.counters.blocksSkipped;
  }

  async #seek(run: GameRun, shard: ModelShard, segment: ModelSegment): Promise<void> {
    const timestamp = this.#random.below(102_000);
    const found = await run.journal.seekTimestamp({ shard: shard.id, segment: segment.id, timestamp });
    const first = segment.entries.find((entry) => entry.timestamp >= timestamp);
    if (first === undefined) expect(found).toBeNull();
    else expect(found).toBe(first.base);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)]!;
  }
}

interface ReadRange {
  readonly shard: ModelShard;
  readonly segment: ModelSegment;
  readonly offset: Offset;
  readonly limit: Offset;
  readonly maxBytes: number;
  readonly filter?: readonly Uint32Array[];
}

/** One process: a journal between two crashes. */
class GameRun {
  readonly journal: LocalJournal;
  readonly disk: SimDisk;
  /** Others have filled the volume: whoever does not write to a file that is there already finds no space. */
  full = false;
  /** How far the clock goes in the next turn. */
  leapMs = 1;

  constructor(options: {
    disk: SimDisk;
    under: UnderJournal;
    clock: SimClock;
    walBytes: number;
    metadata: FakeMetadata;
    fail: (error: Error) => void;
  }) {
    const { disk, under, clock, metadata, walBytes, fail } = options;
    this.disk = disk;
    const random = new SimRandom(disk.ops + 1);
    this.journal = makeJournal({
      disk: under(disk),
      folder,
      metadata,
      clock,
      random,
      limits: { ...limits, walBytes },
      onFatal: fail,
    });
  }

  async read({ shard, segment, offset, limit, maxBytes, filter }: ReadRange): Promise<ReadAnswer> {
    const request = { shard: shard.id, segment: segment.id, offset, limit, maxBytes };
    const full = filter === undefined ? request : { ...request, filter };
    return this.journal.readCached(full) ?? (await this.journal.read(full));
  }
}

function expectEntries(found: readonly StoredEntry[], wanted: readonly ModelEntry[]): void {
  expect(found.length).toBe(wanted.length);
  for (let at = 0; at < found.length; at++) {
    const { baseOffset, count, payload } = found[at]!;
    const { base, count: wantedCount, payload: wantedPayload } = wanted[at]!;
    // An `expect` for each of millions of entries was a fifth of a game.
    if (baseOffset === base && count === wantedCount && payload.equals(wantedPayload)) continue;
    expect([baseOffset, count]).toEqual([base, wantedCount]);
    expect(payload).toEqual(wantedPayload);
  }
}

const play = (seed: number, under?: UnderJournal): Promise<JournalGame> =>
  new JournalGame(seed, under).play();

describe('storage 2 to 4: random runs of a journal over crashes, and crashes in recovery', () => {
  for (const group of seedGroups(process.env)) {
    it(
      `seeds ${group.first} to ${group.end - 1}`,
      async ({ task }) => {
        const { games, traces } = await playSeeds(group, (seed) => play(seed));
        Object.assign(task.meta, { traces });
        const sum = (of: (game: JournalGame) => number): number =>
          games.reduce((all, game) => all + of(game), 0);
        expect(sum((game) => game.recoveredEntries)).toBeGreaterThan(0);
        expect(new Set(traces).size, 'another seed is another run').toBe(traces.length);
        if (games.length < 10) return;
        const acts = {
          rolls: sum((game) => game.rolls),
          trims: sum((game) => game.trims),
          compactions: sum((game) => game.compactions),
          crashesInRecovery: sum((game) => game.crashesInRecovery),
        };
        for (const [act, times] of Object.entries(acts)) expect(times, act).toBeGreaterThan(0);
      },
      seedGroupTimeoutMs,
    );
  }
});

describe('mutants: a journal that breaks a rule loses the game', () => {
  it.each<[string, string, UnderJournal, RegExp]>([
    [
      '2.5',
      'a file of the log used again before its segments are synced',
      (disk) => new LyingDisk(disk, { files: (path) => path.endsWith('.seg') }),
      /damaged|missing/,
    ],
    ['2.5', 'directory not synced', (disk) => new LyingDisk(disk, { directories: true }), /missing/],
  ])(
    'storage %s: mutant: %s is caught by the game',
    async (_rule, _title, under, symptom) => {
      const caught = await firstFailure((seed) => play(seed, under));
      expect(caught?.error.message).toMatch(symptom);
    },
    seedGroupTimeoutMs,
  );
});
