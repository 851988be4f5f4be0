import type { Logger, Offset, ShardId } from '@robustmq/core';
import type { RetainedRecord } from '../folds/retained.ts';
import { takesRootWildcards } from '../names/topic-naming.ts';
import type { Metadata, TopicRecord } from '../ports/metadata.ts';
import type { Guarantee, Subscription } from '../router/match.ts';
import type { Router } from '../router/router.ts';
import type { Shard } from '../shards/shard.ts';
import type { Topics } from '../topics.ts';
import type { Dispatcher } from './dispatcher.ts';

/** What an adapter asks for; see `Subscription`. */
export interface SubscribeRequest {
  readonly filter: string;
  readonly subscriber: object;
  readonly guarantee: Guarantee;
  readonly options: unknown;
  /** A subscription that exists already keeps its beginning; null: it begins now. */
  readonly since: ReadonlyMap<ShardId, Offset> | null;
  /** The subscription of the same filter and subscriber that this one takes the place of, still registered. */
  readonly replaces?: Subscription | undefined;
}

export interface SubscriptionTableModules {
  readonly router: Router;
  readonly topics: Topics;
  readonly dispatcher: Dispatcher;
  readonly metadata: Metadata;
  readonly logger: Logger;
  openShard(id: ShardId): Promise<Shard>;
  readyShard(id: ShardId): Shard | null;
}

/**
 * Begins and ends subscriptions at the owners of the shards they can match: every subscription knows from which
 * offset of which shard it counts, and what is retained is read at exactly those offsets, so that nothing is missed
 * or doubled between the two.
 */
export class SubscriptionTable {
  readonly #modules: SubscriptionTableModules;
  readonly #bridging = new Map<ShardId, Set<Subscription>>();

  constructor(modules: SubscriptionTableModules) {
    this.#modules = modules;
  }

  /** Opens every shard that the filters can match, so that `subscribe` can answer at once. */
  async prepare(filters: readonly string[]): Promise<Shard[]> {
    const ids = new Set<ShardId>();
    for (const filter of filters)
      for (const topic of this.topicsOf(filter)) for (const id of topic.shards) ids.add(id);
    return Promise.all([...ids].map((id) => this.#modules.openShard(id)));
  }

  /**
   * Registers subscriptions in one step with everything before and after it. `shards` is what `prepare` returned for
   * their filters. A subscription begins at the high watermark; what is retained up to there is in `retained`.
   */
  subscribe(requests: readonly SubscribeRequest[], shards: readonly Shard[]): Subscription[] {
    const since = new Map<ShardId, Offset>();
    for (const shard of shards) since.set(shard.id, shard.highWatermark);
    return requests.map((request) => {
      const subscription: Subscription = {
        filter: request.filter,
        subscriber: request.subscriber,
        guarantee: request.guarantee,
        options: request.options,
        since: request.since ?? since,
        bridging: null,
      };
      this.#begin(subscription, request, shards);
      this.#modules.router.subscribe(subscription);
      return subscription;
    });
  }

  /**
   * What is in flight counts for a subscription that begins now, and for one that gives up the guarantee with which its
   * predecessor would have got it. Otherwise the predecessor has got it already, or waits for it with the commit.
   */
  #begin(subscription: Subscription, request: SubscribeRequest, shards: readonly Shard[]): void {
    const { replaces } = request;
    const lowered = replaces !== undefined && replaces.guarantee > 0 && request.guarantee === 0;
    for (const { id, log, highWatermark } of shards) {
      if (log.nextOffset === highWatermark) continue;
      const inherited = replaces?.bridging?.get(id);
      if (inherited !== undefined) this.#bridge(subscription, id, inherited);
      else if (lowered || (replaces === undefined && request.since === null)) {
        this.#bridge(subscription, id, log.nextOffset);
      }
    }
  }

  unsubscribe(subscription: Subscription): void {
    this.#modules.router.unsubscribe(subscription);
    for (const shard of subscription.bridging?.keys() ?? []) this.#bridging.get(shard)?.delete(subscription);
    subscription.bridging = null;
  }

  /** What is retained under a filter in these shards, now. */
  *retained(filter: string, shards: readonly Shard[]): Iterable<RetainedRecord> {
    const matching = new Set(this.topicsOf(filter).map((topic) => topic.id));
    for (const shard of shards) {
      if (shard.retained !== null && matching.has(shard.topic.id))
        yield* shard.retained.records.match(filter);
    }
  }

  /** Topics with records that a filter can match. */
  topicsOf(filter: string): TopicRecord[] {
    const { topics } = this.#modules;
    const first = filter.split('/', 1)[0]!;
    const wild = first === '#' || first === '+';
    const found = [topics.defaultTopic];
    if (!wild) {
      const topic = topics.byName(first);
      if (topic !== undefined && topic !== found[0]) found.push(topic);
      return found;
    }
    for (const topic of topics.list()) {
      if (topic !== found[0] && takesRootWildcards(topic, topics.options.defaultTopic)) found.push(topic);
    }
    return found;
  }

  /** A committed frame of the shard was delivered: subscriptions that bridged to this point are live now. */
  committed(shard: ShardId): void {
    const bridging = this.#bridging.get(shard);
    if (bridging === undefined) return;
    const owned = this.#modules.readyShard(shard);
    // Committed is not enough: a frame may still wait to be decoded.
    const routedTo = this.#modules.dispatcher.routedTo(shard) ?? -1;
    if (owned !== null && routedTo < owned.log.nextOffset) return;
    for (const subscription of bridging) {
      subscription.bridging?.delete(shard);
      if (subscription.bridging?.size === 0) subscription.bridging = null;
    }
    this.#bridging.delete(shard);
  }

  #bridge(subscription: Subscription, shard: ShardId, from: Offset): void {
    subscription.bridging ??= new Map();
    subscription.bridging.set(shard, from);
    let bridging = this.#bridging.get(shard);
    if (bridging === undefined) {
      bridging = new Set();
      this.#bridging.set(shard, bridging);
    }
    bridging.add(subscription);
  }
}
