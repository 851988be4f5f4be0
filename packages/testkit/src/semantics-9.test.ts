import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import {
  apiVersions,
  createTopics,
  errorCodes,
  incrementalAlterConfigs,
  offsetForLeaderEpoch,
} from '@robustmq/kafka-codec';
import type { ProtocolVersion } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { MqttBroker } from './mqtt-broker.ts';
import { MqttClient } from './mqtt-client.ts';

let broker: MqttBroker;
let kafka: KafkaAdapter;
let client: KafkaClient;

beforeAll(async () => {
  broker = await MqttBroker.start({ webSocket: true });
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
    { kernel: broker.kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  client = await KafkaClient.connect(kafka.address());
});

afterAll(async () => {
  client.close();
  await kafka.stop();
  await broker[Symbol.asyncDispose]();
});

describe('semantics 9.2: WebSocket', () => {
  const url = (path: string): string => broker.webSocketUrl.replace(/\/mqtt$/, path);

  it.each([
    ['/mqtt', 'mqtt', 5],
    ['/', 'mqtt', 4],
    ['/mqtt', 'mqttv3.1', 3],
    ['/?x=1', 'mqtt', 5],
  ] as const)('is served on %s with the subprotocol %s', async (path, protocol, version) => {
    const { client: device, socket } = await MqttClient.openWebSocket(url(path), version, protocol);
    expect(socket.protocol).toBe(protocol);
    device.sendConnect({ clientId: `web${version}` });
    expect((await device.next('connack')).reasonCode).toBe(0);
    device.drop();
  });

  it('is served on no other path', async () => {
    await expect(MqttClient.openWebSocket(url('/other'), 5)).rejects.toThrow('404');
  });
});

describe('semantics 9.3: no shared subscriptions', () => {
  it('CONNACK says so', async () => {
    const { connack } = await broker.connectWith(5, { clientId: 'told' });
    expect(connack.properties.sharedSubscriptionsAvailable).toBe(false);
  });

  it.each([
    [3, 0x80],
    [4, 0x80],
    [5, 0x9e],
  ] as [ProtocolVersion, number][])('such a filter is refused alone, version %i', async (version, code) => {
    const device = await broker.connect(version, { clientId: `shared${version}` });
    expect(await device.subscribe(['$share/group/a/#', 'a/#'], 1)).toEqual([code, 1]);
    device.publish({ topic: 'a/b', payload: 'v' });
    expect(await device.receiveTexts(1)).toEqual(['v']);
    expect(await device.settled()).toEqual([]);
  });
});

describe('semantics 1.6, 9.4: compaction of user topics is refused', () => {
  const compact = { name: 'cleanup.policy', value: 'compact' };

  it.each(['compact', 'compact,delete', 'delete, compact'])('%s, when a topic is created', async (value) => {
    const asked = { name: 'squeezed', numPartitions: 1, replicationFactor: 1, assignments: [] };
    const topics = [{ ...asked, configs: [{ ...compact, value }] }];
    const answer = await client.send(createTopics, 7, { topics, timeoutMs: 1000, validateOnly: false });
    expect(answer.topics[0]?.errorCode).toBe(errorCodes.INVALID_CONFIG);
    expect(errorCodes.INVALID_CONFIG).toBe(40);
    expect(broker.kernel.topics.byName('squeezed')).toBeUndefined();
  });

  it.each([
    ['plain', 40],
    ['mqtt', 44],
    ['bound', 44],
  ])('and when one is configured: %s gets %i', async (resourceName, code) => {
    const { topics } = broker.kernel;
    if (resourceName === 'plain') await topics.create('plain', 1);
    if (resourceName === 'bound') await topics.create('bound', 1, new Map([['subject.bind', 'true']]));
    for (const validateOnly of [true, false]) {
      const configs = [{ ...compact, configOperation: 0 }];
      const resources = [{ resourceType: 2, resourceName, configs }];
      const answer = await client.send(incrementalAlterConfigs, 1, { resources, validateOnly });
      expect(answer.responses[0]?.errorCode).toBe(code);
      expect(topics.byName(resourceName)!.config.has('cleanup.policy')).toBe(false);
    }
  });
});

describe('semantics 9.5: OffsetForLeaderEpoch', () => {
  it('is advertised in versions 2 to 4', async () => {
    const { apiKeys } = await client.send(apiVersions, 4, {});
    const { key } = offsetForLeaderEpoch;
    expect(apiKeys).toContainEqual({ apiKey: key, minVersion: 2, maxVersion: 4 });
  });

  it.each([2, 3, 4])('version %i says where the records of an epoch end', async (version) => {
    const topic = `epochs-${version}`;
    await broker.kernel.topics.create(topic, 1, new Map([['subject.bind', 'true']]));
    const device = await broker.connect(5, { clientId: topic });
    await device.publishAcknowledged({ topic: `${topic}/a`, payload: 'v' });
    const ask = async (leaderEpoch: number, currentLeaderEpoch = -1) => {
      const partitions = [{ partition: 0, leaderEpoch, currentLeaderEpoch }];
      const answer = await client.send(offsetForLeaderEpoch, version, {
        replicaId: -1,
        topics: [{ topic, partitions }],
      });
      return answer.topics[0]!.partitions[0]!;
    };
    expect(await ask(1)).toMatchObject({ errorCode: 0, leaderEpoch: 1, endOffset: 1 });
    // One that is still to come has no end.
    expect(await ask(9)).toMatchObject({ errorCode: 0, leaderEpoch: -1, endOffset: -1 });
    expect((await ask(1, 9)).errorCode).toBe(errorCodes.UNKNOWN_LEADER_EPOCH);
  });
});
