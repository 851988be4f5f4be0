import { unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  BacklogReader,
  GroupMember,
  MqttClient,
  mountMissing,
  ServerProcess,
  SmallVolume,
  StoredFetches,
  waitUntil,
} from '@robustmq/testkit';
import type { SmallVolumeOptions, StoredReader } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';
import { kafkaOf } from '../interop/crash-clients.ts';
import type { Writer } from './no-space-writers.ts';
import { KafkaWriter, MqttWriter } from './no-space-writers.ts';

const mebibyte = 1024 * 1024;
const volumeMebibytes = 64;
/** Caches hold half of what is fetched over and over, so that readers need the disk. */
const storage = {
  walFileBytes: mebibyte,
  walBytes: 3 * mebibyte,
  reserveBytes: 8 * mebibyte,
  tailBytes: 4 * mebibyte,
  blockCacheBytes: 4 * mebibyte,
};
const stored = { topic: 'stored', records: 80, bytes: 100_000 };
/** More than is read of it. */
const backlog = { clientId: 'behind', topic: 'backlog', messages: 1000, bytes: 500 };
/** What somebody else leaves when only admission is to be closed. */
const leftBytes = (storage.reserveBytes * 5) / 8;
const rounds = 3;
const readsPerRound = 40;
/** A round ends early when readers are this slow: they have shown it. */
const roundMsMax = 4000;
/** Readers beside a full disk are at most so much slower than beside one that is not, in the median of the rounds. */
const slowdownMax = 3;
const slowdownMs = 100;
/** What is not answered by then waits for space: the others have their answer in some milliseconds. */
const heldMs = 4000;
const resumeMs = 10_000;
/** A cursor with a backlog is stored four times a second. */
const cursorMs = 1000;
/** As many commits as the files of the log can take at most: one is 4 KiB of them. */
const commitsMax = storage.walBytes / 4096;
const sessionExpiry = 3600;
const serverUnavailable = 0x88;
const serverUnavailable3 = 3;
const coordinatorNotAvailable = 15;

type Disk = 'open' | 'closed' | 'none';

const kinds = ['tmpfs', 'ext4'] as const;
const missingKinds = new Map<string, string | null>();
for (const kind of kinds) missingKinds.set(kind, await mountMissing(kind));

describe('storage 4.6: while the disk takes no new data, readers are as fast as before, and the reserve serves sessions and groups', () => {
  for (const kind of kinds) {
    const missing = missingKinds.get(kind) ?? null;
    const title = `${volumeMebibytes} MiB of ${kind}`;
    it.skipIf(missing !== null)(
      missing === null ? title : `${title} (${missing})`,
      async () => serveWhileFull(kind),
      180_000,
    );
  }
});

async function serveWhileFull(kind: SmallVolumeOptions['kind']): Promise<void> {
  await using volume = await SmallVolume.mount({ mebibytes: volumeMebibytes, kind });
  const config = { dataDir: join(volume.path, 'data'), mqtt: { publishTimeoutMs: 2000 }, storage };
  await using server = await ServerProcess.start({ config, startTimeoutMs: 120_000 });
  const { mqtt, kafka } = server.ports;
  await createTopics(server, [stored.topic, 'writers']);
  const behind = await BacklogReader.store(mqtt, backlog);
  const latencies = new Latencies([await StoredFetches.store(kafka, stored), behind]);
  // The same load in every state: it goes on, is refused and comes again.
  const writers = [new MqttWriter(server, 5, 1), new KafkaWriter(server)];
  for (const writer of writers) writer.start();
  const other = new Other(volume, writers);
  const services: Services[] = [];

  for (let round = 0; round < rounds; round++) {
    await other.leaveAll();
    await latencies.measure('open');
    await other.leaveReserve();
    await latencies.measure('closed');
    services.push(await Services.use(server, `round-${round}`));
    expect(volume.freeBytes, 'the reserve is there').toBeGreaterThan(storage.reserveBytes / 4);
    await using file = await volume.fill();
    await latencies.measure('none');
    expect(volume.freeBytes).toBe(0);
    if (round === rounds - 1) {
      await expectWithoutAByte(server, {
        service: services[0]!,
        reader: behind,
        makeSpace: () => file.remove(),
      });
    }
  }
  latencies.expectUnaffected();
  await latencies.measure('closed');
  await delay(cursorMs);

  // Of what was acknowledged while admission was closed nothing is lost, nor of what was held until there was space.
  await Promise.all(writers.map((writer) => writer.stop()));
  latencies.close();
  await server.kill();
  await server.start();
  for (const service of services) await service.expectKept(server);
  const returned = await BacklogReader.resume(mqtt, backlog.clientId);
  expect(returned.last, 'acknowledged deliveries do not come again').toBe(behind.last);
  returned.close();
  expect((await server.stop()).code).toBe(0);
}

async function createTopics(server: ServerProcess, names: readonly string[]): Promise<void> {
  const admin = kafkaOf(server).admin();
  await admin.connect();
  await admin.createTopics({ topics: names.map((topic) => ({ topic, numPartitions: 1 })) });
  await admin.disconnect();
}

/** Somebody else on the volume, who takes and gives back its space. */
class Other {
  readonly #volume: SmallVolume;
  readonly #writers: readonly Writer[];
  readonly #path: string;

  constructor(volume: SmallVolume, writers: readonly Writer[]) {
    this.#volume = volume;
    this.#writers = writers;
    this.#path = join(volume.path, 'other');
  }

  /** Resolves when writers are served. */
  async leaveAll(): Promise<void> {
    writeFileSync(this.#path, '');
    await this.#until((answer) => answer === 'stored', 'served');
  }

  /** Takes all but a part of the reserve; resolves when writers are refused. */
  async leaveReserve(): Promise<void> {
    unlinkSync(this.#path);
    writeFileSync(this.#path, Buffer.alloc(this.#volume.freeBytes - leftBytes));
    await this.#until((answer) => answer !== 'stored', 'refused');
  }

  async #until(is: (answer: string | undefined) => boolean, what: string): Promise<void> {
    await waitUntil(() => this.#writers.every(({ outcomes }) => is(outcomes.at(-1)?.answer)), {
      timeoutMs: resumeMs,
      what: `writers to be ${what}`,
    });
  }
}

/** What readers of stored data wait, in rounds over the states of the disk. */
class Latencies {
  readonly #readers: readonly StoredReader[];
  /** The highest of each round, by reader and state: of so few reads the 99th percentile. */
  readonly #ms = new Map<string, number[]>();

  constructor(readers: readonly StoredReader[]) {
    this.#readers = readers;
  }

  /** Throws where a reader gets an error, or what was not stored. */
  async measure(disk: Disk): Promise<void> {
    for (const reader of this.#readers) {
      const since = performance.now();
      let most = 0;
      for (let at = 0; at < readsPerRound && performance.now() - since < roundMsMax; at++) {
        most = Math.max(most, await reader.read());
      }
      const key = `${reader.name} ${disk}`;
      this.#ms.set(key, [...(this.#ms.get(key) ?? []), most]);
    }
  }

  expectUnaffected(): void {
    for (const { name } of this.#readers) {
      const before = this.#median(`${name} open`);
      for (const disk of ['closed', 'none']) {
        const ms = this.#median(`${name} ${disk}`);
        if (process.env['TEST_FIGURES'] !== undefined) {
          console.log(`figures of ${name}, ${disk}: p99 ${ms.toFixed(1)} ms, before ${before.toFixed(1)} ms`);
        }
        expect(ms, `${name}, ${disk}`).toBeLessThan(before * slowdownMax + slowdownMs);
      }
    }
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }

  #median(key: string): number {
    const sorted = this.#ms.get(key)!.toSorted((one, next) => one - next);
    return sorted[Math.floor(sorted.length / 2)]!;
  }
}

/** What the reserve is for: a group and a kept session that are made while admission is closed. */
class Services {
  readonly #name: string;
  #member: GroupMember;
  readonly client: MqttClient;

  private constructor(name: string, member: GroupMember, client: MqttClient) {
    this.#name = name;
    this.#member = member;
    this.client = client;
  }

  /** Expects each request to succeed. */
  static async use(server: ServerProcess, name: string): Promise<Services> {
    const member = await GroupMember.connect(server.ports.kafka, name);
    const codes = {
      join: await member.join(),
      sync: await member.sync(),
      heartbeat: await member.heartbeat(),
      commit: await member.commit(stored.topic, 7),
    };
    expect(codes, name).toEqual({ join: 0, sync: 0, heartbeat: 0, commit: 0 });
    const { client } = await Services.connect(server, name);
    expect(await client.subscribe(`${name}/+`, 1)).toEqual([1]);
    // Throws the code of a refusal.
    await createTopics(server, [`${name}-made`]);
    return new Services(name, member, client);
  }

  /** With a session that is kept. */
  static connect(server: ServerProcess, clientId: string): ReturnType<typeof MqttClient.connect> {
    const kept = { clientId, cleanStart: false, properties: { sessionExpiry } };
    return MqttClient.connect(server.ports.mqtt, 5, kept);
  }

  /** The kept session, over another connection. */
  resume(server: ServerProcess): ReturnType<typeof MqttClient.connect> {
    return Services.connect(server, this.#name);
  }

  /** Over a connection of its own. */
  beside(server: ServerProcess): Promise<GroupMember> {
    return this.#member.beside(server.ports.kafka);
  }

  /** After a kill: the member, its offset and the subscription are there. */
  async expectKept(server: ServerProcess): Promise<void> {
    this.#member.close();
    this.#member = await this.beside(server);
    expect(await this.#member.heartbeat(), this.#name).toBe(0);
    this.#member.close();
    const admin = kafkaOf(server).admin();
    await admin.connect();
    const [found] = await admin.fetchOffsets({ groupId: this.#name, topics: [stored.topic] });
    expect(Number(found!.partitions[0]!.offset), this.#name).toBeGreaterThanOrEqual(7);
    await admin.disconnect();
    const { client, connack } = await this.resume(server);
    expect(connack.sessionPresent, this.#name).toBe(true);
    client.publish({ topic: `${this.#name}/news`, payload: 'x' });
    expect(Buffer.from((await client.next('publish')).payload).toString()).toBe('x');
    client.drop();
  }
}

/**
 * With no byte free, what needs a record is acknowledged while the files that the log has made have room. From then on it is
 * refused when it was not stored in time, but for SyncGroup, which waits; `makeSpace` lets all go on. What needs no record
 * is served.
 */
async function expectWithoutAByte(
  server: ServerProcess,
  { service, reader, makeSpace }: { service: Services; reader: StoredReader; makeSpace: () => Promise<void> },
): Promise<void> {
  const { mqtt, kafka } = server.ports;
  const committer = await service.beside(server);
  expect(await firstRefusal(() => committer.commit(stored.topic, 8)), 'OffsetCommit').toBe(
    coordinatorNotAvailable,
  );
  expect(await subscribed(service.client, 'held/+'), 'SUBSCRIBE of a kept session').toBe('disconnect 131');
  const member = await GroupMember.connect(kafka, 'latecomers');
  expect(await member.join(), 'JoinGroup').toBe(0);
  const sync = new Asked(member.sync());
  for (const [version, code] of [
    [5, serverUnavailable],
    [4, serverUnavailable3],
  ] as const) {
    const kept = version === 5 ? { properties: { sessionExpiry } } : {};
    const connecting = MqttClient.connect(mqtt, version, { clientId: 'late', cleanStart: false, ...kept });
    await expect(connecting, 'CONNECT of a kept session').rejects.toThrow(`CONNACK says ${code}`);
  }
  const beating = await service.beside(server);
  expect(await beating.heartbeat(), 'Heartbeat').toBe(0);
  const { client: clean } = await MqttClient.connect(mqtt, 5, { clientId: 'clean' });
  expect(await clean.subscribe('held/+', 1)).toEqual([1]);
  clean.publish({ topic: 'held/news', payload: 'x' });
  expect(Buffer.from((await clean.next('publish')).payload).toString()).toBe('x');
  clean.drop();
  await reader.read();
  await delay(heldMs);
  expect(sync.answered, 'SyncGroup').toBe(false);
  await makeSpace();
  const late = delay(resumeMs).then(() => 'not answered');
  expect(await Promise.race([sync.answer, late])).toBe(0);
  expect(await committer.commit(stored.topic, 8), 'OffsetCommit').toBe(0);
  const { client, connack } = await service.resume(server);
  expect(connack.sessionPresent).toBe(true);
  expect(await client.subscribe('held/+', 1)).toEqual([1]);
  client.drop();
  for (const each of [committer, member, beating]) each.close();
}

/** The codes of SUBACK, however late it comes, or how the connection has ended instead. */
function subscribed(client: MqttClient, filter: string): Promise<readonly number[] | string> {
  return new Promise((resolve) => {
    client.listen(
      (packet) => {
        if (packet.type === 'suback') resolve(packet.reasonCodes);
        // What the filter matches may come before.
        else if (packet.type === 'disconnect') resolve(`disconnect ${packet.reasonCode}`);
      },
      () => resolve('closed'),
    );
    const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    client.send({ type: 'subscribe', packetId: 2, subscriptions: [{ filter, ...options }], properties: {} });
  });
}

/** A request, and whether its answer has come. */
class Asked<Answer> {
  readonly answer: Promise<Answer>;
  answered = false;

  constructor(answer: Promise<Answer>) {
    this.answer = answer;
    answer.then(
      () => (this.answered = true),
      () => (this.answered = true),
    );
  }
}

/** Asks again and again until the answer is not 0. */
async function firstRefusal(ask: () => Promise<number>): Promise<number> {
  for (let at = 0; at <= commitsMax; at++) {
    const code = await ask();
    if (code !== 0) return code;
  }
  throw new Error('the log takes more than its files hold');
}
