import type { MetricSource } from '@robustmq/admin';
import type { Standalone } from '../standalone.ts';
import { gateMetrics } from './gate-metrics.ts';
import { kafkaMetrics } from './kafka-metrics.ts';
import { kernelFigures, kernelMetrics } from './kernel-metrics.ts';
import type { MetricRow } from './metric-table.ts';
import { labelledMetricsOf, metricsOf } from './metric-table.ts';
import { mqttMetrics } from './mqtt-metrics.ts';
import { processFigures, processMetrics } from './process-metrics.ts';
import { diskMetrics, journalMetrics, spaceMetrics, walMetrics } from './storage-metrics.ts';

/** The metrics of the process, of storage and of the kernel; each adapter adds its own. */
export function baseMetrics({ kernel, journal, disk }: Standalone): MetricSource[] {
  return [
    ...metricsOf(processMetrics, processFigures),
    ...metricsOf(kernelMetrics, () => kernelFigures(kernel)),
    ...metricsOf(journalMetrics, () => journal.counters),
    ...metricsOf(spaceMetrics, () => journal.usage()),
    ...metricsOf(walMetrics, () => journal.walStats),
    ...labelledMetricsOf(diskMetrics, 'class', () => disk.counters),
  ];
}

/** Every row, for docs/metrics.md. */
export const allMetricRows: readonly MetricRow[] = [
  gateMetrics,
  processMetrics,
  kernelMetrics,
  mqttMetrics,
  kafkaMetrics,
  journalMetrics,
  spaceMetrics,
  walMetrics,
  diskMetrics,
].flatMap((table): MetricRow[] => Object.values(table));
