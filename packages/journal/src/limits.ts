const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

/**
 * Sizes in bytes, times in ms. Every queue and cache of the journal has its bound here, but for the spare memory of
 * `memory-tail.ts`, which all journals of a process share.
 */
export interface JournalLimits {
  /** Entries that are not in a segment file yet, all shards together; half of it starts sweeping the largest. */
  readonly tailBytes: number;
  /** An entry older than this is swept even when nothing presses. */
  readonly tailAgeMs: number;
  /** A segment with as much durable and unwritten is swept at once. */
  readonly sweepBytes: number;
  /** One write of a sweep. */
  readonly writeBytes: number;
  /** Target size of a block: the unit of the index, of filters, of verification and of the cache. */
  readonly blockBytes: number;
  /** Blocks read from disk, and entries kept after they were written, together. */
  readonly blockCacheBytes: number;
  /** Buffers of blocks that nobody needs, kept to be used again. */
  readonly spareBlockBytes: number;
  /** Part of `blockCacheBytes` that holds the newest written entries. */
  readonly tailCacheBytes: number;
  /** Indexes and filters of sealed segments. */
  readonly indexCacheBytes: number;
  readonly openFiles: number;
  /** Size of a file of the pool, and how many the pool may hold. */
  readonly poolFileBytes: number;
  readonly poolFiles: number;
  /** Entries of durability `memory`, all shards together; above it the oldest are dropped. */
  readonly memoryBytes: number;
  /** Free space that is never used for new data; also the distance between closing and opening admission. */
  readonly reserveBytes: number;
  /** How often free space is looked at. */
  readonly pollMs: number;
  /** Entries of durability `interval` start a frame at this size even before their time. */
  readonly lazyBytes: number;
  /** Sealed segments are checked in the background at this rate; 0: not at all. */
  readonly scrubBytesPerSecond: number;
  /** A segment that metadata no longer lists is deleted this much later: the longest deadline of a read. */
  readonly deleteAfterMs: number;
  /** A segment that metadata never listed is deleted this much later. */
  readonly orphanGraceMs: number;
  /** How long `stop` waits for the tails to reach their segments. */
  readonly stopMs: number;
  readonly walFileBytes: number;
  readonly walBytes: number;
  readonly walInitialFiles: number;
  /**
   * Entries that wait for the log, all shards together, before no new ones are admitted. More than brokers have in
   * flight before they pause their sources: what is only slow must not look like a full disk.
   */
  readonly walQueueBytes: number;
}

export const defaultLimits: JournalLimits = {
  tailBytes: 64 * mebibyte,
  tailAgeMs: 1000,
  sweepBytes: 4 * mebibyte,
  writeBytes: mebibyte,
  blockBytes: 256 * kibibyte,
  blockCacheBytes: 64 * mebibyte,
  spareBlockBytes: 8 * mebibyte,
  tailCacheBytes: 32 * mebibyte,
  indexCacheBytes: 32 * mebibyte,
  openFiles: 512,
  poolFileBytes: 64 * mebibyte,
  poolFiles: 16,
  memoryBytes: 256 * mebibyte,
  reserveBytes: 64 * mebibyte,
  pollMs: 1000,
  lazyBytes: mebibyte,
  scrubBytesPerSecond: mebibyte,
  deleteAfterMs: 30_000,
  orphanGraceMs: 600_000,
  stopMs: 10_000,
  walFileBytes: 32 * mebibyte,
  walBytes: 512 * mebibyte,
  walInitialFiles: 2,
  walQueueBytes: 64 * mebibyte,
};
