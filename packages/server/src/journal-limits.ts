import type { JournalLimits } from '@robustmq/journal';
import type { Config } from './config-schema.ts';

/** The journal's bounds that the configuration sets; the others keep their defaults. */
export function journalLimitsOf(storage: Config['storage']): Partial<JournalLimits> {
  return {
    walFileBytes: storage.walFileBytes,
    walBytes: storage.walBytes,
    // Sources pause at `inflightBytes`; what they had read by then still has to find room.
    walQueueBytes: storage.inflightBytes * 2,
    tailBytes: storage.tailBytes,
    blockCacheBytes: storage.blockCacheBytes,
    tailCacheBytes: Math.floor(storage.blockCacheBytes / 2),
    indexCacheBytes: storage.indexCacheBytes,
    memoryBytes: storage.memoryTopicBytes,
    poolFileBytes: storage.poolFileBytes,
    poolFiles: storage.poolFiles,
    openFiles: storage.openFiles,
    scrubBytesPerSecond: storage.scrubBytesPerSecond,
    reserveBytes: storage.reserveBytes,
  };
}
