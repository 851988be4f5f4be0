import { join } from 'node:path';
import {
  History,
  MqttClient,
  mountMissing,
  RecordLog,
  ServerProcess,
  SmallVolume,
  waitUntil,
} from '@robustmq/testkit';
import type { Consumer } from 'kafkajs';
import { describe, expect, it } from 'vitest';
import type { Publisher } from '../interop/crash-clients.ts';
import { KafkaPublisher, kafkaOf, MqttPublisher, MqttReader, openGroup } from '../interop/crash-clients.ts';
import { recordLog } from '../interop/crash-log.ts';

const mebibyte = 1024 * 1024;
/** Connections that fill the disk together. */
const fillers = 4;
/** What readers subscribe to and no publisher of the history writes. */
const news = 'fleet/news';
const quotaExceeded = 0x97;
const kafkaStorageError = 56;
/** Service is back this soon after there is space. */
const resumeMs = 10_000;
/** Files of a deleted topic stay as long as a read may take. */
const deletionMs = 30_000;

interface Sizes {
  readonly mebibytes: number;
  readonly kind: 'tmpfs' | 'ext4';
  readonly storage: typeof defaults;
  /** Bytes of a record that fills the disk, and of a segment of its topic. */
  readonly recordBytes: number;
  readonly segmentBytes: number;
  /** What the disk takes at least before it is refused. */
  readonly fillsBytes: number;
}

/** The sizes of an installation that configures none. */
const defaults = { walFileBytes: 32 * mebibyte, walBytes: 512 * mebibyte, reserveBytes: 64 * mebibyte };
const tiny = { walFileBytes: mebibyte, walBytes: 3 * mebibyte, reserveBytes: 2 * mebibyte };

const missingKinds = new Map([
  ['tmpfs', await mountMissing('tmpfs')],
  ['ext4', await mountMissing('ext4')],
]);

const cases: readonly Sizes[] = [
  {
    mebibytes: 16,
    kind: 'ext4',
    storage: tiny,
    recordBytes: 100_000,
    segmentBytes: mebibyte,
    fillsBytes: mebibyte,
  },
  {
    mebibytes: 512,
    kind: 'tmpfs',
    storage: defaults,
    recordBytes: 900_000,
    segmentBytes: 64 * mebibyte,
    fillsBytes: 128 * mebibyte,
  },
];

describe('storage 4.6: a disk that fills up under load of both protocols', () => {
  for (const sizes of cases) {
    const title = `${sizes.mebibytes} MiB of ${sizes.kind}`;
    const missing = missingKinds.get(sizes.kind) ?? null;
    it.skipIf(missing !== null)(
      missing === null ? title : `${title} (${missing})`,
      async () => fillAndGoOn(sizes),
      180_000,
    );
  }
});

/** Fills the disk, kills the server, makes space; what was acknowledged is read at each step. */
async function fillAndGoOn(sizes: Sizes): Promise<void> {
  const { mebibytes, kind, storage } = sizes;
  await using volume = await SmallVolume.mount({ mebibytes, kind });
  const config = { dataDir: join(volume.path, 'data'), mqtt: { publishTimeoutMs: 2000 }, storage };
  await using server = await ServerProcess.start({ config, startTimeoutMs: 120_000 });
  let leastFree = volume.freeBytes;
  const watching = setInterval(() => (leastFree = Math.min(leastFree, volume.freeBytes)), 10);
  try {
    const history = new NewsHistory();
    const clients = await openClients(server, history, sizes);
    const stored: number[] = [];
    await fillUp(server, sizes, stored);
    expect(stored.length * sizes.recordBytes).toBeGreaterThan(sizes.fillsBytes);
    await expectFull(server);
    await expectReaders(server, history, { clients, stored });
    // Whoever starts on the full disk finds the same.
    await server.kill();
    const returned = watchReturn(clients);
    await server.start();
    await expectFull(server);
    await expectNews(server, { history, clients, returned });
    await expectReaders(server, history, { clients, stored });
    if (kind === 'tmpfs') {
      await volume.resize(mebibytes * 2);
      await expectService(server, history, resumeMs);
    } else {
      // The other way to space: what is not wanted any more.
      const admin = kafkaOf(server).admin();
      await admin.connect();
      await admin.deleteTopics({ topics: ['bulk'] });
      await admin.disconnect();
      await expectService(server, history, deletionMs + resumeMs);
    }
    await Promise.all(clients.publishers.map((publisher) => publisher.finish()));
    expect(clients.publishers.flatMap(({ errors }) => errors)).toEqual([]);
    await expectReaders(server, history, { clients, stored: kind === 'tmpfs' ? stored : [] });
    await recordLog(server, history);
    expect(history.problems()).toEqual([]);
    expect(leastFree).toBeGreaterThan(storage.reserveBytes / 4);
    await clients.close();
    expect((await server.stop()).code).toBe(0);
  } finally {
    clearInterval(watching);
  }
}

/** Also keeps who heard of what no full disk holds up: messages at QoS 0, which need no space. */
class NewsHistory extends History {
  readonly heardNews = new Set<string>();

  override give(reader: string, subject: string, number: number): void {
    if (subject === news) this.heardNews.add(reader);
    else super.give(reader, subject, number);
  }
}

interface Clients {
  readonly publishers: readonly Publisher[];
  readonly readers: readonly string[];
  readonly mqttReaders: readonly MqttReader[];
  readonly consumer: Consumer;
  close(): Promise<void>;
}

async function openClients(
  server: ServerProcess,
  history: History,
  { segmentBytes }: Sizes,
): Promise<Clients> {
  const admin = kafkaOf(server).admin();
  await admin.connect();
  const configEntries = [{ name: 'segment.bytes', value: String(segmentBytes) }];
  await admin.createTopics({
    topics: [
      { topic: 'ledger', numPartitions: 2 },
      { topic: 'bulk', numPartitions: 1, configEntries },
    ],
  });
  await admin.disconnect();
  const readers = [
    await MqttReader.open(server, history, { name: 'reader-q1', qos: 1, protocolVersion: 4 }),
    await MqttReader.open(server, history, { name: 'reader-q2', qos: 2, protocolVersion: 5 }),
  ];
  const consumer = await openGroup(server, history, 'auditors');
  const publishers = [
    new MqttPublisher(server, history, 'fleet/q1', { qos: 1, protocolVersion: 5, retain: true }),
    new MqttPublisher(server, history, 'fleet/q2', { qos: 2, protocolVersion: 4 }),
    new KafkaPublisher(server, history, { key: 'idempotent', promised: 'exactly-once' }),
  ];
  const close = async (): Promise<void> => {
    await consumer.disconnect();
    await Promise.all([...readers, ...publishers].map((client) => client.close()));
  };
  const names = [...readers.map(({ name }) => name), 'auditors'];
  return { publishers, readers: names, mqttReaders: readers, consumer, close };
}

/** To be called while the server does not run; says whether every reader has been served by it since. */
function watchReturn({ mqttReaders, consumer }: Clients): () => boolean {
  const connects = mqttReaders.map(({ sessionPresent }) => sessionPresent.length);
  let fetched = false;
  const unwatch = consumer.on(consumer.events.FETCH, () => {
    fetched = true;
    unwatch();
  });
  return () =>
    fetched &&
    mqttReaders.every(({ sessionPresent }, at) => sessionPresent.slice(connects[at]).includes(true));
}

/** Everybody who read before the kill comes back to the session or group that was left, and is given what is new. */
async function expectNews(
  server: ServerProcess,
  { history, clients, returned }: { history: NewsHistory; clients: Clients; returned: () => boolean },
): Promise<void> {
  await waitUntil(returned, { timeoutMs: 30_000, what: 'readers to come back' });
  const { client } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'herald' });
  const isHeard = (): boolean => {
    client.publish({ topic: news, payload: '0' });
    return clients.mqttReaders.every(({ name }) => history.heardNews.has(name));
  };
  expect(history.heardNews.size).toBe(0);
  await waitUntil(isHeard, { what: 'readers to hear of something new' });
  client.drop();
}

/** Produces over several connections until each is refused, with an answer. */
async function fillUp(server: ServerProcess, sizes: Sizes, stored: number[]): Promise<void> {
  let next = 0;
  const one = async (): Promise<void> => {
    const log = await RecordLog.connect(server.ports.kafka);
    const value = Buffer.alloc(sizes.recordBytes, 'v');
    try {
      for (;;) {
        const number = next++;
        value.writeUInt32BE(number);
        await log.produce('bulk', [{ value }]);
        stored.push(number);
      }
    } catch (error) {
      expect((error as Error).message).toContain(`answered with ${kafkaStorageError}`);
    } finally {
      log.close();
    }
  };
  await Promise.all(Array.from({ length: fillers }, one));
}

/** Both protocols say that there is no space, in their own words. */
async function expectFull(server: ServerProcess): Promise<void> {
  const log = await RecordLog.connect(server.ports.kafka);
  const refused = log.produce('bulk', [{ value: Buffer.alloc(100) }]);
  await expect(refused).rejects.toThrow(`answered with ${kafkaStorageError}`);
  log.close();
  const { client } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'full' });
  client.publish({ topic: 'elsewhere', qos: 1, packetId: 1, payload: 'no' });
  expect((await client.next('disconnect')).reasonCode).toBe(quotaExceeded);
  client.drop();
}

/** Everything that was acknowledged is given to those who read, also to new ones. */
async function expectReaders(
  server: ServerProcess,
  history: History,
  { clients, stored }: { clients: Clients; stored: readonly number[] },
): Promise<void> {
  await waitUntil(() => clients.readers.every((name) => history.isComplete(name)), {
    timeoutMs: 30_000,
    what: 'readers to be given everything',
  });
  const log = await RecordLog.connect(server.ports.kafka);
  if (stored.length > 0) {
    const numbers = (await log.read('bulk')).map(({ value }) => value!.readUInt32BE(0));
    const ascending = (one: number, other: number): number => one - other;
    expect(numbers.sort(ascending)).toEqual([...stored].sort(ascending));
  }
  log.close();
  const { client } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'newcomer' });
  await client.subscribe('fleet/q1', 1);
  const { retain, payload } = await client.next('publish');
  expect([retain, Number(Buffer.from(payload).toString()) >= 0]).toEqual([true, true]);
  client.drop();
}

async function expectService(server: ServerProcess, history: History, withinMs: number): Promise<void> {
  const subjects = ['fleet/q1', 'fleet/q2', 'ledger/idempotent'];
  const before = subjects.map((subject) => history.acknowledgedCount(subject));
  await waitUntil(() => subjects.every((subject, at) => history.acknowledgedCount(subject) > before[at]!), {
    timeoutMs: withinMs,
    what: 'all publishers to be served again',
  });
  const log = await RecordLog.connect(server.ports.kafka);
  await log.produce('resumed', [{ value: 'yes' }]);
  log.close();
}
