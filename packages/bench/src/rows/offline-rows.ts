import type { Row } from './row.ts';

const common = {
  set: 'bars',
  group: 'offline',
  protocol: 'mqtt',
  peers: [],
  unit: 'milliseconds',
  lossless: true,
  durable: false,
} as const;
const shape = { kind: 'mqtt-offline', others: 1_000_000, own: 100, payloadBytes: 64 } as const;

/** Persistent sessions that come back after a million messages of others. */
export const offlineRows: readonly Row[] = [
  {
    ...common,
    id: 'offline-one',
    title: 'MQTT, 1 session offline for 1,000,000 messages: CONNACK to the last of its 100',
    bars: [{ against: null, figure: 'value', atMost: 200 }],
    load: async () => ({ ...shape, sessions: 1 }),
  },
  {
    ...common,
    id: 'offline-thousand',
    title: 'MQTT, 1,000 such sessions at once: first CONNECT to the last of all 100,000',
    bars: [{ against: null, figure: 'value', atMost: 5000 }],
    load: async () => ({ ...shape, sessions: 1000 }),
  },
];
