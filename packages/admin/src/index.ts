export type { AdminModules, AdminOptions, MetricSource } from './admin-server.ts';
export { AdminServer } from './admin-server.ts';
