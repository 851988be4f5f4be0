/** What the journal has done since it opened, and gauges of what it holds; read by whoever exports metrics. */
export interface JournalCounters {
  appendedEntries: number;
  appendedBytes: number;
  /** Frames of the write-ahead log that became durable. */
  frames: number;
  acks: number;
  refusals: number;
  /** Answers that needed no disk. */
  readsCached: number;
  readsDisk: number;
  blocksRead: number;
  /** Blocks that a filter saved from being read. */
  blocksSkipped: number;
  /** Damaged entries found at reading. */
  rotEntries: number;
  /** Bytes of sealed segments that were checked in the background. */
  scrubbedBytes: number;
  /** Damaged segments found that way, each once a pass. */
  scrubDamagedSegments: number;
  /** Segments that lost acknowledged entries to a damaged write-ahead log. */
  lostSegments: number;
  sweeps: number;
  sweptBytes: number;
  sealedSegments: number;
  deletedSegments: number;
  /** Segments that began in a file of the pool. */
  pooledSegments: number;
  /** Entries of durability `memory` that the bound on memory dropped. */
  memoryDropped: number;
  /** Gauges. */
  tailBytes: number;
  tailCacheBytes: number;
  blockCacheBytes: number;
  indexCacheBytes: number;
  memoryBytes: number;
  openFiles: number;
  poolFiles: number;
}

export function createCounters(): JournalCounters {
  return {
    appendedEntries: 0,
    appendedBytes: 0,
    frames: 0,
    acks: 0,
    refusals: 0,
    readsCached: 0,
    readsDisk: 0,
    blocksRead: 0,
    blocksSkipped: 0,
    rotEntries: 0,
    scrubbedBytes: 0,
    scrubDamagedSegments: 0,
    lostSegments: 0,
    sweeps: 0,
    sweptBytes: 0,
    sealedSegments: 0,
    deletedSegments: 0,
    pooledSegments: 0,
    memoryDropped: 0,
    tailBytes: 0,
    tailCacheBytes: 0,
    blockCacheBytes: 0,
    indexCacheBytes: 0,
    memoryBytes: 0,
    openFiles: 0,
    poolFiles: 0,
  };
}
