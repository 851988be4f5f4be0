import type { BenchOptions } from '../options.ts';
import { kafkaRows } from './kafka-rows.ts';
import { latencyRows } from './latency-rows.ts';
import { mqttRows } from './mqtt-rows.ts';
import { offlineRows } from './offline-rows.ts';
import { processRows } from './process-rows.ts';
import type { Row } from './row.ts';
import { scaleRows } from './scale-rows.ts';

/** Every row there is, in the order they run: memory of idle connections before any load has grown a heap. */
export function allRows(options: Pick<BenchOptions, 'connections' | 'logMib'>): Row[] {
  return [
    ...processRows,
    ...mqttRows(options.connections),
    ...offlineRows,
    ...kafkaRows(options.logMib),
    ...latencyRows,
    ...scaleRows,
  ];
}

/**
 * Rows named by id, or else by the beginning of their ids; without names those of the sets that were
 * asked for. Throws for a name that fits none.
 */
export function chooseRows(rows: readonly Row[], options: Pick<BenchOptions, 'only' | 'sets'>): Row[] {
  if (options.only.length === 0) return rows.filter((row) => options.sets.includes(row.set));
  const chosen = new Set<Row>();
  for (const name of options.only) {
    const exact = rows.filter((row) => row.id === name);
    const fitting = exact.length > 0 ? exact : rows.filter((row) => row.id.startsWith(name));
    if (fitting.length === 0) {
      throw new Error(`--only: ${name} is none of ${rows.map((row) => row.id).join(', ')}`);
    }
    for (const row of fitting) chosen.add(row);
  }
  return rows.filter((row) => chosen.has(row));
}
