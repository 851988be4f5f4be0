import type { RobustError } from '@robustmq/core';
import { crc32c } from '@robustmq/core';
import { firstFailure, LyingDisk, playSeeds, SimDisk, SimRandom, seedGroups } from '@robustmq/sim';
import { seedGroupTimeoutMs, settle, traced } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import type { OpenWal } from './broken-rules.ts';
import { openAppending, openHasty, openSaltless } from './broken-rules.ts';
import { NumberedUser, numberedItem, readNumbered, stateOf, testUuid } from './conformance.ts';
import {
  decodeFrameHeader,
  encodeFrameHeader,
  frameHeaderBytes,
  pageBytes,
  tableEntryBytes,
} from './frame.ts';
import { openWal } from './open-wal.ts';
import type { Wal } from './wal.ts';

const fileBytes = 64 * 1024;
const folder = '/wal';
const crashesPerGame = 10;
/** Longer than any file has frames. */
const forgedSequence = 1000;

/**
 * An item that holds frames of a log, as a client makes one who has read an old copy of this one: alone in its frame,
 * it has them where recovery looks for frames. Only the salt of the present use is missing.
 */
function forgedItem(id: number, run: number, use: { generation: number; salt: Buffer }): Buffer {
  const inner = numberedItem(0xffff_ffff, run, 16);
  const table = Buffer.alloc(tableEntryBytes);
  table.writeUInt32BE(inner.length, 0);
  table.writeUInt32BE(crc32c(inner), 4);
  const first = pageBytes - frameHeaderBytes - tableEntryBytes;
  const item = Buffer.alloc(first + 2 * pageBytes + frameHeaderBytes + table.length + inner.length);
  item.writeUInt32BE(id, 0);
  for (let page = 0; page < 3; page++) {
    const at = first + page * pageBytes;
    encodeFrameHeader(item, at, {
      ...use,
      kind: 1,
      uuid: Buffer.from(testUuid, 'hex'),
      sequence: forgedSequence + page,
      bodyBytes: table.length + inner.length,
      items: 1,
      previousCrc: 0,
      tableCrc: crc32c(table),
      checkpoint: false,
      complete: false,
    });
    table.copy(item, at + frameHeaderBytes);
    inner.copy(item, at + frameHeaderBytes + table.length);
  }
  return item;
}

/**
 * A random run of one log over many crashes, against a model: what was told durable is there after every crash, in
 * order and once; what was not told may be there or not, but only as the end of the log.
 */
class Game {
  readonly #random: SimRandom;
  readonly #files: number;
  readonly #open: OpenWal;
  #disk: SimDisk;
  #user = new NumberedUser();
  #run = 0;
  /** Id -> the run that appended it last. */
  readonly #runOf = new Map<number, number>();
  /** Items that hold frames. */
  readonly #forged = new Map<number, Buffer>();
  /** The power fails in the next call of the disk. */
  #crashNext = false;
  /** What an old copy of the log tells. */
  #copied: { generation: number; salt: Buffer } | null = null;
  #appended = 0;
  #acked = 0;
  /** Items up to here are safe elsewhere, which survives crashes. */
  #done = 0;
  crashes = 0;
  /** Crashes before the log was written to again. */
  crashesInRecovery = 0;
  #recovering = false;
  recoveredItems = 0;
  torn = 0;
  /** Of all calls of all disks; the same for the same seed. */
  trace = 0;

  constructor(seed: number, open: OpenWal = openWal) {
    this.#open = open;
    this.#random = new SimRandom(seed);
    this.#files = 3 + this.#random.below(5);
    this.#disk = new SimDisk({ seed });
  }

  async play(phases: number): Promise<this> {
    for (let phase = 0; phase < phases; phase++) {
      const random = this.#random;
      const crashAt = random.chance(0.3) ? 1 + random.below(60) : 1 + random.below(600);
      const survivor = await this.#phase(crashAt);
      this.crashes++;
      if (this.#recovering) this.crashesInRecovery++;
      this.trace = traced(this.trace, this.#disk.traceHash);
      this.#disk = survivor;
    }
    return this;
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
      if (op.number === crashAt || this.#crashNext) queueMicrotask(crash);
      this.#crashNext = false;
      return undefined;
    };
    let failure: unknown;
    let over = false;
    this.#work(disk, async () => {
      await settle();
      // With the power, everything stops that has not ended.
      if (survivor !== null) await new Promise(() => undefined);
    }).then(
      () => {
        over = true;
      },
      (error: unknown) => {
        failure = error;
        over = true;
      },
    );
    while (survivor === null && !over) await settle();
    if (survivor === null && failure !== undefined) throw failure;
    if (survivor === null) crash();
    return survivor!;
  }

  async #work(disk: SimDisk, turn: () => Promise<void>): Promise<void> {
    const user = new NumberedUser();
    this.#user = user;
    this.#recovering = true;
    const random = this.#random;
    const { wal, recovered } = await this.#open({
      disk,
      folder,
      user,
      kind: 1,
      uuid: testUuid,
      random,
      fileBytes,
      maxBytes: this.#files * fileBytes,
      queueBytes: 64 * 1024,
    });
    const generationOf = new Map<number, number>();
    let first = 0;
    let last = 0;
    for await (const frame of recovered.frames) {
      for (const { bytes, position } of frame) {
        const id = bytes.readUInt32BE(0);
        const forged = this.#forged.get(id);
        if (forged !== undefined) expect(bytes.equals(forged), `item ${id} is as appended`).toBe(true);
        else {
          const { run } = readNumbered(bytes);
          expect(run, `item ${id} is of the run that appended it last`).toBe(this.#runOf.get(id));
        }
        if (last !== 0) expect(id, 'items are in order, without a gap').toBe(last + 1);
        if (first === 0) first = id;
        last = id;
        generationOf.set(id, position.generation);
        this.recoveredItems++;
      }
    }
    expect(recovered.rot, 'no false verdict of rot').toEqual([]);
    expect(recovered.tornFrames, 'one frame was on its way').toBeLessThanOrEqual(1);
    if (recovered.checkpoint !== null) {
      expect(stateOf(recovered.checkpoint).done).toBeLessThanOrEqual(this.#done);
    }
    if (this.#acked > this.#done) {
      expect(first, 'nothing is missing at the beginning').toBeLessThanOrEqual(this.#done + 1);
      expect(last, 'nothing is missing at the end').toBeGreaterThanOrEqual(this.#acked);
    }
    expect(last, 'nothing is invented').toBeLessThanOrEqual(this.#appended);
    this.torn += recovered.tornFrames;
    this.#appended = Math.max(last, this.#done);
    this.#acked = this.#appended;
    this.#run++;
    for (const id of generationOf.keys()) if (id <= this.#done) generationOf.delete(id);
    await this.#serve(wal, generationOf, turn);
  }

  async #serve(wal: Wal, generationOf: Map<number, number>, turn: () => Promise<void>): Promise<void> {
    const random = this.#random;
    this.#sweep(wal, generationOf, wal.generation + 1);
    const base = this.#appended;
    wal.onDurable((upTo, generation) => {
      for (let id = this.#acked + 1; id <= base + upTo; id++) generationOf.set(id, generation);
      this.#acked = base + upTo;
    });
    // Before the start: nobody has a copy of what is written from now on.
    await this.#copy(this.#disk);
    await wal.start();
    this.#recovering = false;
    const steps = 20 + random.below(200);
    for (let step = 0; step < steps; step++) {
      this.#user.stateBytes = random.chance(0.2) ? random.below(8000) : 0;
      this.#user.chunkBytes = Array.from({ length: random.below(3) }, () => 1 + random.below(8000));
      const count = wal.full ? 0 : random.below(20);
      if (!wal.full && random.chance(0.03)) await this.#forge(wal, turn);
      for (let item = 0; item < count; item++) {
        const id = ++this.#appended;
        this.#runOf.set(id, this.#run);
        this.#forged.delete(id);
        const bytes = numberedItem(
          id,
          this.#run,
          random.chance(0.1) ? random.below(20_000) : random.below(300),
        );
        wal.append([bytes], crc32c(bytes), { lazy: random.chance(0.2) });
      }
      if (random.chance(0.1)) wal.flush();
      if (random.chance(0.5)) await turn();
      if (random.chance(0.2) || wal.full) {
        this.#sweep(wal, generationOf, wal.generation);
        await turn();
      }
    }
    if (random.chance(0.3)) {
      this.#sweep(wal, generationOf, wal.generation);
      // With nothing released, the last file may be too small for what is pending: it was then never acknowledged.
      const full = await wal.stop().catch((error: RobustError) => error);
      if (full === undefined) expect(this.#acked).toBe(this.#appended);
      else expect(full.code).toBe('WAL_FULL');
    }
  }

  /** Reads generation and salt of the newest use out of the log's files. */
  async #copy(disk: SimDisk): Promise<void> {
    for (const { name } of await disk.list(folder)) {
      const head = disk.peek(`${folder}/${name}`);
      const found = head.length < frameHeaderBytes ? 0 : head.readUInt32BE(36);
      if (found >= (this.#copied?.generation ?? 1)) {
        this.#copied = { generation: found, salt: Buffer.from(head.subarray(24, 32)) };
      }
    }
  }

  /** Appends an item with frames in it, alone if nothing is on its way. */
  async #forge(wal: Wal, turn: () => Promise<void>): Promise<void> {
    if (this.#copied === null) return;
    wal.flush();
    await turn();
    const id = ++this.#appended;
    this.#runOf.delete(id);
    const bytes = forgedItem(id, this.#run, { ...this.#copied, generation: wal.generation });
    this.#forged.set(id, bytes);
    this.#crashNext = this.#random.chance(0.12);
    wal.append([bytes], crc32c(bytes));
    await turn();
  }

  /** Makes some of what is durable safe elsewhere and lets go of it. */
  #sweep(wal: Wal, generationOf: Map<number, number>, current: number): void {
    const upTo = this.#random.chance(0.5)
      ? this.#acked
      : this.#done + this.#random.below(this.#acked - this.#done + 1);
    for (const id of generationOf.keys()) if (id <= upTo) generationOf.delete(id);
    this.#done = Math.max(this.#done, upTo);
    this.#user.done = this.#done;
    this.#user.oldest = Math.min(current, ...generationOf.values());
    wal.release(this.#user.oldest);
  }
}

describe('storage 2: random runs over crashes, and crashes in recovery', () => {
  for (const group of seedGroups(process.env)) {
    it(
      `seeds ${group.first} to ${group.end - 1}`,
      async ({ task }) => {
        const { games, traces } = await playSeeds(group, (seed) => new Game(seed).play(crashesPerGame));
        Object.assign(task.meta, { traces });
        const items = games.reduce((sum, game) => sum + game.recoveredItems, 0);
        const again = games.reduce((sum, game) => sum + game.crashesInRecovery, 0);
        if (games.length === 10) expect(again, 'crashes in recovery').toBeGreaterThan(0);
        expect(items).toBeGreaterThan(100 * games.length);
        expect(new Set(traces).size, 'another seed is another run').toBe(traces.length);
      },
      seedGroupTimeoutMs,
    );
  }
});

describe('mutants: a log that breaks a rule loses the game', () => {
  const directoryNotSynced: OpenWal = (options) =>
    openWal({ ...options, disk: new LyingDisk(options.disk, { directories: true }) });

  /** Of all frames in all files, each file's in order: what tells one use of a file from another. */
  async function framesAfterRuns(open: OpenWal): Promise<string[]> {
    const disk = new SimDisk();
    const random = new SimRandom(1);
    const log = { folder, kind: 1, uuid: testUuid, fileBytes, maxBytes: 4 * fileBytes, queueBytes: 1 << 20 };
    let id = 0;
    for (let run = 0; run < 3; run++) {
      const { wal, recovered } = await open({ ...log, disk, random, user: new NumberedUser() });
      const ids: number[] = [];
      for await (const items of recovered.frames)
        ids.push(...items.map(({ bytes }) => readNumbered(bytes).id));
      expect(ids).toEqual(Array.from({ length: id }, (_, at) => at + 1));
      expect(recovered).toMatchObject({ rot: [], tornFrames: 0 });
      await wal.start();
      for (let frame = 0; frame < 2; frame++) {
        const item = numberedItem(++id, run, 5000);
        wal.append([item], crc32c(item));
        wal.flush();
        while (wal.durable < wal.appended) await settle();
      }
      await wal.stop();
    }
    const frames: string[] = [];
    for (const { name } of await disk.list(folder)) {
      const bytes = disk.peek(`${folder}/${name}`);
      let before = 0;
      for (let at = 0; at < bytes.length; at += pageBytes) {
        const header = decodeFrameHeader(bytes, at);
        if (header === null) continue;
        const { generation, salt, sequence, previousCrc, crc } = header;
        const follows = sequence > 0 && previousCrc === before ? ' follows' : '';
        frames.push(`${name} ${generation} ${salt.toString('hex').slice(0, 4)} ${sequence}${follows}`);
        before = crc;
      }
    }
    return frames;
  }

  it('the one that appends goes on as if there had been no start, and the log does not', async () => {
    const once = await framesAfterRuns(openAppending);
    const [first] = once;
    expect(first).toMatch(/^0001\.wal 1 \w{4} 0$/);
    const sequences = [1, 2, 3, 4, 5, 6].map((sequence) => `${first!.slice(0, -1)}${sequence} follows`);
    expect(once.slice(1)).toEqual(sequences);
    const uses = (await framesAfterRuns(openWal)).map((frame) => frame.split(' '));
    expect(uses.map(([, generation, , sequence]) => `${generation} ${sequence}`).sort()).toEqual(
      [1, 2, 3].flatMap((generation) => [0, 1, 2].map((sequence) => `${generation} ${sequence}`)),
    );
    expect(new Set(uses.map(([name, , salt]) => `${name} ${salt}`)).size).toBe(3);
  });

  it.each<[string, string, OpenWal, RegExp]>([
    ['2.3', 'no salt', openSaltless, /item 4294967295|rot/],
    ['2.1', 'a file used again before its items are safe elsewhere', openHasty, /rot|missing/],
    ['2.3', 'an append to a found file', openAppending, /item 4294967295|rot/],
    ['2.1', 'directory not synced', directoryNotSynced, /missing/],
  ])(
    'storage %s: mutant: %s is caught by the game',
    async (_rule, _title, open, symptom) => {
      const caught = await firstFailure((seed) => new Game(seed, open).play(crashesPerGame));
      expect(caught?.error.message).toMatch(symptom);
    },
    seedGroupTimeoutMs,
  );
});
