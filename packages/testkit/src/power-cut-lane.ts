import type { Kernel, LogBatch, Shard } from '@robustmq/kernel';
import { clientBatch, publish } from './kernel-fixture.ts';

/** A client of Kafka sends no more batches than this without their answers, and the broker knows as many again. */
const unansweredMax = 5;

/** Records that are stored together or not at all. */
interface Sent {
  readonly values: readonly string[];
  /** Sequence number of the first one. */
  readonly sequence: number;
  readonly retain: boolean;
  /** Offset of the first record, -1 until an answer or the log told. */
  offset: number;
  /** What the answer said: the records are within these offsets. Null without an answer. */
  answer: { readonly from: number; readonly to: number } | null;
  /** Its client has the answer, and does not send it again. */
  answered: boolean;
  /** It was found after a restart: from there on nothing may take it but a trim. */
  proven: boolean;
}

/** What a shard was read to hold. */
export interface ShardContents {
  readonly index: number;
  readonly start: number;
  /** The high watermark before the reading began. */
  readonly end: number;
  /** Offsets by value; who finds his own takes it out. */
  readonly offsets: Map<string, number>;
}

export interface LaneCheck {
  readonly contents: readonly ShardContents[];
  /** A process has just started and nothing is in flight: what is not stored now never was. */
  readonly restarted: boolean;
  /** Answers may be given before the records are durable. */
  readonly lazy: boolean;
}

/** Where a lane's answers go: nowhere once the power is off. */
export interface LaneHooks {
  /** Runs `task` unless the process is dead; what it throws fails the game. */
  hear(task: () => void): void;
  note(what: string): void;
  /** A batch was given up by a living process. */
  refused(code: string): void;
}

/** What one client sends to one shard, in order: an idempotent producer, or publishes to one subject. */
export class Lane {
  readonly name: string;
  readonly #producerId: number | null;
  #sent: Sent[] = [];
  #sequence = 0;
  /** Newest retained value of those that a trim took. */
  #trimmedRetained: string | null = null;
  /** Index of its shard; of a subject known from its first publish on. */
  shard: number;
  /** Batches that were sent again and already stored. */
  repeated = 0;

  constructor(name: string, producer: { readonly id: number; readonly shard: number } | null) {
    this.name = name;
    this.#producerId = producer?.id ?? null;
    this.shard = producer?.shard ?? -1;
  }

  get unanswered(): number {
    return this.#sent.reduce((count, { answered }) => count + (answered ? 0 : 1), 0);
  }

  /** The value that its subject retains; null for none. */
  get retained(): string | null {
    const known = this.#sent.findLast(
      ({ retain, answer, offset }) => retain && (answer !== null || offset >= 0),
    );
    return known?.values[0] ?? this.#trimmedRetained;
  }

  /** An idempotent producer's next batch. */
  produce(shard: Shard, size: { readonly count: number; readonly padding: number }, hooks: LaneHooks): void {
    if (this.unanswered < unansweredMax) this.#append(shard, this.#make(size, false), hooks);
  }

  /** Sends again what has no answer, in order, as clients do after a connection broke. */
  repeat(shard: Shard, hooks: LaneHooks): void {
    for (const sent of this.#sent) if (!sent.answered) this.#append(shard, sent, hooks);
  }

  /** Sends the last batch again though it was answered: the answer must be the same. */
  repeatLast(shard: Shard, hooks: LaneHooks): void {
    const last = this.#sent.at(-1);
    if (last?.answered === true && last.proven) this.#append(shard, last, hooks);
  }

  publish(
    kernel: Kernel,
    options: { readonly padding: number; readonly retain: boolean },
    hooks: LaneHooks,
  ): void {
    const { padding, retain } = options;
    const sent = this.#make({ count: 1, padding }, retain);
    const batch = publish(kernel, this.name, sent.values[0]!, { retain });
    // Refused at once: nothing was sent, and the next one takes its place.
    if (typeof batch === 'string') this.#sent.pop();
    else
      batch.listen({
        settled: (_batch, error) => hooks.hear(() => this.#settled(sent, batch, error, hooks)),
      });
  }

  /**
   * Finds in `contents` what was sent, and takes it out there. Throws when something answered is missing or elsewhere.
   * Returns the answers whose records are gone, which is allowed where they were given early.
   */
  check({ contents, restarted, lazy }: LaneCheck): { readonly from: number; readonly to: number }[] {
    const found = contents[this.shard];
    if (found === undefined) return [];
    const lost: { readonly from: number; readonly to: number }[] = [];
    const kept: Sent[] = [];
    let last = -1;
    for (const sent of this.#sent) {
      const offset = this.#locate(sent, found);
      if (offset !== null) {
        if (offset <= last) this.#fail(sent, `is at ${offset}, behind what was sent later`);
        last = offset;
        this.#place(sent, offset, restarted);
        kept.push(sent);
      } else if (this.#isTrimmed(sent, found.start)) {
        if (sent.retain) this.#trimmedRetained = sent.values[0]!;
      } else if (sent.answer === null) {
        // Who repeats will get his answer; who does not has lost it.
        if (!restarted || this.#producerId !== null) kept.push(sent);
      } else if (!restarted && sent.answer.to > found.end) {
        kept.push(sent);
      } else if (lazy && restarted && !sent.proven) {
        lost.push(sent.answer);
      } else {
        this.#fail(sent, `was acknowledged at ${sent.answer.from} and is missing`);
      }
    }
    this.#sent = kept;
    return lost;
  }

  #make({ count, padding }: { count: number; padding: number }, retain: boolean): Sent {
    const sequence = this.#sequence;
    const values = Array.from(
      { length: count },
      (_, at) => `${this.name}/${sequence + at}/${'x'.repeat(padding)}`,
    );
    const sent: Sent = { values, sequence, retain, offset: -1, answer: null, answered: false, proven: false };
    this.#sequence += count;
    this.#sent.push(sent);
    return sent;
  }

  #append(shard: Shard, sent: Sent, hooks: LaneHooks): void {
    const { values, sequence } = sent;
    const producerId = this.#producerId!;
    const timestamp = 1000 + sequence;
    const batch = clientBatch(values, { producerId, sequence, timestamp });
    const producer = { producerId, epoch: 0, firstSequence: sequence, count: values.length };
    const verdict = shard.appendClient(batch, producer, {
      // Of a repetition that joins what is in flight, the batch in flight is told of.
      settled: (settled, error) => hooks.hear(() => this.#settled(sent, settled, error, hooks)),
    });
    if (verdict.kind === 'refuse') this.#fail(sent, `is refused: ${verdict.code}`);
    if (verdict.kind !== 'committed') return;
    this.repeated++;
    this.#answer(sent, verdict.baseOffset, verdict.baseOffset + values.length, hooks);
  }

  #settled(sent: Sent, batch: LogBatch, error: { readonly code: string } | null, hooks: LaneHooks): void {
    if (error === null) this.#answer(sent, batch.baseOffset, batch.baseOffset + batch.count, hooks);
    else hooks.refused(error.code);
  }

  #answer(sent: Sent, from: number, to: number, hooks: LaneHooks): void {
    hooks.note(`${this.name}/${sent.sequence} at ${from}`);
    const { answer, offset } = sent;
    const other = answer !== null && (answer.from !== from || answer.to !== to);
    if (other || (offset >= 0 && (offset < from || offset >= to))) {
      this.#fail(sent, `is at ${from} by one answer and at ${answer?.from ?? offset} by another`);
    }
    sent.answer = { from, to };
    sent.answered = true;
    if (this.#producerId !== null) sent.offset = from;
  }

  /** Offset of the first record by those that are there; null when none is. Below the start of the log none need be. */
  #locate(sent: Sent, { offsets, start }: ShardContents): number | null {
    const places = sent.values.map((value) => offsets.get(value));
    const known = places.findIndex((place) => place !== undefined);
    if (known === -1) return null;
    const first = places[known]! - known;
    for (const [at, place] of places.entries()) {
      offsets.delete(sent.values[at]!);
      const trimmed = place === undefined && first + at < start;
      if (place !== first + at && !trimmed) this.#fail(sent, `is torn: ${places.join(' ')}`);
    }
    return first;
  }

  #place(sent: Sent, offset: number, restarted: boolean): void {
    const { answer } = sent;
    if (sent.offset >= 0 && sent.offset !== offset)
      this.#fail(sent, `was at ${sent.offset} and is at ${offset}`);
    if (answer !== null && (offset < answer.from || offset >= answer.to)) {
      this.#fail(sent, `was acknowledged at ${answer.from} and is at ${offset}`);
    }
    sent.offset = offset;
    if (!restarted) return;
    sent.proven = true;
    // Nobody will be told; its client does not ask again.
    if (this.#producerId === null) sent.answered = true;
  }

  /** Of a message that shares its answer with others, not more is known than where the answer begins. */
  #isTrimmed({ values, offset, answer }: Sent, start: number): boolean {
    if (offset >= 0) return offset + values.length <= start;
    return answer !== null && answer.from < start;
  }

  #fail({ sequence }: Sent, what: string): never {
    throw new Error(`${this.name}/${sequence} ${what}`);
  }
}
