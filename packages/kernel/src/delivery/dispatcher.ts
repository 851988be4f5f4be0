import type { Logger, Offset, ShardId } from '@robustmq/core';
import type { MeshListener, RouteFrame } from '../ports/broker-mesh.ts';
import type { Metadata } from '../ports/metadata.ts';
import type { LogBatch } from '../log/log-batch.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';
import { matchOf } from '../router/filter-entry.ts';
import { noMatch } from '../router/match.ts';
import type { Router } from '../router/router.ts';
import { isSince } from '../router/router.ts';
import type { BatchDecoder, DecodedBatch } from './batch-decoder.ts';
import type { DeliveryPort } from './delivery-port.ts';

type Path = 'appended' | 'committed';

/** Frames of one shard that wait for a batch to be decoded off the event loop. */
interface Pending {
  readonly frames: { path: Path; frame: RouteFrame }[];
  bytes: number;
}

/** Bytes of one shard that wait so, at most; above it sessions read what was committed from the log. */
const pendingBytesMax = 16 * 1024 * 1024;

/**
 * The receiving end of the mesh at this broker: decodes what somebody may want, once per batch, and hands it to the
 * adapters in log order. Costs per record nobody wants: nothing, if the publisher already knew; else one decode.
 */
export class Dispatcher implements MeshListener {
  readonly #router: Router;
  readonly #metadata: Metadata;
  readonly #decoder: BatchDecoder;
  readonly #logger: Logger;
  readonly #ports: DeliveryPort[] = [];
  readonly #routedTo = new Map<ShardId, Offset>();
  /** Where the last committed frame ended, one that still waits included: the next one begins there. */
  readonly #heardTo = new Map<ShardId, Offset>();
  readonly #pending = new Map<ShardId, Pending>();
  #afterFrame: (shard: ShardId) => void = () => undefined;
  /** Batches that could not be decoded and were skipped for sessions. */
  undecodable = 0;

  constructor(router: Router, metadata: Metadata, decoder: BatchDecoder, logger: Logger) {
    this.#router = router;
    this.#metadata = metadata;
    this.#decoder = decoder;
    this.#logger = logger;
  }

  addPort(port: DeliveryPort): void {
    this.#ports.push(port);
  }

  /** Called after each committed frame was handed over: scans that met the live path go on. */
  onCommitted(listener: (shard: ShardId) => void): void {
    this.#afterFrame = listener;
  }

  /** Every committed record below it was handed to the adapters; undefined while the shard was never routed. */
  routedTo(shard: ShardId): Offset | undefined {
    return this.#routedTo.get(shard);
  }

  /**
   * The shard was opened (again) at `next`; what was committed unseen since the last frame, or still waits to be
   * decoded, is read by cursors.
   */
  opened(shard: ShardId, next: Offset): void {
    this.#pending.delete(shard);
    const before = this.#routedTo.get(shard);
    this.#routedTo.set(shard, next);
    this.#heardTo.set(shard, next);
    if (before !== undefined && before < next) for (const port of this.#ports) port.gap(shard, before);
  }

  forget(shard: ShardId): void {
    this.#routedTo.delete(shard);
    this.#heardTo.delete(shard);
    this.#pending.delete(shard);
  }

  appended(frame: RouteFrame): void {
    if (frame.batches.every((batch) => this.#goesNowhere('appended', batch))) return;
    this.#take('appended', frame, false);
  }

  committed(frame: RouteFrame): void {
    const next = this.#heardTo.get(frame.shard);
    if (next !== undefined && frame.from > next) this.opened(frame.shard, frame.from);
    this.#heardTo.set(frame.shard, frame.to);
    this.#take('committed', frame, false);
  }

  /**
   * False when so much waits that the frames are given up: sessions then read the shard's log. `late`: the frame has
   * waited, and subscriptions may have begun since.
   */
  #take(path: Path, frame: RouteFrame, late: boolean): boolean {
    const pending = this.#pending.get(frame.shard);
    if (pending === undefined) {
      this.#deliver(path, frame, { first: 0, late });
      return true;
    }
    pending.frames.push({ path, frame });
    for (const batch of frame.batches) pending.bytes += batch.end - batch.start;
    if (pending.bytes <= pendingBytesMax) return true;
    this.opened(frame.shard, this.#heardTo.get(frame.shard) ?? frame.from);
    return false;
  }

  /** Hands over the batches from `first`; stops where one must be decompressed elsewhere and goes on afterwards. */
  #deliver(path: Path, frame: RouteFrame, { first, late }: { first: number; late: boolean }): void {
    const topic = this.#topicOf(frame.shard);
    const couldMatch = topic !== undefined && this.#router.couldMatchTopic(topic);
    for (let at = first; at < frame.batches.length && topic !== undefined; at++) {
      const batch = frame.batches[at]!;
      if (batch.count === 0 || this.#goesNowhere(path, batch)) continue;
      if (batch.subjects === null && !couldMatch) continue;
      const section = this.#decoder.recordsOf(batch);
      if (section instanceof Promise) {
        this.#wait(path, frame, at, section);
        return;
      }
      if (section === null) this.#skipped(path, frame.shard, batch);
      else this.#handOver(path, frame, batch, { section, late });
    }
    if (path === 'committed') {
      this.#routedTo.set(frame.shard, frame.to);
      this.#afterFrame(frame.shard);
    }
  }

  #wait(path: Path, frame: RouteFrame, at: number, section: Promise<Buffer | null>): void {
    const pending: Pending = { frames: [], bytes: 0 };
    this.#pending.set(frame.shard, pending);
    // What was handed over of this frame is routed: who reads the log meets the live path here, not at its beginning.
    if (path === 'committed') this.#routedTo.set(frame.shard, frame.batches[at]!.baseOffset);
    void section.then((records) => {
      if (this.#pending.get(frame.shard) !== pending) return;
      this.#pending.delete(frame.shard);
      const batch = frame.batches[at]!;
      if (records === null) this.#skipped(path, frame.shard, batch);
      else this.#handOver(path, frame, batch, { section: records, late: true });
      this.#deliver(path, frame, { first: at + 1, late: true });
      // The rest may wait again; what then remains is queued behind it in order.
      for (const next of pending.frames) if (!this.#take(next.path, next.frame, true)) break;
    });
  }

  #handOver(
    path: Path,
    frame: RouteFrame,
    batch: RoutedBatch,
    { section, late }: { section: Buffer; late: boolean },
  ): void {
    const topic = this.#topicOf(frame.shard);
    if (topic === undefined) return;
    const view = this.#decoder.decode(batch, section, { shard: frame.shard, epoch: frame.epoch, topic });
    if (view === null) {
      this.#skipped(path, frame.shard, batch);
      return;
    }
    if (!view.wanted) return;
    if (late && batch.baseOffset >= 0) withoutLaterOnes(view);
    for (const port of this.#ports) {
      if (path === 'appended') port.appended(view);
      else port.committed(view);
    }
  }

  /** Told once for a batch, which passes by twice. */
  #skipped(path: Path, shard: ShardId, batch: RoutedBatch): void {
    if (path === 'appended') return;
    this.undecodable++;
    this.#logger.warn({ shard, offset: batch.baseOffset }, 'a batch can not be decoded; sessions skip it');
  }

  /** Whether its publisher has seen that nothing of it goes to anybody on this way, and the subscriptions are those of then. */
  #goesNowhere(path: Path, batch: RoutedBatch): boolean {
    const { nothingAppendedEpoch, nothingCommittedEpoch } = batch as LogBatch;
    return (path === 'appended' ? nothingAppendedEpoch : nothingCommittedEpoch) === this.#router.epoch;
  }

  #topicOf(shard: ShardId): ReturnType<Metadata['image']['topics']['get']> {
    const record = this.#metadata.image.shards.get(shard);
    return record === undefined ? undefined : this.#metadata.image.topics.get(record.topic);
  }
}

/** Leaves out subscriptions that began behind a record while it waited: what was retained told them of it. */
function withoutLaterOnes(view: DecodedBatch): void {
  const { matches, records, shard } = view;
  for (let row = 0; row < records.count; row++) {
    const { subscriptions } = matches[row]!;
    const offset = records.offset(row);
    const counted = subscriptions.filter((subscription) => isSince(subscription, shard, offset));
    if (counted.length < subscriptions.length) {
      matches[row] = counted.length === 0 ? noMatch : matchOf(counted);
    }
  }
}
