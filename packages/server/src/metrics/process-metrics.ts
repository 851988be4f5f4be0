import { systemTimers } from '@robustmq/core';
import type { MetricTable } from './metric-table.ts';

/** What Node's own metrics of a process leave out. */
export interface ProcessFigures {
  readonly timers: number;
}

export const processMetrics: MetricTable<ProcessFigures> = {
  timers: {
    name: 'robustmq_server_timers',
    type: 'gauge',
    help: 'Timers that are set: neither fired nor cancelled; those of sockets are not counted.',
  },
};

export function processFigures(): ProcessFigures {
  return { timers: systemTimers() };
}
