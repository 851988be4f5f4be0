export type { KafkaModules, KafkaOptions } from './adapter.ts';
export type { KafkaCounters } from './metrics.ts';
export { createKafkaAdapter, KafkaAdapter } from './server.ts';
