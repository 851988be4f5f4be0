import type { Latency } from './latency-histogram.ts';

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

/** Loads that a server may be killed under. */
interface KillableJob extends LoadJob {
  /**
   * At the end of the timed window the load kills the server (SIGKILL) with its messages under way, and its
   * result says what had been acknowledged until then.
   */
  readonly kill?: boolean;
}

export interface QosZeroJob extends LoadJob {
  readonly kind: 'mqtt-qos0';
  readonly payloadBytes: number;
  readonly subscribers: number;
  /** Messages sent and not yet seen by the slowest subscriber. */
  readonly inFlightMax: number;
}

export interface QosOneJob extends KillableJob {
  readonly kind: 'mqtt-qos1';
  readonly payloadBytes: number;
  readonly pairs: number;
  /** Messages of a pair that are not both acknowledged and delivered. */
  readonly window: number;
  /** Publisher and subscriber of a pair are one connection. */
  readonly looped: boolean;
  /** Topics that a pair takes in turn; 1 unless given. */
  readonly topics?: number;
}

/** Messages at a steady rate, each with the time at which it was sent. */
export interface MqttLatencyJob extends LoadJob {
  readonly kind: 'mqtt-latency';
  readonly qos: 0 | 1;
  readonly payloadBytes: number;
  /** One publisher and a topic each. */
  readonly pairs: number;
  /** Of each topic. */
  readonly subscribers: number;
  /** Deliveries, all subscribers together. */
  readonly perSecond: number;
}

/** Persistent sessions that were away while others published. */
export interface OfflineJob extends LoadJob {
  readonly kind: 'mqtt-offline';
  readonly payloadBytes: number;
  readonly sessions: number;
  /** Messages that are stored and match no session. */
  readonly others: number;
  /** Messages for each session, half by its exact filter and half by the one with a wildcard. */
  readonly own: number;
}

export interface IdleJob extends LoadJob {
  readonly kind: 'mqtt-idle';
  readonly connections: number;
}

/** Memory of topic names that were published to once. */
export interface IdleTopicsJob extends LoadJob {
  readonly kind: 'mqtt-idle-topics';
  readonly payloadBytes: number;
  readonly topics: number;
}

/** Memory of shards that hold one record and see no traffic. */
export interface IdleShardsJob extends LoadJob {
  readonly kind: 'kafka-idle';
  readonly topic: string;
  readonly shards: number;
}

export interface ProduceJob extends KillableJob {
  readonly kind: 'kafka-produce';
  readonly topic: string;
  readonly valueBytes: number;
  readonly recordsPerBatch: number;
  readonly connections: number;
  /** Shared out among the connections, each of which takes its own in turn; a multiple of `connections`. */
  readonly partitions: number;
  readonly inFlight: number;
  /** Records at a steady rate; as fast as the server takes them unless given. */
  readonly perSecond?: number;
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
  /** Records at a steady rate; as fast as the server gives them unless given. */
  readonly perSecond?: number;
}

export type Job =
  | QosZeroJob
  | QosOneJob
  | MqttLatencyJob
  | OfflineJob
  | IdleJob
  | IdleTopicsJob
  | IdleShardsJob
  | ProduceJob
  | FillJob
  | FetchJob;

/** What a server has acknowledged and so must still have after it was killed. */
export interface Acknowledged {
  /** MQTT: marks the payloads of this load, and how many of each pair, by their numbers from 0. */
  readonly pairs?: { readonly tag: number; readonly counts: readonly number[] } | undefined;
  /** Kafka: the offset behind the last acknowledged record of each partition. */
  readonly partitions?: { readonly topic: string; readonly ends: readonly number[] } | undefined;
}

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
  /** Of loads at a steady rate and of `kafka-produce`. */
  readonly latency?: Latency | undefined;
  /** Of `mqtt-offline`: until the last message had come. */
  readonly servedMs?: number | undefined;
  /** Of the durable loads. */
  readonly acknowledged?: Acknowledged | undefined;
  /** Worth knowing beside the figures. */
  readonly note?: string | undefined;
  /** Of the idle loads: resident bytes of the server before and with the connections or shards. */
  readonly residentBytes?: { readonly before: number; readonly with: number } | undefined;
  /** Of `kafka-fill`: the offsets written. */
  readonly offsets?: { readonly start: number; readonly end: number } | undefined;
}
