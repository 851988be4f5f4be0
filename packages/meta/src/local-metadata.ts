import { dirname, join } from 'node:path';
import type { Clock, Disk, JournalUuid, Lifecycle, Logger, Random, StateStore, Timer } from '@robustmq/core';
import { assert, crc32c, RobustError, silentLogger } from '@robustmq/core';
import type {
  KernelErrorCode,
  Metadata,
  MetadataCommand,
  MetadataImage,
  MetadataResult,
  MetadataUpdate,
} from '@robustmq/kernel';
import type { Wal } from '@robustmq/wal';
import { openWal } from '@robustmq/wal';
import { decodeCommand } from './codec/command-codec.ts';
import { encodeAll, logEntryHead } from './codec/log-entry-codec.ts';
import type { Pending } from './proposals.ts';
import { Proposals } from './proposals.ts';
import { Replica } from './replica.ts';
import type { StateOptions } from './state/metadata-state.ts';
import { MetadataState } from './state/metadata-state.ts';
import { AppliedStore } from './store/applied-store.ts';
import type { Checkpoint } from './store/checkpoint.ts';
import { decodeCheckpoint, encodeCheckpoint } from './store/checkpoint.ts';
import type { Base, RecoveryOutcome } from './store/recovery.ts';
import { checkpointOf, replay } from './store/recovery.ts';
import { ReadMarker } from './store/read-marker.ts';
import type { SnapshotRef } from './store/snapshot-file.ts';
import { SnapshotFolder } from './store/snapshot-folder.ts';

export interface LocalMetadataOptions extends StateOptions {
  readonly disk: Disk;
  /** Folder of its own: the log goes into `wal`, snapshots into `snapshots`; `state.reading` is the store's marker. */
  readonly folder: string;
  /** Holds the applied state, so that a start need not replay much; may be empty or damaged. */
  readonly store: StateStore;
  /** Identity of the disk: the log of another is refused. */
  readonly uuid: JournalUuid;
  readonly random: Random;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called once when the disk failed; it must end the process. */
  readonly onFatal: (error: unknown) => void;
  /** Starts without commands that are lost; what depended on them is lost too. */
  readonly acceptLoss?: boolean;
  /** Bytes of a log file; 4 MiB. */
  readonly fileBytes?: number;
  /** Bytes of all log files; 64 MiB. */
  readonly maxBytes?: number;
}

/** There is one member: every command is of the first term. */
const term = 1;
/** Tells the metadata's log from a journal's. */
const walKind = 2;
const mebibyte = 1024 * 1024;
const inFlightBytesMax = 8 * mebibyte;
/** A snapshot is due when this many log files hold commands that only the log has. */
const snapshotFilesMin = 2;
const retryFullMs = 10_000;

/**
 * Metadata of a cluster of one: a proposal is committed when it is durable in the log, then applied, then answered.
 * All that is proposed in one turn shares a write. The applied state and the snapshots follow in the background.
 */
export class LocalMetadata implements Metadata, Lifecycle {
  readonly #options: LocalMetadataOptions;
  readonly #snapshots: SnapshotFolder;
  readonly #marker: ReadMarker;
  readonly #applied: AppliedStore;
  readonly #proposals = new Proposals();
  readonly #replica: Replica;
  #wal: Wal | null = null;
  #phase: 'new' | 'starting' | 'running' | 'stopping' | 'failed' = 'new';
  #appended = 0;
  #snapshot: (SnapshotRef & { readonly bytes?: number }) | null = null;
  /** Oldest generation that holds commands behind the snapshot. */
  #oldestNeeded = 1;
  #durableGeneration = 0;
  #snapshotting: Promise<void> | null = null;
  #retry: Timer | null = null;
  #started: Promise<void> | null = null;
  #stopped: Promise<void> | null = null;

  constructor(options: LocalMetadataOptions) {
    const { disk, folder, store, clock, logger, clusterId, defaultTopic } = options;
    const stateOptions = { clusterId, defaultTopic };
    this.#options = options;
    this.#replica = new Replica(new MetadataState(stateOptions), logger);
    this.#snapshots = new SnapshotFolder({
      ...stateOptions,
      disk,
      folder: join(folder, 'snapshots'),
      logger,
    });
    this.#marker = new ReadMarker(disk, join(folder, 'state.reading'));
    const onFatal = (error: unknown): void => this.#fail(error);
    this.#applied = new AppliedStore({ store, marker: this.#marker, stateOptions, clock, logger, onFatal });
  }

  get image(): MetadataImage {
    return this.#replica.image;
  }

  /** Hash of the applied state, 32 hex digits: equal wherever the same commands were applied (I16). */
  get stateHash(): string {
    return this.#replica.state.hash;
  }

  /**
   * Recovers the state and opens the log. Throws META_LOG_LOST when committed commands are gone and the loss is not
   * accepted, META_IDENTITY for the folder of another cluster, and the errors of log and disk.
   */
  start(): Promise<void> {
    assert(this.#phase === 'new', 'metadata is started once');
    this.#phase = 'starting';
    this.#started = this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    const { disk, folder } = this.#options;
    await disk.mkdir(join(folder, 'snapshots'));
    await disk.syncDir(folder);
    await disk.syncDir(dirname(folder));
    try {
      await this.#recover();
    } catch (error) {
      this.#phase = 'failed';
      await this.#release();
      throw error;
    }
    if (this.#isStarting()) this.#phase = 'running';
  }

  /** The disk may have failed while the start was under way. */
  #isStarting(): boolean {
    return this.#phase === 'starting';
  }

  watch(listener: (update: MetadataUpdate) => void): () => void {
    return this.#replica.watch(listener);
  }

  /**
   * Rejects with METADATA_UNAVAILABLE when nothing was proposed, and with OUTCOME_UNKNOWN when the disk failed before
   * the answer: the commands may be found committed after the next start.
   */
  propose(commands: readonly MetadataCommand[]): Promise<(MetadataResult | Error)[]> {
    const wal = this.#wal;
    if (wal === null || this.#phase !== 'running')
      return Promise.reject(unavailable('metadata is not running'));
    const encoded = encodeAll(commands);
    let bytes = 0;
    for (const item of encoded) if (!(item instanceof RobustError)) bytes += item.length;
    // However large, one proposal is taken by an idle log; more at once is the callers' to pace.
    const inFlight = this.#proposals.bytes;
    if (wal.full || (inFlight > 0 && inFlight + bytes > inFlightBytesMax)) {
      return Promise.reject(unavailable('too much metadata is on its way to the disk'));
    }
    return this.#proposals.add(encoded, (command) => this.#append(wal, command));
  }

  /** Makes everything proposed durable and answers it, then closes the log and the store. */
  stop(): Promise<void> {
    if (this.#phase === 'running') this.#phase = 'stopping';
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<void> {
    await this.#started?.catch(() => undefined);
    const failed = this.#phase === 'failed';
    this.#phase = failed ? 'failed' : 'stopping';
    this.#retry?.cancel();
    if (failed) return;
    try {
      await this.#wal?.stop();
    } finally {
      this.#wal = null;
      this.#proposals.fail(unknownOutcome());
      await this.#release();
    }
  }

  async #release(): Promise<void> {
    await this.#snapshotting;
    await this.#applied.close();
    const wal = this.#wal;
    this.#wal = null;
    await wal?.stop();
  }

  async #recover(): Promise<void> {
    const useStore = await this.#mayReadStore();
    const { wal, recovered } = await this.#openLog();
    this.#wal = wal;
    const checkpoint = checkpointOf(recovered, this.#options);
    const base = await this.#chooseBase(checkpoint, useStore);
    const { state } = base;
    this.#replica.recover(state);
    if (base.from === 'store') this.#applied.follow(state, true);
    const outcome = await replay({
      ...this.#options,
      folder: this.#logFolder,
      acceptLoss: this.#options.acceptLoss ?? false,
      recovered,
      base,
      replayed: (transition) => this.#applied.note(transition),
    });
    this.#oldestNeeded = checkpoint?.oldestNeeded ?? 1;
    await this.#snapshotAtStart(recovered.end.generation + 1, outcome);
    if (base.from !== 'store' || outcome.steppedOver) this.#applied.follow(state, false);
    this.#appended = state.index;
    wal.onDurable((upTo, generation) => this.#commit(upTo, generation));
    wal.release(this.#oldestNeeded);
    await wal.start();
    this.#durableGeneration = wal.generation;
  }

  /** False when the store is in doubt and can do without: reading it ended the last start, or that one was killed. */
  async #mayReadStore(): Promise<boolean> {
    if (!(await this.#marker.isFound())) return true;
    const { logger, folder } = this.#options;
    const index = await this.#indexWithoutStore();
    if (index !== null && index > 0) {
      logger.warn(
        { folder },
        'the last start did not get through the applied metadata, which is built again',
      );
      return false;
    }
    // Nothing at all is what a start leaves that ended before the first command, which is no error.
    logger[index === 0 ? 'warn' : 'error'](
      { folder },
      'the last start did not get through the applied metadata, and log and snapshots do not hold all of it: it is ' +
        'read again. If this start ends here as well, remove the folder `state`: the next one says what is lost',
    );
    return true;
  }

  /** How far snapshot and log go; null when they lack something. Asked by making it all: a log is read once an opening. */
  async #indexWithoutStore(): Promise<number | null> {
    const { wal, recovered } = await this.#openLog();
    try {
      const base = await this.#chooseBase(checkpointOf(recovered, this.#options), false);
      const quiet = { ...this.#options, logger: silentLogger, acceptLoss: false, replayed: () => undefined };
      await replay({ ...quiet, folder: this.#logFolder, recovered, base });
      return base.state.index;
    } catch (error) {
      if (error instanceof RobustError && error.code === 'META_LOG_LOST') return null;
      throw error;
    } finally {
      await wal.stop();
    }
  }

  get #logFolder(): string {
    return join(this.#options.folder, 'wal');
  }

  #openLog(): ReturnType<typeof openWal> {
    const { disk, uuid, random, logger } = this.#options;
    return openWal({
      disk,
      folder: this.#logFolder,
      kind: walKind,
      uuid,
      random,
      logger,
      fileBytes: this.#fileBytes,
      maxBytes: this.#maxBytes,
      user: {
        check: (item) => crc32c(item),
        checkpoint: () => [this.#checkpoint()],
        oldestNeeded: (chunks) => decodeCheckpoint(chunks).oldestNeeded,
      },
      onFatal: (error) => this.#fail(error),
    });
  }

  /** The newest verified state of snapshot and, if it is to be read, store; the empty one when there is neither. */
  async #chooseBase(checkpoint: Checkpoint | null, useStore: boolean): Promise<Base> {
    const { logger, clusterId, defaultTopic } = this.#options;
    const stored = useStore ? await this.#applied.load() : null;
    let snapshot = await this.#snapshots.newest();
    const named = checkpoint?.snapshot;
    if (snapshot !== null && named?.index === snapshot.index && named.hash !== snapshot.hash) {
      logger.error({ index: snapshot.index }, 'the metadata snapshot is not the one that the log names');
      snapshot = null;
    }
    if (snapshot !== null) this.#snapshot = { index: snapshot.index, hash: snapshot.hash };
    if (stored !== null && stored.index >= (snapshot?.index ?? 0)) {
      const same = stored.index !== snapshot?.index || stored.hash === snapshot.hash;
      if (same) return { state: stored, from: 'store' };
      logger.error({ index: stored.index }, 'the applied metadata differs from its snapshot and is dropped');
    }
    if (snapshot !== null) return { state: snapshot, from: 'snapshot' };
    return { state: new MetadataState({ clusterId, defaultTopic }), from: 'nothing' };
  }

  /**
   * Puts all that was recovered into a snapshot, so that the log's files are free again and a damaged one is needed no
   * more. On a full disk a whole log will do.
   */
  async #snapshotAtStart(nextGeneration: number, outcome: RecoveryOutcome): Promise<void> {
    const { state } = this.#replica;
    if (state.index > (this.#snapshot?.index ?? 0)) {
      try {
        this.#snapshot = await this.#snapshots.write(state);
      } catch (error) {
        if (!isFull(error) || outcome.damaged) throw error;
        this.#options.logger.warn({ error }, 'no space for a metadata snapshot');
        return;
      }
    }
    this.#oldestNeeded = nextGeneration;
  }

  #checkpoint(): Buffer {
    const { clusterId, defaultTopic } = this.#options;
    return encodeCheckpoint({
      clusterId,
      defaultTopic,
      committed: this.#replica.state.index,
      oldestNeeded: this.#oldestNeeded,
      snapshot: this.#snapshot,
    });
  }

  #append(wal: Wal, bytes: Buffer): Pending | RobustError<KernelErrorCode> {
    const index = this.#appended + 1;
    const head = logEntryHead(index, term);
    try {
      const number = wal.append([head, bytes], crc32c(bytes, crc32c(head)));
      this.#appended = index;
      return { index, number, bytes };
    } catch (error) {
      if (!(error instanceof RobustError)) throw error;
      return unavailable('the metadata log takes no more', error);
    }
  }

  /** Applies and answers what is durable up to the log's item `upTo`. */
  #commit(upTo: number, generation: number): void {
    this.#durableGeneration = generation;
    this.#proposals.settle(upTo, ({ index, bytes }) => {
      const transition = this.#replica.apply(index, decodeCommand(bytes));
      this.#applied.note(transition);
      return transition.result;
    });
    this.#considerSnapshot();
  }

  #considerSnapshot(): void {
    if (this.#snapshotting !== null || this.#retry !== null || this.#phase !== 'running') return;
    if (this.#durableGeneration - this.#oldestNeeded < this.#snapshotAfterFiles()) return;
    this.#snapshotting = this.#takeSnapshot().finally(() => {
      this.#snapshotting = null;
    });
  }

  /** About as many bytes of log as the snapshot has, so that a large state is not written for every small change. */
  #snapshotAfterFiles(): number {
    const likeSnapshot = Math.ceil((this.#snapshot?.bytes ?? 0) / this.#fileBytes);
    const halfOfAll = Math.floor(this.#maxBytes / this.#fileBytes / 2);
    return Math.max(1, Math.min(Math.max(snapshotFilesMin, likeSnapshot), halfOfAll));
  }

  async #takeSnapshot(): Promise<void> {
    // What is not applied yet is in this generation or a later one.
    const generation = this.#durableGeneration;
    try {
      this.#snapshot = await this.#snapshots.write(this.#replica.state);
      this.#oldestNeeded = generation;
      this.#wal?.release(generation);
    } catch (error) {
      if (!isFull(error)) return this.#fail(error);
      const { logger, clock } = this.#options;
      logger.warn({ error }, 'no space for a metadata snapshot; it is tried again');
      this.#retry = clock.after(retryFullMs, () => {
        this.#retry = null;
        this.#considerSnapshot();
      });
    }
  }

  get #fileBytes(): number {
    return this.#options.fileBytes ?? 4 * mebibyte;
  }

  get #maxBytes(): number {
    return this.#options.maxBytes ?? 64 * mebibyte;
  }

  #fail(error: unknown): void {
    if (this.#phase === 'failed') return;
    this.#phase = 'failed';
    this.#proposals.fail(unknownOutcome(error));
    this.#options.onFatal(error);
  }
}

/** Wires the metadata of one member; nothing is touched before `start()`. */
export function openLocalMetadata(options: LocalMetadataOptions): LocalMetadata {
  return new LocalMetadata(options);
}

function isFull(error: unknown): boolean {
  return error instanceof RobustError && error.code === 'DISK_FULL';
}

function unavailable(message: string, cause?: unknown): RobustError<KernelErrorCode> {
  return new RobustError('METADATA_UNAVAILABLE', message, { retriable: true, cause });
}

function unknownOutcome(cause?: unknown): RobustError<KernelErrorCode> {
  return new RobustError('OUTCOME_UNKNOWN', 'the log ended before the commands were durable', { cause });
}
