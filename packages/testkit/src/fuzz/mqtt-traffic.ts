import { encodePacket, varintMax, writeVarint } from '@robustmq/mqtt-codec';
import type { Packet, ProtocolVersion, PublishPacket, Qos, Subscription } from '@robustmq/mqtt-codec';
import type { Grammar } from './mutation.ts';

/** MQTT packets: a byte, a varint that says how much follows, and that. */
export const mqttGrammar: Grammar = {
  reframe(packet) {
    const body = packet.subarray(headBytes(packet));
    return framed(packet[0] ?? 0xc0, body.length, body);
  },
  // Nothing in a packet is a checksum.
  reseal: () => undefined,
  misstate(packet, choice) {
    const body = packet.subarray(headBytes(packet));
    const wrong = [
      0,
      1,
      body.length + 1,
      Math.max(0, body.length - 1),
      127,
      128,
      16_383,
      2_097_152,
      varintMax,
    ];
    return framed(packet[0] ?? 0xc0, wrong[choice % wrong.length]!, body);
  },
};

function headBytes(packet: Buffer): number {
  let at = 1;
  while (at < 4 && at < packet.length && packet[at]! >= 0x80) at++;
  return Math.min(packet.length, at + 1);
}

function framed(first: number, length: number, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head[0] = first;
  return Buffer.concat([head.subarray(0, writeVarint(head, 1, length)), body]);
}

const userProperties: [string, string][] = [
  ['key', 'value'],
  ['ключ', ''],
];

/** Whole connections of a client, each a sequence of encoded packets that begins with CONNECT. */
export function clientConnections(version: ProtocolVersion): Buffer[][] {
  return conversations(version).map((packets) => packets.map((packet) => encodePacket(version, packet)));
}

/** Every packet of a client after CONNECT, for a reader that knows the version. */
export function clientPackets(version: ProtocolVersion): Buffer[][] {
  return clientConnections(version).map((packets) => packets.slice(1));
}

/** What a server sends over a connection, every packet type in it. */
export function serverPackets(version: ProtocolVersion): Buffer[][] {
  const five = version === 5;
  const reason = five ? { reasonString: 'because', userProperties } : {};
  const codes = five ? [0, 1, 2, 0x80, 0x8f] : [0, 1, 2, 0x80].slice(0, version === 3 ? 3 : 4);
  const connack = five
    ? {
        sessionExpiry: 5,
        receiveMaximum: 10,
        maximumPacketSize: 1000,
        assignedClientId: 'given',
        topicAliasMaximum: 5,
        serverKeepAlive: 60,
        ...reason,
      }
    : {};
  const delivered = five
    ? { subscriptionIdentifiers: [1, 268_435_455], messageExpiry: 9, contentType: 'text', userProperties }
    : {};
  const answers: Packet[] = [
    { type: 'connack', sessionPresent: version !== 3, reasonCode: 0, properties: connack },
    { type: 'suback', packetId: 1, reasonCodes: codes, properties: reason },
    publish({ topic: 'a/b', payload: Buffer.from('zero'), properties: delivered }),
    publish({ topic: 'a/b', qos: 1, packetId: 7, payload: Buffer.alloc(200, 0x61), properties: delivered }),
    publish({ topic: 'a/ü', qos: 2, dup: true, packetId: 65_535, retain: true }),
    { type: 'pubrel', packetId: 7, reasonCode: 0, properties: {} },
    { type: 'puback', packetId: 8, reasonCode: five ? 0x10 : 0, properties: reason },
    { type: 'pubrec', packetId: 9, reasonCode: five ? 0x97 : 0, properties: reason },
    { type: 'pubcomp', packetId: 9, reasonCode: 0, properties: reason },
    { type: 'unsuback', packetId: 2, reasonCodes: five ? [0, 0x11] : [], properties: reason },
    { type: 'pingresp' },
  ];
  if (five) {
    answers.push(
      {
        type: 'auth',
        reasonCode: 0x18,
        properties: { authenticationMethod: 'm', authenticationData: bytes },
      },
      { type: 'disconnect', reasonCode: 0x8e, properties: { serverReference: 'other', ...reason } },
    );
  }
  const refused: Packet[] = [
    { type: 'connack', sessionPresent: false, reasonCode: five ? 0x87 : 5, properties: {} },
  ];
  return [answers, refused].map((packets) => packets.map((packet) => encodePacket(version, packet)));
}

const bytes = Buffer.from([0, 1, 2, 0xff]);

function publish(input: Partial<PublishPacket> & { readonly topic: string }): Packet {
  const plain = { qos: 0 as Qos, retain: false, dup: false, packetId: 0, payload: bytes, properties: {} };
  return { type: 'publish', ...plain, ...input };
}

function conversations(version: ProtocolVersion): Packet[][] {
  const five = version === 5;
  // Names of their own: a message that each of a hundred connections gets is no work for the fuzzer.
  const top = (conversation: string): string => `fuzz${version}/${conversation}`;
  const connect = (clientId: string, more: object = {}): Packet => ({
    type: 'connect',
    version,
    cleanStart: true,
    keepAlive: 60,
    clientId,
    username: null,
    password: null,
    will: null,
    properties: {},
    ...more,
  });
  const will = {
    topic: 'wills/one',
    payload: Buffer.from('gone'),
    qos: 1 as Qos,
    retain: true,
    properties: five ? { willDelay: 1, messageExpiry: 60, contentType: 'text', userProperties } : {},
  };
  const kept = five ? { sessionExpiry: 3, receiveMaximum: 10, topicAliasMaximum: 5, userProperties } : {};
  return [
    [
      connect('fuzz-plain'),
      ...subscribing(version, top('plain')),
      ...publishing(version, top('plain')),
      { type: 'pingreq' },
    ],
    [
      connect('fuzz-will', { will, username: 'user', password: bytes }),
      publish({ topic: `${top('will')}/b`, qos: 2, packetId: 3 }),
      { type: 'pubrel', packetId: 3, reasonCode: 0, properties: {} },
      leaving(version, five ? 4 : 0),
    ],
    [
      connect('fuzz-kept', { cleanStart: false, properties: kept }),
      ...subscribing(version, top('kept')),
      ...acknowledging(version),
      ...publishing(version, top('kept')),
      leaving(version, 0),
    ],
    [connect('fuzz-kept', { cleanStart: false, properties: kept }), ...acknowledging(version)],
    [
      connect('fuzz-retain'),
      ...retaining(top('retain')),
      ...subscribing(version, top('retain')),
      { type: 'pingreq' },
      leaving(version, 0),
    ],
    ...(five ? versionFive(connect) : []),
  ];
}

function subscribing(version: ProtocolVersion, top: string): Packet[] {
  const five = version === 5;
  const filter = (text: string, qos: Qos, more: Partial<Subscription> = {}): Subscription => ({
    filter: text,
    qos,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    ...more,
  });
  const options = five ? { noLocal: true, retainAsPublished: true, retainHandling: 1 as const } : {};
  return [
    {
      type: 'subscribe',
      packetId: 1,
      subscriptions: [filter(`${top}/+`, 0), filter(`${top}/#`, 1, options), filter(`${top}/+/x`, 2)],
      properties: five ? { subscriptionIdentifiers: [127], userProperties } : {},
    },
    { type: 'unsubscribe', packetId: 2, filters: [`${top}/+`, 'none'], properties: {} },
  ];
}

function publishing(version: ProtocolVersion, top: string): Packet[] {
  const properties =
    version === 5
      ? {
          payloadFormat: 1,
          messageExpiry: 30,
          contentType: 'text/plain',
          responseTopic: `${top}/answer`,
          correlationData: bytes,
          userProperties,
        }
      : {};
  return [
    publish({ topic: `${top}/b`, payload: Buffer.from('zero'), properties }),
    publish({ topic: `${top}/c`, qos: 1, packetId: 10, payload: Buffer.from('one'), properties }),
    publish({ topic: `${top}/ü/x`, qos: 2, packetId: 11, payload: Buffer.alloc(300, 0x62) }),
    { type: 'pubrel', packetId: 11, reasonCode: 0, properties: {} },
  ];
}

function retaining(top: string): Packet[] {
  return [
    publish({ topic: `${top}/kept`, qos: 1, packetId: 20, retain: true }),
    publish({ topic: `${top}/kept`, qos: 0, retain: true, payload: Buffer.alloc(0) }),
    publish({ topic: `${top}/kept`, qos: 2, packetId: 21, retain: true }),
    { type: 'pubrel', packetId: 21, reasonCode: 0, properties: {} },
  ];
}

/** Acknowledges what the server is likely to have sent. */
function acknowledging(version: ProtocolVersion): Packet[] {
  const reasonString = version === 5 ? { reasonString: 'thanks' } : {};
  return [
    { type: 'puback', packetId: 1, reasonCode: 0, properties: {} },
    { type: 'pubrec', packetId: 2, reasonCode: 0, properties: reasonString },
    { type: 'pubcomp', packetId: 2, reasonCode: 0, properties: {} },
    { type: 'puback', packetId: 3, reasonCode: version === 5 ? 0x80 : 0, properties: reasonString },
  ];
}

function leaving(version: ProtocolVersion, reasonCode: number): Packet {
  const properties = version === 5 ? { sessionExpiry: 2, reasonString: 'over' } : {};
  return { type: 'disconnect', reasonCode, properties };
}

/** What only MQTT 5 has: aliases, and authentication. */
function versionFive(connect: (clientId: string, more: object) => Packet): Packet[][] {
  const method = { authenticationMethod: 'SCRAM', authenticationData: bytes };
  const many = {
    sessionExpiry: 1,
    receiveMaximum: 1,
    maximumPacketSize: 100,
    requestProblemInformation: false,
    requestResponseInformation: true,
  };
  return [
    [
      connect('fuzz-alias', { properties: many }),
      publish({ topic: 'a/alias', properties: { topicAlias: 1 } }),
      publish({ topic: '', qos: 1, packetId: 5, properties: { topicAlias: 1 } }),
      publish({ topic: 'a/other', properties: { topicAlias: 32 } }),
    ],
    [
      connect('fuzz-auth', { properties: method }),
      { type: 'auth', reasonCode: 0x18, properties: { ...method, userProperties } },
      { type: 'auth', reasonCode: 0x19, properties: method },
    ],
  ];
}
