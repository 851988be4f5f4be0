import type { NodeId } from '@robustmq/core';
import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { Kernel, LocalMesh } from '@robustmq/kernel';
import type { VolatileMetadata } from '@robustmq/meta';
import { createVolatileMetadata } from '@robustmq/meta';
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

/** Starts a kernel on it, as the standalone server does; the last one must have stopped. */
export async function startKernel({ metadata, journal }: MemoryStorage): Promise<Kernel> {
  const nodeId = 1 as NodeId;
  const kernel = new Kernel(
    {
      nodeId,
      addresses: new Map(),
      topics: {
        tenant: 'default',
        defaultTopic: 'mqtt',
        defaultTopicShards: 4,
        defaultTopicConfig: new Map(),
        autoCreateShards: 4,
        autoCreateMax: 1000,
      },
    },
    {
      metadata,
      journal,
      mesh: new LocalMesh(nodeId),
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
    },
  );
  await kernel.start();
  return kernel;
}
