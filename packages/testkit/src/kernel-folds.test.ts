import { silentLogger } from '@robustmq/core';
import type { FoldItem, FoldKind, FoldShard, Kernel, Shard } from '@robustmq/kernel';
import { SimClock, SimRandom } from '@robustmq/sim';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { publishThrough, recordOf } from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

type State = Map<string, string>;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** A pass begins behind 16 MiB. */
const large = 'x'.repeat(900 * 1024);

function item(key: string, value: string | null): FoldItem {
  return { key: Buffer.from(key), value: value === null ? null : Buffer.from(value) };
}

/** A map; with `caller` the test changes the state itself before it appends. */
function mapKind(applyAt: 'commit' | 'caller'): FoldKind<State> {
  const live = function* (state: Iterable<[string, string]>): Iterable<FoldItem> {
    for (const [key, value] of state) yield item(key, value);
  };
  return {
    topic: '__map',
    shards: 1,
    applyAt,
    create: () => new Map(),
    apply: (state, { key, value }) => {
      if (value === null) state.delete(key.toString());
      else state.set(key.toString(), value.toString());
    },
    // Who changes the state itself copies that of the moment of the call.
    live: (state) => live(applyAt === 'caller' ? [...state] : state),
    liveBytes: () => 0,
    floors: (state) =>
      [...state].filter(([key]) => key === 'floor').map(([, value]) => [1 as never, Number(value)]),
  };
}

/** One process's life with the map: what it appended, and how much of that was acknowledged. */
class MapPlay {
  readonly ops: [string, string | null][] = [];
  acknowledged = 0;
  failed = 0;
  readonly #kind: FoldKind<State>;
  #shard!: FoldShard<State>;

  constructor(kind: FoldKind<State>) {
    this.#kind = kind;
  }

  async open(kernel: Kernel): Promise<FoldShard<State>> {
    this.#shard = (await kernel.folds.open(this.#kind)).shards[0]!;
    return this.#shard;
  }

  set(key: string, value: string | null): void {
    this.ops.push([key, value]);
    if (this.#kind.applyAt === 'caller') {
      if (value === null) this.#shard.state.delete(key);
      else this.#shard.state.set(key, value);
    }
    const position = this.ops.length;
    this.#shard.appendThen([item(key, value)], (error) => {
      if (error !== null) this.failed++;
      else {
        // Outcomes come in the order of the appends.
        expect(position).toBe(this.acknowledged + 1);
        this.acknowledged = position;
      }
    });
  }

  /** The state behind the first `count` changes. */
  after(count: number): State {
    const state: State = new Map();
    for (const [key, value] of this.ops.slice(0, count)) {
      if (value === null) state.delete(key);
      else state.set(key, value);
    }
    return state;
  }
}

function asText(state: State): string {
  return [...state]
    .map(([key, value]) => `${key}=${value.length > 20 ? `${value.length}${value.slice(-4)}` : value}`)
    .sort()
    .join(' ');
}

let storage: MemoryStorage;
let kernel: Kernel;

beforeEach(async () => {
  storage = await createMemoryStorage();
  kernel = await startKernel(storage);
});

afterEach(() => storage.journal.crash());

async function crash(): Promise<void> {
  storage.journal.crash();
  kernel = await startKernel(storage);
}

/** Appends enough for a compaction pass, and waits for it. */
async function fill(play: MapPlay): Promise<void> {
  for (let at = 0; at < 19; at++) play.set('large', `${large}${at}`);
  for (let at = 0; at < 8; at++) play.set(`k${at}`, `${at}`);
  await waitUntil(() => play.acknowledged === play.ops.length);
}

describe('a fold', () => {
  it('applies in log order when it commits, and resolves after that', async () => {
    const play = new MapPlay(mapKind('commit'));
    const shard = await play.open(kernel);
    storage.journal.hold();
    const appended = shard.append([item('a', '1'), item('b', '2'), item('a', '3')]);
    await turn();
    await turn();
    expect(shard.state.size).toBe(0);
    storage.journal.release();
    await appended;
    expect(asText(shard.state)).toBe('a=3 b=2');
    await shard.append([item('a', null)]);
    expect(asText(shard.state)).toBe('b=2');
    await shard.append([]);
  });

  it('is the same after a restart, and says what it still needs of data shards', async () => {
    const play = new MapPlay(mapKind('commit'));
    const shard = await play.open(kernel);
    for (const [key, value] of [
      ['a', '1'],
      ['floor', '17'],
      ['b', '2'],
      ['a', null],
    ] as const)
      play.set(key, value);
    await waitUntil(() => play.acknowledged === 4);
    expect(kernel.folds.floors()).toEqual(new Map([[1, 17]]));
    await crash();
    expect(asText((await play.open(kernel)).state)).toBe('b=2 floor=17');
    expect(shard.state).not.toBe((await play.open(kernel)).state);
  });

  it('tells the outcome when the shard is lost, and takes nothing more', async () => {
    const shard = (await kernel.folds.open(mapKind('commit'))).shards[0]!;
    await shard.append([item('a', '1')]);
    storage.journal.hold();
    const lost = shard.append([item('a', '2')]);
    const failed = expect(lost).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await turn();
    storage.journal.disconnect(new Error('cable'));
    await failed;
    await expect(shard.append([item('a', '3')])).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(asText(shard.state)).toBe('a=1');
  });

  it('storage 4.1: a shard that was lost is recovered from the log, and the one before takes nothing more', async () => {
    const replaced: FoldShard<State>[][] = [];
    const listener = { replaced: (...shards: FoldShard<State>[]) => replaced.push(shards) };
    const fold = await kernel.folds.open(mapKind('caller'), listener);
    const before = fold.shards[0]!;
    before.state.set('a', '1');
    await before.append([item('a', '1')]);
    storage.journal.refuseAll = 'JOURNAL_DIVERGED';
    before.state.set('a', '2');
    await expect(before.append([item('a', '2')])).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    // What it says of cursors may be ahead of the log: nothing is trimmed by it.
    expect(kernel.folds.complete).toBe(false);
    storage.journal.refuseAll = null;
    await waitUntil(() => replaced.length === 1);
    const shard = fold.shards[0]!;
    expect(replaced[0]![0] === shard && replaced[0]![1] === before).toBe(true);
    expect(fold.of('a') === shard).toBe(true);
    expect([asText(shard.state), kernel.folds.complete]).toEqual(['a=1', true]);
    await expect(before.append([item('a', '3')])).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await shard.append([item('a', '4')]);
    await crash();
    expect(asText((await kernel.folds.open(mapKind('caller'))).shards[0]!.state)).toBe('a=4');
  });

  it('storage 4.1: while it can not be recovered the pauses double, up to 30 s, and a stop ends them', async () => {
    const clock = new SimClock();
    storage.journal.crash();
    kernel = await startKernel(storage, { modules: { clock } });
    const fold = await kernel.folds.open(mapKind('commit'));
    await fold.shards[0]!.append([item('a', '1')]);
    const fence = vi.spyOn(storage.journal, 'fence');
    storage.journal.answerFenced = true;
    storage.journal.refuseAll = 'JOURNAL_FENCED';
    await expect(fold.shards[0]!.append([item('a', '2')])).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    const triesUntil: number[] = [];
    for (let second = 1; second <= 120; second++) {
      for (let quarter = 0; quarter < 4; quarter++) {
        await clock.advance(250);
        await turn();
      }
      triesUntil.push(fence.mock.calls.length);
    }
    // At 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 31.75 s, and then each 30 s.
    expect([triesUntil[0], triesUntil[15], triesUntil[31], triesUntil[119]]).toEqual([2, 6, 7, 9]);
    await kernel.stop();
    await clock.advance(60_000);
    expect(fence.mock.calls.length).toBe(9);
    storage.journal.answerFenced = false;
    storage.journal.refuseAll = null;
  });

  it('storage 4.5: with records lost it refuses service until the loss is accepted', async () => {
    const play = new MapPlay(mapKind('commit'));
    const shard = await play.open(kernel);
    for (const key of ['a', 'b', 'c']) await shard.append([item(key, key)]);
    const id = shard.log.shard;
    storage.journal.loseTail(recordOf(storage, id).segments.at(-1)!.id, 2);
    storage.journal.lostTo = 3;
    await crash();
    await expect(kernel.folds.open(mapKind('commit'))).rejects.toMatchObject({ code: 'SHARD_UNAVAILABLE' });
    storage.journal.lostTo = 0;
    // Nothing is trimmed while cursors that may guard it are not known.
    expect(kernel.folds.complete).toBe(false);
    await storage.metadata.propose([{ kind: 'acceptLoss', shard: id }]);
    expect(asText((await play.open(kernel)).state)).toBe('a=a');
  });
});

describe('storage 4.2: compaction from memory', () => {
  it('keeps the state, raises the log start, and begins anew only behind another 16 MiB', async () => {
    const play = new MapPlay(mapKind('commit'));
    const shard = await play.open(kernel);
    await fill(play);
    const end = shard.log.nextOffset;
    shard.compactIfDue(silentLogger);
    await waitUntil(() => recordOf(storage, shard.log.shard).startOffset === end);
    expect(recordOf(storage, shard.log.shard).segments.length).toBeLessThan(3);
    await shard.whenIdle();
    const written = shard.log.nextOffset;
    expect(written - end).toBe(9);
    shard.compactIfDue(silentLogger);
    await shard.whenIdle();
    expect(shard.log.nextOffset).toBe(written);
    await crash();
    expect(asText((await play.open(kernel)).state)).toBe(asText(play.after(play.ops.length)));
  });

  it('a stop waits for the pass and for the appends that wait for it', async () => {
    const play = new MapPlay(mapKind('commit'));
    const shard = await play.open(kernel);
    await fill(play);
    shard.compactIfDue(silentLogger);
    play.set('late', 'x');
    await kernel.stop();
    // Regression: what a pass held back was refused at a clean stop.
    expect([play.acknowledged, play.failed]).toEqual([play.ops.length, 0]);
    kernel = await startKernel(storage);
    expect((await play.open(kernel)).state.get('late')).toBe('x');
  });

  it('what a pass holds back is copied at once, and counts as in flight', async () => {
    const play = new MapPlay(mapKind('commit'));
    const shard = await play.open(kernel);
    await fill(play);
    shard.compactIfDue(silentLogger);
    const key = Buffer.from('shared');
    const value = Buffer.alloc(5000, 'a');
    const appended = shard.append([{ key, value }]);
    // Regression: the caller's buffers were read when the pass was over.
    key.fill('x');
    value.fill('b');
    expect(kernel.appender.inflightBytes).toBeGreaterThanOrEqual(5000);
    await appended;
    expect(shard.state.get('shared')).toBe('a'.repeat(5000));
    await shard.whenIdle();
    expect(kernel.appender.inflightBytes).toBe(0);
  });

  it.each(['commit', 'caller'] as const)(
    'applied by %s: appends at any time and a crash behind any write lose nothing acknowledged',
    async (applyAt) => {
      for (let writes = 0, done = false; !done; writes++) {
        storage = await createMemoryStorage();
        kernel = await startKernel(storage);
        const random = new SimRandom(writes);
        const play = new MapPlay(mapKind(applyAt));
        const shard = await play.open(kernel);
        await fill(play);
        storage.journal.fuse.blowAfter(writes);
        if (random.u32() % 2 === 0) play.set('k1', 'in flight');
        shard.compactIfDue(silentLogger);
        for (let step = 0; step < 14; step++) {
          for (let more = random.u32() % 3; more > 0; more--) {
            const key = `k${random.u32() % 12}`;
            play.set(key, random.u32() % 4 === 0 ? null : `step ${step}/${more}`);
          }
          await turn();
        }
        done = play.acknowledged === play.ops.length && !storage.journal.fuse.blown;
        const acknowledged = play.acknowledged;
        await crash();
        const state = asText((await play.open(kernel)).state);
        const possible: string[] = [];
        for (let count = acknowledged; count <= play.ops.length; count++)
          possible.push(asText(play.after(count)));
        expect(possible, `${writes} writes`).toContain(state);
      }
    },
    60_000,
  );
});

describe('retained copies', () => {
  const names = ['r', 'r/a', 'r/a/b', 'r/c', 'r/d', 'r/e/f', 'r/new'];

  function retainedOf(shard: Shard): string {
    const state: State = new Map();
    for (const { subject, value } of shard.retained!.records.values()) state.set(subject, value.toString());
    return asText(state);
  }

  it('storage 4.2: a crash at any time of a compaction pass loses no retained message', async () => {
    for (let writes = 0, done = false; !done; writes += 2) {
      storage = await createMemoryStorage();
      kernel = await startKernel(storage);
      const random = new SimRandom(writes);
      const topic = await kernel.topics.create('r', 1, new Map([['subject.bind', 'true']]));
      await kernel.openShard(topic.shards[0]!);
      const ops: [string, string | null][] = [];
      let acknowledged = 0;
      const set = (name: string, value: string | null): Promise<void> => {
        ops.push([name, value]);
        const position = ops.length;
        return publishThrough(kernel, name, value ?? '', { retain: true }).then((outcome) => {
          if (typeof outcome === 'number') acknowledged = Math.max(acknowledged, position);
        });
      };
      // Several turns of copying: five subjects of nearly 1 MiB each.
      for (let at = 0; at < 21; at++) await set(`r/large/${at % 5}`, `${large}${at}`);
      for (const name of names.slice(0, 4)) await set(name, 'before');
      for (let turns = 0; turns < 5; turns++) await turn();
      storage.journal.fuse.blowAfter(writes);
      await kernel.enforceRetention();
      for (let step = 0; step < 16; step++) {
        for (let more = random.u32() % 3; more > 0; more--) {
          const name =
            random.u32() % 5 === 0 ? `r/large/${random.u32() % 5}` : names[random.u32() % names.length]!;
          void set(name, random.u32() % 4 === 0 ? null : `step ${step}/${more}`);
        }
        await turn();
      }
      for (let turns = 0; turns < 10; turns++) await turn();
      done = acknowledged === ops.length && !storage.journal.fuse.blown;
      await crash();
      const after = (count: number): string => {
        const state: State = new Map();
        for (const [name, value] of ops.slice(0, count)) {
          if (value === null) state.delete(name);
          else state.set(name, value);
        }
        return asText(state);
      };
      const possible = Array.from({ length: ops.length - acknowledged + 1 }, (_, at) =>
        after(acknowledged + at),
      );
      const again = await kernel.openShard(topic.shards[0]!);
      expect(possible, `${writes} writes`).toContain(retainedOf(again));
      expect(kernel.retainedUsage.records).toBe(again.retained!.records.size);
      expect(kernel.retainedUsage.bytes).toBe(again.retained!.bytes);
    }
  }, 120_000);
});
