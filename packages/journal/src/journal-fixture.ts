import type { Disk, JournalUuid, NodeId, SegmentId, ShardId } from '@robustmq/core';
import type { Clock, Logger, Random } from '@robustmq/core';
import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import type { Metadata, MetadataImage, MetadataUpdate, SegmentRecord, ShardRecord } from '@robustmq/kernel';
import type { JournalLimits } from './limits.ts';
import { LocalJournal } from './local-journal.ts';

/** Metadata that a test writes by hand. */
export class FakeMetadata implements Metadata {
  readonly shards = new Map<ShardId, ShardRecord>();
  readonly #listeners = new Set<(update: MetadataUpdate) => void>();

  get image(): MetadataImage {
    const nothing = new Map<never, never>();
    return {
      revision: 1,
      clusterId: 'test',
      topics: nothing,
      topicsByName: nothing,
      shards: this.shards,
      journals: nothing,
      brokers: nothing,
    };
  }

  propose(): Promise<never> {
    throw new Error('a journal proposes nothing');
  }

  watch(listener: (update: MetadataUpdate) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Makes a shard consist of these segments. */
  set(shard: ShardId, segments: readonly (Partial<SegmentRecord> & { readonly id: SegmentId })[]): void {
    const record = {
      id: shard,
      topic: '' as ShardRecord['topic'],
      index: 0,
      owner: 1 as NodeId,
      ownerEpoch: 1 as ShardRecord['ownerEpoch'],
      startOffset: 0,
      segments: segments.map((segment, seq) => ({ ...emptySegment, seq, ...segment })),
      holes: [],
      offsetLimit: 0,
      lossAccepted: false,
    };
    this.shards.set(shard, record);
    this.#tell({ revision: 1, changes: [{ kind: 'shard', shard: record }] });
  }

  delete(shard: ShardId): void {
    this.shards.delete(shard);
    this.#tell({ revision: 1, changes: [{ kind: 'shardDeleted', shard }] });
  }

  #tell(update: MetadataUpdate): void {
    for (const listener of this.#listeners) listener(update);
  }
}

const emptySegment: SegmentRecord = {
  id: 0 as SegmentId,
  seq: 0,
  baseOffset: 0,
  writerEpoch: 1 as SegmentRecord['writerEpoch'],
  writeSet: [],
  state: 'open',
  endEntry: -1,
  endOffset: Number.MAX_SAFE_INTEGER,
  maxTimestamp: -1,
  bytes: 0,
  chainCrc: 0,
};

export interface TestJournalOptions {
  readonly disk: Disk;
  readonly folder?: string;
  readonly uuid?: JournalUuid;
  readonly metadata?: FakeMetadata;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly limits?: Partial<JournalLimits>;
  readonly logger?: Logger;
  readonly onFatal?: (error: Error) => void;
}

const mebibyte = 1024 * 1024;
/** Identity of the journals that tests write. */
export const testUuid = '00112233445566778899aabbccddeeff' as JournalUuid;

/** Small enough that a test meets every bound. */
export const testLimits: Partial<JournalLimits> = {
  walFileBytes: 4 * mebibyte,
  walBytes: 16 * mebibyte,
  reserveBytes: mebibyte,
  poolFiles: 0,
  // The tests of it ask for it.
  scrubBytesPerSecond: 0,
};

/** Keeps the messages of warnings and errors: what whoever runs the journal is told. */
export function recordingLogger(told: string[]): Logger {
  const tell = (_fields: object, message: string): void => void told.push(message);
  const logger: Logger = { ...silentLogger, warn: tell, error: tell, child: () => logger };
  return logger;
}

export function makeJournal(options: TestJournalOptions): LocalJournal {
  return new LocalJournal({
    disk: options.disk,
    folder: options.folder ?? '/journal',
    nodeId: 1 as NodeId,
    uuid: options.uuid ?? testUuid,
    metadata: options.metadata ?? new FakeMetadata(),
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    logger: options.logger ?? silentLogger,
    limits: { ...testLimits, ...options.limits },
    onFatal:
      options.onFatal ??
      ((error) => {
        throw error;
      }),
  });
}

export async function startJournal(options: TestJournalOptions): Promise<LocalJournal> {
  const journal = makeJournal(options);
  await journal.start();
  return journal;
}
