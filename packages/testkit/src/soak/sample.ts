/** What is seen of a running server and its clients at one moment of a soak. */
export interface Sample {
  /** Since the load began, ms. */
  readonly atMs: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly descriptors: number;
  /** What the event loop waits for: sockets, listeners, timers that keep it alive. */
  readonly resources: number;
  readonly walFiles: number;
  readonly walBytes: number;
  readonly segmentFiles: number;
  readonly segmentBytes: number;
  /** The 99th percentile of the event loop's delay since the sample before, ms. */
  readonly lagMs: number;
  /** Clients without progress for 30 s. */
  readonly stuck: readonly string[];
  readonly acknowledged: number;
  readonly delivered: number;
}
