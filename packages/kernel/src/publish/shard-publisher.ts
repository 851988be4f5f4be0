import { assert } from '@robustmq/core';
import type { RobustError, ShardId } from '@robustmq/core';
import { BatchEncoder } from '@robustmq/record';
import type { KernelErrorCode } from '../errors.ts';
import { LogBatch } from '../log/log-batch.ts';
import type { RecordNote } from '../log/log-batch.ts';
import type { Subject } from '../names/subject.ts';
import type { Shard } from '../shards/shard.ts';
import type { Guarantee } from '../router/match.ts';
import { isBridging } from '../router/match.ts';
import type { TopicConfig } from '../topic-config.ts';
import type { PublishMessage } from './publish-message.ts';
import type { PublisherModules } from './publisher.ts';

const nothing = Buffer.alloc(0);

/** A batch being filled. */
interface OpenBatch {
  readonly batch: LogBatch;
  readonly encoder: BatchEncoder;
  subjects: Subject[];
  /** Subject and guarantee of the last message whose receivers were looked at. */
  subject: Subject | null;
  guarantee: Guarantee;
}

/** The open batches of one shard on this broker: one that will be stored, and one that is only routed. */
export class ShardPublisher {
  readonly shard: ShardId;
  /** Replaced when the topic is configured anew. */
  config: TopicConfig;
  readonly #modules: PublisherModules;
  readonly #storedEncoder = new BatchEncoder();
  #routedEncoder: BatchEncoder | null = null;
  #stored: OpenBatch | null = null;
  #routed: OpenBatch | null = null;
  /** Closed batches that wait for the shard to open. */
  #waiting: LogBatch[] = [];
  #opening = false;

  constructor(shard: ShardId, config: TopicConfig, modules: PublisherModules) {
    this.shard = shard;
    this.config = config;
    this.#modules = modules;
  }

  add(message: PublishMessage, captured: boolean): LogBatch {
    const { subject, record } = message;
    const key = subject.key;
    record.key = key ?? nothing;
    record.keyStart = key === null ? -1 : 0;
    record.keyEnd = key === null ? -1 : key.length;
    let open = captured ? this.#openStored() : this.#openRouted();
    if (!open.encoder.append(record)) {
      if (captured) this.#closeStored();
      else this.#closeRouted();
      open = captured ? this.#openStored() : this.#openRouted();
      const fits = open.encoder.append(record);
      assert(fits, 'an empty batch takes any record');
    }
    open.subjects.push(subject);
    if (message.retain || message.tokenProducer >= 0) this.#note(open, message);
    if (subject !== open.subject || message.guarantee !== open.guarantee) this.#want(open, message);
    return open.batch;
  }

  /** Closes what is open and hands it to the log, in order, if the shard is ready; else asks for the shard. */
  flush(): void {
    this.#closeRouted();
    this.#closeStored();
    if (this.#waiting.length === 0) return;
    const shard = this.#modules.readyShard(this.shard);
    if (shard !== null) this.#stage(shard);
    else if (!this.#opening) this.#open();
  }

  /** The shard is gone: tells everyone who waits. */
  drop(error: RobustError<KernelErrorCode>): void {
    this.#closeStored();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const batch of waiting) {
      this.#modules.appender.gave(batch.bytes);
      batch.settle(error);
    }
  }

  #open(): void {
    this.#opening = true;
    this.#modules.openShard(this.shard, (shard, error) => {
      this.#opening = false;
      if (shard !== null) this.#stage(shard);
      else if (error !== null) this.drop(error);
    });
  }

  #stage(shard: Shard): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const batch of waiting) {
      // The log counts the bytes again while they are in flight.
      this.#modules.appender.gave(batch.bytes);
      shard.stage(batch);
    }
  }

  #openStored(): OpenBatch {
    this.#stored ??= this.#newBatch(this.#storedEncoder);
    return this.#stored;
  }

  #openRouted(): OpenBatch {
    this.#routedEncoder ??= new BatchEncoder();
    this.#routed ??= this.#newBatch(this.#routedEncoder);
    return this.#routed;
  }

  #newBatch(encoder: BatchEncoder): OpenBatch {
    const batch = new LogBatch(true);
    batch.nothingAppendedEpoch = this.#modules.router.epoch;
    batch.nothingCommittedEpoch = this.#modules.router.epoch;
    return { batch, encoder, subjects: [], subject: null, guarantee: 0 };
  }

  /**
   * Notes on which of its two ways something of the batch may go to somebody, so that it is decoded there
   * (docs/semantics.md 3.1). Once the subscriptions have changed the notes say nothing.
   */
  #want(open: OpenBatch, { subject, guarantee }: PublishMessage): void {
    const { batch } = open;
    open.subject = subject;
    open.guarantee = guarantee;
    if (batch.nothingAppendedEpoch < 0 && batch.nothingCommittedEpoch < 0) return;
    const match = this.#modules.router.match(subject);
    if (match.guaranteeMax < 0) return;
    if (guarantee === 0 || match.guaranteeMin === 0) batch.nothingAppendedEpoch = -1;
    if ((guarantee > 0 && match.guaranteeMax > 0) || isBridging(match)) batch.nothingCommittedEpoch = -1;
  }

  #note(open: OpenBatch, message: PublishMessage): void {
    const { record, subject } = message;
    const note: RecordNote = {
      row: open.encoder.count - 1,
      retain: message.retain
        ? {
            subject: subject.name,
            timestamp: record.timestamp,
            value: copyRange(record.value, record.valueStart, record.valueEnd),
            headers: copyRange(record.headers, record.headersStart, record.headersEnd),
            headerCount: record.headerCount,
          }
        : null,
      token: message.tokenProducer < 0 ? null : { producerId: message.tokenProducer, token: message.token },
    };
    open.batch.notes ??= [];
    open.batch.notes.push(note);
  }

  #closeStored(): void {
    const open = this.#stored;
    if (open === null) return;
    this.#stored = null;
    this.#waiting.push(close(open));
    this.#modules.appender.took(open.batch.bytes);
  }

  #closeRouted(): void {
    const open = this.#routed;
    if (open === null) return;
    this.#routed = null;
    this.#modules.routeOnly(this.shard, close(open));
  }
}

function close(open: OpenBatch): LogBatch {
  const { encoder, batch } = open;
  const { count, maxTimestamp } = encoder;
  const buffer = encoder.finish();
  batch.subjects = open.subjects;
  return batch.fill(buffer, 0, buffer.length, count, maxTimestamp);
}

function copyRange(from: Uint8Array, start: number, end: number): Buffer {
  return start < 0 ? Buffer.alloc(0) : Buffer.from(from.subarray(start, end));
}
