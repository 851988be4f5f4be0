export type { MqttLimits, MqttModules, MqttOptions } from './adapter.ts';
export type { MqttCounters } from './metrics.ts';
export { createMqttAdapter, MqttAdapter } from './server.ts';
