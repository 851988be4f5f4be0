/** What the adapter has done since its start. */
export interface MqttCounters {
  connections: number;
  connectionsAccepted: number;
  /** Connections closed at once: there were as many as there may be. */
  connectionsRefused: number;
  /** Connections closed because CONNECT or the rest of a packet did not come in time. */
  overdue: number;
  /** Connections closed because their client took nothing of what it was sent. */
  stalled: number;
  /** Connections closed for what they sent. */
  protocolErrors: number;
  publishesReceived: number;
  publishesRefused: number;
  publishesSent: number;
  /** At-most-once messages not delivered: the connection was full. */
  droppedFull: number;
  /** Messages larger than the client takes. */
  droppedTooLarge: number;
  /** Messages that expired before they were delivered. */
  droppedExpired: number;
  /** Sessions that missed messages: trimmed or damaged before they were read. */
  sessionsTruncated: number;
  /** Kept sessions without a connection that have a deadline: their will or their end. */
  sessionsWaiting: number;
  /** Kept sessions with a leading wildcard above QoS 0. */
  sessionsBroad: number;
  takeovers: number;
  willsPublished: number;
  sessionsExpired: number;
}

export function createMqttCounters(): MqttCounters {
  return {
    connections: 0,
    connectionsAccepted: 0,
    connectionsRefused: 0,
    overdue: 0,
    stalled: 0,
    protocolErrors: 0,
    publishesReceived: 0,
    publishesRefused: 0,
    publishesSent: 0,
    droppedFull: 0,
    droppedTooLarge: 0,
    droppedExpired: 0,
    sessionsTruncated: 0,
    sessionsWaiting: 0,
    sessionsBroad: 0,
    takeovers: 0,
    willsPublished: 0,
    sessionsExpired: 0,
  };
}
