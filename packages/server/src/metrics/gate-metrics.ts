import type { GateFigures } from '../gates/process-gates.ts';
import type { MetricTable } from './metric-table.ts';

export const gateMetrics: MetricTable<GateFigures> = {
  connectionsOverRate: {
    name: 'robustmq_server_connections_over_rate_total',
    type: 'counter',
    help: 'Connections closed at once: their address had opened too many.',
  },
  connectionsOverMemory: {
    name: 'robustmq_server_connections_over_memory_total',
    type: 'counter',
    help: 'Connections closed at once: memory was short.',
  },
  connectionsOverDescriptors: {
    name: 'robustmq_server_connections_over_descriptors_total',
    type: 'counter',
    help: 'Connections closed at once: the descriptors that are left are for files.',
  },
  memoryBytes: {
    name: 'robustmq_server_memory_bytes',
    type: 'gauge',
    help: 'Heap and buffers in use, what is no longer needed included.',
  },
  memoryBytesMax: {
    name: 'robustmq_server_memory_limit_bytes',
    type: 'gauge',
    help: 'Memory that the process may use.',
  },
  publishersPaused: {
    name: 'robustmq_server_publishers_paused',
    type: 'gauge',
    help: '1 while connections that publish are not read because memory is short, else 0.',
  },
  memoryPauses: {
    name: 'robustmq_server_publisher_pauses_total',
    type: 'counter',
    help: 'Times that publishers began to wait for memory.',
  },
};
