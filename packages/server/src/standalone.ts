import { join, resolve } from 'node:path';
import type { JournalUuid, Logger, NodeId } from '@robustmq/core';
import { systemClock, systemRandom } from '@robustmq/core';
import type { NodeDisk } from '@robustmq/disk';
import { openLevelStore, openNodeDisk } from '@robustmq/disk';
import type { LocalJournal } from '@robustmq/journal';
import { openJournal } from '@robustmq/journal';
import { Kernel, LocalMesh } from '@robustmq/kernel';
import type { LocalMetadata } from '@robustmq/meta';
import { openLocalMetadata } from '@robustmq/meta';
import type { Config } from './config-schema.ts';
import type { RoleFolder } from './data-folder.ts';
import { makeDataFolder, roleFolders, takeRoleFolder } from './data-folder.ts';
import { dataFolderMixed } from './errors.ts';
import { journalLimitsOf } from './journal-limits.ts';

/** The topic that takes every name without a topic of its own (docs/semantics.md 1.1). */
const defaultTopic = 'mqtt';
/** A message of 1 MiB fits with its name and properties, which Kafka's own default for a topic does not allow. */
export const defaultTopicMessageBytes = 1280 * 1024;
export const defaultTopicShards = 16;

/** The storage and the kernel of one process that plays all roles, started, without any listener. */
export interface Standalone {
  /** Absolute path of the data folder. */
  readonly folder: string;
  readonly disk: NodeDisk;
  readonly metadata: LocalMetadata;
  readonly journal: LocalJournal;
  readonly kernel: Kernel;
  /** Commits what is in flight and closes everything, top-down. */
  stop(): Promise<void>;
}

export interface StandaloneModules {
  readonly logger: Logger;
  /** Listener name -> what clients are told to connect to. */
  readonly addresses: ReadonlyMap<string, string>;
  /** What is on the disk is no longer known: it must end the process. */
  readonly onFatal: (error: unknown) => void;
}

/** Opens the data folder and starts metadata, journal and kernel, bottom-up. Stops what it started if a step fails. */
export async function startStandalone(config: Config, modules: StandaloneModules): Promise<Standalone> {
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of stops.splice(0).reverse()) await step();
  };
  try {
    return { ...(await startAll(config, modules, stops)), stop };
  } catch (error) {
    await stop().catch((failed: unknown) => modules.logger.warn({ error: failed }, 'a part did not stop'));
    throw error;
  }
}

async function startAll(
  config: Config,
  { logger, addresses, onFatal }: StandaloneModules,
  stops: (() => Promise<void>)[],
): Promise<Omit<Standalone, 'stop'>> {
  const folder = resolve(config.dataDir);
  const nodeId = config.nodeId as NodeId;
  await makeDataFolder(folder);
  const newCluster = { clusterId: systemRandom.bytes(16).toString('hex'), nodeId };
  const metaFolder = await takeRoleFolder(join(folder, roleFolders.meta), newCluster);
  stops.push(() => metaFolder.release());
  const { clusterId } = metaFolder.identity;
  const journalFolder = await takeRoleFolder(join(folder, roleFolders.journal), { clusterId, nodeId });
  stops.push(() => journalFolder.release());
  if (journalFolder.identity.clusterId !== clusterId) throw dataFolderMixed(folder);

  const disk = openNodeDisk({ onFatal });
  const metadata = metadataOf(metaFolder, { disk, logger, onFatal, acceptLoss: false });
  stops.push(() => metadata.stop());
  await metadata.start();

  const { bootCounter } = journalFolder.identity;
  const uuid = journalFolder.identity.uuid as JournalUuid;
  for (const known of metadata.image.journals.values()) {
    // An older copy has counted fewer starts than metadata has seen.
    const other = known.uuid !== uuid || known.bootCounter >= bootCounter;
    if (known.nodeId === nodeId && other) throw dataFolderMixed(folder);
  }
  const [registered] = await metadata.propose([
    { kind: 'registerJournal', journal: { nodeId, uuid, bootCounter } },
  ]);
  if (registered instanceof Error) throw registered;
  const journal = await openJournal({
    disk,
    clock: systemClock,
    random: systemRandom,
    onFatal,
    folder: journalFolder.path,
    nodeId,
    uuid,
    metadata,
    logger: logger.child({ package: 'journal' }),
    limits: journalLimitsOf(config.storage),
  });
  stops.push(() => journal.stop());

  const modules = {
    metadata,
    journal,
    mesh: new LocalMesh(nodeId),
    clock: systemClock,
    random: systemRandom,
  };
  const kernel = new Kernel(kernelOptions(config, nodeId, addresses), {
    ...modules,
    logger: logger.child({ package: 'kernel' }),
  });
  stops.push(() => kernel.stop());
  await kernel.start();
  return { folder, disk, metadata, journal, kernel };
}

/** What metadata of this process is made with. */
export interface MetadataModules {
  readonly disk: NodeDisk;
  readonly logger: Logger;
  readonly onFatal: (error: unknown) => void;
  /** Goes on without commands that are lost. */
  readonly acceptLoss: boolean;
}

/** The metadata of a folder, not started. */
export function metadataOf(
  folder: RoleFolder,
  { disk, logger, onFatal, acceptLoss }: MetadataModules,
): LocalMetadata {
  return openLocalMetadata({
    disk,
    clock: systemClock,
    random: systemRandom,
    onFatal,
    folder: folder.path,
    store: openLevelStore(join(folder.path, 'state'), disk),
    uuid: folder.identity.uuid as JournalUuid,
    clusterId: folder.identity.clusterId,
    defaultTopic,
    logger: logger.child({ package: 'meta' }),
    acceptLoss,
  });
}

function kernelOptions(
  config: Config,
  nodeId: NodeId,
  addresses: ReadonlyMap<string, string>,
): ConstructorParameters<typeof Kernel>[0] {
  const { autoCreateShards, autoCreateMax, defaultRetentionBytes } = config.topics;
  return {
    nodeId,
    addresses,
    topics: {
      tenant: 'default',
      defaultTopic,
      defaultTopicShards,
      defaultTopicConfig: new Map([
        ['retention.bytes', String(defaultRetentionBytes)],
        ['max.message.bytes', String(defaultTopicMessageBytes)],
      ]),
      autoCreateShards,
      autoCreateMax,
    },
    inflightBytesMax: config.storage.inflightBytes,
    captureBytesPerSecond: config.topics.captureBytesPerSecond,
    sessionBacklogBytes: config.topics.sessionBacklogBytes,
  };
}
