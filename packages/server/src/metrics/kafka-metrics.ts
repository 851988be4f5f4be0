import type { KafkaCounters } from '@robustmq/kafka';
import type { MetricTable } from './metric-table.ts';

export const kafkaMetrics: MetricTable<KafkaCounters> = {
  connections: { name: 'robustmq_kafka_connections', type: 'gauge', help: 'Open connections.' },
  connectionsRefused: {
    name: 'robustmq_kafka_connections_refused_total',
    type: 'counter',
    help: 'Connections closed at once: there were as many as there may be.',
  },
  requests: { name: 'robustmq_kafka_requests_total', type: 'counter', help: 'Requests received.' },
  producedBatches: {
    name: 'robustmq_kafka_produced_batches_total',
    type: 'counter',
    help: 'Record batches that clients produced.',
  },
  producedBytes: {
    name: 'robustmq_kafka_produced_bytes_total',
    type: 'counter',
    help: 'Bytes of these batches, as the clients compressed them.',
  },
  fetchedBytes: {
    name: 'robustmq_kafka_fetched_bytes_total',
    type: 'counter',
    help: 'Bytes of record batches sent to clients.',
  },
  overdue: {
    name: 'robustmq_kafka_connections_overdue_total',
    type: 'counter',
    help: 'Connections closed because they asked for nothing, or did not end a request, in time.',
  },
  stalled: {
    name: 'robustmq_kafka_connections_stalled_total',
    type: 'counter',
    help: 'Connections closed because their client took nothing of its answers.',
  },
  protocolErrors: {
    name: 'robustmq_kafka_protocol_errors_total',
    type: 'counter',
    help: 'Connections closed for what they sent.',
  },
  partialBytes: {
    name: 'robustmq_kafka_partial_request_bytes',
    type: 'gauge',
    help: 'Bytes received of requests that are not complete.',
  },
  unsentBytes: {
    name: 'robustmq_kafka_unsent_bytes',
    type: 'gauge',
    help: 'Bytes of answers that clients have not taken yet.',
  },
};
