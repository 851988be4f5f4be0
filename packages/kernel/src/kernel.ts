import { RobustError } from '@robustmq/core';
import type { Clock, Lifecycle, Logger, NodeId, Offset, Random, ShardId, Timer } from '@robustmq/core';
import { CatchUp } from './delivery/catch-up.ts';
import { BatchDecoder } from './delivery/batch-decoder.ts';
import type { DeliveryPort } from './delivery/delivery-port.ts';
import { Dispatcher } from './delivery/dispatcher.ts';
import { RecordLookup } from './delivery/record-lookup.ts';
import { SubscriptionTable } from './delivery/subscription-table.ts';
import type { KernelErrorCode } from './errors.ts';
import { Folds } from './folds/folds.ts';
import { RetainedUsage } from './folds/retained.ts';
import { Appender } from './log/appender.ts';
import { asKernelError } from './log/shard-log.ts';
import { SubjectTable } from './names/subject-table.ts';
import type { BrokerMesh } from './ports/broker-mesh.ts';
import type { JournalClient } from './ports/journal-client.ts';
import type { Metadata, MetadataUpdate, ShardRecord, TopicRecord } from './ports/metadata.ts';
import { ProducerIds } from './producer-ids.ts';
import { Publisher } from './publish/publisher.ts';
import { trimDue } from './retention.ts';
import { Router } from './router/router.ts';
import { SectionDecoder } from './router/section-decoder.ts';
import type { Shard } from './shards/shard.ts';
import { ShardTable } from './shards/shard-table.ts';
import type { TopicsOptions } from './topics.ts';
import { Topics } from './topics.ts';
import { WaitingReaders } from './waiting-readers.ts';

export interface KernelOptions {
  readonly nodeId: NodeId;
  /** Advertised addresses by listener name. */
  readonly addresses: ReadonlyMap<string, string>;
  readonly topics: TopicsOptions;
  /** Publishes not yet committed, in bytes, before sources are paused. Default 32 MiB. */
  readonly inflightBytesMax?: number;
  /** Stored bytes a second of at-most-once messages. Default 128 MiB. */
  readonly captureBytesPerSecond?: number;
  /** Bytes per shard that session cursors may hold back. Default 1 GiB. */
  readonly sessionBacklogBytes?: number;
  /** Pause between retention passes. Default 10 s. */
  readonly retentionCheckMs?: number;
  /** How long `stop` waits for what is in flight. Default 10 s. */
  readonly stopTimeoutMs?: number;
}

export interface KernelModules {
  readonly metadata: Metadata;
  readonly journal: JournalClient;
  readonly mesh: BrokerMesh;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What a trim has to store first is given so long. */
const trimStoreMs = 5000;
/** Shards whose state retention has written into new segments at a time; others wait for a later pass. */
const keepingMax = 16;

/**
 * What adapters build on: topics, owned shards, publishing, subscriptions with live and catch-up delivery, and folds.
 * Everything stateful is a fold of a shard that this broker owns under an epoch.
 */
export class Kernel implements Lifecycle {
  readonly topics: Topics;
  readonly subjects: SubjectTable;
  readonly router: Router;
  readonly publisher: Publisher;
  readonly folds: Folds;
  readonly catchUp: CatchUp;
  readonly lookup: RecordLookup;
  readonly subscriptions: SubscriptionTable;
  readonly producerIds: ProducerIds;
  readonly retainedUsage = new RetainedUsage();
  readonly appender: Appender;
  readonly dispatcher: Dispatcher;
  readonly modules: KernelModules;
  readonly #options: KernelOptions;
  readonly #shards: ShardTable;
  readonly #waiting: WaitingReaders;
  #unwatch: () => void = () => undefined;
  #retention: Timer | null = null;
  #keeping = 0;
  #started = false;
  #stopping = false;

  constructor(options: KernelOptions, modules: KernelModules) {
    const { metadata, journal, mesh, clock, random, logger } = modules;
    const { defaultTopic, tenant } = options.topics;
    this.#options = options;
    this.modules = modules;
    this.appender = new Appender(journal, { inflightBytesMax: options.inflightBytesMax ?? 32 * 1024 * 1024 });
    this.topics = new Topics(options.topics, metadata, random);
    this.subjects = new SubjectTable({ image: () => metadata.image, tenant, defaultTopic });
    this.router = new Router({
      defaultTopic,
      subjects: () => this.subjects.subjects(),
      hooks: {
        excluded: (subscription, topic) =>
          logger.info(
            { filter: subscription.filter, topic: topic.name },
            'a leading wildcard does not match the records of a topic that is not bound; see subject.wildcard',
          ),
      },
    });
    const sections = new SectionDecoder(clock);
    const decompress = sections.decode.bind(sections);
    const decoder = new BatchDecoder(this.router, this.subjects, decompress);
    this.dispatcher = new Dispatcher(this.router, metadata, decoder, logger);
    mesh.listen(this.dispatcher);
    this.#shards = new ShardTable(
      {
        metadata,
        journal,
        appender: this.appender,
        clock,
        logger,
        topics: this.topics,
        usage: this.retainedUsage,
        subjects: this.subjects,
      },
      {
        appended: (shard, batches, from, to) =>
          mesh.appended({ shard: shard.id, epoch: shard.epoch, from, to, batches }),
        committed: (shard, batches, from, to) =>
          mesh.committed({ shard: shard.id, epoch: shard.epoch, from, to, batches }),
        failed: (shard, error) => this.#lost(shard, error),
      },
    );
    this.publisher = new Publisher(
      { captureBytesPerSecond: options.captureBytesPerSecond ?? 128 * 1024 * 1024 },
      {
        appender: this.appender,
        router: this.router,
        topics: this.topics,
        usage: this.retainedUsage,
        clock,
        readyShard: (id) => this.#shards.ready(id),
        openShard: (id, done) =>
          void this.openShard(id).then(
            (shard) => done(shard, null),
            (error: Error) => done(null, asKernelError(error)),
          ),
        routeOnly: (shard, batch) => {
          const epoch = metadata.image.shards.get(shard)?.ownerEpoch;
          if (epoch !== undefined) mesh.appended({ shard, epoch, from: -1, to: -1, batches: [batch] });
        },
      },
    );
    this.folds = new Folds(this.topics, (id) => this.#shards.modulesOf(id), logger);
    this.#waiting = new WaitingReaders({
      folds: this.folds,
      defaultTopic,
      openShard: (id) => this.openShard(id),
    });
    this.lookup = new RecordLookup(new BatchDecoder(this.router, this.subjects, decompress));
    this.catchUp = new CatchUp({
      clock,
      dispatcher: this.dispatcher,
      decoder: new BatchDecoder(this.router, this.subjects, decompress),
      logger,
      defaultTopic,
      openShard: (id) => this.openShard(id),
    });
    this.subscriptions = new SubscriptionTable({
      router: this.router,
      topics: this.topics,
      dispatcher: this.dispatcher,
      openShard: (id) => this.openShard(id),
      readyShard: (id) => this.#shards.ready(id),
      metadata,
      logger,
    });
    this.producerIds = new ProducerIds(metadata);
  }

  /** The tenant's default topic and all its shards are ready when this resolves. */
  async start(): Promise<void> {
    const { metadata } = this.modules;
    const [started] = await metadata.propose([
      {
        kind: 'startBroker',
        broker: this.#options.nodeId,
        addresses: this.#options.addresses,
        takeAll: true,
      },
    ]);
    if (started instanceof Error) throw started;
    this.#unwatch = metadata.watch((update) => this.#changed(update));
    this.appender.start(() => this.#endTurn());
    this.dispatcher.onCommitted((shard) => this.subscriptions.committed(shard));
    await this.topics.ensureDefault();
    this.#started = true;
    this.#scheduleRetention();
  }

  /** Refuses new work, commits what is in flight, and lets go of the journal. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#retention?.cancel();
    const stopMs = this.#options.stopTimeoutMs ?? 10_000;
    this.publisher.stop();
    this.catchUp.stop();
    if (this.#started) await this.#within(stopMs, this.#drain());
    this.#unwatch();
    const error = new RobustError<KernelErrorCode>('KERNEL_STOPPING', 'the broker is stopping', {
      retriable: true,
    });
    this.folds.stop();
    const shards = [...this.#shards.all()];
    for (const shard of shards) this.#shards.drop(shard.id, error);
    if (this.#started) await this.#within(stopMs, this.#seal(shards));
    this.publisher.close(error);
    this.appender.stop();
  }

  /** Registers an adapter's sessions as receivers of records. */
  addDeliveryPort(port: DeliveryPort): void {
    this.dispatcher.addPort(port);
  }

  /** The shard if it is open on this broker, else null. */
  readyShard(id: ShardId): Shard | null {
    return this.#shards.ready(id);
  }

  /** Opens a data shard that this broker owns. Throws SHARD_NOT_FOUND, SHARD_FENCED, SHARD_UNAVAILABLE. */
  async openShard(id: ShardId): Promise<Shard> {
    const ready = this.#shards.ready(id);
    if (ready !== null) return ready;
    if (this.#stopping) {
      throw new RobustError<KernelErrorCode>('KERNEL_STOPPING', 'the broker is stopping', {
        retriable: true,
      });
    }
    const shard = await this.#shards.open(id);
    if (this.dispatcher.routedTo(id) === undefined || this.dispatcher.routedTo(id)! < shard.highWatermark) {
      this.dispatcher.opened(id, shard.highWatermark);
    }
    return shard;
  }

  /** Deletes records below `offset` (at most the high watermark); whole segments are removed. Returns the log start. */
  async trim(shard: Shard, offset: Offset): Promise<Offset> {
    if (offset > shard.highWatermark || offset < 0) {
      throw new RobustError<KernelErrorCode>(
        'OFFSET_OUT_OF_RANGE',
        'the offset is beyond the high watermark',
      );
    }
    await this.#stored(shard.copiesCommitted());
    if (this.folds.complete) {
      // Not held up by it: who could not be asked counts as truncated.
      await this.#passReaders(shard.id, offset).catch((error: Error) =>
        this.modules.logger.warn({ error, shard: shard.id }, 'records are deleted unasked'),
      );
    }
    const safe = safeStart(this.modules.metadata.image.shards.get(shard.id), shard, offset);
    if (safe < offset) {
      // On a full disk this is what makes the room that the state needs.
      await this.#raiseStart(shard.id, safe);
      await this.#stored(shard.log.keepState());
    }
    await this.#raiseStart(shard.id, offset);
    return shard.startOffset;
  }

  async #raiseStart(shard: ShardId, startOffset: Offset): Promise<void> {
    const [result] = await this.modules.metadata.propose([{ kind: 'trimShard', shard, startOffset }]);
    if (result instanceof Error) throw result;
  }

  /** Waits for what a trim needs on disk, but not for space. */
  async #stored(part: Promise<void>): Promise<void> {
    if (await this.#within(trimStoreMs, part)) return;
    const message = 'what deleting records leaves behind could not be stored in time';
    throw new RobustError<KernelErrorCode>('STORAGE_FULL', message, { retriable: true });
  }

  /** Trims and rolls what is due now; runs by itself every `retentionCheckMs`. */
  async enforceRetention(): Promise<void> {
    const { metadata, clock, logger } = this.modules;
    const now = clock.now();
    for (const shard of this.#shards.all()) shard.log.rollIfOld(now);
    for (const fold of this.#shards.retainedFolds()) fold.compactIfDue(logger);
    this.folds.compactIfDue();
    // Until a state is loaded its cursors are not known, and the trimming that they guard waits.
    if (!this.folds.complete) return;
    await trimDue(
      {
        metadata,
        logger,
        floors: () => this.folds.floors(),
        pass: (id, to) => this.#passReaders(id, to),
        configOf: (record) => {
          const topic = metadata.image.topics.get(record.topic);
          return topic === undefined || topic.internal ? null : this.topics.configOf(topic);
        },
        backlogBytesMax: this.#options.sessionBacklogBytes ?? 1024 * 1024 * 1024,
        settled: (id, to) => this.#settled(id, to),
      },
      now,
    );
  }

  async #passReaders(id: ShardId, to: Offset): Promise<Offset> {
    const { image } = this.modules.metadata;
    const record = image.shards.get(id);
    const topic = record === undefined ? undefined : image.topics.get(record.topic);
    return topic === undefined ? Infinity : this.#waiting.pass(id, topic, to);
  }

  /** How far a shard may be trimmed now, of what retention asks for: what needs its records is stored first. */
  async #settled(id: ShardId, to: Offset): Promise<Offset> {
    await this.#stored(this.#copiesCommitted(id));
    const safe = safeStart(this.modules.metadata.image.shards.get(id), this.#shards.ready(id), to);
    if (safe === to || this.#keeping >= keepingMax) return safe;
    this.#keeping++;
    try {
      const kept = this.openShard(id).then((shard) => shard.log.keepState());
      return (await this.#within(trimStoreMs, kept)) ? to : safe;
    } finally {
      this.#keeping--;
    }
  }

  /**
   * What a shard retains has its copies on disk. One that nobody has opened since a crash is opened for that: its newest
   * records may be all there is of what they retain.
   */
  async #copiesCommitted(id: ShardId): Promise<void> {
    const { image } = this.modules.metadata;
    const record = image.shards.get(id);
    const topic = record === undefined ? undefined : image.topics.get(record.topic);
    if (topic === undefined || !this.topics.retains(topic)) return;
    await (await this.openShard(id)).copiesCommitted();
  }

  #endTurn(): void {
    this.publisher.flush();
    this.folds.flush();
    for (const fold of this.#shards.retainedFolds()) fold.flush();
  }

  #lost(shard: Shard | undefined, error: RobustError<KernelErrorCode>): void {
    if (shard === undefined) return;
    this.modules.logger.error(
      { error, shard: shard.id, topic: shard.topic.name },
      'a shard was lost; it reopens at its next use',
    );
    this.#close(shard, error);
  }

  #close(shard: Shard, error: RobustError<KernelErrorCode>): void {
    this.#shards.drop(shard.id, error);
    this.publisher.forget(shard.id, error);
  }

  #changed(update: MetadataUpdate): void {
    this.subjects.apply(update);
    for (const change of update.changes) {
      if (change.kind === 'shardDeleted') {
        const error = new RobustError<KernelErrorCode>('TOPIC_NOT_FOUND', 'the topic was deleted');
        this.#shards.drop(change.shard, error);
        this.publisher.forget(change.shard, error);
        this.dispatcher.forget(change.shard);
      }
      if (change.kind === 'topic') this.#configured(change.topic);
    }
  }

  #configured(topic: TopicRecord): void {
    const retains = this.topics.retains(topic);
    for (const id of topic.shards) {
      const shard = this.#shards.ready(id);
      if (shard === null) continue;
      shard.log.config = this.topics.configOf(topic);
      // An empty topic was bound, or no longer is: its next use opens the shard with, or without, what it retains.
      if (retains !== (shard.retained !== null)) this.#close(shard, rebound());
    }
    this.publisher.reconfigure(topic);
  }

  async #drain(): Promise<void> {
    this.appender.flush();
    for (const shard of this.#shards.all()) await shard.log.whenIdle();
    await this.folds.whenIdle();
    for (const fold of this.#shards.retainedFolds()) await fold.whenIdle();
    for (const shard of this.#shards.all()) await shard.handOver();
  }

  /** A shard that can't be sealed skips offsets at its next start, as after a crash. */
  async #seal(shards: readonly Shard[]): Promise<void> {
    const sealed = await Promise.allSettled(shards.map((shard) => shard.seal()));
    const failed = sealed.find((each) => each.status === 'rejected');
    if (failed !== undefined)
      this.modules.logger.warn({ error: failed.reason as Error }, 'a shard could not be sealed');
  }

  /** Waits for a part, but no longer than that; whether it came to its end. Throws as the part. */
  async #within(ms: number, part: Promise<void>): Promise<boolean> {
    let timer: Timer | null = null;
    const timeout = new Promise<boolean>((resolve) => {
      timer = this.modules.clock.after(ms, () => resolve(false));
    });
    try {
      return await Promise.race([part.then(() => true), timeout]);
    } finally {
      (timer as Timer | null)?.cancel();
    }
  }

  #scheduleRetention(): void {
    this.#retention = this.modules.clock.after(this.#options.retentionCheckMs ?? 10_000, () => {
      this.enforceRetention()
        .catch((error: Error) => this.modules.logger.warn({ error }, 'a retention pass failed'))
        .finally(() => {
          if (!this.#stopping) this.#scheduleRetention();
        });
    });
  }
}

/**
 * How far a log may be trimmed before the open segment has the state at its head: the newest sealed segment with records
 * has it as long as it stays, and else all that is known of producers would go with the process.
 */
function safeStart(record: ShardRecord | undefined, shard: Shard | null, offset: Offset): Offset {
  if (record === undefined || offset <= record.startOffset || shard?.log.stateIsKept === true) return offset;
  const newest = record.segments.findLast(
    ({ state, baseOffset, endOffset }) => state === 'sealed' && endOffset > baseOffset,
  );
  if (newest !== undefined && newest.endOffset > offset) return offset;
  return Math.max(record.startOffset, newest?.baseOffset ?? 0);
}

function rebound(): RobustError<KernelErrorCode> {
  return new RobustError('OUTCOME_UNKNOWN', 'the topic was bound, or no longer is', { retriable: true });
}
