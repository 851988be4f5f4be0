/** Codes that this package raises beside those of the kernel's ports. */
export type MetaErrorCode =
  /** Committed commands are gone and nothing verified covers them; `acceptLoss` starts without them. */
  | 'META_LOG_LOST'
  /** The folder belongs to another cluster, or was written with another default topic. */
  | 'META_IDENTITY'
  /** A snapshot file is not what was written. Logged, never thrown by `start`. */
  | 'META_SNAPSHOT_CORRUPT'
  /** The applied store does not agree with itself and is rebuilt. Logged, never thrown by `start`. */
  | 'META_STORE_STALE';
