/** What the adapter has done since its start. */
export interface KafkaCounters {
  connections: number;
  /** Connections closed at once: there were as many as there may be. */
  connectionsRefused: number;
  requests: number;
  producedBatches: number;
  producedBytes: number;
  fetchedBytes: number;
  /** Connections closed because they asked for nothing, or did not end a request, in time. */
  overdue: number;
  /** Connections closed because their client took nothing of its answers. */
  stalled: number;
  /** Connections closed for what they sent. */
  protocolErrors: number;
  /** Bytes received of requests that are not complete. */
  partialBytes: number;
  /** Bytes of answers that clients have not taken, or that are being collected for them. */
  unsentBytes: number;
}

export function createKafkaCounters(): KafkaCounters {
  return {
    connections: 0,
    connectionsRefused: 0,
    requests: 0,
    producedBatches: 0,
    producedBytes: 0,
    fetchedBytes: 0,
    overdue: 0,
    stalled: 0,
    protocolErrors: 0,
    partialBytes: 0,
    unsentBytes: 0,
  };
}
