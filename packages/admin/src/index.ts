export type { AdminModules, AdminOptions } from './admin-server.ts';
export { AdminServer } from './admin-server.ts';
export type { AdminErrorCode } from './errors.ts';
export type { MetricSource, MetricValue } from './metric-source.ts';
