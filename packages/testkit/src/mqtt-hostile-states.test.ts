import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodePacket } from '@robustmq/mqtt-codec';
import type { Packet, ProtocolVersion } from '@robustmq/mqtt-codec';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';
import { waitUntil } from './wait-until.ts';

const versions = [3, 4, 5] as const;
/** What a packet has come to: the types that were answered, and the code of a goodbye; then closed or open. */
type Outcome = string;

let broker: MqttBroker;

beforeAll(async () => {
  broker = await MqttBroker.start();
});

afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

const subscription = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

function connectOf(version: ProtocolVersion): Packet {
  const nobody = { username: null, password: null, will: null, properties: {} };
  return { type: 'connect', version, cleanStart: true, keepAlive: 0, clientId: 'state', ...nobody };
}

/** One packet of every type, and what becomes of it once the client is connected: in MQTT 5, and before. */
function packets(
  version: ProtocolVersion,
): readonly (readonly [name: string, bytes: Buffer, after: Outcome])[] {
  const of = (packet: Packet): Buffer => encodePacket(version, packet);
  const hex = (text: string): Buffer => Buffer.from(text, 'hex');
  const five = version === 5;
  const refused = five ? 'disconnect 130, closed' : 'closed';
  const malformed = five ? 'disconnect 129, closed' : 'closed';
  const publish = (qos: 0 | 1 | 2): Buffer =>
    of({
      type: 'publish',
      topic: 's',
      qos,
      retain: false,
      dup: false,
      packetId: qos,
      payload: hex('61'),
      properties: {},
    });
  return [
    ['type 0', hex('0000'), refused],
    ['CONNECT', of(connectOf(version)), refused],
    ['CONNACK', hex(five ? '2003000000' : '20020000'), refused],
    ['PUBLISH at QoS 0', publish(0), 'open'],
    ['PUBLISH at QoS 1', publish(1), 'puback 0, open'],
    ['PUBLISH at QoS 2', publish(2), 'pubrec 0, open'],
    ['PUBLISH at QoS 3', hex('36050001610001'), malformed],
    // Late answers to what a session before sent: nothing waits for them.
    ['PUBACK', hex('40020007'), 'open'],
    ['PUBREC', hex('50020007'), five ? 'pubrel 146, open' : 'pubrel 0, open'],
    ['PUBREL', hex('62020007'), five ? 'pubcomp 146, open' : 'pubcomp 0, open'],
    ['PUBREL with other flags', hex('60020007'), malformed],
    ['PUBCOMP', hex('70020007'), 'open'],
    [
      'SUBSCRIBE',
      of({
        type: 'subscribe',
        packetId: 1,
        subscriptions: [{ filter: 's/x', qos: 0, ...subscription }],
        properties: {},
      }),
      'suback, open',
    ],
    ['SUBACK', hex(five ? '900400010000' : '9003000100'), refused],
    [
      'UNSUBSCRIBE',
      of({ type: 'unsubscribe', packetId: 1, filters: ['s/x'], properties: {} }),
      'unsuback, open',
    ],
    ['UNSUBACK', hex(five ? 'b00400010000' : 'b0020001'), refused],
    ['PINGREQ', hex('c000'), 'pingresp, open'],
    ['PINGRESP', hex('d000'), refused],
    ['DISCONNECT', hex('e000'), 'closed'],
    ['AUTH', hex('f000'), refused],
  ];
}

/** What came from the server when it has answered `answers` packets and a ping behind them, or closed. */
async function outcomeOf(client: MqttClient, answers: number): Promise<Outcome> {
  client.sendBytes(Buffer.from('c000', 'hex'));
  const came = (): Packet[] => client.pending.filter(({ type }) => type !== 'connack');
  await waitUntil(() => client.closed || came().length > answers);
  const words = came().map((packet) =>
    'reasonCode' in packet ? `${packet.type} ${packet.reasonCode}` : packet.type,
  );
  if (!client.closed) words.splice(words.lastIndexOf('pingresp'), 1);
  return [...words, client.closed ? 'closed' : 'open'].join(', ');
}

/** How many answers an outcome has, if the connection stays open. */
function answersIn(outcome: Outcome): number {
  return outcome.split(', ').length - 1;
}

describe.each(versions)('every packet in every state, version %i', (version) => {
  const all = packets(version);

  it('before CONNECT: each but CONNECT closes without a word', async () => {
    for (const [name, bytes] of all) {
      if (name === 'CONNECT') continue;
      const client = await broker.open(version);
      client.sendBytes(bytes);
      await client.whenClosed();
      expect(client.pending, name).toEqual([]);
    }
  });

  it('after CONNACK: each is served, or refused with the code for it', async () => {
    const found: [string, Outcome][] = [];
    for (const [name, bytes, after] of all) {
      const client = await broker.connect(version, { clientId: 'state' });
      client.sendBytes(bytes);
      found.push([name, await outcomeOf(client, answersIn(after))]);
      client.drop();
    }
    expect(found).toEqual(all.map(([name, , after]) => [name, after]));
  });

  it('in one piece with CONNECT, before CONNACK: as after it', async () => {
    const found: [string, Outcome][] = [];
    const connect = encodePacket(version, connectOf(version));
    for (const [name, bytes, after] of all) {
      const client = await broker.open(version);
      client.sendBytes(Buffer.concat([connect, bytes]));
      await waitUntil(() => client.pending[0]?.type === 'connack' || client.closed);
      found.push([name, await outcomeOf(client, answersIn(after))]);
      client.drop();
    }
    expect(found).toEqual(all.map(([name, , after]) => [name, after]));
  });

  it('behind DISCONNECT: nothing is read any more', async () => {
    const reader = await broker.connect(5, { clientId: 'state-reader' });
    await reader.subscribe('s', 1);
    for (const [, bytes] of all) {
      const client = await broker.connect(version, { clientId: 'state' });
      client.sendBytes(Buffer.concat([Buffer.from('e000', 'hex'), bytes]));
      await client.whenClosed();
      expect(client.pending).toEqual([]);
    }
    expect(await reader.settled()).toEqual([]);
    reader.drop();
  });

  it('behind a packet that ends the connection: nothing is read any more', async () => {
    const reader = await broker.connect(5, { clientId: 'state-reader' });
    await reader.subscribe('s', 1);
    const publish = all.find(([name]) => name === 'PUBLISH at QoS 0')![1];
    for (const [name, bytes, after] of all) {
      if (!after.endsWith('closed') || name === 'DISCONNECT') continue;
      const client = await broker.connect(version, { clientId: 'state' });
      client.sendBytes(Buffer.concat([bytes, publish]));
      await client.whenClosed();
    }
    expect(await reader.settled()).toEqual([]);
    reader.drop();
  });
});
