import { RobustError } from '@robustmq/core';
import type { MetadataUpdate } from '@robustmq/kernel';
import type { SimClock, SimDisk } from '@robustmq/sim';
import { settle, SimRandom, traced } from '@robustmq/sim';
import type { UnderServer } from './power-cut-broker.ts';
import { Machine, PowerCutBroker } from './power-cut-broker.ts';
import type { AtPass, FoldCounts, FoldLife } from './power-cut-fold.ts';
import { PowerCutFold } from './power-cut-fold.ts';
import type { LaneHooks } from './power-cut-lane.ts';
import type { TopicKind } from './power-cut-topic.ts';
import { pick, PowerCutTopic } from './power-cut-topic.ts';

const cutsPerGame = 4;
const topicsMax = 4;
const names = ['a', 'b', 'c', 'd', 'e'];
/** A life that has not ended after so many turns has come to a stop somewhere. */
const turnsMax = 50_000;
/** A pass of compaction takes few calls of the disk: some cuts are aimed at one, within so many calls. */
const aimedChance = 0.2;
const passCalls = 16;
/** All that is deleted is gone from the disk after this, beyond every grace of the journal. */
const deletedMs = 6000;
/** What a client of a topic that is being deleted, or of a server that stops, is told. */
const fairRefusals = new Set(['TOPIC_NOT_FOUND', 'KERNEL_STOPPING']);

/** What has happened in a game. */
export interface PowerCutCounts extends FoldCounts {
  cuts: number;
  /** Cuts and kills before everything that was there had been opened and read. */
  cutsInRecovery: number;
  /** The process ended, and the power did not. */
  kills: number;
  /** Clean stops; the power fails after each. */
  stops: number;
  rolls: number;
  trims: number;
  retentions: number;
  created: number;
  deleted: number;
  /** Creations and deletions that a restart decided, as their answer never came. */
  undecided: number;
  /** Batches of idempotent producers that were sent again and stored once. */
  repeated: number;
  /** Acknowledged at `flush=interval`, and lost. */
  lostLazily: number;
}

/** What breaks a rule below the game. */
export interface Mutation {
  readonly under?: UnderServer;
  readonly atPass?: AtPass;
}

/**
 * A random run of the kernel on journal and metadata, on one disk whose power fails, against a model of its clients. What
 * was acknowledged is there after every cut, in order and at its offset, topics as well as records, and the state of a
 * fold; and what the two folders hold agrees, so that every start succeeds and every shard opens.
 */
export class PowerCutGame {
  readonly #random: SimRandom;
  readonly #machine: Machine;
  readonly #under: UnderServer;
  #topics: PowerCutTopic[] = [];
  readonly fold: PowerCutFold;
  #serial = 1;
  readonly #rolled = new Set<number>();
  readonly counts: PowerCutCounts = {
    cuts: 0,
    cutsInRecovery: 0,
    kills: 0,
    stops: 0,
    rolls: 0,
    trims: 0,
    retentions: 0,
    created: 0,
    deleted: 0,
    undecided: 0,
    repeated: 0,
    lostLazily: 0,
    folded: 0,
    passes: 0,
    passesCut: 0,
    passesHalfCopied: 0,
  };
  /** Of all calls of all disks and of all answers; the same for the same seed. */
  trace = 0;

  constructor(seed: number, { under = (disk) => disk, atPass }: Mutation = {}) {
    this.#random = new SimRandom(seed);
    this.#machine = new Machine(seed);
    this.#under = under;
    this.fold = new PowerCutFold(atPass);
  }

  async play(): Promise<this> {
    const random = this.#random;
    for (let cut = 0; cut < cutsPerGame; cut++) {
      await this.#life(random.chance(0.4) ? 1 + random.below(120) : 1 + random.below(900));
    }
    await this.#life(null);
    this.#sum();
    return this;
  }

  /** One process, from its start to the call of the disk at which the power fails; null: until it has stopped. */
  async #life(cutAt: number | null): Promise<void> {
    const { disk } = this.#machine;
    const kill = this.#random.chance(0.2);
    const random = this.#random.fork();
    const life = new Life(this, { machine: this.#machine, under: this.#under, random, cutAt });
    let survivor: SimDisk | null = null;
    const cut = (): void => {
      if (survivor !== null) return;
      life.dead = true;
      survivor = kill ? disk.kill() : disk.crash();
    };
    // One microtask later the call is under way, and not complete.
    disk.fault = ({ number }) => {
      if (number === life.cutAt) queueMicrotask(cut);
      return undefined;
    };
    let over = false;
    life.play().then(
      () => {
        over = true;
      },
      (error: Error) => life.fail(error),
    );
    for (let turns = 0; survivor === null && !over && life.failure === null; turns++) {
      if (turns === turnsMax) throw new Error('the server has come to a stop');
      await life.turn();
    }
    if (life.failure !== null) throw life.failure;
    cut();
    if (kill) this.counts.kills++;
    else this.counts.cuts++;
    if (life.recovering) this.counts.cutsInRecovery++;
    this.trace = traced(this.trace, disk.traceHash);
    this.#machine.died(life.clock, survivor!);
  }

  get topics(): readonly PowerCutTopic[] {
    return this.#topics;
  }

  note(what: string): void {
    this.trace = traced(this.trace, what);
  }

  /** A topic that nobody has created yet, by a name that is free. */
  newTopic(random: SimRandom): PowerCutTopic | null {
    const live = this.#topics.filter(({ state }) => state !== 'deleted');
    if (live.length >= topicsMax) return null;
    const name = pick(
      random,
      names.filter((free) => live.every((topic) => topic.name !== free)),
    )!;
    const kind: TopicKind = random.chance(0.2) ? 'lazy' : random.chance(0.25) ? 'bounded' : 'plain';
    const topic = new PowerCutTopic(this.#serial++, { name, kind, shards: 1 + random.below(2) });
    this.#topics.push(topic);
    return topic;
  }

  /** Counts the segments that followed another of the same owner. */
  watched({ changes }: MetadataUpdate): void {
    for (const change of changes) {
      if (change.kind !== 'shard') continue;
      const [before, last] = change.shard.segments.slice(-2);
      if (last?.state !== 'open' || before?.writerEpoch !== last.writerEpoch || this.#rolled.has(last.id))
        continue;
      this.#rolled.add(last.id);
      this.counts.rolls++;
    }
  }

  /** Takes over what the topics and the fold have counted. */
  #sum(): void {
    const { counts } = this;
    Object.assign(counts, this.fold.counts);
    for (const { kind, trimmed, lost, undecided, producers } of this.#topics) {
      if (kind === 'bounded' && trimmed) counts.retentions++;
      counts.lostLazily += lost;
      counts.undecided += undecided;
      for (const { repeated } of producers) counts.repeated += repeated;
    }
  }
}

interface LifeOptions {
  readonly machine: Machine;
  readonly under: UnderServer;
  readonly random: SimRandom;
  readonly cutAt: number | null;
}

/** One process of a game. */
class Life implements LaneHooks {
  readonly #game: PowerCutGame;
  readonly #machine: Machine;
  readonly #random: SimRandom;
  readonly #broker: PowerCutBroker;
  readonly clock: SimClock;
  /** Call of the disk at which the power fails; null: the process lives until it has stopped. */
  cutAt: number | null;
  /** Not everything that was there was opened and read yet. */
  recovering = true;
  dead = false;
  failure: Error | null = null;
  #leapMs = 1;
  /** Tasks that have not ended. */
  #begun = 0;

  constructor(game: PowerCutGame, { machine, under, random, cutAt }: LifeOptions) {
    this.#game = game;
    this.#machine = machine;
    this.#random = random;
    this.cutAt = cutAt;
    this.clock = machine.clock();
    const { clock } = this;
    const fail = (error: Error): void => this.fail(error);
    this.#broker = new PowerCutBroker({ machine, under, clock, random: random.fork(), fail });
  }

  fail(error: Error): void {
    if (!this.dead) this.failure ??= error;
  }

  hear(task: () => void): void {
    if (this.dead) return;
    try {
      task();
    } catch (error) {
      this.fail(error as Error);
    }
  }

  note(what: string): void {
    this.#game.note(what);
  }

  refused(code: string): void {
    if (!fairRefusals.has(code)) throw new Error(`a living server gave up a batch: ${code}`);
  }

  async turn(): Promise<void> {
    const leap = this.#leapMs;
    this.#leapMs = 1;
    await this.clock.advance(leap);
  }

  async play(): Promise<void> {
    const random = this.#random;
    const last = this.cutAt === null;
    const broker = this.#broker;
    await broker.start();
    broker.metadata.watch((update) => this.#game.watched(update));
    await this.#recover();
    this.recovering = false;
    for (let steps = 10 + random.below(90); steps > 0; steps--) {
      this.#act();
      this.#fold();
      for (let turns = random.below(4); turns > 0; turns--) await this.#breathe();
    }
    if (last) await this.#checkDeleted();
    await this.#verify(false);
    const { rotEntries, lostSegments } = broker.journal.counters;
    if (rotEntries + lostSegments > 0) throw new Error('a false verdict of rot');
    if (!last && random.chance(0.7)) return;
    // A shard that is being opened when the journal stops is reported, as if it could not be.
    while (this.#begun > 0) await this.#breathe();
    await broker.stop();
    this.#game.fold.stopped();
    this.#game.counts.stops++;
  }

  /** Decides what had no answer, opens every shard, and reads it all. */
  async #recover(): Promise<void> {
    const { kernel } = this.#broker;
    const { topics } = this.#game;
    for (const topic of topics) topic.found(kernel);
    const live = topics.filter(({ state }) => state === 'ready');
    const known = new Set([kernel.topics.defaultTopic.name, ...live.map(({ name }) => name)]);
    for (const { name } of kernel.topics.list())
      if (!known.has(name)) throw new Error(`nobody created ${name}`);
    // A server loads its state before it serves.
    await this.#game.fold.open(this.#foldLife);
    await Promise.all(live.map((topic) => topic.open(kernel)));
    await this.#verify(true);
    for (const topic of live) topic.repeat(this);
  }

  async #verify(restarted: boolean): Promise<void> {
    for (const topic of this.#game.topics) {
      if (topic.state === 'ready') await topic.verify(this.#broker.kernel, restarted);
    }
    if (!restarted) this.#game.fold.verify();
  }

  get #foldLife(): FoldLife {
    return {
      kernel: this.#broker.kernel,
      random: this.#random,
      hooks: this,
      passBegins: () => this.#aim(),
    };
  }

  /** What metadata no longer has, the journal has deleted. */
  async #checkDeleted(): Promise<void> {
    const end = this.clock.monotonic() + deletedMs;
    while (this.clock.monotonic() < end) {
      this.#leapMs = 500;
      await this.#breathe();
    }
    const { journal, metadata } = this.#broker;
    for (const shard of journal.usage().shards.keys()) {
      if (!metadata.image.shards.has(shard))
        throw new Error(`the journal keeps shard ${shard}, which is deleted`);
    }
  }

  /** Lets the others go on; with the power, everything stops that has not ended. */
  async #breathe(): Promise<void> {
    await settle();
    if (this.dead) await new Promise(() => undefined);
  }

  #act(): void {
    const random = this.#random;
    const { kernel } = this.#broker;
    const dice = random.below(100);
    const ready = this.#game.topics.filter(({ state, shards }) => state === 'ready' && shards.length > 0);
    const topic = pick(random, ready);
    if (dice < 5 || topic === undefined) this.#later(() => this.#create());
    else if (dice < 8) this.#later(() => this.#delete(topic));
    else if (dice < 13) this.#later(() => this.#trim(topic));
    else if (dice < 25) this.#leapMs = random.below(1500);
    else if (!kernel.appender.admitting) this.#leapMs = 100;
    else if (dice < 70) topic.produce(random, this);
    else topic.publish(kernel, random, this);
  }

  /** Has the power fail within the pass of compaction that begins, at times. */
  #aim(): void {
    const { disk } = this.#machine;
    if (this.cutAt === null || !this.#random.chance(aimedChance)) return;
    this.cutAt = disk.ops + 1 + this.#random.below(passCalls);
  }

  /** The kernel looks itself whether a pass is due, but every 500 ms: a game has few of those. */
  #fold(): void {
    const random = this.#random;
    const { kernel } = this.#broker;
    if (random.chance(0.4) && kernel.appender.admitting) this.#game.fold.write(this.#foldLife);
    if (random.chance(0.3)) kernel.folds.compactIfDue();
  }

  /** Begins something that ends in its own time, if the power does not fail before. */
  #later(task: () => Promise<void>): void {
    this.#begun++;
    task()
      .catch((error: Error) => this.fail(error))
      .finally(() => {
        this.#begun--;
      });
  }

  async #create(): Promise<void> {
    const { kernel } = this.#broker;
    const topic = this.#game.newTopic(this.#random);
    if (topic === null) return;
    const record = await kernel.topics.create(topic.name, topic.shardCount, topic.config);
    if (this.dead) return;
    this.note(`${topic.name} is created as ${record.id}`);
    topic.record = record;
    topic.state = 'ready';
    this.#game.counts.created++;
    await topic.open(kernel);
  }

  async #delete(topic: PowerCutTopic): Promise<void> {
    topic.state = 'deleting';
    await this.#broker.kernel.topics.delete(topic.record!);
    if (this.dead) return;
    this.note(`${topic.name} is deleted`);
    topic.state = 'deleted';
    this.#game.counts.deleted++;
  }

  async #trim(topic: PowerCutTopic): Promise<void> {
    try {
      await topic.trim(this.#broker.kernel, this.#random);
      if (!this.dead) this.#game.counts.trims++;
    } catch (error) {
      // Its topic was deleted meanwhile.
      if (topic.state === 'ready' || !(error instanceof RobustError)) throw error;
    }
  }
}
