import { parseArgs } from 'node:util';
import type { Endpoint } from './job.ts';
import type { RowSet } from './rows/row.ts';

export const peerNames = ['mosquitto', 'aedes', 'nats', 'kafka', 'kafka-fsync', 'echo'] as const;
export type PeerName = (typeof peerNames)[number];

export interface BenchOptions {
  readonly help: boolean;
  readonly json: boolean;
  /** Row ids or their beginnings, of any set; empty for all rows of `sets`. */
  readonly only: readonly string[];
  readonly sets: readonly RowSet[];
  readonly seconds: number;
  readonly warmupMs: number;
  readonly peers: readonly PeerName[];
  /** Idle connections for the row `mqtt-idle`. */
  readonly connections: number;
  /** Size of the log that the fetch rows read. */
  readonly logMib: number;
  /** A running server to load in place of one that the benchmark starts. */
  readonly mqtt: Endpoint | null;
  readonly kafka: Endpoint | null;
  readonly pids: readonly number[];
}

export const usage = `npm run bench -- [options]
  (nothing)            the bars: this server against every peer that can be had
  --scale              instead: connections, topics, shards and payloads from small to large
  --latency            instead: percentiles at 10, 50 and 80 % of the highest rate
  --only ROW[,ROW]     these rows only, of any set, by id or its beginning (mqtt, kafka-produce, start, ...)
  --seconds N          timed window of each load (5)
  --peers LIST         mosquitto, aedes, nats, kafka, kafka-fsync, echo, or none (all but echo)
  --connections N      idle connections of the row mqtt-idle (10000)
  --log-mib N          size of the log for the fetch rows (256)
  --mqtt HOST:PORT --kafka HOST:PORT --pid N[,N]
                       loads a running server; its processes are needed for CPU and memory
  --json               JSON on stdout in place of the tables
Exit status: 0 all bars held, 1 a bar short or a row failed, 2 none short but a peer is missing, 3 not run.
`;

/** Reads the command line; throws with a message for people. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      scale: { type: 'boolean', default: false },
      latency: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      seconds: { type: 'string', default: '5' },
      peers: { type: 'string', default: 'mosquitto,aedes,nats,kafka,kafka-fsync' },
      connections: { type: 'string', default: '10000' },
      'log-mib': { type: 'string', default: '256' },
      mqtt: { type: 'string' },
      kafka: { type: 'string' },
      pid: { type: 'string', default: '' },
    },
  });
  const bigger = (['scale', 'latency'] as const).filter((set) => values[set]);
  return {
    help: values.help,
    json: values.json,
    only: values.only.flatMap(list),
    sets: bigger.length === 0 ? ['bars'] : bigger,
    seconds: parseNumber('--seconds', values.seconds, 0.1),
    warmupMs: 1000,
    peers: [...new Set(parsePeers(values.peers))],
    connections: parseNumber('--connections', values.connections, 1),
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
