import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  commitOffsets,
  MqttClient,
  mountMissing,
  RecordLog,
  ServerProcess,
  SmallVolume,
  waitUntil,
} from '@robustmq/testkit';
import type { SmallVolumeOptions, StoredRecord } from '@robustmq/testkit';
import { Kafka, logLevel } from 'kafkajs';
import { describe, expect, it } from 'vitest';
import { kafkaOf } from '../interop/crash-clients.ts';
import { Load } from './load.ts';
import type { Writer } from './no-space-writers.ts';
import { KafkaWriter, MqttWriter } from './no-space-writers.ts';

const mebibyte = 1024 * 1024;
const volumeMebibytes = 64;
const storage = { walFileBytes: mebibyte, walBytes: 3 * mebibyte, reserveBytes: 2 * mebibyte };
const publishTimeoutMs = 2000;
/** What a busy machine adds. */
const busyMs = 3000;
/** A publish has an outcome or ends its connection (semantics 4.3). */
const outcomeMs = publishTimeoutMs + busyMs;
/** What only reads, or is answered at once, has its answer within this time. */
const servedMs = 10_000;
/** Service is back this soon after there is space. */
const resumeMs = 10_000;
/** Acknowledged of each publisher before the disk is full: what is read then. */
const backlog = 200;
const quietMs = 500;
/** Reader that comes back when the disk is full. */
const absent = 'absent';
const kafkaStorageError = 56;
const coordinatorNotAvailable = 15;

/** What a writer is told while the disk is full (semantics 4.3), and only that. */
const refusals: Readonly<Record<string, string>> = {
  'mqtt 5 qos 1': 'disconnect 0x97',
  'mqtt 5 qos 2': 'disconnect 0x97',
  'mqtt 4 qos 1': 'closed',
  'mqtt 4 qos 2': 'closed',
  kafka: `produce ${kafkaStorageError}`,
};
/** What MQTT 5 also may say when a deadline passes and there is space again. */
const undecided = 'disconnect 0x83';

const kinds = ['tmpfs', 'ext4'] as const;
const missingKinds = new Map<string, string | null>();
for (const kind of kinds) missingKinds.set(kind, await mountMissing(kind));

describe('storage 4.6: a disk of which somebody else takes the last byte, under load of both protocols', () => {
  for (const kind of kinds) {
    const missing = missingKinds.get(kind) ?? null;
    const title = `${volumeMebibytes} MiB of ${kind}`;
    it.skipIf(missing !== null)(
      missing === null ? title : `${title} (${missing})`,
      async () => outlive(kind),
      180_000,
    );
  }
});

/** The disk is filled twice: the first time there is space again, the second time the server is killed. */
async function outlive(kind: SmallVolumeOptions['kind']): Promise<void> {
  await using volume = await SmallVolume.mount({ mebibytes: volumeMebibytes, kind });
  const config = { dataDir: join(volume.path, 'data'), mqtt: { publishTimeoutMs }, storage };
  await using server = await ServerProcess.start({ config, startTimeoutMs: 120_000 });
  const load = await Load.start(server, { absent });
  const writers = openWriters(server);
  await acknowledge(load, backlog);
  for (const writer of writers) writer.start();
  await waitUntil(() => writers.every(({ outcomes }) => outcomes.length > 3), {
    what: 'writers to be served',
  });
  expect(load.history.isComplete(absent), 'the backlog has been read').toBe(false);

  await using first = await volume.fill();
  const fullSince = await whenRefused(writers);
  expect(volume.freeBytes).toBe(0);
  await expectReads(server, load);
  const made = await makeWhileFull(server);
  await expectRefused(writers, fullSince);
  expect(volume.freeBytes).toBe(0);
  expect(() => process.kill(server.pid, 0), 'the process').not.toThrow();

  await first.remove();
  await expectService(load, writers);
  await Promise.all(writers.map((writer) => writer.stop()));
  expectAnswered(writers);

  await using second = await volume.fill();
  // Until nothing more is acknowledged: what waits in memory for its segment is in the log alone when it is killed.
  await whenQuiet(load);
  const { stderr } = await server.kill();
  // It met the end of the disk, not only its own reserve.
  expect(stderr).toContain('ENOSPC');
  expect(stderr).not.toContain('"level":"error"');
  await expect(server.start()).rejects.toThrow('the disk is full');
  await second.remove();
  await server.start();
  await acknowledge(load, 1, resumeMs);
  await expectMade(server, made);
  expect(await load.finish()).toEqual([]);
  for (const { name, sessionPresent } of load.readers) {
    expect(sessionPresent, name).toEqual([false, ...sessionPresent.slice(1).map(() => true)]);
  }
  await load.close();
  expect((await server.stop()).code).toBe(0);
}

function openWriters(server: ServerProcess): readonly Writer[] {
  return [
    new MqttWriter(server, 5, 1),
    new MqttWriter(server, 5, 2),
    new MqttWriter(server, 4, 1),
    new MqttWriter(server, 4, 2),
    new KafkaWriter(server),
  ];
}

/** Resolves when every publisher has had as many more acknowledgements. */
function acknowledge(load: Load, more: number, timeoutMs?: number): Promise<void> {
  return load.moreAcknowledged(more * load.publishers.length, timeoutMs);
}

/** Resolves when everybody who writes has been refused, to the time from which that is so. */
async function whenRefused(writers: readonly Writer[]): Promise<number> {
  const isRefused = ({ outcomes }: Writer): boolean => outcomes.at(-1)!.answer !== 'stored';
  await waitUntil(() => writers.every(isRefused), { timeoutMs: outcomeMs, what: 'writers to be refused' });
  return performance.now();
}

/** Resolves when nobody is acknowledged any more. */
async function whenQuiet({ history }: Load): Promise<void> {
  let seen = -1;
  await waitUntil(
    async () => {
      const before = seen;
      seen = history.acknowledgedCount();
      await delay(quietMs);
      return seen === before;
    },
    { what: 'the publishers to be refused' },
  );
}

/** Every writer is refused, again and again, in the words of its protocol. */
async function expectRefused(writers: readonly Writer[], since: number): Promise<void> {
  const again = (writer: Writer): boolean => writer.outcomesSince(since).length >= 2;
  await waitUntil(() => writers.every(again), { timeoutMs: 2 * outcomeMs, what: 'writers to try twice' });
  for (const writer of writers) {
    const answers = writer.outcomesSince(since).map(({ answer }) => answer);
    expect([...new Set(answers)], writer.name).toEqual([refusals[writer.name]]);
  }
}

/** Of all that was sent nothing waited too long for an answer, and no answer was of another kind. */
function expectAnswered(writers: readonly Writer[]): void {
  for (const { name, outcomes, longestWaitMs } of writers) {
    expect(longestWaitMs, name).toBeLessThan(outcomeMs);
    const allowed = ['stored', refusals[name], ...(name.startsWith('mqtt 5') ? [undecided] : [])];
    expect(
      [...new Set(outcomes.map(({ answer }) => answer))].filter((is) => !allowed.includes(is)),
      name,
    ).toEqual([]);
  }
}

/** A kept session gets its backlog, a new subscriber what is retained, and a fetch every record. */
async function expectReads(server: ServerProcess, load: Load): Promise<void> {
  const { history } = load;
  load.readers.find(({ name }) => name === absent)!.comeBack();
  await waitUntil(() => load.isRead, {
    timeoutMs: servedMs,
    what: 'readers to be given everything',
  });
  const { client } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'newcomer' });
  await client.subscribe('fleet/q1', 1);
  const { retain, payload } = await client.next('publish');
  expect(retain).toBe(true);
  expect(Number(Buffer.from(payload).toString())).toBeGreaterThanOrEqual(
    history.lastAcknowledged('fleet/q1'),
  );
  client.drop();
  const log = await RecordLog.connect(server.ports.kafka);
  const records = await within(servedMs, log.read('ledger'), 'a fetch from the first offset');
  log.close();
  for (const key of ['idempotent', 'plain']) {
    const numbers = new Set(records.filter((record) => String(record.key) === key).map(numberOf));
    const last = history.lastAcknowledged(`ledger/${key}`);
    expect(
      range(last + 1).filter((number) => !numbers.has(number)),
      key,
    ).toEqual([]);
  }
}

interface Made {
  readonly offsets: boolean;
  readonly topic: boolean;
}

/** What needs little space may be done or be refused; it is answered either way. */
async function makeWhileFull(server: ServerProcess): Promise<Made> {
  const { kafka } = server.ports;
  const committing = commitOffsets(kafka, { group: 'committer', topic: 'ledger', offsets: [7, 8] });
  const offsets = await within(servedMs, committing, 'OffsetCommit').then(
    () => true,
    (error: Error) => {
      expect(error.message).toContain(`refused with ${coordinatorNotAvailable}`);
      return false;
    },
  );
  const once = new Kafka({
    brokers: [server.address('kafka')],
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
  });
  const admin = once.admin();
  await admin.connect();
  const creating = admin.createTopics({ topics: [{ topic: 'made' }], waitForLeaders: false });
  const topic = await within(servedMs, creating, 'CreateTopics').catch((error: { errors?: unknown[] }) => {
    const codes = error.errors?.map((each) => (each as { code?: number }).code);
    expect([[kafkaStorageError], [coordinatorNotAvailable]], String(error)).toContainEqual(codes);
    return false;
  });
  await admin.disconnect();
  return { offsets, topic };
}

/** What was said to be done on the full disk is done, and what was refused is not. */
async function expectMade(server: ServerProcess, { offsets, topic }: Made): Promise<void> {
  const admin = kafkaOf(server).admin();
  await admin.connect();
  const [committed] = await admin.fetchOffsets({ groupId: 'committer', topics: ['ledger'] });
  const found = committed!.partitions.map(({ partition, offset }) => [partition, Number(offset)]);
  expect(found.sort()).toEqual(
    offsets
      ? [
          [0, 7],
          [1, 8],
        ]
      : [
          [0, -1],
          [1, -1],
        ],
  );
  expect((await admin.listTopics()).includes('made')).toBe(topic);
  await admin.disconnect();
}

/** Everybody who writes is served again. */
async function expectService(load: Load, writers: readonly Writer[]): Promise<void> {
  const deadline = performance.now() + resumeMs;
  await acknowledge(load, 1, resumeMs);
  await waitUntil(() => writers.every(({ outcomes }) => outcomes.at(-1)!.answer === 'stored'), {
    timeoutMs: deadline - performance.now(),
    what: 'writers to be served again',
  });
}

function numberOf({ value }: StoredRecord): number {
  return Number(String(value));
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at);
}

async function within<T>(ms: number, promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
