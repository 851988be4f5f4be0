import { systemClock } from '@robustmq/core';
import type { Clock } from '@robustmq/core';
import type { Qos } from '@robustmq/mqtt-codec';
import { SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import { between, discrepancies, GamePublisher, GameSubscriber, pick, staleRetained } from './mqtt-game.ts';
import type { Sent, Wanted } from './mqtt-game.ts';
import { waitUntil } from './wait-until.ts';

const seeds = Number(process.env['MQTT_GAME_SEEDS'] ?? 10);
const firstSeed = Number(process.env['MQTT_GAME_FIRST'] ?? 1);
const filters = ['g/#', 'g/+/0', 'g/0/#', 'g/1/1', 'g/+/+', 'g/2/0'];
const publisherCount = 3;

function wantedOf(random: SimRandom): Wanted {
  const count = between(random, 1, 3);
  const chosen = new Set(Array.from({ length: count }, () => pick(random, filters)));
  return [...chosen].map((filter) => ({ filter, qos: random.below(3) as Qos }));
}

interface Game {
  readonly broker: MqttBroker;
  readonly random: SimRandom;
  readonly publishers: readonly GamePublisher[];
  readonly subscribers: readonly GameSubscriber[];
}

/** One thing happens, of those that happen to brokers every day. */
async function step(
  { broker, random, publishers, subscribers }: Game,
  faults: readonly string[],
): Promise<void> {
  const action = random.below(100);
  const subscriber = pick(random, subscribers);
  const index = random.below(publisherCount);
  const publisher = publishers[index]!;
  if (action < 60) {
    for (let count = between(random, 1, 25); count > 0; count--) {
      publisher.publish(`g/${index}/${random.below(3)}`, random.below(3) as Qos);
    }
  } else if (action < 66) subscriber.drop();
  else if (action < 76) {
    // Resumes, or takes itself over.
    await subscriber.connect();
  } else if (action < 80) publisher.drop();
  else if (action < 85) await publisher.connect();
  else if (action < 88) subscriber.stall();
  else if (action < 92) subscriber.resume();
  else if (action < 95) void subscriber.subscribe();
  else if (action === 96 && faults.includes('slow storage')) {
    broker.storage.journal.hold();
    setTimeout(() => broker.storage.journal.release(), random.below(30));
  } else if (action === 97 && faults.includes('lost writes')) {
    // The process dies after so many writes, and goes on meanwhile as if they were on their way.
    broker.storage.journal.fuse.blowAfter(random.below(20));
    await new Promise((resolve) => setTimeout(resolve, random.below(10)));
    await broker.crash();
  } else if (action === 99 && faults.includes('crash')) await broker.crash();
  else if (action === 98 && faults.includes('restart')) await broker.restart();
  else await new Promise((resolve) => setTimeout(resolve, random.below(15)));
  if (random.chance(1 / 3)) await new Promise((resolve) => setImmediate(resolve));
}

/** Time that runs so much faster, that floors are written and retention passes come many times in a game. */
function fastClock(factor: number): Clock {
  const from = Date.now();
  const elapsed = (): number => systemClock.monotonic() * factor;
  const start = elapsed();
  return {
    now: () => from + Math.floor(elapsed() - start),
    monotonic: elapsed,
    after: (delayMs, task) => systemClock.after(delayMs / factor, task),
  };
}

/** With `retention`, what nobody has still to read is deleted after a few milliseconds. */
const swift = {
  clock: fastClock(50),
  defaultTopicConfig: new Map([
    ['retention.ms', '1000'],
    ['segment.ms', '1000'],
  ]),
};

/** What a new subscriber gets, by subject. */
async function retainedOf(broker: MqttBroker): Promise<Map<string, number>> {
  const auditor = await broker.connect(5, { clientId: 'auditor' });
  await auditor.subscribe('g/#', 0);
  const retained = new Map<string, number>();
  for (let packets = await auditor.settled(); packets.length > 0; packets = await auditor.settled()) {
    for (const packet of packets) {
      if (packet.type !== 'publish') continue;
      expect(packet.retain).toBe(true);
      expect(retained.has(packet.topic)).toBe(false);
      retained.set(packet.topic, Number(Buffer.from(packet.payload).toString()));
    }
  }
  return retained;
}

async function play(seed: number, faults: readonly string[]): Promise<void> {
  const random = new SimRandom(seed);
  await using broker = await MqttBroker.start({
    ...(faults.includes('retention') ? swift : {}),
    limits: {
      publishTimeoutMs: 1_000_000,
      stalledMs: 1_000_000,
      connectTimeoutMs: 1_000_000,
      inflightMax: between(random, 2, 10),
      receiveMaximum: between(random, 6, 12),
      unsentBytesMax: pick(random, [2_000, 20_000, 1_000_000]),
    },
  });
  const publishers = Array.from(
    { length: publisherCount },
    (_, index) => new GamePublisher(broker, `publisher-${index}`, random),
  );
  const subscribers = Array.from(
    { length: 5 },
    (_, index) => new GameSubscriber(broker, `subscriber-${index}`, random, wantedOf(random)),
  );
  for (const subscriber of subscribers) {
    await subscriber.connect();
    await subscriber.subscribe();
  }
  for (const publisher of publishers) await publisher.connect();
  for (let at = 0; at < 150; at++) await step({ broker, random, publishers, subscribers }, faults);

  // Everybody comes back, and all that is owed arrives.
  const sent = (): Map<string, readonly Sent[]> =>
    new Map(publishers.flatMap((publisher) => [...publisher.sent]));
  const settled = async (): Promise<boolean> => {
    for (const player of [...publishers, ...subscribers]) if (!player.connected) await player.connect();
    for (const subscriber of subscribers) if (subscriber.stalled) subscriber.resume();
    if (publishers.some((publisher) => !publisher.idle)) return false;
    return subscribers.every((each) => !discrepancies(each, sent()).some((text) => text.includes('missing')));
  };
  const progress = (): number => subscribers.reduce((sum, each) => sum + each.messages, 0);
  for (let before = -1; before !== progress(); ) {
    before = progress();
    // However busy the machine is: as long as messages come, more may.
    await waitUntil(settled, { timeoutMs: 5000 }).catch(() => undefined);
    if (await settled()) break;
  }
  await new Promise((resolve) => setTimeout(resolve, 30));
  for (const publisher of publishers) {
    expect(publisher.idle, `${publisher.clientId} has exchanges that do not end`).toBe(true);
    expect(publisher.faults).toEqual([]);
  }
  expect(broker.adapter.counters.sessionsTruncated).toBe(0);
  expect(staleRetained(await retainedOf(broker), sent())).toEqual([]);
  for (const subscriber of subscribers) expect(discrepancies(subscriber, sent()).slice(0, 10)).toEqual([]);
}

describe('a random game: order, nothing lost at QoS 1 and 2, nothing twice at QoS 2', () => {
  const games = [
    [],
    ['restart'],
    ['crash', 'slow storage'],
    ['lost writes', 'slow storage'],
    ['retention', 'restart', 'crash', 'slow storage', 'lost writes'],
  ];
  for (const faults of games) {
    for (let seed = firstSeed; seed < firstSeed + seeds / 5; seed++) {
      const name = ['connections that break', ...faults].join(', ');
      it(`with ${name}, seed ${seed}`, () => play(seed, faults), 120_000);
    }
  }
});
