import type { Clock, Gates, Logger, Random } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import type { TopicCache } from '@robustmq/mqtt-codec';
import type { Delivery } from './delivery/delivery.ts';
import type { MqttCounters } from './metrics.ts';
import type { Flusher } from './output/flusher.ts';
import type { Releases } from './publish/releases.ts';
import type { SessionRegistry } from './sessions/session-registry.ts';
import type { Timers } from './timers.ts';

/** Where one listener is bound. Port 0 takes a free one. */
export interface ListenAddress {
  readonly hosts: readonly string[];
  readonly port: number;
}

export interface MqttOptions {
  /** Null: not opened. */
  readonly tcp: ListenAddress | null;
  readonly webSocket: ListenAddress | null;
  readonly limits?: Partial<MqttLimits>;
}

/** Every bound of the adapter; docs/configuration.md says which can be set. */
export interface MqttLimits {
  /** Open connections; more are closed at once. */
  readonly connectionsMax: number;
  /** From the first byte of the connection until CONNECT has come. */
  readonly connectTimeoutMs: number;
  /** A packet that is not complete after so long ends its connection. */
  readonly partialPacketMs: number;
  /** Largest packet before a client is accepted, bytes. */
  readonly connectPacketBytes: number;
  /** Largest packet of an accepted client, bytes; at most what the default topic takes. */
  readonly packetBytesMax: number;
  /** QoS 1 and 2 publishes of one client that are not acknowledged yet. */
  readonly receiveMaximum: number;
  /** QoS 1 and 2 messages to one client that it has not acknowledged yet. */
  readonly inflightMax: number;
  /** Unsent bytes of a connection above which it takes no more messages. */
  readonly unsentBytesMax: number;
  /** A connection that is full for so long is closed. */
  readonly stalledMs: number;
  /** A publish without an outcome, or a CONNECT without an answer, for so long ends its connection. */
  readonly publishTimeoutMs: number;
  readonly topicAliasMaximum: number;
  /** Aliases that we assign per connection, at most. */
  readonly sendAliasesMax: number;
  /** Subscriptions of one client. */
  readonly subscriptionsMax: number;
  /** Kept sessions with a filter above QoS 0 that begins with a wildcard. */
  readonly broadSessionsMax: number;
  /** Sessions that are kept, with and without a connection. */
  readonly sessionsMax: number;
  /** Seconds; 0xffffffff is for ever. */
  readonly sessionExpiryMax: number;
  /** Seconds; 0: whatever the client wants. Binds MQTT 5 clients, which are told; others keep what they asked for. */
  readonly keepAliveMax: number;
  /** After the death of a process wills wait at least this long. */
  readonly willRecoveryGraceMs: number;
  readonly clientIdBytesMax: number;
}

export const defaultLimits: MqttLimits = {
  connectionsMax: 100_000,
  connectTimeoutMs: 10_000,
  partialPacketMs: 30_000,
  connectPacketBytes: 64 * 1024,
  packetBytesMax: 2 * 1024 * 1024,
  receiveMaximum: 1024,
  inflightMax: 1024,
  unsentBytesMax: 1024 * 1024,
  stalledMs: 60_000,
  publishTimeoutMs: 20_000,
  topicAliasMaximum: 32,
  sendAliasesMax: 32,
  subscriptionsMax: 10_000,
  broadSessionsMax: 100,
  sessionsMax: 500_000,
  sessionExpiryMax: 0xffff_ffff,
  keepAliveMax: 3600,
  willRecoveryGraceMs: 10_000,
  clientIdBytesMax: 256,
};

export interface MqttModules {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** What the process lets in; left out, everything. */
  readonly gates?: Gates;
}

/** What connections and handlers work with: one per adapter. */
export interface MqttContext extends MqttModules {
  readonly gates: Gates;
  readonly limits: MqttLimits;
  readonly counters: MqttCounters;
  readonly flusher: Flusher;
  readonly timers: Timers;
  readonly topicCache: TopicCache;
  readonly sessions: SessionRegistry;
  readonly delivery: Delivery;
  readonly releases: Releases;
  /** Wall clock when the present chunk of bytes came, ms: messages of one chunk have one time. */
  readonly turn: { now: number };
}
