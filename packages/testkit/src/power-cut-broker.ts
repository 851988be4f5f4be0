import type { Disk, JournalUuid, Logger, NodeId, StateChange, StateStore } from '@robustmq/core';
import type { LocalJournal } from '@robustmq/journal';
import { openJournal } from '@robustmq/journal';
import type { JournalLimits } from '@robustmq/journal';
import { Kernel, LocalMesh } from '@robustmq/kernel';
import type { LocalMetadata } from '@robustmq/meta';
import { openLocalMetadata } from '@robustmq/meta';
import {
  MemoryFolder,
  MemoryFolderLock,
  MemoryStateStore,
  SimClock,
  SimDisk,
  SimRandom,
} from '@robustmq/sim';

const kibibyte = 1024;
const nodeId = 1 as NodeId;
const clusterId = 'power-cuts';
const defaultTopic = 'mqtt';
/** Retention passes come often, as the topics of a game roll by age. */
const retentionCheckMs = 500;
const journalUuid = 'a'.repeat(32);
const metaUuid = 'b'.repeat(32) as JournalUuid;

/** So small that logs come round, segments are written and checkpoints made within one life. */
const journalLimits: Partial<JournalLimits> = {
  walFileBytes: 64 * kibibyte,
  walBytes: 512 * kibibyte,
  tailBytes: 128 * kibibyte,
  tailAgeMs: 200,
  sweepBytes: 12 * kibibyte,
  writeBytes: 4 * kibibyte,
  blockBytes: 2 * kibibyte,
  blockCacheBytes: 16 * kibibyte,
  tailCacheBytes: 8 * kibibyte,
  indexCacheBytes: kibibyte,
  openFiles: 4,
  poolFileBytes: 24 * kibibyte,
  poolFiles: 2,
  reserveBytes: 128 * kibibyte,
  pollMs: 100,
  lazyBytes: 8 * kibibyte,
  deleteAfterMs: 500,
  orphanGraceMs: 2000,
  stopMs: 1000,
};
const metaFileBytes = 64 * kibibyte;

/** What a server has for a disk: the one that loses power, or one above it that breaks a rule. */
export type UnderServer = (disk: SimDisk) => Disk;

/** What outlives a process: one disk with both folders, and what LevelDB keeps for them. */
export class Machine {
  disk: SimDisk;
  /** LevelDB's own files are not on the simulated disk: a batch is there when it resolves, and whole or not at all. */
  store = new MemoryStateStore();
  readonly #lock = new MemoryFolder();
  /** Wall time goes on over restarts. */
  #elapsedMs = 0;

  constructor(seed: number) {
    this.disk = new SimDisk({ seed });
  }

  /** The process is gone, and with it the lock. */
  died(clock: SimClock, survivor: SimDisk): void {
    this.#lock.holder = null;
    this.#elapsedMs += clock.monotonic();
    this.disk = survivor;
  }

  clock(): SimClock {
    const clock = new SimClock();
    clock.shiftWall(this.#elapsedMs);
    return clock;
  }

  /** How often the folder was taken, this time included. */
  async boots(): Promise<number> {
    const lock = new MemoryFolderLock(this.#lock);
    return (await lock.acquire(() => ({ clusterId, nodeId, uuid: journalUuid }))).bootCounter;
  }
}

export interface PowerCutBrokerOptions {
  readonly machine: Machine;
  readonly under: UnderServer;
  readonly clock: SimClock;
  readonly random: SimRandom;
  /** Hears of what must never be: an error in the log of the server, or a disk whose content is in doubt. */
  readonly fail: (error: Error) => void;
}

/** One process: metadata, journal and kernel, started on one disk as `startStandalone` starts them. */
export class PowerCutBroker {
  readonly #options: PowerCutBrokerOptions;
  metadata!: LocalMetadata;
  journal!: LocalJournal;
  kernel!: Kernel;

  constructor(options: PowerCutBrokerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { machine, under, clock, random, fail } = this.#options;
    const disk = under(machine.disk);
    await disk.mkdir('/data');
    await disk.syncDir('/');
    const logger = loggerInto(fail);
    const bootCounter = await machine.boots();
    const uuid = journalUuid as JournalUuid;
    const onFatal = (error: unknown): void => fail(error as Error);
    this.metadata = openLocalMetadata({
      disk,
      clock,
      random: random.fork(),
      logger,
      onFatal,
      folder: '/data/meta',
      store: new CuttableStore(disk, machine.store),
      uuid: metaUuid,
      clusterId,
      defaultTopic,
      fileBytes: metaFileBytes,
      maxBytes: 4 * metaFileBytes,
    });
    await this.metadata.start();
    await this.#register(uuid, bootCounter);
    this.journal = await openJournal({
      disk,
      clock,
      random: random.fork(),
      logger,
      onFatal,
      folder: '/data/journal',
      nodeId,
      uuid,
      metadata: this.metadata,
      limits: journalLimits,
    });
    this.kernel = this.#kernel(logger);
    await this.kernel.start();
  }

  /** A clean stop, top-down. */
  async stop(): Promise<void> {
    await this.kernel.stop();
    await this.journal.stop();
    await this.metadata.stop();
  }

  /** Refuses as the server does: metadata that has seen a later start, or another journal, than the folder knows of. */
  async #register(uuid: JournalUuid, bootCounter: number): Promise<void> {
    for (const known of this.metadata.image.journals.values()) {
      if (known.uuid !== uuid || known.bootCounter >= bootCounter)
        throw new Error('the folders do not belong together');
    }
    const [registered] = await this.metadata.propose([
      { kind: 'registerJournal', journal: { nodeId, uuid, bootCounter } },
    ]);
    if (registered instanceof Error) throw registered;
  }

  #kernel(logger: Logger): Kernel {
    const { clock, random } = this.#options;
    return new Kernel(
      {
        nodeId,
        addresses: new Map(),
        retentionCheckMs,
        topics: {
          tenant: 'default',
          defaultTopic,
          defaultTopicShards: 1,
          defaultTopicConfig: new Map(),
          autoCreateShards: 1,
          autoCreateMax: 10,
        },
      },
      {
        metadata: this.metadata,
        journal: this.journal,
        mesh: new LocalMesh(nodeId),
        clock,
        random: random.fork(),
        logger,
      },
    );
  }
}

/** A `StateStore` whose calls are calls of the disk, as LevelDB's are: what a dead process began does not happen. */
class CuttableStore implements StateStore {
  readonly #disk: Disk;
  readonly #store: MemoryStateStore;

  constructor(disk: Disk, store: MemoryStateStore) {
    this.#disk = disk;
    this.#store = store;
  }

  open(): Promise<void> {
    return this.#disk.run('level', () => this.#store.open());
  }

  close(): Promise<void> {
    return this.#disk.run('level', () => this.#store.close());
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return this.#disk.run('level', () => this.#store.get(key));
  }

  async *entries(): AsyncGenerator<[string, Uint8Array]> {
    yield* this.#store.entries();
  }

  write(changes: readonly StateChange[]): Promise<void> {
    return this.#disk.run('level', () => this.#store.write(changes));
  }

  clear(): Promise<void> {
    return this.#disk.run('level', () => this.#store.clear());
  }
}

/** A power cut is no reason for an error in the log: each is a verdict of rot, or a shard that was lost. */
function loggerInto(fail: (error: Error) => void): Logger {
  const drop = (): void => undefined;
  const logger: Logger = {
    debug: drop,
    info: drop,
    warn: drop,
    error: (fields, message) => fail(new Error(`logged as an error: ${message} ${text(fields)}`)),
    child: () => logger,
  };
  return logger;
}

function text(fields: unknown): string {
  return JSON.stringify(fields, (_key, value: unknown) => (value instanceof Error ? value.message : value));
}
