import type { ProtocolVersion, PublishPacket } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { cpuMsOf, printFigures, Siege } from './hostile-siege.ts';
import { MqttClient } from './mqtt-client.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const levels = 12;
/** 8,192 of them: twelve levels, each `a` or `+`, and a last one of either wildcard. All match every name of `nameOf`. */
const filters = Array.from({ length: 2 ** levels }, (_, choice) =>
  Array.from({ length: levels }, (__, level) => (((choice >> level) & 1) === 1 ? '+' : 'a')).join('/'),
).flatMap((filter) => [`${filter}/+`, `${filter}/#`]);
const nameOf = (last: number): string => `${'a/'.repeat(levels)}${last}`;
/** Filters of one SUBSCRIBE where it need not have an identifier of its own. */
const perPacket = 512;
const messages = 1000;
/** Messages that are sent at once, below Receive Maximum. */
const burst = 100;
/** What it may cost; 2 MiB, 2.7 ms a message and 462 ms were seen, and 1.6 MiB left. */
const growthMibMax = 32;
const leftMibMax = 4;
const cpuMsMax = 10;
const p99MsMax = 4000;

let siege: Siege;

beforeAll(async () => {
  siege = await Siege.start();
});

afterAll(async () => {
  await siege[Symbol.asyncDispose]();
});

async function connect(version: ProtocolVersion): Promise<MqttClient> {
  return (await MqttClient.connect(siege.server.ports.mqtt, version)).client;
}

/** Subscribes to all filters at QoS 0 but some in the middle, which are granted QoS 1. */
async function subscribeAll(client: MqttClient, withIds: boolean): Promise<void> {
  const step = withIds ? 1 : perPacket;
  for (let from = 0; from < filters.length; from += step) {
    const some = filters.slice(from, from + step);
    const qos = from === filters.length / 2 ? 1 : 0;
    expect(new Set(await client.subscribe(some, qos, withIds ? { id: from + 1 } : {}))).toEqual(
      new Set([qos]),
    );
  }
}

const numberOf = ({ payload }: PublishPacket): number => Number(Buffer.from(payload).toString());

describe(`${filters.length.toLocaleString('en')} filters of one client that all match`, () => {
  for (const [what, version, withIds] of [
    ['each with an identifier of its own', 5, true],
    ['without identifiers', 4, false],
  ] as const) {
    it(`${what}: a message comes once, with all there is to say of it, and others are served`, async () => {
      const subscriber = await connect(version);
      await subscribeAll(subscriber, withIds);
      const publisher = await connect(version);
      const ids = withIds ? filters.map((_, at) => at + 1) : undefined;
      let sent = 0;
      const attack = async (): Promise<void> => {
        for (const end = sent + messages; sent < end; sent += burst) {
          for (let at = 0; at < burst; at++) {
            // Never the same name twice: every one is matched anew.
            publisher.publish({
              topic: nameOf(sent + at),
              qos: 1,
              packetId: at + 1,
              payload: `${sent + at}`,
            });
          }
          const came = await subscriber.receive(burst);
          // Names of several shards: in any order.
          const numbers = came.map(numberOf).sort((left, right) => left - right);
          expect(numbers).toEqual(Array.from({ length: burst }, (_, at) => sent + at));
          expect(came.every(({ qos }) => qos === 1)).toBe(true);
          const { subscriptionIdentifiers } = came[0]!.properties;
          expect(subscriptionIdentifiers?.toSorted((left, right) => left - right)).toEqual(ids);
          for (let at = 0; at < burst; at++) expect((await publisher.next('puback')).reasonCode).toBe(0);
        }
        // And no second time.
        expect(await subscriber.settled()).toEqual([]);
      };
      let cpuMs = 0;
      const damage = await siege.outlive(attack, async () => {
        const since = cpuMsOf(siege.server.pid);
        await attack();
        cpuMs = cpuMsOf(siege.server.pid) - since;
      });
      const cpuMsEach = cpuMs / messages;
      printFigures(`overlapping filters ${what}`, { ...damage, cpuMsEach });
      expect(damage.growthMib).toBeLessThan(growthMibMax);
      expect(damage.leftMib).toBeLessThan(leftMibMax);
      expect(damage.p99Ms).toBeLessThan(p99MsMax);
      expect(cpuMsEach).toBeLessThan(cpuMsMax);
      subscriber.drop();
      publisher.drop();
    });
  }
});
