import type { MetricSource } from '@robustmq/admin';
import { AdminServer } from '@robustmq/admin';
import type { ListenAddress, Lifecycle, Logger } from '@robustmq/core';
import { systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import { createMqttAdapter } from '@robustmq/mqtt';
import type { Config, ListenerConfig } from './config-schema.ts';
import { hostAndPort, hostsOf, isLoopback, parseAdvertised } from './listen-hosts.ts';
import type { ProcessGates } from './gates/process-gates.ts';
import { gateMetrics } from './metrics/gate-metrics.ts';
import { baseMetrics } from './metrics/index.ts';
import { kafkaMetrics } from './metrics/kafka-metrics.ts';
import { metricsOf } from './metrics/metric-table.ts';
import { mqttMetrics } from './metrics/mqtt-metrics.ts';
import type { Standalone } from './standalone.ts';

/** An address that clients can use, under the name of its listener in the configuration. */
export interface Endpoint {
  readonly name: 'mqtt' | 'mqttWebSocket' | 'kafka' | 'admin';
  readonly hosts: readonly string[];
  readonly port: number;
}

/** A part of the server that listens. */
export interface Listener {
  readonly name: string;
  readonly part: Lifecycle;
  readonly metrics: readonly MetricSource[];
  /** What it has bound; empty before `start`. */
  endpoints(): readonly Endpoint[];
}

export interface ListenerModules {
  readonly base: Standalone;
  readonly gates: ProcessGates;
  readonly logger: Logger;
  /** Whether all listeners are open and nothing is stopping. */
  readonly ready: () => boolean;
}

/**
 * Makes every listener that the configuration opens, in the order of their start: admin first, so that health can
 * be asked from then on. A protocol is one entry here.
 */
export function createListeners(config: Config, modules: ListenerModules): Listener[] {
  const adapters = [mqttListener, kafkaListener].flatMap((create) => create(config, modules) ?? []);
  const metrics = [
    ...metricsOf(gateMetrics, () => modules.gates.figures),
    ...baseMetrics(modules.base),
    ...adapters.flatMap((adapter) => adapter.metrics),
  ];
  const admin = adminListener(config, modules, metrics);
  return admin === null ? adapters : [admin, ...adapters];
}

function mqttListener(config: Config, { base, gates, logger }: ListenerModules): Listener | null {
  const { mqtt, mqttWebSocket } = config.listeners;
  if (!mqtt.enabled && !mqttWebSocket.enabled) return null;
  const part = createMqttAdapter(
    {
      tcp: mqtt.enabled ? listenAddress(mqtt) : null,
      webSocket: mqttWebSocket.enabled ? listenAddress(mqttWebSocket) : null,
      limits: config.mqtt,
    },
    {
      kernel: base.kernel,
      clock: systemClock,
      random: systemRandom,
      gates,
      logger: logger.child({ package: 'mqtt' }),
    },
  );
  return {
    name: 'mqtt',
    part,
    metrics: metricsOf(mqttMetrics, () => part.counters),
    endpoints: () => [...bound('mqtt', part.tcp), ...bound('mqttWebSocket', part.webSocket)],
  };
}

function kafkaListener(config: Config, { base, gates, logger }: ListenerModules): Listener | null {
  const { enabled, advertised } = config.listeners.kafka;
  if (!enabled) return null;
  const told = advertised === undefined ? null : parseAdvertised(advertised);
  const { requestBytesMax, groupInitialDelayMs, groupMembersMax, membersMax, groupsMax, ...limits } =
    config.kafka;
  const part = createKafkaAdapter(
    {
      ...listenAddress(config.listeners.kafka),
      nodeId: config.nodeId,
      ...limits,
      maxRequestBytes: requestBytesMax,
      groups: {
        initialDelayMs: groupInitialDelayMs,
        membersMax: groupMembersMax,
        membersTotalMax: membersMax,
        groupsMax,
      },
      ...(told === null ? {} : { advertisedHost: told.host }),
      ...(told === null || told.port === null ? {} : { advertisedPort: told.port }),
    },
    {
      kernel: base.kernel,
      clock: systemClock,
      random: systemRandom,
      gates,
      logger: logger.child({ package: 'kafka' }),
    },
  );
  return {
    name: 'kafka',
    part,
    metrics: metricsOf(kafkaMetrics, () => part.counters),
    endpoints: () => bound('kafka', part.listener),
  };
}

function adminListener(
  config: Config,
  { base, gates, logger, ready }: ListenerModules,
  metrics: readonly MetricSource[],
): Listener | null {
  if (!config.admin.enabled) return null;
  const part = new AdminServer(
    { ...listenAddress(config.admin), open: !isLoopback(config.admin.host) },
    {
      kernel: base.kernel,
      logger: logger.child({ package: 'admin' }),
      metrics,
      gate: gates.adminConnections,
      ready,
    },
  );
  return { name: 'admin', part, metrics: [], endpoints: () => bound('admin', part.listener) };
}

/** Listener name -> what clients are told to connect to, as the configuration says it. */
export function advertisedAddresses(config: Config): Map<string, string> {
  const addresses = new Map<string, string>();
  for (const [name, listener] of Object.entries(config.listeners)) {
    if (!listener.enabled) continue;
    const told = 'advertised' in listener ? listener.advertised : undefined;
    const { host, port } = told === undefined ? { host: null, port: null } : parseAdvertised(told);
    addresses.set(name, hostAndPort(host ?? hostsOf(listener.host)[0]!, port ?? listener.port));
  }
  return addresses;
}

function listenAddress({ host, port }: ListenerConfig): ListenAddress {
  return { hosts: hostsOf(host), port };
}

function bound(
  name: Endpoint['name'],
  listener: { readonly hosts: readonly string[]; readonly port: number } | null,
): Endpoint[] {
  return listener === null ? [] : [{ name, hosts: listener.hosts, port: listener.port }];
}
