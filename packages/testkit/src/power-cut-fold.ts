import type { FoldItem, FoldKind, FoldShard, Kernel, MetadataUpdate } from '@robustmq/kernel';
import type { SimRandom } from '@robustmq/sim';
import type { LaneHooks } from './power-cut-lane.ts';
import { paddingOf, pick } from './power-cut-topic.ts';

type State = Map<string, string>;

const topic = '__power-cuts';
const keys = Array.from({ length: 16 }, (_, at) => `k${at}`);
/** A pass is due when this much was written since the last one; a random part of it, anew each time. */
const dueBytesMax = 6000;
/** Copies that a pass writes at a time. */
const chunkCopies = 3;
const chunkBytes = 1024 * 1024;
const chunkWeight = Buffer.alloc(chunkBytes);

interface Change {
  readonly key: string;
  /** Null: the key is deleted. */
  readonly value: string | null;
}

/** What runs when a pass begins to copy: a mutant breaks its rule there. */
export type AtPass = (kernel: Kernel, shard: FoldShard<State>) => void;

/** A compaction that deletes what it replaces before the copies are durable. */
export const trimFirst: AtPass = (kernel, { log }) => {
  const trim = { kind: 'trimShard', shard: log.shard, startOffset: log.nextOffset } as const;
  // A power cut answers nobody.
  void kernel.modules.metadata.propose([trim]);
};

/** What one process does with the fold. */
export interface FoldLife {
  readonly kernel: Kernel;
  readonly random: SimRandom;
  readonly hooks: LaneHooks;
  readonly passBegins: () => void;
}

/** What has happened to the fold in a game. */
export interface FoldCounts {
  /** Changes that were acknowledged. */
  folded: number;
  /** Compaction passes that ended. */
  passes: number;
  /** Passes that a cut or a kill ended. */
  passesCut: number;
  /** Those of which the log has copies, and does not start at them. */
  passesHalfCopied: number;
}

/**
 * State in an internal topic, compacted as sessions and group offsets are: a map, whose changes are one row. After a cut
 * it is what some of the changes in their order made of it, at least all that were acknowledged.
 */
export class PowerCutFold {
  readonly #atPass: AtPass;
  #shard: FoldShard<State> | null = null;
  /** What it was when this process had loaded it, */
  #base: State = new Map();
  /** what was sent since then, */
  #changes: Change[] = [];
  /** and how much of that has an answer. */
  #acknowledged = 0;
  /** Where the log starts, as metadata has told. */
  #start = 0;
  /** A pass that has not ended; `from`: where its copies begin, once it copies. */
  #pass: { from: number | null } | null = null;
  #serial = 0;
  #dueBytes = dueBytesMax;
  #writtenBytes = 0;
  readonly counts: FoldCounts = { folded: 0, passes: 0, passesCut: 0, passesHalfCopied: 0 };

  constructor(atPass: AtPass = () => undefined) {
    this.#atPass = atPass;
  }

  /** Loads it and compares it with what was sent to the processes before. */
  async open(life: FoldLife): Promise<void> {
    const { kernel, random, hooks } = life;
    this.#shard = null;
    const applyAt = random.chance(0.5) ? 'caller' : 'commit';
    const [shard] = (await kernel.folds.open(this.#kind(life, applyAt))).shards;
    hooks.hear(() => {
      this.#shard = shard!;
      this.#found(kernel, shard!);
      kernel.modules.metadata.watch((update) => hooks.hear(() => this.#watched(update)));
    });
  }

  /** Sets or deletes some keys. */
  write({ random, hooks }: FoldLife): void {
    const shard = this.#shard!;
    const items: FoldItem[] = [];
    for (let count = 1 + random.below(3); count > 0; count--) {
      const key = pick(random, keys)!;
      const deleted = random.chance(0.25);
      const value = deleted ? null : `${key}/${this.#serial++}/${'x'.repeat(paddingOf(random) / 2)}`;
      items.push({ key: Buffer.from(key), value: value === null ? null : Buffer.from(value) });
      this.#changes.push({ key, value });
      this.#writtenBytes += key.length + (value?.length ?? 0);
      if (shard.kind.applyAt === 'caller') change(shard.state, { key, value });
    }
    const sent = this.#changes.length;
    shard.appendThen(items, (error) =>
      hooks.hear(() => {
        if (error !== null) hooks.refused(error.code);
        else this.#answered(sent, hooks);
      }),
    );
  }

  /** What is in memory, of a process that goes on. */
  verify(): void {
    this.#check(this.#shard!.state);
  }

  /** The process has ended as it should. */
  stopped(): void {
    if (this.#pass !== null) throw new Error('a stop did not wait for a pass of compaction');
    if (this.#acknowledged < this.#changes.length) throw new Error('a stop gave up changes of a fold');
  }

  #kind({ kernel, random, hooks, passBegins }: FoldLife, applyAt: 'caller' | 'commit'): FoldKind<State> {
    return {
      topic,
      shards: 1,
      applyAt,
      create: () => new Map(),
      apply: (state, { key, value }) =>
        change(state, { key: key.toString(), value: value === null ? null : value.toString() }),
      live: (state) => {
        hooks.hear(() => {
          this.#begin(random);
          passBegins();
        });
        // Who changes the state itself copies that of the moment of the call.
        return this.#copies(kernel, applyAt === 'caller' ? [...state] : state, hooks);
      },
      // A pass begins behind 16 MiB at least, more than a game can write. No number is below what is none.
      liveBytes: () => (this.#writtenBytes >= this.#dueBytes ? Number.NaN : Number.POSITIVE_INFINITY),
    };
  }

  #begin(random: SimRandom): void {
    if (this.#pass !== null) throw new Error('a pass of compaction has ended early');
    this.#pass = { from: null };
    this.#writtenBytes = 0;
    this.#dueBytes = random.below(dueBytesMax);
  }

  *#copies(kernel: Kernel, state: Iterable<[string, string]>, hooks: LaneHooks): Iterable<FoldItem> {
    const shard = this.#shard!;
    hooks.hear(() => {
      this.#pass!.from = shard.log.nextOffset;
      this.#atPass(kernel, shard);
    });
    let copies = 0;
    for (const [key, value] of state) {
      copies++;
      yield new Copy(key, value, copies % chunkCopies === 0);
    }
  }

  #watched({ changes }: MetadataUpdate): void {
    for (const each of changes) {
      if (each.kind !== 'shard' || each.shard.id !== this.#shard!.log.shard) continue;
      const { startOffset } = each.shard;
      if (startOffset === this.#start) continue;
      this.#checkStart(startOffset);
      this.#start = startOffset;
      this.#pass = null;
      this.counts.passes++;
    }
  }

  #answered(sent: number, hooks: LaneHooks): void {
    if (sent <= this.#acknowledged) throw new Error('changes of a fold are answered out of order');
    hooks.note(`fold: ${sent}`);
    this.counts.folded += sent - this.#acknowledged;
    this.#acknowledged = sent;
  }

  #found(kernel: Kernel, { state, log }: FoldShard<State>): void {
    const { startOffset } = kernel.modules.metadata.image.shards.get(log.shard)!;
    if (startOffset !== this.#start) this.#checkStart(startOffset);
    const from = this.#pass?.from ?? null;
    if (this.#pass !== null) this.counts.passesCut++;
    if (from !== null && startOffset < from && log.nextOffset > from) this.counts.passesHalfCopied++;
    this.#check(state);
    this.#start = startOffset;
    this.#pass = null;
    this.#base = new Map(state);
    this.#changes = [];
    this.#acknowledged = 0;
  }

  /** Nothing but a pass moves the start, and that to where its copies begin. */
  #checkStart(startOffset: number): void {
    const from = this.#pass?.from ?? this.#start;
    if (startOffset !== from) throw new Error(`the log of a fold starts at ${startOffset}, not at ${from}`);
  }

  #check(found: State): void {
    const state = new Map(this.#base);
    const { length } = this.#changes;
    for (let count = 0; count <= length; count++) {
      if (count > 0) change(state, this.#changes[count - 1]!);
      if (count >= this.#acknowledged && isSame(state, found)) return;
    }
    throw new Error(`fold: ${this.#difference(found)}`);
  }

  /** Says of a state that it cannot be what is wrong with it. */
  #difference(found: State): string {
    const known = new Map(this.#base);
    for (const each of this.#changes.slice(0, this.#acknowledged)) change(known, each);
    const inFlight = this.#changes.slice(this.#acknowledged);
    for (const key of new Set([...known.keys(), ...found.keys()])) {
      const value = found.get(key) ?? null;
      const expected = known.get(key) ?? null;
      if (value === expected || inFlight.some((each) => each.key === key && each.value === value)) continue;
      if (value === null) return `${named(expected)} was acknowledged and is missing`;
      if (!value.startsWith(`${key}/`)) return `nobody wrote ${named(value)} to ${key}`;
      if (expected === null) return `${named(value)} was deleted and is back`;
      return `${named(expected)} was acknowledged, and ${named(value)} is there`;
    }
    return 'a change is there, and one before it is not';
  }
}

/**
 * A pass writes what it copies by 1 MiB, more than a game can have. A copy that ends a chunk weighs as much when it is
 * looked at for the first time, which is before it is encoded.
 */
class Copy implements FoldItem {
  readonly key: Buffer;
  readonly #value: Buffer;
  #heavy: boolean;

  constructor(key: string, value: string, heavy: boolean) {
    this.key = Buffer.from(key);
    this.#value = Buffer.from(value);
    this.#heavy = heavy;
  }

  get value(): Buffer {
    if (!this.#heavy) return this.#value;
    this.#heavy = false;
    return chunkWeight;
  }
}

/** A value without what fills it up. */
function named(value: string | null): string {
  return value?.replace(/x+$/, '') ?? 'a deletion';
}

function change(state: State, { key, value }: Change): void {
  if (value === null) state.delete(key);
  else state.set(key, value);
}

function isSame(left: State, right: State): boolean {
  if (left.size !== right.size) return false;
  for (const [key, value] of left) if (right.get(key) !== value) return false;
  return true;
}
