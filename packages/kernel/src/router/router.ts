import type { Offset, ShardId } from '@robustmq/core';
import { Generations } from '../names/generations.ts';
import type { Subject } from '../names/subject.ts';
import { takesRootWildcards } from '../names/topic-naming.ts';
import type { TopicRecord } from '../ports/metadata.ts';
import type { FilterEntry } from './filter-entry.ts';
import { matchOf } from './filter-entry.ts';
import { FilterIndex } from './filter-index.ts';
import { MatchEpochs } from './match-epochs.ts';
import type { Match, Subscription } from './match.ts';
import { noMatch } from './match.ts';

/**
 * A wider match is not held by subjects: those that nobody asks for any more would keep one long list each from before
 * every change. It is looked up again, which is little beside that many deliveries.
 */
const heldSubscriptionsMax = 64;
/** Epoch of a subject that was located and holds no match: no sum is like it. */
const notHeld = -2;
/** Bounds of the matches of several filters that are kept for sharing. */
const combinedMax = 8192;
const combinedSubscriptionsMax = 1024 * 1024;
/**
 * After so many ended subscriptions, and one for so many subjects, matches from before are let go of: each end costs no
 * more than these few looks at subjects, and who is gone is not held for ever by subjects that nobody uses.
 */
const removalsMin = 1024;
const subjectsPerRemoval = 8;

/** What the owner of a router hears from it, synchronously. */
export interface RouterHooks {
  /** The first subscription of a filter came, or the last one went. */
  filterAdded?(filter: string): void;
  filterRemoved?(filter: string): void;
  /**
   * A subscriber's filter begins with a wildcard and would match a record of `topic`, which does not take such
   * filters. Once per subscriber.
   */
  excluded?(subscription: Subscription, topic: TopicRecord): void;
}

export interface RouterOptions {
  readonly defaultTopic: string;
  readonly hooks?: RouterHooks;
  /** All subjects that are kept for later, each of which may hold a match. */
  readonly subjects?: () => Iterable<Subject>;
}

/**
 * The subscriptions of one tenant at one broker. `match` costs four additions while the subject's cached match holds
 * (> 50 M/s) and a walk over the filters otherwise (0.2-0.6 M/s with 100,000 subscriptions on one core).
 */
export class Router {
  readonly #defaultTopic: string;
  readonly #hooks: RouterHooks;
  readonly #subjects: () => Iterable<Subject>;
  readonly #index = new FilterIndex();
  readonly #epochs = new MatchEpochs();
  readonly #found: FilterEntry[] = [];
  readonly #combined = new Generations<Match>({ entriesMax: combinedMax, unitsMax: combinedMax * 64 });
  #combinedSubscriptions = 0;
  readonly #excluded = new WeakSet<object>();
  #exclusions = 0;
  /** Subscriptions that ended since matches from before were let go of, and how many may. */
  #removals = 0;
  #removalsMax = removalsMin;

  constructor(options: RouterOptions) {
    this.#defaultTopic = options.defaultTopic;
    this.#hooks = options.hooks ?? {};
    this.#subjects = options.subjects ?? (() => []);
  }

  /** Rises with every change of the subscriptions. */
  get epoch(): number {
    return this.#epochs.changes;
  }

  get subscriptionCount(): number {
    return this.#index.subscriptionCount;
  }

  /** Distinct filters. */
  get filterCount(): number {
    return this.#index.filterCount;
  }

  /** Subscribers that a topic which takes no leading wildcards was kept from, ever. */
  get exclusionCount(): number {
    return this.#exclusions;
  }

  /**
   * Adds a subscription whose filter is valid (`isSubjectFilter`). To replace one, add the new one before removing
   * the old: the filter then stays registered throughout.
   */
  subscribe(subscription: Subscription): void {
    const first = this.#index.add(subscription);
    this.#epochs.touch(subscription.filter);
    if (first) this.#hooks.filterAdded?.(subscription.filter);
  }

  /** Removes a subscription, the same object that was added; unknown ones are ignored. */
  unsubscribe(subscription: Subscription): void {
    const last = this.#index.remove(subscription);
    this.#epochs.touch(subscription.filter);
    if (last) this.#hooks.filterRemoved?.(subscription.filter);
    if (++this.#removals >= this.#removalsMax) this.#forgetStale();
  }

  /** The registered filters, each once, in no order. */
  filters(): string[] {
    return this.#index.filters();
  }

  /**
   * The subscriptions that match a subject. Overlapping filters of one subscriber stay apart; the adapter merges
   * them, and checks each one's `since` (`isSince`).
   */
  match(subject: Subject): Match {
    return subject.matchEpoch === this.#epochs.sum(subject) ? subject.match : this.#find(subject);
  }

  /** The subscriptions that match a name which no record carries (a broker's own announcements). Not cached. */
  matchName(name: string): Match {
    return this.#collect(name, !name.startsWith('$'));
  }

  /** Whether any registered filter can match a record of `topic`: if not, its keys need not be decoded. */
  couldMatchTopic(topic: TopicRecord): boolean {
    if (topic.internal || this.#index.filterCount === 0) return false;
    if (topic.name === this.#defaultTopic) return true;
    if (this.#index.hasFirstLevel(topic.name)) return true;
    if (topic.name.startsWith('$') || !takesRootWildcards(topic, this.#defaultTopic)) return false;
    return this.#index.hasFirstLevel('+') || this.#index.hasFirstLevel('#');
  }

  /** Lets go of all matches that no longer hold; those that are combined are made again when they are asked for. */
  #forgetStale(): void {
    this.#combined.clear();
    this.#combinedSubscriptions = 0;
    let subjects = 0;
    for (const subject of this.#subjects()) {
      subjects++;
      if (subject.match === noMatch || subject.matchEpoch === this.#epochs.sum(subject)) continue;
      subject.match = noMatch;
      subject.matchEpoch = notHeld;
    }
    this.#removals = 0;
    this.#removalsMax = Math.max(removalsMin, Math.ceil(subjects / subjectsPerRemoval));
  }

  #find(subject: Subject): Match {
    const epochs = this.#epochs;
    if (subject.matchEpoch === -1) epochs.locate(subject);
    const { name, topic } = subject;
    const open = takesRootWildcards(topic, this.#defaultTopic);
    const match = this.#collect(name, open && !name.startsWith('$'));
    if (!open) this.#reportExcluded(subject);
    const held = match.subscriptions.length <= heldSubscriptionsMax;
    subject.match = held ? match : noMatch;
    subject.matchEpoch = held ? epochs.sum(subject) : notHeld;
    return match;
  }

  #collect(name: string, rootWildcards: boolean): Match {
    const found = this.#found;
    found.length = 0;
    this.#index.collect(name, rootWildcards, found);
    if (found.length === 0) return noMatch;
    const match = found.length === 1 ? (found[0] as FilterEntry).match() : this.#combine(found);
    found.length = 0;
    return match;
  }

  /** One match object for all subjects with the same filters, while these do not change. */
  #combine(entries: readonly FilterEntry[]): Match {
    let key = '';
    for (const entry of entries) key += `${entry.version},`;
    const known = this.#combined.get(key);
    if (known !== undefined) return known;
    const subscriptions: Subscription[] = [];
    for (const entry of entries) entry.appendTo(subscriptions);
    const match = matchOf(subscriptions);
    this.#combinedSubscriptions += subscriptions.length;
    if (this.#combinedSubscriptions > combinedSubscriptionsMax) {
      this.#combined.clear();
      this.#combinedSubscriptions = subscriptions.length;
    }
    this.#combined.set(key, match);
    return match;
  }

  /** Source: docs/semantics.md 1.4. */
  #reportExcluded(subject: Subject): void {
    const entries: FilterEntry[] = [];
    this.#index.collectRootWildcards(subject.name, entries);
    for (const entry of entries) {
      if (entry.exclusionReported) continue;
      entry.exclusionReported = true;
      for (const subscription of entry.match().subscriptions) {
        if (this.#excluded.has(subscription.subscriber)) continue;
        this.#excluded.add(subscription.subscriber);
        this.#exclusions++;
        this.#hooks.excluded?.(subscription, subject.topic);
      }
    }
  }
}

/** Whether a subscription wants the record at `offset` of `shard`: nothing from before it was made. */
export function isSince(subscription: Subscription, shard: ShardId, offset: Offset): boolean {
  const since = subscription.since.get(shard);
  return since === undefined || offset >= since;
}
