import type { RobustError } from '@robustmq/core';
import { crc32c } from '@robustmq/core';
import { SimDisk, SimRandom, settle } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { NumberedUser, numberedItem, readNumbered, stateOf, testUuid } from './conformance.ts';
import { openWal } from './open-wal.ts';
import type { Wal } from './wal.ts';

const fileBytes = 64 * 1024;
const folder = '/wal';
/** `GAME_SEEDS=5000 GAME_FIRST_SEED=1` plays longer than the suite does. */
const seeds = Number(process.env['GAME_SEEDS'] ?? 40);
const firstSeed = Number(process.env['GAME_FIRST_SEED'] ?? 1);
const seedsPerTest = 10;
const crashesPerGame = 10;

/**
 * A random run of one log over many crashes, against a model: what was told durable is there after every crash, in
 * order and once; what was not told may be there or not, but only as the end of the log.
 */
class Game {
  readonly #random: SimRandom;
  readonly #files: number;
  #disk: SimDisk;
  #user = new NumberedUser();
  #run = 0;
  /** Id -> the run that appended it last. */
  readonly #runOf = new Map<number, number>();
  #appended = 0;
  #acked = 0;
  /** Items up to here are safe elsewhere, which survives crashes. */
  #done = 0;
  crashes = 0;
  recoveredItems = 0;
  torn = 0;
  /** Of all calls of all disks; the same for the same seed. */
  trace = 0;

  constructor(seed: number) {
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
      this.trace = crc32c(Buffer.from(String(this.#disk.traceHash)), this.trace);
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
      if (op.number === crashAt) queueMicrotask(crash);
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
    const random = this.#random;
    const { wal, recovered } = await openWal({
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
        const { id, run } = readNumbered(bytes);
        expect(run, `item ${id} is of the run that appended it last`).toBe(this.#runOf.get(id));
        if (last !== 0) expect(id, 'items are in order, without a gap').toBe(last + 1);
        if (first === 0) first = id;
        last = id;
        generationOf.set(id, position.generation);
        this.recoveredItems++;
      }
    }
    expect(recovered.rot).toEqual([]);
    expect(recovered.tornFrames).toBeLessThanOrEqual(1);
    if (recovered.checkpoint !== null) {
      expect(stateOf(recovered.checkpoint).done).toBeLessThanOrEqual(this.#done);
    }
    if (this.#acked > this.#done) {
      expect(first, 'nothing is missing at the beginning').toBeLessThanOrEqual(this.#done + 1);
      expect(last, 'nothing is missing at the end').toBeGreaterThanOrEqual(this.#acked);
    }
    expect(last).toBeLessThanOrEqual(this.#appended);
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
    await wal.start();
    const steps = 20 + random.below(200);
    for (let step = 0; step < steps; step++) {
      this.#user.stateBytes = random.chance(0.2) ? random.below(8000) : 0;
      this.#user.chunkBytes = Array.from({ length: random.below(3) }, () => 1 + random.below(8000));
      const count = wal.full ? 0 : random.below(20);
      for (let item = 0; item < count; item++) {
        const id = ++this.#appended;
        this.#runOf.set(id, this.#run);
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

async function played(seed: number): Promise<Game> {
  const game = new Game(seed);
  try {
    return await game.play(crashesPerGame);
  } catch (error) {
    throw new Error(`GAME_FIRST_SEED=${seed} GAME_SEEDS=1, crash ${game.crashes}`, { cause: error });
  }
}

describe('storage 2: random runs over crashes, and crashes in recovery', () => {
  for (let first = firstSeed; first < firstSeed + seeds; first += seedsPerTest) {
    const end = Math.min(first + seedsPerTest, firstSeed + seeds);
    it(`seeds ${first} to ${end - 1}`, async () => {
      let items = 0;
      for (let seed = first; seed < end; seed++) items += (await played(seed)).recoveredItems;
      expect(items).toBeGreaterThan(100 * (end - first));
    });
  }

  it('one seed gives one run, call by call', async () => {
    const [once, again, other] = [await played(3), await played(3), await played(4)];
    expect(again.trace).toBe(once.trace);
    expect(other.trace).not.toBe(once.trace);
  });
});
