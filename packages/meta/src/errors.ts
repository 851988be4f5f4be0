/** Codes that this package raises beside those of the kernel's ports. */
export type MetaErrorCode =
  /** Committed commands are gone and nothing verified covers them; `acceptLoss` starts without them. */
  | 'META_LOG_LOST'
  /** The folder belongs to another cluster, or was written with another default topic. */
  | 'META_IDENTITY'
  /** A snapshot file is not what was written. */
  | 'META_SNAPSHOT_CORRUPT';
