import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import { describeGroups, joinGroup, syncGroup } from '@robustmq/kafka-codec';
import type { Match } from '@robustmq/kernel';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { MqttBroker } from './mqtt-broker.ts';
import { waitUntil } from './wait-until.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Sockets that listeners of this process have accepted. */
let accepted: WeakRef<Socket>[] = [];
const onSocket = (message: unknown): void => {
  accepted.push(new WeakRef((message as { readonly socket: Socket }).socket));
};

beforeEach(() => {
  accepted = [];
  subscribe('net.server.socket', onSocket);
});

afterEach(() => {
  unsubscribe('net.server.socket', onSocket);
});

function held(): number {
  collect();
  return accepted.filter((each) => each.deref() !== undefined).length;
}

it('regression: MQTT connections that were closed stayed in memory with the matches that held their sessions', async () => {
  await using broker = await MqttBroker.start();
  const matches: Match[] = [];
  for (const sessionExpiry of [0, 0, 0, 60, 60, 60]) {
    const clientId = `client-${matches.length}`;
    const client = await broker.connect(5, { clientId, properties: { sessionExpiry } });
    await client.subscribe(['a/+', 'a/b'], 1);
    const { router, subjects } = broker.kernel;
    matches.push(router.match(subjects.forPublish('a/b')));
    client.publish({ topic: 'a/b', qos: 1, packetId: 9 });
    await client.settled();
    client.drop();
    await waitUntil(() => router.match(subjects.forPublish('a/b')).subscriptions.length === 0);
  }
  expect(accepted).toHaveLength(6);
  await waitUntil(() => held() === 0, { what: 'no socket is held' });
  expect(matches.map(({ subscriptions }) => subscriptions.length)).toEqual([2, 2, 2, 2, 2, 2]);
});

it('regression: Kafka connections that were closed stayed in memory as long as their members waited', async () => {
  const kernel = await startKernel(await createMemoryStorage());
  const kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1, groups: { initialDelayMs: 0 } },
    { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  const asking = await KafkaClient.connect(kafka.address());
  const protocols = [{ name: 'range', metadata: Buffer.from('subscription') }];
  // Old versions join without being told an id first; the timeouts are far longer than this test.
  const member = {
    sessionTimeoutMs: 60_000,
    rebalanceTimeoutMs: 60_000,
    protocolType: 'consumer',
    protocols,
  };
  const stateOf = async (groupId: string): Promise<string> =>
    (await asking.send(describeGroups, 5, { groups: [groupId] })).groups[0]!.groupState;
  const leave = async (client: KafkaClient, answer: Promise<unknown>): Promise<void> => {
    client.close();
    await expect(answer).rejects.toThrow('closed');
  };

  // The leader does not come back for the rebalance that the second member wants.
  const leader = await KafkaClient.connect(kafka.address());
  await leader.send(joinGroup, 2, { ...member, groupId: 'joining', memberId: '' });
  const joining = await KafkaClient.connect(kafka.address());
  const joined = joining.send(joinGroup, 2, { ...member, groupId: 'joining', memberId: '' });
  await waitUntil(async () => (await stateOf('joining')) === 'PreparingRebalance');
  await leave(joining, joined);

  // Two members of a generation, whose leader hands in no assignment.
  const syncing = await KafkaClient.connect(kafka.address());
  const group = { groupId: 'syncing', memberId: '' };
  const first = await leader.send(joinGroup, 2, { ...member, ...group });
  const second = syncing.send(joinGroup, 2, { ...member, ...group });
  await waitUntil(async () => (await stateOf('syncing')) === 'PreparingRebalance');
  await leader.send(joinGroup, 2, { ...member, groupId: 'syncing', memberId: first.memberId });
  const { memberId, generationId } = await second;
  const asked = { groupId: 'syncing', memberId, generationId, assignments: [] };
  const synced = syncing.send(syncGroup, 2, asked);

  await leave(syncing, synced);

  expect(accepted).toHaveLength(4);
  await waitUntil(() => held() === 2, { what: 'only the two open connections are held' });
  expect(await stateOf('joining')).toBe('PreparingRebalance');
  expect(await stateOf('syncing')).toBe('CompletingRebalance');
  leader.close();
  asking.close();
  await kafka.stop();
  await kernel.stop();
});
