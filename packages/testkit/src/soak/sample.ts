/** What is seen of a running server and its clients at one moment of a soak. */
export interface Sample {
  /** Since the load began, ms. */
  readonly atMs: number;
  readonly residentBytes: number;
  /** Heap and buffers in use, after a full collection; null where none was asked for. */
  readonly liveBytes: number | null;
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly descriptors: number;
  /** What keeps the event loop alive: sockets, listeners; not the server's timers. */
  readonly resources: number;
  /** Timers that are set. */
  readonly timers: number;
  readonly walFiles: number;
  readonly walBytes: number;
  readonly segmentFiles: number;
  readonly segmentBytes: number;
  /** All files of metadata: its log and its snapshots. */
  readonly metadataBytes: number;
  /** The 99th percentile of the event loop's delay since the sample before, ms. */
  readonly lagMs: number;
  /** Clients without progress for 30 s. */
  readonly stuck: readonly string[];
  readonly acknowledged: number;
  readonly delivered: number;
}
