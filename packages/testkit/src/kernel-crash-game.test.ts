import type { Kernel, LogBatch, Shard, TopicRecord } from '@robustmq/kernel';
import { playSeeds, SimClock, SimRandom, seedGroups, seedGroupTimeoutMs, traced } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { clientBatch, outcomeOf, publish, valuesOf } from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const segmentBytes = 1024 * 1024;
const session = 900;

interface Sent {
  readonly sequence: number;
  readonly count: number;
  readonly padding: number;
  offset: number | null;
}

/** An idempotent producer that repeats what it has no answer for, in order, as clients do. */
class Producer {
  readonly id: number;
  readonly sent: Sent[] = [];
  readonly #note: (what: string) => void;
  #sequence = 0;

  constructor(id: number, note: (what: string) => void) {
    this.id = id;
    this.#note = note;
  }

  get unanswered(): Sent[] {
    return this.sent.filter(({ offset }) => offset === null);
  }

  send(shard: Shard, count: number, padding: number): void {
    if (this.unanswered.length === 5) return;
    const sent = { sequence: this.#sequence, count, padding, offset: null };
    this.#sequence += count;
    this.sent.push(sent);
    this.#append(shard, sent);
  }

  repeat(shard: Shard): void {
    for (const sent of this.unanswered) this.#append(shard, sent);
  }

  #append(shard: Shard, sent: Sent): void {
    const { sequence, count, padding } = sent;
    const values = Array.from(
      { length: count },
      (_, at) => `${this.id}/${sequence + at}/${'x'.repeat(padding)}`,
    );
    const batch = clientBatch(values, { producerId: this.id, sequence });
    const answer = (offset: number): void => {
      // An answer that comes twice is the same twice.
      expect(sent.offset ?? offset).toBe(offset);
      sent.offset = offset;
      this.#note(`${this.id}/${sequence} at ${offset}`);
    };
    const producer = { producerId: this.id, epoch: 0, firstSequence: sequence, count };
    const verdict = shard.appendClient(batch, producer, {
      settled: ({ baseOffset }, error) => {
        if (error === null) answer(baseOffset);
      },
    });
    if (verdict.kind === 'committed') answer(verdict.baseOffset);
    expect(verdict.kind, `${this.id}/${sequence}`).not.toBe('refuse');
  }
}

type TokenState = 'sent' | 'open' | 'releasing' | 'released';

/** Random writes to one shard by processes that die at random writes, and what must be true behind each restart. */
class Game {
  readonly #random: SimRandom;
  readonly #producers = [1, 2, 3].map((id) => new Producer(id, (what) => this.#note(what)));
  readonly #tokens = new Map<number, TokenState>();
  /** Retained values in the order of publishing, and how many are acknowledged. */
  readonly #retained: string[] = [];
  #retainedAcknowledged = 0;
  #storage!: MemoryStorage;
  #kernel!: Kernel;
  #topic!: TopicRecord;
  #shard!: Shard;
  /** Of all answers, and of what is found after each restart; the same for the same seed. */
  trace = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
  }

  async play(lives: number): Promise<this> {
    this.#storage = await createMemoryStorage();
    this.#kernel = await this.#boot();
    const config = new Map([
      ['subject.bind', 'true'],
      ['segment.bytes', String(segmentBytes)],
    ]);
    this.#topic = await this.#kernel.topics.create('r', 1, config);
    this.#shard = await this.#kernel.openShard(this.#topic.shards[0]!);
    for (let life = 0; life < lives; life++) {
      if (life < lives - 1) this.#storage.journal.fuse.blowAfter(this.#below(25));
      for (let step = 0; step < 30; step++) {
        this.#step();
        if (this.#below(3) === 0) await turn();
      }
      for (let turns = 0; turns < 8; turns++) await turn();
      await this.#restart();
    }
    await this.#check();
    this.#storage.journal.crash();
    return this;
  }

  #boot(): Promise<Kernel> {
    const clock = new SimClock();
    return startKernel(this.#storage, { modules: { clock, random: this.#random.fork() } });
  }

  #note(what: string): void {
    this.trace = traced(this.trace, what);
  }

  #below(bound: number): number {
    return this.#random.u32() % bound;
  }

  #step(): void {
    const dice = this.#below(10);
    if (dice < 6) {
      const producer = this.#producers[this.#below(3)]!;
      producer.send(this.#shard, 1 + this.#below(3), this.#below(4) === 0 ? 150_000 : 10);
    } else if (dice === 6) this.#retain();
    else if (dice < 9) this.#open();
    else this.#release();
  }

  #retain(): void {
    const value = `${this.#retained.length}`;
    this.#retained.push(value);
    const position = this.#retained.length;
    const batch = publish(this.#kernel, 'r/kept', value, { retain: true });
    if (typeof batch === 'string') return;
    void outcomeOf(batch).then((outcome) => {
      if (typeof outcome === 'number') {
        this.#retainedAcknowledged = Math.max(this.#retainedAcknowledged, position);
      }
    });
  }

  #open(): void {
    const token = this.#tokens.size;
    this.#tokens.set(token, 'sent');
    const input = { guarantee: 2 as const, token: { producerId: session, token } };
    void outcomeOf(publish(this.#kernel, 'r/once', 'x', input) as LogBatch).then((outcome) => {
      if (typeof outcome === 'number') this.#tokens.set(token, 'open');
    });
  }

  #release(): void {
    for (const [token, state] of this.#tokens) {
      if (state !== 'open') continue;
      this.#tokens.set(token, 'releasing');
      this.#shard.release([{ producerId: session, token }], {
        settled: (_batch, error) => {
          if (error === null) this.#tokens.set(token, 'released');
        },
      });
      return;
    }
  }

  /** kill -9, a new process, and the repetitions of the producers. */
  async #restart(): Promise<void> {
    this.#storage.journal.crash();
    this.#kernel = await this.#boot();
    this.#shard = await this.#kernel.openShard(this.#topic.shards[0]!);
    for (const [token, state] of this.#tokens) {
      const known = this.#shard.tokens.has(session, token);
      if (state === 'open') expect(known, `token ${token}`).toBe(true);
      if (state === 'released') expect(known, `token ${token}`).toBe(false);
      this.#note(`token ${token}: ${known}`);
      // What was unknown is decided now.
      this.#tokens.set(token, known ? 'open' : 'released');
    }
    this.#checkRetained();
    for (const producer of this.#producers) producer.repeat(this.#shard);
    for (let turns = 0; turns < 8; turns++) await turn();
    for (const producer of this.#producers) expect(producer.unanswered).toEqual([]);
  }

  #checkRetained(): void {
    const kept = this.#shard.retained!.records.get('r/kept')?.value.toString() ?? 'nothing';
    const possible = this.#retained.slice(Math.max(0, this.#retainedAcknowledged - 1));
    if (this.#retainedAcknowledged === 0) possible.push('nothing');
    this.#note(`kept ${kept}`);
    expect(possible).toContain(kept);
    // What was published and not stored is not published again.
    if (kept !== 'nothing') this.#retained.length = Number(kept) + 1;
    else this.#retained.length = 0;
    this.#retainedAcknowledged = this.#retained.length;
  }

  /** Every record of every producer is in the log once, in order, where its answer said. */
  async #check(): Promise<void> {
    const stored = new Map<number, string[]>(this.#producers.map(({ id }) => [id, []]));
    for (const value of await valuesOf(this.#shard)) {
      const [, offset, id, sequence] = /^(\d+):(\d+)\/(\d+)\//.exec(value) ?? [];
      stored.get(Number(id))?.push(`${sequence} at ${offset}`);
    }
    for (const { id, sent } of this.#producers) {
      const answered = sent.flatMap(({ sequence, count, offset }) =>
        Array.from({ length: count }, (_, at) => `${sequence + at} at ${offset! + at}`),
      );
      expect(stored.get(id), `producer ${id}`).toEqual(answered);
    }
  }
}

describe('a shard whose owner dies at any write', () => {
  for (const group of seedGroups(process.env)) {
    it(
      `seeds ${group.first} to ${group.end - 1}: repetitions are stored once, tokens and retained messages are those of the log`,
      async ({ task }) => {
        const { traces } = await playSeeds(group, (seed) => new Game(seed).play(8));
        Object.assign(task.meta, { traces });
        expect(new Set(traces).size, 'another seed is another run').toBe(traces.length);
      },
      seedGroupTimeoutMs,
    );
  }
});
