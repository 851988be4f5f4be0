import type { Clock, RobustError, ShardId } from '@robustmq/core';
import type { KernelErrorCode } from '../errors.ts';
import type { RetainedUsage } from '../folds/retained.ts';
import type { Appender } from '../log/appender.ts';
import type { LogBatch } from '../log/log-batch.ts';
import type { Subject } from '../names/subject.ts';
import type { TopicRecord } from '../ports/metadata.ts';
import type { Router } from '../router/router.ts';
import type { Shard } from '../shards/shard.ts';
import type { Topics } from '../topics.ts';
import type { PublishMessage, PublishRefusal } from './publish-message.ts';
import { ShardPublisher } from './shard-publisher.ts';

export interface PublisherOptions {
  /** Bytes a second of at-most-once messages that are stored; above it they are routed only. */
  readonly captureBytesPerSecond: number;
}

export interface PublisherModules {
  readonly appender: Appender;
  readonly router: Router;
  readonly topics: Topics;
  readonly usage: RetainedUsage;
  readonly clock: Clock;
  /** The shard if it is ready, else null; `openShard` makes it so and tells. */
  readyShard(id: ShardId): Shard | null;
  openShard(
    id: ShardId,
    done: (shard: Shard | null, error: RobustError<KernelErrorCode> | null) => void,
  ): void;
  /** Routes a batch that is not stored. */
  routeOnly(shard: ShardId, batch: LogBatch): void;
}

/** Counters of the publishing side. */
export interface PublisherCounters {
  messages: number;
  /** At-most-once messages that were routed and not stored: over the capture rate, or the disk is full. */
  uncaptured: number;
}

/**
 * Encodes what the adapters publish in one turn into one batch per shard, closed when the turn ends or at 256 KiB.
 * Costs per message: one encoder append and one cached match; watched by `bench`, whose rows publish one message at a time.
 */
export class Publisher {
  readonly counters: PublisherCounters = { messages: 0, uncaptured: 0 };
  readonly #modules: PublisherModules;
  readonly #options: PublisherOptions;
  readonly #shards = new Map<ShardId, ShardPublisher>();
  readonly #open = new Set<ShardPublisher>();
  /** Which of `#open` took the last message: most take many in a row. */
  #current: ShardPublisher | null = null;
  #captureSecond = 0;
  #captureBytes = 0;
  #stopping = false;

  constructor(options: PublisherOptions, modules: PublisherModules) {
    this.#options = options;
    this.#modules = modules;
  }

  /**
   * Takes a message; the bytes it refers to are copied at once. Returns the batch it went into (the listener hears of
   * it once per batch), or why it was refused. A message that is only routed goes into a batch without listeners.
   */
  publish(message: PublishMessage): LogBatch | PublishRefusal {
    if (this.#stopping) return 'KERNEL_STOPPING';
    const { subject, record } = message;
    const publisher = this.#publisherOf(subject, message.publisherHash);
    if (publisher === null) return 'TOPIC_NOT_FOUND';
    if (this.#open.size === 0) this.#renewCapture();
    const bytes = record.valueEnd - record.valueStart + record.headersEnd - record.headersStart;
    if (bytes + (subject.key?.length ?? 0) + 96 > publisher.config.maxMessageBytes) return 'BATCH_TOO_LARGE';
    let captured = true;
    if (message.guarantee === 0 && !message.retain) captured = this.#captures(publisher, bytes);
    else if (!this.#modules.appender.admitting) return 'STORAGE_FULL';
    else if (message.retain && this.#modules.usage.full && this.#retainsMore(publisher.shard, message)) {
      return 'RETAINED_LIMIT';
    }
    this.counters.messages++;
    if (!captured) this.counters.uncaptured++;
    if (publisher !== this.#current) {
      if (this.#open.size === 0) this.#modules.appender.requestFlush();
      this.#open.add(publisher);
      this.#current = publisher;
    }
    return publisher.add(message, captured);
  }

  /** Closes every open batch; called when the turn ends. */
  flush(): void {
    for (const publisher of this.#open) publisher.flush();
    this.#open.clear();
    this.#current = null;
  }

  /** Refuses from now on; what is open is still sent. */
  stop(): void {
    this.#stopping = true;
  }

  /** Tells everyone who still waits for a shard to open. */
  close(error: RobustError<KernelErrorCode>): void {
    for (const publisher of this.#shards.values()) publisher.drop(error);
    this.#shards.clear();
    this.#current = null;
  }

  /** Forgets a shard that is gone or lost; open messages are told. */
  forget(shard: ShardId, error: RobustError<KernelErrorCode>): void {
    this.#shards.get(shard)?.drop(error);
    this.#shards.delete(shard);
    this.#current = null;
  }

  /** The topic was configured anew. */
  reconfigure(topic: TopicRecord): void {
    for (const id of topic.shards) {
      const publisher = this.#shards.get(id);
      if (publisher !== undefined) publisher.config = this.#modules.topics.configOf(topic);
    }
  }

  #publisherOf(subject: Subject, publisherHash: number): ShardPublisher | null {
    const shards = subject.topic.shards;
    const shard = subject.shard >= 0 ? subject.shard : shards[publisherHash % shards.length];
    if (shard === undefined) return null;
    if (this.#current?.shard === shard) return this.#current;
    const known = this.#shards.get(shard);
    if (known !== undefined) return known;
    if (!this.#modules.topics.has(subject.topic.id)) return null;
    const made = new ShardPublisher(shard, this.#modules.topics.configOf(subject.topic), this.#modules);
    this.#shards.set(shard, made);
    return made;
  }

  /** Whether the message needs room beyond the bound: clearing does not, nor does replacing by no more bytes. */
  #retainsMore(shard: ShardId, { subject, record }: PublishMessage): boolean {
    const valueBytes = record.valueEnd - record.valueStart;
    if (valueBytes <= 0) return false;
    const known = this.#modules.readyShard(shard)?.retained?.records.get(subject.name);
    if (known === undefined) return true;
    const { usage } = this.#modules;
    const bytes = valueBytes + record.headersEnd - record.headersStart;
    return usage.bytes >= usage.bytesMax && bytes > known.value.length + known.headers.length;
  }

  /** The clock is read once for all messages of a turn: in one that lasts seconds they have the bytes of one. */
  #renewCapture(): void {
    const second = Math.floor(this.#modules.clock.monotonic() / 1000);
    if (second === this.#captureSecond) return;
    this.#captureSecond = second;
    this.#captureBytes = 0;
  }

  #captures(publisher: ShardPublisher, bytes: number): boolean {
    if (publisher.config.capture === 'qos1' || !this.#modules.appender.admitting) return false;
    this.#captureBytes += bytes;
    return this.#captureBytes <= this.#options.captureBytesPerSecond;
  }
}
