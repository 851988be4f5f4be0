import type { Epoch, Offset, RobustError, ShardId } from '@robustmq/core';
import type { AppendEntry, SegmentRecord } from '@robustmq/kernel';
import {
  playSeeds,
  SimClock,
  SimDisk,
  SimRandom,
  seedGroups,
  seedGroupTimeoutMs,
  traced,
} from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { AppendRecorder, TestLog } from '@robustmq/kernel/conformance';
import { FakeMetadata, startJournal } from './journal-fixture.ts';
import type { JournalLimits } from './limits.ts';
import { exposedEntries } from './rot-exposure.ts';
import type { EntryName, JournalImages } from './rot-exposure.ts';
import type { LocalJournal } from './local-journal.ts';

const kibibyte = 1024;
/** RWAL. */
const frameMagic = 0x5257414c;
const limits: Partial<JournalLimits> = {
  walFileBytes: 64 * kibibyte,
  walBytes: 256 * kibibyte,
  tailAgeMs: 400,
  sweepBytes: 12 * kibibyte,
  blockBytes: 2 * kibibyte,
  blockCacheBytes: 4 * kibibyte,
  tailCacheBytes: 2 * kibibyte,
  indexCacheBytes: kibibyte,
};

/** A segment as its owner knows it. */
interface Known {
  readonly log: TestLog;
  readonly base: Offset;
  /** Offset of each entry, by id. */
  readonly bases: Offset[];
  sealedAt: Pick<SegmentRecord, 'endEntry' | 'endOffset'> | null;
}

type Lost = readonly [Offset, Offset];

/** Three shards whose every entry was acknowledged as durable, and a disk that rots under them. */
class RotGame {
  readonly #random: SimRandom;
  readonly #limits: Partial<JournalLimits>;
  readonly #metadata = new FakeMetadata();
  readonly #shards = new Map<ShardId, Known[]>();
  #disk: SimDisk;
  #epoch = 1;
  #segments = 0;
  /** Times that something was said to be lost. */
  losses = 0;
  served = 0;
  /** Times that an entry was not served. */
  missing = 0;
  /** What may not be served any more. */
  #exposed: (name: EntryName) => boolean = () => false;
  /** Of all calls of all disks; the same for the same seed. */
  trace = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    this.#disk = new SimDisk({ seed });
    // Half of the games keep nearly everything in the log alone.
    const lazy = { tailAgeMs: 1e9, sweepBytes: 1 << 20 };
    this.#limits = this.#random.chance(0.5) ? { ...limits, ...lazy } : limits;
    for (const id of [1, 2, 3]) this.#shards.set(id as ShardId, []);
  }

  async play(): Promise<this> {
    await this.#write();
    const before = await this.#images();
    await this.#rot();
    this.#exposed = exposedEntries(before, await this.#images());
    await this.#recover();
    // Nothing rots any more; what was lost is lost still, and said to be.
    await this.#recover();
    return this;
  }

  async #write(): Promise<void> {
    const random = this.#random;
    const clock = new SimClock();
    const journal = await startJournal({
      disk: this.#disk,
      clock,
      metadata: this.#metadata,
      random: this.#random.fork(),
      limits: this.#limits,
    });
    for (const shard of this.#shards.keys()) this.#open(shard, 0);
    const got = new AppendRecorder(journal);
    const rounds = 10 + random.below(40);
    for (let round = 0; round < rounds; round++) {
      const sent: AppendEntry[] = [];
      for (const [shard, segments] of this.#shards) {
        if (random.chance(0.3)) continue;
        if (random.chance(0.05)) this.#roll(shard, segments);
        sent.push(this.#make(segments.at(-1)!));
      }
      got.stream.send(sent);
      for (const { segment, entryId } of sent) await got.durable(segment, entryId);
      await clock.advance(random.below(60));
    }
    this.#cut(random.chance(0.5) ? 'kill' : 'crash');
  }

  #open(shard: ShardId, base: Offset): void {
    const log = new TestLog(shard, ++this.#segments, { baseOffset: base, epoch: this.#epoch });
    this.#shards.get(shard)!.push({ log, base, bases: [], sealedAt: null });
    this.#publish(shard);
  }

  #roll(shard: ShardId, segments: readonly Known[]): void {
    const open = segments.at(-1)!;
    if (open.bases.length === 0) return;
    open.sealedAt = { endEntry: open.bases.length - 1, endOffset: open.log.next };
    this.#open(shard, open.log.next);
  }

  #make({ log, bases }: Known): AppendEntry {
    const random = this.#random;
    bases.push(log.next);
    const bytes = random.chance(0.1) ? random.below(6000) : random.below(300);
    return log.data(1 + random.below(3), 1000, { bytes });
  }

  #publish(shard: ShardId): void {
    this.#metadata.set(
      shard,
      this.#shards.get(shard)!.map(({ log, base, sealedAt }) => ({
        id: log.segment,
        baseOffset: base,
        writerEpoch: log.epoch,
        ...(sealedAt === null ? {} : { state: 'sealed' as const, ...sealedAt }),
      })),
    );
  }

  async #images(): Promise<JournalImages> {
    const images = new Map<string, Buffer>();
    for (const folder of ['wal', 'segments']) {
      for (const { name } of await this.#disk.list(`/journal/${folder}`)) {
        images.set(`${folder}/${name}`, Buffer.from(this.#disk.peek(`/journal/${folder}/${name}`)));
      }
    }
    return images;
  }

  /** Flips bits in segments and in the log, its last frame apart: what rots there cannot be told from torn. */
  async #rot(): Promise<void> {
    const random = this.#random;
    const segments: string[] = [];
    for (const { name, bytes } of await this.#disk.list('/journal/segments')) {
      if (bytes > 0) segments.push(`/journal/segments/${name}`);
    }
    const newest = await this.#newestOfLog();
    for (let flips = 1 + random.below(4); flips > 0; flips--) {
      if (segments.length > 0 && random.chance(0.4)) this.#disk.rot(segments[random.below(segments.length)]!);
      else if (newest.pages > 0) {
        // Headers and tables of frames are a small part of the log, and the one that costs the most.
        const within = random.chance(0.3) ? random.below(90) : random.below(700);
        this.#disk.rot(newest.path, (random.below(newest.pages) * 4096 + within) * 8 + random.below(8));
      }
    }
  }

  /** The newest file of the log, and its pages before the last frame. */
  async #newestOfLog(): Promise<{ path: string; pages: number }> {
    let newest = { path: '', pages: 0, generation: 0 };
    for (const { name } of await this.#disk.list('/journal/wal')) {
      const path = `/journal/wal/${name}`;
      const bytes = this.#disk.peek(path);
      const generation = bytes.readUInt32BE(36);
      if (bytes.readUInt32BE(0) !== frameMagic || generation < newest.generation) continue;
      let pages = 0;
      for (let page = 0; page * 4096 < bytes.length; page++) {
        const at = page * 4096;
        if (bytes.readUInt32BE(at) === frameMagic && bytes.readUInt32BE(at + 36) === generation) pages = page;
      }
      newest = { path, pages, generation };
    }
    return newest;
  }

  async #recover(): Promise<void> {
    this.#epoch++;
    const clock = new SimClock();
    const journal = await startJournal({
      disk: this.#disk,
      clock,
      metadata: this.#metadata,
      random: this.#random.fork(),
      limits: this.#limits,
    });
    for (const [shard, segments] of this.#shards) {
      await this.#takeOver(journal, shard, segments.at(-1)!);
      for (const known of segments) await this.#expectNothingSilent(journal, shard, known);
    }
    // Long enough to write what was recovered; and enough to use the files of the log again.
    const got = new AppendRecorder(journal);
    for (let round = 0; round < 8; round++) {
      const known = this.#shards.get(1 as ShardId)!.at(-1)!;
      known.bases.push(known.log.next);
      const entry = known.log.data(1, 1000, { bytes: 20_000 });
      got.stream.send([entry]);
      await clock.advance(500);
      await got.durable(known.log.segment, entry.entryId);
    }
    this.#cut('crash');
  }

  #cut(how: 'kill' | 'crash'): void {
    this.trace = traced(this.trace, this.#disk.traceHash);
    this.#disk = this.#disk[how]();
  }

  /** Seals what the fence answers, and opens the next segment behind everything that may be lost. */
  async #takeOver(journal: LocalJournal, shard: ShardId, open: Known): Promise<void> {
    const epoch = this.#epoch as Epoch;
    const [answer] = await journal.fence([{ shard, segment: open.log.segment, epoch }]);
    const { status, endEntry, endOffset, lostTo } = answer!;
    expect(['ok', 'lost']).toContain(status);
    if (status === 'lost') this.losses++;
    const last = open.bases.length - 1;
    if (status === 'ok') expect(endEntry, `shard ${shard}: all of it, or a word about it`).toBe(last);
    expect(endEntry).toBeLessThanOrEqual(last);
    expect(endOffset).toBe(endEntry === last ? open.log.next : open.bases[endEntry + 1]);
    if (endEntry < last) expect(lostTo, 'no offset is used twice').toBeGreaterThanOrEqual(open.log.next);
    open.sealedAt = { endEntry, endOffset };
    this.#open(shard, Math.max(lostTo, endOffset));
  }

  /** Every entry that was acknowledged is served as it was; only one that rot may cost is refused as lost. */
  async #expectNothingSilent(journal: LocalJournal, shard: ShardId, known: Known): Promise<void> {
    const end = known.sealedAt?.endOffset ?? known.log.next;
    const found = new Set<Offset>();
    const lost: Lost[] = [];
    for (let offset = known.base; offset < end; ) {
      const request = { shard, segment: known.log.segment, offset, limit: end, maxBytes: 4000 };
      try {
        const answer = journal.readCached(request) ?? (await journal.read(request));
        for (const { baseOffset, payload } of answer.entries) {
          const id = known.bases.indexOf(baseOffset);
          if (id < 0) throw new Error(`something is invented at ${baseOffset}`);
          if (!payload.equals(known.log.payloads[id]!)) throw new Error(`another payload at ${baseOffset}`);
          found.add(baseOffset);
        }
        expect(answer.nextOffset, 'a read gets on').toBeGreaterThan(offset);
        offset = answer.nextOffset;
      } catch (error) {
        const { code, detail } = error as RobustError;
        if (code !== 'JOURNAL_DATA_LOST') throw error;
        const { from, to } = detail as { from: Offset; to: Offset };
        lost.push([from, to]);
        offset = Math.max(to, offset + 1);
      }
    }
    for (const [id, base] of known.bases.entries()) {
      if (found.has(base)) continue;
      this.missing++;
      expect(
        this.#exposed(`${known.log.segment}/${id}`),
        `shard ${shard}: the entry at ${base} was not hit`,
      ).toBe(true);
      if (base >= end) continue;
      const reported = lost.some(([from, to]) => from <= base && base < to);
      expect(reported, `shard ${shard}: the entry at ${base} is gone without a word`).toBe(true);
    }
    this.served += found.size;
    this.losses += lost.length;
  }
}

describe('storage 4.5: random rot, over two restarts', () => {
  for (const group of seedGroups(process.env)) {
    it(
      `seeds ${group.first} to ${group.end - 1}`,
      async ({ task }) => {
        const { games, traces } = await playSeeds(group, (seed) => new RotGame(seed).play());
        Object.assign(task.meta, { traces });
        const served = games.reduce((sum, game) => sum + game.served, 0);
        const losses = games.reduce((sum, game) => sum + game.losses, 0);
        const missing = games.reduce((sum, game) => sum + game.missing, 0);
        expect(served).toBeGreaterThan(10 * games.length);
        if (games.length === 10) expect(Math.min(losses, missing)).toBeGreaterThan(0);
        expect(new Set(traces).size, 'another seed is another run').toBe(traces.length);
      },
      seedGroupTimeoutMs,
    );
  }
});
