import { z } from 'zod';
import { kafkaLimits, mqttLimits, processLimits } from './config-limits.ts';
import { hostOf, loopbackHosts } from './listen-hosts.ts';

const mebibyte = 1024 * 1024;
const walPageBytes = 4096;
const bytes = (least: number, fallback: number) => z.number().int().min(least).default(fallback);

const listener = (port: number) =>
  z
    .strictObject({
      enabled: z.boolean().default(true).describe('Whether it is opened.'),
      host: z
        .string()
        .min(1)
        .default(hostOf.loopback)
        .describe(
          `Address to bind. \`localhost\` is ${loopbackHosts.join(' and, where there is IPv6, ')}; an address that other ` +
            'machines can reach needs `allowAnonymous`.',
        ),
      port: z
        .number()
        .int()
        .min(0)
        .max(65_535)
        .default(port)
        .describe('Port on each address; 0 takes a free one.'),
    })
    .prefault({});

const advertised = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+)(:[1-9]\d{0,4})?$/, 'is no host or host:port')
  .optional()
  .describe(
    'What clients are told to connect to, `host` or `host:port`; default: what is bound. Required where `host` is a wildcard.',
  );

const storage = z
  .strictObject({
    walFileBytes: bytes(mebibyte, 32 * mebibyte).describe(
      'One file of the write-ahead log, preallocated and recycled.',
    ),
    walBytes: bytes(3 * mebibyte, 512 * mebibyte).describe(
      'All files of the write-ahead log; when they are full, publishers wait.',
    ),
    tailBytes: bytes(4 * mebibyte, 64 * mebibyte).describe(
      'Memory for records that are in the write-ahead log and not yet in segments.',
    ),
    blockCacheBytes: bytes(4 * mebibyte, 64 * mebibyte).describe('Memory for blocks that were read.'),
    indexCacheBytes: bytes(mebibyte, 32 * mebibyte).describe('Memory for indexes and filters of segments.'),
    memoryTopicBytes: bytes(mebibyte, 256 * mebibyte).describe(
      'Memory for all records of topics with `storage=memory`; above it the oldest go.',
    ),
    inflightBytes: bytes(4 * mebibyte, 32 * mebibyte).describe(
      'Records that are not committed yet; above it publishers wait.',
    ),
    poolFileBytes: bytes(mebibyte, 64 * mebibyte).describe('One file of the pool of written segment files.'),
    poolFiles: z
      .number()
      .int()
      .min(0)
      .max(1024)
      .default(16)
      .describe('Files that the pool holds at most; it is given back before the disk is full.'),
    openFiles: z
      .number()
      .int()
      .min(16)
      .max(65_536)
      .default(512)
      .describe('Descriptors of segment files that stay open.'),
    scrubBytesPerSecond: bytes(0, mebibyte).describe(
      'Rate at which stored segments are checked for damage in the background, each at most once a day; 0 checks none.',
    ),
    reserveBytes: bytes(mebibyte, 64 * mebibyte).describe(
      'Free space that is never used: records are refused before.',
    ),
  })
  .prefault({})
  .refine(({ walFileBytes, walBytes }) => walBytes >= 3 * walFileBytes, {
    path: ['walBytes'],
    error: 'is less than three files of walFileBytes',
  })
  .refine(({ walFileBytes }) => walFileBytes % walPageBytes === 0, {
    path: ['walFileBytes'],
    error: `is no multiple of ${walPageBytes}`,
  });

/** The whole configuration file. Each key has a default and a description; docs/configuration.md is made of them. */
export const configSchema = z.strictObject({
  dataDir: z.string().min(1).default('./data').describe('Folder of all state of this process.'),
  nodeId: z
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(1)
    .describe('Number of this node; fixed at the first start on a data folder.'),
  allowAnonymous: z
    .boolean()
    .default(false)
    .describe(
      'Opens listeners to other machines although nobody has to authenticate: everybody may read and write everything.',
    ),
  listeners: z
    .strictObject({
      mqtt: listener(1883),
      mqttWebSocket: listener(8083),
      kafka: listener(9092).unwrap().extend({ advertised }).prefault({}),
    })
    .prefault({}),
  admin: listener(58_080),
  mqtt: mqttLimits,
  kafka: kafkaLimits,
  limits: processLimits,
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('Least level of the log, JSON lines on standard error.'),
    })
    .prefault({}),
  topics: z
    .strictObject({
      autoCreateShards: z
        .number()
        .int()
        .min(1)
        .max(10_000)
        .default(4)
        .describe('Shards (Kafka: partitions) of a topic that is created by its first use.'),
      autoCreateMax: z
        .number()
        .int()
        .min(0)
        .max(100_000)
        .default(1000)
        .describe('Topics that may have come about by use (`auto.created`); above it they must be created.'),
      defaultRetentionBytes: z
        .number()
        .int()
        .min(-1)
        .default(640 * mebibyte)
        .describe('`retention.bytes` of the default topic, a shard; read when the data folder is new.'),
      captureBytesPerSecond: bytes(1024, 128 * mebibyte).describe(
        'QoS 0 messages that are stored a second; above it they are routed only.',
      ),
      sessionBacklogBytes: bytes(mebibyte, 1024 * mebibyte).describe(
        'Bytes a shard that retention keeps for sessions that have not read them.',
      ),
    })
    .prefault({}),
  storage,
  stopTimeoutMs: z
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(15_000)
    .describe('Longest stop after SIGINT or SIGTERM; then the process ends with exit code 1.'),
});

/** The whole configuration of a process, every value filled in. */
export type Config = z.infer<typeof configSchema>;
/** One listener of it. */
export type ListenerConfig = Config['admin'];
