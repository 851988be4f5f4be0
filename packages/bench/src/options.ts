import { parseArgs } from 'node:util';
import type { Endpoint } from './job.ts';

export const peerNames = ['mosquitto', 'aedes', 'kafka', 'kafka-fsync', 'echo'] as const;
export type PeerName = (typeof peerNames)[number];

export interface BenchOptions {
  readonly help: boolean;
  readonly json: boolean;
  /** Row ids or their beginnings; empty for all rows. */
  readonly only: readonly string[];
  readonly seconds: number;
  readonly warmupMs: number;
  readonly peers: readonly PeerName[];
  /** Idle connections for the row `mqtt-idle`; 0 leaves it out. */
  readonly connections: number;
  /** Size of the log that the fetch rows read. */
  readonly logMib: number;
  /** A running server to load in place of one that the benchmark starts. */
  readonly mqtt: Endpoint | null;
  readonly kafka: Endpoint | null;
  readonly pids: readonly number[];
}

export const usage = `npm run bench -- [options]
  --only ROW[,ROW]     these rows only, by id or its beginning (mqtt, kafka-produce, start, ...)
  --seconds N          timed window of each load (5)
  --peers LIST         mosquitto, aedes, kafka, kafka-fsync, echo, or none (mosquitto,aedes)
  --kafka-peer         adds kafka and kafka-fsync to the peers (needs Java 17 and Maven)
  --connections N      adds the row mqtt-idle with N connections
  --log-mib N          size of the log for the fetch rows (256)
  --mqtt HOST:PORT --kafka HOST:PORT --pid N[,N]
                       loads a running server; its processes are needed for CPU and memory
  --json               JSON on stdout in place of the table
`;

/** Reads the command line; throws with a message for people. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      seconds: { type: 'string', default: '5' },
      peers: { type: 'string', default: 'mosquitto,aedes' },
      'kafka-peer': { type: 'boolean', default: false },
      connections: { type: 'string', default: '0' },
      'log-mib': { type: 'string', default: '256' },
      mqtt: { type: 'string' },
      kafka: { type: 'string' },
      pid: { type: 'string', default: '' },
    },
  });
  const peers = new Set(parsePeers(values.peers));
  if (values['kafka-peer']) peers.add('kafka').add('kafka-fsync');
  return {
    help: values.help,
    json: values.json,
    only: values.only.flatMap(list),
    seconds: parseNumber('--seconds', values.seconds, 0.1),
    warmupMs: 1000,
    peers: [...peers],
    connections: parseNumber('--connections', values.connections, 0),
    logMib: parseNumber('--log-mib', values['log-mib'], 33),
    mqtt: parseEndpoint('--mqtt', values.mqtt),
    kafka: parseEndpoint('--kafka', values.kafka),
    pids: list(values.pid).map((pid) => parseNumber('--pid', pid, 1)),
  };
}

function parsePeers(value: string): PeerName[] {
  if (value === 'none') return [];
  return list(value).map((name) => {
    const known = peerNames.find((peer) => peer === name);
    if (known === undefined) throw new Error(`--peers: ${name} is none of ${peerNames.join(', ')}`);
    return known;
  });
}

function parseNumber(option: string, value: string, min: number): number {
  const number = Number(value);
  if (value === '' || !(number >= min)) throw new Error(`${option} takes a number of at least ${min}`);
  return number;
}

function parseEndpoint(option: string, value: string | undefined): Endpoint | null {
  if (value === undefined) return null;
  const [, host, port] = /^(?:(.+):)?(\d+)$/.exec(value) ?? [];
  if (port === undefined) throw new Error(`${option} takes HOST:PORT`);
  return { host: host ?? '127.0.0.1', port: Number(port) };
}

function list(value: string): string[] {
  return value.split(',').filter((part) => part !== '');
}
