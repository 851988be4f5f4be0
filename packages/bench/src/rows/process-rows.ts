import type { Row } from './row.ts';

const common = {
  set: 'bars',
  group: 'process',
  protocol: null,
  peers: ['mosquitto', 'aedes', 'nats', 'kafka'],
  lossless: true,
  durable: false,
} as const;

/** The process at rest. */
export const processRows: readonly Row[] = [
  {
    ...common,
    id: 'start',
    title: 'start of the built server to open ports',
    unit: 'startMs',
    bars: [{ against: null, figure: 'value', atMost: 1000 }],
  },
  {
    ...common,
    id: 'memory',
    title: 'resident memory at rest',
    unit: 'residentMb',
    bars: [{ against: null, figure: 'value', atMost: 130 }],
  },
];
