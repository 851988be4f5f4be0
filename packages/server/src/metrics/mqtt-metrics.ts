import type { MqttCounters } from '@robustmq/mqtt';
import type { MetricTable } from './metric-table.ts';

export const mqttMetrics: MetricTable<MqttCounters> = {
  connections: { name: 'robustmq_mqtt_connections', type: 'gauge', help: 'Open connections.' },
  connectionsAccepted: {
    name: 'robustmq_mqtt_connections_accepted_total',
    type: 'counter',
    help: 'CONNECT packets that were accepted.',
  },
  connectionsRefused: {
    name: 'robustmq_mqtt_connections_refused_total',
    type: 'counter',
    help: 'Connections closed at once: there were as many as there may be.',
  },
  overdue: {
    name: 'robustmq_mqtt_connections_overdue_total',
    type: 'counter',
    help: 'Connections closed because CONNECT or the rest of a packet did not come in time.',
  },
  stalled: {
    name: 'robustmq_mqtt_connections_stalled_total',
    type: 'counter',
    help: 'Connections closed because their client took nothing of what it was sent.',
  },
  protocolErrors: {
    name: 'robustmq_mqtt_protocol_errors_total',
    type: 'counter',
    help: 'Connections closed for what they sent.',
  },
  publishesReceived: {
    name: 'robustmq_mqtt_publishes_received_total',
    type: 'counter',
    help: 'PUBLISH packets received.',
  },
  publishesRefused: {
    name: 'robustmq_mqtt_publishes_refused_total',
    type: 'counter',
    help: 'PUBLISH packets refused.',
  },
  publishesSent: {
    name: 'robustmq_mqtt_publishes_sent_total',
    type: 'counter',
    help: 'PUBLISH packets sent.',
  },
  droppedFull: {
    name: 'robustmq_mqtt_dropped_full_total',
    type: 'counter',
    help: 'QoS 0 messages not delivered because the connection was full.',
  },
  droppedTooLarge: {
    name: 'robustmq_mqtt_dropped_too_large_total',
    type: 'counter',
    help: 'Messages not delivered because they are larger than the client takes.',
  },
  droppedExpired: {
    name: 'robustmq_mqtt_dropped_expired_total',
    type: 'counter',
    help: 'Messages that expired before they were delivered.',
  },
  sessionsTruncated: {
    name: 'robustmq_mqtt_sessions_truncated_total',
    type: 'counter',
    help: 'Sessions that missed messages: trimmed or damaged before they were read.',
  },
  sessionsWaiting: {
    name: 'robustmq_mqtt_sessions_waiting',
    type: 'gauge',
    help: 'Kept sessions without a connection that have a deadline: their will or their end.',
  },
  sessionsBroad: {
    name: 'robustmq_mqtt_sessions_broad',
    type: 'gauge',
    help: 'Kept sessions with a leading wildcard above QoS 0, of which there is a bound.',
  },
  takeovers: {
    name: 'robustmq_mqtt_takeovers_total',
    type: 'counter',
    help: 'Sessions taken over by a newer connection.',
  },
  willsPublished: { name: 'robustmq_mqtt_wills_published_total', type: 'counter', help: 'Wills published.' },
  sessionsExpired: {
    name: 'robustmq_mqtt_sessions_expired_total',
    type: 'counter',
    help: 'Sessions that ended by their expiry.',
  },
};
