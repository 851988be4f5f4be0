import type { Kernel, Shard, TopicRecord } from '@robustmq/kernel';
import type { SimRandom } from '@robustmq/sim';
import { valuesOf } from './kernel-fixture.ts';
import type { LaneHooks, ShardContents } from './power-cut-lane.ts';
import { Lane } from './power-cut-lane.ts';

/** `lazy`: acknowledged before it is durable. `bounded`: retention trims it. */
export type TopicKind = 'plain' | 'lazy' | 'bounded';

const retentionBytes = 10_000;
const producersPerShard = 2;
const subjectsPerTopic = 2;

/** Of a topic on the simulated disk, or of one that may be there: its creation had no answer. */
type TopicState = 'creating' | 'ready' | 'deleting' | 'deleted';

/** What is known of the start of a shard's log. */
interface LogStart {
  /** It is not below this, */
  at: number;
  /** and not above that. */
  maybe: number;
}

/** A topic as its clients know it. */
export class PowerCutTopic {
  readonly name: string;
  readonly kind: TopicKind;
  readonly shardCount: number;
  state: TopicState = 'creating';
  record: TopicRecord | null = null;
  /** Open in this process. */
  shards: readonly Shard[] = [];
  readonly producers: Lane[] = [];
  readonly subjects: Lane[] = [];
  readonly #starts: LogStart[];
  /** Acknowledgements that a cut took, as `flush=interval` may. */
  lost = 0;
  /** How often a restart had to say whether it is there. */
  undecided = 0;

  constructor(
    serial: number,
    options: { readonly name: string; readonly kind: TopicKind; readonly shards: number },
  ) {
    const { name, kind, shards } = options;
    this.name = name;
    this.kind = kind;
    this.shardCount = shards;
    this.#starts = Array.from({ length: shards }, () => ({ at: 0, maybe: 0 }));
    for (let shard = 0; shard < shards && kind !== 'lazy'; shard++) {
      for (let at = 0; at < producersPerShard; at++) {
        const id = 1000 * serial + this.producers.length;
        this.producers.push(new Lane(`producer ${id}`, { id, shard }));
      }
    }
    for (let at = 0; at < subjectsPerTopic; at++)
      this.subjects.push(new Lane(`${name}/${serial}-${at}`, null));
  }

  get config(): ReadonlyMap<string, string> {
    const config = new Map([
      ['subject.bind', 'true'],
      ['segment.ms', '1000'],
      ['retention.ms', '-1'],
    ]);
    if (this.kind === 'lazy') config.set('flush', 'interval');
    if (this.kind === 'bounded') config.set('retention.bytes', String(retentionBytes));
    return config;
  }

  /** A new process decides what had no answer; throws when it has lost or invented the topic. */
  found(kernel: Kernel): void {
    this.shards = [];
    // Its creation was never acknowledged, and was lost.
    if (this.state === 'deleted' && this.record === null) return;
    if (this.state === 'creating' || this.state === 'deleting') this.undecided++;
    const record =
      this.record === null ? kernel.topics.byName(this.name) : kernel.topics.byId(this.record.id);
    if (record === undefined) {
      if (this.state === 'ready') throw new Error(`topic ${this.name} was acknowledged and is missing`);
      this.state = 'deleted';
      return;
    }
    if (this.state === 'deleted') throw new Error(`topic ${this.name} was deleted and is back`);
    if (record.shards.length !== this.shardCount) throw new Error(`topic ${this.name} has other shards`);
    this.record = record;
    this.state = 'ready';
  }

  async open(kernel: Kernel): Promise<void> {
    this.shards = await Promise.all(this.record!.shards.map((id) => kernel.openShard(id)));
  }

  produce(random: SimRandom, hooks: LaneHooks): void {
    const lane = pick(random, this.producers);
    const shard = lane === undefined ? undefined : this.shards[lane.shard];
    if (shard === undefined) return;
    if (random.chance(0.1)) lane!.repeatLast(shard, hooks);
    else lane!.produce(shard, { count: 1 + random.below(3), padding: paddingOf(random) }, hooks);
  }

  publish(kernel: Kernel, random: SimRandom, hooks: LaneHooks): void {
    const lane = pick(random, this.subjects)!;
    const { shard } = kernel.subjects.forPublish(lane.name);
    lane.shard = this.record!.shards.indexOf(shard);
    if (lane.shard === -1) throw new Error(`${lane.name} is in no shard of its topic`);
    const retain = this.kind === 'plain' && random.chance(0.3);
    lane.publish(kernel, { padding: paddingOf(random), retain }, hooks);
  }

  repeat(hooks: LaneHooks): void {
    for (const lane of this.producers) lane.repeat(this.shards[lane.shard]!, hooks);
  }

  /** Deletes the records below a random offset, all of them at times. */
  async trim(kernel: Kernel, random: SimRandom): Promise<void> {
    const shard = pick(random, this.shards);
    if (shard === undefined || this.kind !== 'plain') return;
    const count = shard.highWatermark - shard.startOffset;
    const offset = shard.startOffset + (random.chance(0.2) ? count : random.below(count + 1));
    const start = this.#starts[shard.index]!;
    start.maybe = Math.max(start.maybe, offset);
    await kernel.trim(shard, offset);
    start.at = Math.max(start.at, offset);
  }

  /** Reads everything and compares it with what was sent; `restarted`: nothing was sent by this process yet. */
  async verify(kernel: Kernel, restarted: boolean): Promise<void> {
    const lazy = this.kind === 'lazy';
    const contents: ShardContents[] = [];
    for (const shard of this.shards) contents.push(await this.#read(shard));
    const highest = contents.map(({ offsets }) => Math.max(-1, ...offsets.values()));
    for (const each of contents) this.#checkStart(kernel, each);
    for (const lane of [...this.producers, ...this.subjects]) {
      for (const { from, to } of lane.check({ contents, restarted, lazy })) {
        this.lost++;
        if (from <= highest[lane.shard]!)
          throw new Error(`${this.name}: ${from} is lost, and later ones are not`);
        if (to > contents[lane.shard]!.end)
          throw new Error(`${this.name}: ${from} was acknowledged and is used again`);
      }
    }
    if (!restarted) return;
    for (const { index, offsets } of contents) {
      const [invented] = offsets.keys();
      if (invented !== undefined)
        throw new Error(`${this.name}: shard ${index} has what nobody sent: ${invented}`);
    }
    if (this.kind === 'plain') for (const lane of this.subjects) this.#checkRetained(lane);
  }

  async #read(shard: Shard): Promise<ShardContents> {
    const end = shard.highWatermark;
    const offsets = new Map<string, number>();
    const stored: number[] = [];
    for (const line of await valuesOf(shard)) {
      const colon = line.indexOf(':');
      const offset = Number(line.slice(0, colon));
      const value = line.slice(colon + 1);
      if (offsets.has(value)) throw new Error(`${this.name}: ${value} is there twice`);
      offsets.set(value, offset);
      stored.push(offset);
    }
    // Retention may have gone on meanwhile.
    const start = shard.startOffset;
    const within = stored.filter((offset) => offset >= start && offset < end);
    // Offsets are only skipped where they may have been acknowledged and lost.
    const whole = this.kind === 'lazy' || within.length === Math.max(0, end - start);
    if (!whole)
      throw new Error(`${this.name}: ${within.length} records are missing or too many in ${start} to ${end}`);
    return { index: shard.index, start, end, offsets };
  }

  #checkStart(kernel: Kernel, { index, start }: ShardContents): void {
    const known = this.#starts[index]!;
    if (start < known.at) throw new Error(`${this.name}: trimmed to ${known.at}, and it starts at ${start}`);
    if (this.kind === 'bounded') this.#checkRetention(kernel, index);
    else if (start > known.maybe)
      throw new Error(`${this.name}: trimmed to ${known.maybe} at most, not ${start}`);
    known.at = start;
    known.maybe = Math.max(known.maybe, start);
  }

  /** Retention leaves what it is told to, but for the bytes of segments without a record, which go uncounted. */
  #checkRetention(kernel: Kernel, index: number): void {
    const { startOffset, segments } = kernel.modules.metadata.image.shards.get(this.record!.shards[index]!)!;
    let bytes = 0;
    for (const segment of segments) if (segment.endOffset > startOffset) bytes += segment.bytes;
    if (startOffset > 0 && bytes < retentionBytes / 2)
      throw new Error(`${this.name}: retention left ${bytes} bytes`);
  }

  #checkRetained(lane: Lane): void {
    const shard = this.shards[lane.shard];
    if (shard === undefined) return;
    const found = shard.retained!.records.get(lane.name)?.value.toString() ?? null;
    if (found !== lane.retained) throw new Error(`${lane.name} retains ${found}, not ${lane.retained}`);
  }

  /** Whether retention or a trim has taken something. */
  get trimmed(): boolean {
    return this.#starts.some(({ at }) => at > 0);
  }
}

export function paddingOf(random: SimRandom): number {
  return random.chance(0.15) ? random.below(6000) : random.below(200);
}

export function pick<T>(random: SimRandom, from: readonly T[]): T | undefined {
  return from[random.below(from.length)];
}
