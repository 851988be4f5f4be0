/** What the orchestrator asks of a generator process, and what comes back: one JSON value each way. */

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface LoadJob {
  readonly endpoint: Endpoint;
  /** Processes of the server under load, for its CPU time. */
  readonly pids: readonly number[];
  /** Makes topics and client ids of this run distinct on a server that outlives it. */
  readonly prefix: string;
  readonly warmupMs: number;
  readonly seconds: number;
}

export interface QosZeroJob extends LoadJob {
  readonly kind: 'mqtt-qos0';
  readonly payloadBytes: number;
  readonly subscribers: number;
  /** Messages sent and not yet seen by the slowest subscriber. */
  readonly inFlightMax: number;
}

export interface QosOneJob extends LoadJob {
  readonly kind: 'mqtt-qos1';
  readonly payloadBytes: number;
  readonly pairs: number;
  readonly window: number;
}

export interface IdleJob extends LoadJob {
  readonly kind: 'mqtt-idle';
  readonly connections: number;
}

export interface ProduceJob extends LoadJob {
  readonly kind: 'kafka-produce';
  readonly topic: string;
  readonly valueBytes: number;
  readonly recordsPerBatch: number;
  /** One connection and one partition each. */
  readonly connections: number;
  readonly inFlight: number;
}

/** Fills partition 0 of a topic; not timed. */
export interface FillJob extends LoadJob {
  readonly kind: 'kafka-fill';
  readonly topic: string;
  readonly valueBytes: number;
  readonly recordsPerBatch: number;
  readonly records: number;
}

export interface FetchJob extends LoadJob {
  readonly kind: 'kafka-fetch';
  readonly topic: string;
  readonly valueBytes: number;
  readonly fetchBytes: number;
  /** Read from `startOffset` to `endOffset`, over and over. */
  readonly startOffset: number;
  readonly endOffset: number;
}

export type Job = QosZeroJob | QosOneJob | IdleJob | ProduceJob | FillJob | FetchJob;

export interface LoadResult {
  /** Length of the timed window. */
  readonly seconds: number;
  /** Deliveries (MQTT) or records (Kafka) within the window. */
  readonly count: number;
  /** Payload or value bytes behind `count`. */
  readonly bytes: number;
  /** CPU seconds of the server within the window; null when unknown. */
  readonly serverCpuSeconds: number | null;
  /** CPU seconds of the generator within the window. */
  readonly generatorCpuSeconds: number;
  /** Over the whole run, warm-up and drain included: what should have arrived and what did. */
  readonly expected: number;
  readonly arrived: number;
  /** Arrivals out of order or twice; checked where messages carry a number. */
  readonly disordered: number;
  /** Of `mqtt-idle`: resident bytes of the server before and with the connections. */
  readonly residentBytes?: { readonly before: number; readonly with: number } | undefined;
  /** Of `kafka-fill`: the offsets written. */
  readonly offsets?: { readonly start: number; readonly end: number } | undefined;
}
