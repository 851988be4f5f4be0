import type { PeerName } from '../options.ts';
import type { Row } from './row.ts';
import { alone } from './row.ts';

const payloadBytes = 64;
const fanOut = 50;
const pairs = 8;
const window = 100;

const common = {
  set: 'bars',
  protocol: 'mqtt',
  peers: ['mosquitto', 'aedes', 'nats', 'echo'] satisfies readonly PeerName[],
} as const;

/** `connections`: how many idle ones the memory of one is averaged over. */
export function mqttRows(connections: number): Row[] {
  const rows: Omit<Row, 'group'>[] = [
    {
      ...common,
      id: 'mqtt-idle',
      title: `memory of an idle MQTT connection (${connections})`,
      unit: 'connectionKb',
      bars: [{ against: null, figure: 'value', atMost: 12 }],
      lossless: true,
      durable: false,
      load: async () => ({ kind: 'mqtt-idle', connections }),
    },
    {
      ...common,
      id: 'mqtt-qos0',
      title: 'MQTT QoS 0, 1 to 1, 64 B',
      unit: 'messages',
      bars: [
        { against: 'mosquitto', figure: 'value', atLeast: 5 },
        { against: 'aedes', figure: 'value', atLeast: 7 },
      ],
      lossless: false,
      durable: false,
      load: async () => ({ kind: 'mqtt-qos0', payloadBytes, subscribers: 1, inFlightMax: 4000 }),
      paced: async (_, perSecond) => ({ ...paced, qos: 0, pairs: 1, subscribers: 1, perSecond }),
    },
    {
      ...common,
      id: 'mqtt-fanout',
      title: `MQTT QoS 0, 1 to ${fanOut}, 64 B`,
      unit: 'messages',
      bars: [
        { against: 'mosquitto', figure: 'value', atLeast: 5 },
        { against: 'mosquitto', figure: 'cpu', atMost: 1 / 7 },
        { against: 'aedes', figure: 'value', atLeast: 15 },
      ],
      lossless: false,
      durable: false,
      load: async () => ({ kind: 'mqtt-qos0', payloadBytes, subscribers: fanOut, inFlightMax: 800 }),
      paced: async (_, perSecond) => ({ ...paced, qos: 0, pairs: 1, subscribers: fanOut, perSecond }),
    },
    {
      ...common,
      id: 'mqtt-qos1',
      title: `MQTT QoS 1, ${pairs} pairs, window ${window}, 64 B`,
      unit: 'messages',
      bars: [
        { against: 'mosquitto', figure: 'value', atLeast: 2 },
        { against: 'aedes', figure: 'value', atLeast: 3 },
      ],
      lossless: true,
      durable: true,
      load: async () => ({ kind: 'mqtt-qos1', payloadBytes, pairs, window, looped: false }),
      paced: async (_, perSecond) => ({ ...paced, qos: 1, pairs, subscribers: 1, perSecond }),
    },
  ];
  return rows.map(alone);
}

const paced = { kind: 'mqtt-latency', payloadBytes } as const;
