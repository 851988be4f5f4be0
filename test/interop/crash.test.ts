import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Admin } from 'kafkajs';
import { connect } from 'mqtt';
import { History, SeededRandom, ServerProcess, waitUntil } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';
import type { Publisher } from './crash-clients.ts';
import { KafkaPublisher, kafkaOf, MqttPublisher, MqttReader, openGroup } from './crash-clients.ts';
import { recordLog } from './crash-log.ts';
import { GroupOffsets } from './crash-offsets.ts';
import { Places } from './crash-places.ts';
import { RetainedStates } from './crash-retained.ts';
import { Sessions } from './crash-sessions.ts';
import { Wills } from './crash-wills.ts';
import type { Witness } from './crash-witness.ts';

/** The short form; `npm run kills` asks for more. */
const kills = Number(process.env['CRASH_KILLS'] ?? 8);
/** Acknowledgements between a restart that lasts and the next kill, at least. */
const acknowledgedPerLife = 400;
const group = 'auditors';
const retainedSubject = 'fleet/q1/0';
/** Fewer acknowledgements than this after a restart, where the server is killed again at the first of them. */
const firstAcknowledgementsMax = 20;
/** After each kill under load, in turns: whether and when the server is killed once more before it lasts. */
const secondKills = [null, 'while it starts', 'at its first acknowledgements'] as const;
/** How long a will waits for its client after a restart. */
const willRecoveryGraceMs = 3000;

/** A run can be repeated with the seed that it printed; the delays are the same, the interleaving is not. */
const seed = Number(process.env['CRASH_SEED'] ?? Math.floor(Math.random() * 0x1_0000_0000));

describe(`kill -9 under load of both protocols, while it starts, and at its first acknowledgements, ${kills} times`, () => {
  it(
    'keeps everything acknowledged, in order, once where once was promised; sessions and groups resume',
    async () => {
      console.log(`CRASH_SEED=${seed}`);
      const random = new SeededRandom(seed);
      const began = performance.now();
      let startMs = 0;
      await using server = await ServerProcess.start({
        config: { mqtt: { willRecoveryGraceMs } },
        startTimeoutMs: 120_000,
      });
      const history = new History();
      const admin = kafkaOf(server).admin();
      await admin.connect();
      await admin.createTopics({ topics: [{ topic: 'ledger', numPartitions: 4 }] });

      const readers = await Promise.all([
        MqttReader.open(server, history, { name: 'reader-q1', qos: 1, protocolVersion: 5 }),
        MqttReader.open(server, history, { name: 'reader-q2', qos: 2, protocolVersion: 5 }),
        MqttReader.open(server, history, { name: 'reader-q2-v3', qos: 2, protocolVersion: 4 }),
        MqttReader.open(server, history, { name: 'commuter', qos: 1, protocolVersion: 5 }),
      ]);
      const commuter = readers[3]!;
      const consumer = await openGroup(server, history, group);
      const devices = openDevices(server, history);
      const publishers: Publisher[] = [...devices, ...openProducers(server, history)];
      const witnesses: Witness[] = [
        await Wills.open(server, history),
        new RetainedStates(server),
        new Sessions(server),
        await GroupOffsets.open(server, 'ledger'),
        new Places(server, history),
      ];
      const inFlight = { toServer: 0, toReaders: 0 };
      const staying = readers.filter((reader) => reader !== commuter);

      let killed = 0;
      let rounds = 0;
      for (; killed < kills; rounds++) {
        const away = rounds % 2 === 1;
        if (away) await commuter.leave();
        await moreAcknowledged(history, acknowledgedPerLife / 2);
        devices[random.below(devices.length)]!.loseConnection();
        staying[random.below(staying.length)]!.loseConnection();
        await moreAcknowledged(history, acknowledgedPerLife / 2);
        await Promise.all(witnesses.map((witness) => witness.before(rounds)));
        await delay(random.below(500));
        const committed = await committedOffsets(admin);
        const retained = history.lastAcknowledged(retainedSubject);
        for (const publisher of publishers) inFlight.toServer += publisher.inFlight;
        for (const reader of readers) inFlight.toReaders += reader.inFlight;
        await kill(server);
        killed++;
        await delay(random.below(300));
        const again = secondKills[rounds % secondKills.length]!;
        const share = random.below(1000) / 1000;
        if (again !== null && killed < kills) {
          if (again === 'while it starts') await killWhileStarting(server, share * startMs);
          else {
            const acknowledged = history.acknowledgedCount();
            await server.start();
            const enough = acknowledged + Math.floor(share * firstAcknowledgementsMax);
            await waitUntil(() => history.acknowledgedCount() > enough, { timeoutMs: 30_000 });
            await kill(server);
          }
          killed++;
        }
        const since = performance.now();
        await server.start();
        startMs = performance.now() - since;
        if (away) commuter.comeBack();
        expect(await retainedNumber(server), 'the retained message').toBeGreaterThanOrEqual(retained);
        const changed = await Promise.all(witnesses.map((witness) => witness.after(rounds)));
        expect(changed.flat(), `round ${rounds}, CRASH_SEED=${seed}`).toEqual([]);
        const resumed = await committedOffsets(admin);
        for (const [partition, offset] of committed) {
          expect(resumed.get(partition), `committed offset of ${partition}`).toBeGreaterThanOrEqual(offset);
        }
      }
      await moreAcknowledged(history, acknowledgedPerLife);
      await Promise.all(publishers.map((publisher) => publisher.finish()));
      await Promise.all(witnesses.map((witness) => witness.close()));
      expect(publishers.flatMap(({ errors }) => errors)).toEqual([]);

      const names = [...readers.map((reader) => reader.name), group];
      // If it is not so in time, the problems say what is missing.
      await waitUntil(() => names.every((name) => history.isComplete(name)), { timeoutMs: 60_000 }).catch(
        () => undefined,
      );
      await recordLog(server, history);
      expect(history.problems(), `CRASH_SEED=${seed}`).toEqual([]);
      // Kills came in the middle of exchanges of both directions.
      expect(inFlight.toServer).toBeGreaterThan(rounds);
      expect(inFlight.toReaders).toBeGreaterThan(0);
      // Each reader lost its connection in every round, and found its session again every time.
      for (const { name, sessionPresent } of readers) {
        expect(sessionPresent, name).toEqual([false, ...sessionPresent.slice(1).map(() => true)]);
        expect(sessionPresent.length, name).toBeGreaterThan(rounds);
      }
      expect(await retainedNumber(server)).toBe(history.lastAcknowledged(retainedSubject));
      await consumer.disconnect();
      await admin.disconnect();
      await Promise.all([...readers, ...publishers].map((client) => client.close()));
      const seconds = Math.round((performance.now() - began) / 1000);
      report({ kills, seconds, seed, ...history.counts(), inFlight });
    },
    120_000 + kills * 60_000,
  );
});

async function kill(server: ServerProcess): Promise<void> {
  const exit = await server.kill();
  expect(exit.signal, exit.stderr).toBe('SIGKILL');
}

/** Starts the server and kills it `afterMs` later, whether it is ready by then or not. */
async function killWhileStarting(server: ServerProcess, afterMs: number): Promise<void> {
  // It fails because of the kill; had it ended by itself, `kill` would say so.
  const starting = server.start().catch(() => undefined);
  await Promise.race([starting, delay(afterMs)]);
  await kill(server);
  await starting;
}

/** For `npm run kills`, which says it in one line. */
function report(run: object): void {
  const path = process.env['CRASH_REPORT'];
  if (path !== undefined) writeFileSync(path, JSON.stringify(run));
}

async function moreAcknowledged(history: History, count: number): Promise<void> {
  const before = history.acknowledgedCount();
  await waitUntil(() => history.acknowledgedCount() > before + count, {
    timeoutMs: 30_000,
    what: `${count} acknowledgements after ${before}`,
  });
}

function openDevices(server: ServerProcess, history: History): MqttPublisher[] {
  return [
    new MqttPublisher(server, history, retainedSubject, { qos: 1, protocolVersion: 5, retain: true }),
    new MqttPublisher(server, history, 'fleet/q1/1', { qos: 1, protocolVersion: 4 }),
    new MqttPublisher(server, history, 'fleet/q2/0', { qos: 2, protocolVersion: 5 }),
    new MqttPublisher(server, history, 'fleet/q2/1', { qos: 2, protocolVersion: 5 }),
    new MqttPublisher(server, history, 'fleet/q2/2', { qos: 2, protocolVersion: 4 }),
  ];
}

function openProducers(server: ServerProcess, history: History): KafkaPublisher[] {
  return [
    new KafkaPublisher(server, history, { key: 'idempotent-0', promised: 'exactly-once' }),
    new KafkaPublisher(server, history, { key: 'idempotent-1', promised: 'exactly-once' }),
    new KafkaPublisher(server, history, { key: 'plain', promised: 'at-least-once' }),
  ];
}

/** Offsets that the group committed, by topic and partition. */
async function committedOffsets(admin: Admin): Promise<Map<string, number>> {
  const offsets = new Map<string, number>();
  for (const { topic, partitions } of await admin.fetchOffsets({
    groupId: group,
    topics: ['mqtt', 'ledger'],
  })) {
    for (const { partition, offset } of partitions) {
      if (Number(offset) >= 0) offsets.set(`${topic}/${partition}`, Number(offset));
    }
  }
  return offsets;
}

/** The number that a new subscriber is given as retained. */
async function retainedNumber(server: ServerProcess): Promise<number> {
  const client = connect(`mqtt://${server.address('mqtt')}`, { protocolVersion: 5, reconnectPeriod: 50 });
  client.on('error', () => undefined);
  const numbers: number[] = [];
  client.on('message', (_topic, payload, { retain }) => {
    if (retain) numbers.push(Number(payload.toString()));
  });
  await client.subscribeAsync(retainedSubject, { qos: 1 });
  await waitUntil(() => numbers.length > 0, { what: 'a retained message' });
  await client.endAsync();
  return numbers[0]!;
}
