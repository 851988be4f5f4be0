export type { AdminModules } from './admin-server.ts';
export { AdminServer } from './admin-server.ts';
export type { MetricSource, MetricValue } from './metric-source.ts';
