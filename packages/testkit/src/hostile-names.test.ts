import {
  createTopics,
  decodeResponse,
  describeConfigs,
  encodeRequest,
  errorCodes,
  heartbeat,
  joinGroup,
  metadata,
  offsetCommit,
  produce,
} from '@robustmq/kafka-codec';
import { encodePacket } from '@robustmq/mqtt-codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { memoryOf, printFigures, RawPeer, Siege } from './hostile-siege.ts';
import { batchOf, produceTo, requestBytes } from './kafka-fixture.ts';
import { KafkaClient } from './kafka-client.ts';
import { MqttClient } from './mqtt-client.ts';
import { ServerProcess } from './server-process.ts';
import { waitUntil } from './wait-until.ts';

// A real process, on a machine that other tests use too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

const protocols = [{ name: 'range', metadata: Buffer.alloc(0) }];
const partitions = [{ partitionIndex: 0, committedOffset: 1, committedMetadata: '' }];
const committed = [{ name: 'others', partitions }];
const joining = { memberId: '', sessionTimeoutMs: 10_000, protocolType: 'consumer', protocols };
/** Names that an object would take for something of its own. */
const ofObjects = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf'];

/** Whether there is a control character in the text. */
function hasControl(text: string): boolean {
  for (const character of text) {
    if (character < ' ' || (character >= '\u007f' && character <= '\u009f')) return true;
  }
  return false;
}

let siege: Siege;
let kafka: KafkaClient;

beforeAll(async () => {
  siege = await Siege.start({
    log: { level: 'debug' },
    // Most of a million messages need not be stored.
    topics: { captureBytesPerSecond: 1024 },
    kafka: { groupsMax: 1000, membersMax: 2000, groupInitialDelayMs: 0 },
    mqtt: { sessionsMax: 500 },
  });
  kafka = await KafkaClient.connect({ host: '127.0.0.1', port: siege.server.ports.kafka });
});

afterAll(async () => {
  kafka.close();
  await siege[Symbol.asyncDispose]();
});

const mqttPort = (): number => siege.server.ports.mqtt;

function connectBytes(version: 4 | 5, fields: { clientId?: string; username?: string }): Buffer {
  return encodePacket(version, {
    type: 'connect',
    version,
    cleanStart: true,
    keepAlive: 0,
    clientId: fields.clientId ?? '',
    username: fields.username ?? null,
    password: null,
    will: null,
    properties: {},
  });
}

describe('identities', () => {
  /** Each as long as its mark, so that it takes its place in a packet. */
  const bad: readonly (readonly [name: string, bytes: string])[] = [
    ['CR and LF', '610d0a62'],
    ['NUL', '61006262'],
    ['ESC', '611b5b33'],
    ['DEL', '617f6262'],
    ['U+0085', '61c28562'],
    ['overlong UTF-8', 'c0afc0af'],
    ['a surrogate', 'eda08041'],
    ['half a character', '616263e2'],
    ['U+FFFF', 'efbfbf61'],
    ['U+FDD0', '61efb790'],
    ['U+1FFFE', 'f09fbfbe'],
  ];
  const good = ['#', '+', 'a/b', '$SYS', 'a b', '٠١', '‮abc', '😀', ...ofObjects];

  /** What a request of Kafka gets whose `mark` these bytes replace, as many; null: its connection is closed instead. */
  const answerTo = async (request: Buffer, mark: string, bytes: Buffer): Promise<Buffer | null> => {
    bytes.copy(request, request.indexOf(mark));
    const peer = await RawPeer.open(siege.server.ports.kafka);
    peer.send(request);
    const isWhole = (): boolean =>
      peer.received.length > 4 && peer.received.length === 4 + peer.received.readInt32BE();
    await waitUntil(() => peer.closed || isWhole());
    peer.drop();
    return isWhole() ? peer.received.subarray(4) : null;
  };
  const fromClient = (clientId: string): Buffer =>
    Buffer.concat(encodeRequest(metadata, { version: 4, correlationId: 1, clientId }, { topics: [] }));

  for (const [name, text] of bad) {
    it(`with ${name} are refused: client id and user name of MQTT, client id, group and instance of Kafka`, async () => {
      const bytes = Buffer.from(text, 'hex');
      for (const version of [4, 5] as const) {
        for (const field of ['clientId', 'username'] as const) {
          const packet = connectBytes(version, { clientId: 'cccc', username: 'uuuu' });
          bytes.copy(packet, packet.indexOf(field === 'clientId' ? 'cccc' : 'uuuu'));
          const peer = await RawPeer.open(mqttPort());
          peer.send(packet);
          await peer.whenClosed();
          // CONNACK with a code, or nothing where the version has none.
          if (peer.received.length > 0) expect(peer.received[3]).toBeGreaterThan(0);
        }
      }
      expect(await answerTo(fromClient('cccc'), 'cccc', Buffer.from('abcd'))).not.toBeNull();
      expect(await answerTo(fromClient('cccc'), 'cccc', bytes)).toBeNull();
      const join = requestBytes(joinGroup, 4, { groupId: 'gggg', ...joining });
      const joined = decodeResponse(joinGroup, 4, (await answerTo(join, 'gggg', bytes))!);
      expect(joined.errorCode).toBe(errorCodes.INVALID_GROUP_ID);
      const asInstance = { groupId: 'static', ...joining, groupInstanceId: 'iiii' };
      const instance = requestBytes(joinGroup, 5, asInstance);
      const entered = decodeResponse(joinGroup, 5, (await answerTo(instance, 'iiii', bytes))!);
      expect(entered.errorCode).toBe(errorCodes.INVALID_REQUEST);
      const commit = requestBytes(offsetCommit, 7, { groupId: 'gggg', topics: committed });
      const { topics } = decodeResponse(offsetCommit, 7, (await answerTo(commit, 'gggg', bytes))!);
      expect(topics[0]!.partitions[0]!.errorCode).toBe(errorCodes.INVALID_GROUP_ID);
    });
  }

  it('with wildcards, slashes, right-to-left marks and names of objects are names like others', async () => {
    for (const name of good) {
      const { client } = await MqttClient.connect(mqttPort(), 5, { clientId: name, username: name });
      await client.subscribe('own', 1);
      expect(await client.publishAcknowledged({ topic: `names/${name.replaceAll(/[#+]/g, 'x')}` })).toBe(0);
      await client.disconnect();
      const { errorCode } = await kafka.send(joinGroup, 4, { groupId: name, ...joining }, name);
      expect(errorCode).toBe(errorCodes.MEMBER_ID_REQUIRED);
      const asInstance = { groupId: `of ${name}`, ...joining, groupInstanceId: name };
      expect((await kafka.send(joinGroup, 5, asInstance)).errorCode).toBe(errorCodes.NONE);
    }
  });
});

describe('names of objects', () => {
  it('are topics, filters, properties, headers, keys, groups and configuration like others', async () => {
    const { client } = await MqttClient.connect(mqttPort(), 5, { clientId: '__proto__' });
    for (const name of ofObjects) {
      await client.subscribe([name, `${name}/#`], 1);
      const userProperties: [string, string][] = [[name, name]];
      client.publish({ topic: name, qos: 1, packetId: 1, retain: true, properties: { userProperties } });
      const [one, two] = [await client.nothingWithin(5000), await client.nothingWithin(5000)];
      const message = one?.type === 'publish' ? one : two?.type === 'publish' ? two : null;
      expect(message).toMatchObject({ topic: name, properties: { userProperties } });
      client.ack('puback', message!.packetId);
      client.send({ type: 'unsubscribe', packetId: 2, filters: [name, `${name}/#`], properties: {} });
      await client.next('unsuback');
      const topics = [
        { name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [{ name, value: name }] },
      ];
      const made = await kafka.send(createTopics, 4, { topics, timeoutMs: 1000 });
      // Names that begin with two underscores are the server's own.
      const own = name.startsWith('__');
      const refused = own ? errorCodes.POLICY_VIOLATION : errorCodes.INVALID_CONFIG;
      expect(made.topics[0]!.errorCode).toBe(refused);
      const resources = [{ resourceType: 2, resourceName: 'others', configurationKeys: [name] }];
      const shown = await kafka.send(describeConfigs, 4, { resources });
      expect(shown.results[0]!.configs).toEqual([]);
      expect((await kafka.send(metadata, 9, { topics: [{ name }] })).topics[0]!.name).toBe(name);
      if (own) continue;
      await waitUntil(async () => (await produceTo(kafka, name, batchOf(['x']))).errorCode === 0);
    }
    await client.disconnect();
    const api = `http://${siege.server.address('admin')}/api/v1/topics`;
    for (const name of ofObjects) {
      expect((await fetch(`${api}/${name}`)).status).toBe(name.startsWith('__') ? 404 : 200);
    }
    const body =
      '{"name":"poisoned","shards":1,"__proto__":{"shards":9},"constructor":{"prototype":{"shards":9}}}';
    const answer = await fetch(api, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    });
    expect(answer.status).toBe(400);
  });
});

describe('names without end', () => {
  const many = 1_000_000;
  /** Names that a generation of the table of names holds. */
  const generation = 65_536;
  /** What may be in use afterwards more than before; names that were kept would be four times as much. */
  const leftMibMax = 3;

  it(`${many.toLocaleString('en')} topics that are published to once are forgotten again`, async () => {
    const publisher = await RawPeer.open(mqttPort());
    publisher.send(connectBytes(4, {}));
    const chunkOf = (from: number, count: number): Buffer =>
      Buffer.concat(
        Array.from({ length: count }, (_, at) => {
          const name = `n/${from + at}`;
          const packet = Buffer.alloc(4 + name.length);
          packet[0] = 0x30;
          packet[1] = 2 + name.length;
          packet.writeUInt16BE(name.length, 2);
          packet.write(name, 4);
          return packet;
        }),
      );
    const pour = async (from: number, to: number): Promise<void> => {
      for (let at = from; at < to; at += 5000) await publisher.pour([chunkOf(at, 5000)]);
      publisher.send(Buffer.from([0xc0, 0]));
      const answers = publisher.received.length;
      await waitUntil(() => publisher.received.length > answers, { timeoutMs: 60_000 });
    };
    // The table fills once, in two generations of 65,536 names each; the caches of the log need longer.
    await pour(0, many);
    const full = memoryOf(siege.server.pid).residentMib;
    // A whole number of generations between the two looks: the table is as full at both.
    let next = many;
    const pourMore = (generations: number) => async (): Promise<void> => {
      const from = next;
      next += generations * generation;
      await pour(from, next);
    };
    const damage = await siege.withstand(pourMore(8));
    const grownMib = memoryOf(siege.server.pid).residentMib - full;
    expect(grownMib).toBeLessThan(96);
    expect(damage.p99Ms).toBeLessThan(4000);
    const { leftMib } = await siege.outlive(pourMore(1), pourMore(6));
    printFigures('a million topics', { ...damage, fullMib: full, grownMib, leftMib });
    expect(leftMib).toBeLessThan(leftMibMax);
    expect(publisher.closed).toBe(false);
    publisher.drop();
  });

  it('300,000 topics that a Kafka client asks for are answered, and none is kept', async () => {
    const codes = new Map<number, number>();
    const ask = async (name: string, count: number): Promise<void> => {
      const topics = Array.from({ length: count }, (_, at) => ({ name: `${name}-${at}` }));
      const answer = await kafka.send(metadata, 9, { topics, allowAutoTopicCreation: false });
      for (const { errorCode } of answer.topics) codes.set(errorCode, (codes.get(errorCode) ?? 0) + 1);
    };
    let round = 0;
    const damage = await siege.outlive(
      () => ask(`w-${round++}`, 50_000),
      async () => {
        for (let at = 0; at < 3; at++) await ask(`k-${at}`, 100_000);
      },
    );
    expect([...codes]).toEqual([[errorCodes.UNKNOWN_TOPIC_OR_PARTITION, 400_000]]);
    printFigures('300,000 topics of Metadata', damage);
    expect(damage.growthMib).toBeLessThan(128);
    expect(damage.leftMib).toBeLessThan(leftMibMax);
  });

  it('groups: `kafka.groupsMax` of them, then 44, and `kafka.membersMax` members of all together', async () => {
    const commit = async (groupId: string): Promise<number> =>
      (await kafka.send(offsetCommit, 7, { groupId, topics: committed })).topics[0]!.partitions[0]!.errorCode;
    const codes: number[] = [];
    for (let from = 0; from < 1200; from += 100) {
      codes.push(...(await Promise.all(Array.from({ length: 100 }, (_, at) => commit(`g${from + at}`)))));
    }
    expect(codes.slice(0, 900).every((code) => code === errorCodes.NONE)).toBe(true);
    expect(codes.slice(-100)).toEqual(Array.from({ length: 100 }, () => errorCodes.POLICY_VIOLATION));
    // One that is known goes on.
    expect(await commit('g0')).toBe(errorCodes.NONE);
    expect((await kafka.send(joinGroup, 4, { groupId: 'new', ...joining })).errorCode).toBe(
      errorCodes.POLICY_VIOLATION,
    );
    const joins = await Promise.all(
      Array.from({ length: 3000 }, () => kafka.send(joinGroup, 4, { groupId: 'g1', ...joining })),
    );
    const answers = new Set(joins.map(({ errorCode }) => errorCode));
    expect(answers).toEqual(new Set([errorCodes.MEMBER_ID_REQUIRED, errorCodes.GROUP_MAX_SIZE_REACHED]));
    const known = joins.filter(({ errorCode }) => errorCode === errorCodes.MEMBER_ID_REQUIRED);
    expect(known.length).toBeLessThanOrEqual(2000);
    const beat = await kafka.send(heartbeat, 3, { groupId: 'never', memberId: 'x', generationId: 1 });
    expect(beat.errorCode).toBe(errorCodes.UNKNOWN_MEMBER_ID);
  });

  it('sessions: `mqtt.sessionsMax` that are kept, then 0x97, and those that are known come back', async () => {
    const open = async (version: 4 | 5, clientId: string): Promise<number> => {
      const client = await MqttClient.open(mqttPort(), version);
      client.sendConnect({
        clientId,
        cleanStart: false,
        properties: version === 5 ? { sessionExpiry: 600 } : {},
      });
      const { reasonCode } = await client.next('connack');
      client.drop();
      return reasonCode;
    };
    const codes: number[] = [];
    for (let from = 0; from < 600; from += 50) {
      codes.push(...(await Promise.all(Array.from({ length: 50 }, (_, at) => open(5, `kept${from + at}`)))));
    }
    expect(codes.slice(0, 450).every((code) => code === 0)).toBe(true);
    expect(codes.slice(-50)).toEqual(Array.from({ length: 50 }, () => 0x97));
    expect(await open(5, 'kept0')).toBe(0);
    expect(await open(4, 'other')).toBe(3);
    // Sessions that end with their connection are not counted.
    const { client } = await MqttClient.connect(mqttPort(), 5, { clientId: 'short' });
    await client.disconnect();
  });
});

it('whatever clients send, the log has one JSON object a line, and no control character', async () => {
  await using server = await ServerProcess.start({ config: { log: { level: 'debug' } } });
  const injection = '%s%n${jndi:x}","level":"error\\\u2028';
  const { client } = await MqttClient.connect(server.ports.mqtt, 5, {
    clientId: injection,
    username: injection,
  });
  await client.subscribe([`${injection}/#`, '#'], 1);
  client.publish({ topic: injection, payload: '\r\n{"level":"error"}\u001b[31m' });
  await client.settled();
  client.sendBytes(Buffer.from([0xc1, 0x00]));
  await client.whenClosed();
  for (const bytes of ['1b5b33316d0d0a', '474554202f25732048545450', '100e00044d51545404020000000261']) {
    const peer = await RawPeer.open(server.ports.mqtt);
    peer.send(Buffer.from(bytes, 'hex'));
    await peer.whenClosed();
  }
  const named = await KafkaClient.connect({ host: '127.0.0.1', port: server.ports.kafka });
  const line = 'x\r\n{"level":"error"}\u001b[31m';
  await named.send(metadata, 9, { topics: [{ name: line }] });
  await named.send(joinGroup, 4, { groupId: line, ...joining });
  const topicData = [{ name: line, partitionData: [{ index: 0, records: batchOf(['x']) }] }];
  await named.send(produce, 9, { acks: -1, timeoutMs: 1000, topicData }, 'plain');
  await named.send(metadata, 9, { topics: [] }, line).catch(() => undefined);
  named.close();
  const admin = `http://${server.address('admin')}`;
  await fetch(`${admin}/api/v1/topics/${encodeURIComponent(line)}`);
  await fetch(`${admin}/%0d%0aset-cookie:x`, { headers: { 'x-name': injection.slice(0, -1) } });
  const { code, stderr } = await server.stop();
  expect(code).toBe(0);
  const lines = stderr.split('\n').filter((each) => each !== '');
  expect(lines.length).toBeGreaterThan(3);
  for (const each of lines) {
    expect(JSON.parse(each)).toMatchObject({ level: expect.stringMatching(/^(debug|info|warn)$/) as string });
    expect(hasControl(each), each).toBe(false);
  }
});
