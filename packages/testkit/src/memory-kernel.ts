import type { NodeId } from '@robustmq/core';
import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { Kernel, LocalMesh } from '@robustmq/kernel';
import type { KernelModules, KernelOptions } from '@robustmq/kernel';
import type { VolatileMetadata } from '@robustmq/meta';
import { createVolatileMetadata } from '@robustmq/meta';
import { FusedMetadata } from './fuse.ts';
import { MemoryJournal } from './memory-journal.ts';

/** The storage below a kernel, without a disk; it survives the kernels that run on it. */
export interface MemoryStorage {
  readonly metadata: VolatileMetadata;
  readonly journal: MemoryJournal;
}

export async function createMemoryStorage(): Promise<MemoryStorage> {
  const metadata = createVolatileMetadata({ clusterId: 'test', defaultTopic: 'mqtt' });
  const journal = new MemoryJournal();
  await metadata.propose([
    { kind: 'registerJournal', journal: { nodeId: journal.nodeId, uuid: journal.uuid, bootCounter: 1 } },
  ]);
  return { metadata, journal };
}

/** What a test wants otherwise than it is by default. */
export interface MemoryKernelOptions {
  readonly modules?: Partial<KernelModules>;
  readonly options?: Partial<KernelOptions>;
  /** Configuration of the default topic. */
  readonly defaultTopicConfig?: ReadonlyMap<string, string>;
}

/** Starts a kernel on it, as the standalone server does; the last one must have stopped, or crashed. */
export async function startKernel(
  { metadata, journal }: MemoryStorage,
  { modules, options, defaultTopicConfig = new Map() }: MemoryKernelOptions = {},
): Promise<Kernel> {
  const nodeId = 1 as NodeId;
  const kernel = new Kernel(
    {
      nodeId,
      addresses: new Map(),
      topics: {
        tenant: 'default',
        defaultTopic: 'mqtt',
        defaultTopicShards: 4,
        defaultTopicConfig,
        autoCreateShards: 4,
        autoCreateMax: 1000,
      },
      ...options,
    },
    {
      metadata: new FusedMetadata(metadata, journal.fuse),
      journal,
      mesh: new LocalMesh(nodeId),
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      ...modules,
    },
  );
  await kernel.start();
  return kernel;
}
