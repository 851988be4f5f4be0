import { describe, expect, it } from 'vitest';
import type { PeerRole } from './fixed-header.ts';
import type { Packet, ProtocolVersion } from './packet.ts';
import { PacketCollector } from './packet-collector.ts';
import { encodePacket } from './packet-encoder.ts';
import { PacketReader } from './packet-reader.ts';

interface Vector {
  name: string;
  version: ProtocolVersion;
  /** Who sends it. */
  from: PeerRole;
  hex: string;
  packet: Packet;
  /** Another form of the same packet that is read but not written. */
  readOnly?: true;
}

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const text = (value: string) => {
  const encoded = Buffer.from(value);
  return `${encoded.length.toString(16).padStart(4, '0')} ${encoded.toString('hex')}`;
};

const plainConnect = {
  type: 'connect',
  cleanStart: true,
  keepAlive: 60,
  clientId: 'c1',
  username: null,
  password: null,
  will: null,
  properties: {},
} as const;

const plainPublish = {
  type: 'publish',
  qos: 0,
  retain: false,
  dup: false,
  packetId: 0,
  topic: 'a/b',
  payload: Buffer.from('hi'),
  properties: {},
} as const;

const plainSubscription = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

const connects: Vector[] = [
  {
    name: 'CONNECT 3.1',
    version: 3,
    from: 'client',
    hex: `10 10 ${text('MQIsdp')} 03 02 003c ${text('c1')}`,
    packet: { ...plainConnect, version: 3 },
  },
  {
    name: 'CONNECT 3.1 whose flags announce credentials that are missing',
    version: 3,
    from: 'client',
    hex: `10 10 ${text('MQIsdp')} 03 c2 003c ${text('c1')}`,
    packet: { ...plainConnect, version: 3 },
    readOnly: true,
  },
  {
    name: 'CONNECT 3.1.1',
    version: 4,
    from: 'client',
    hex: `10 0e ${text('MQTT')} 04 02 003c ${text('c1')}`,
    packet: { ...plainConnect, version: 4 },
  },
  {
    name: 'CONNECT 3.1.1 with everything',
    version: 4,
    from: 'client',
    hex: `10 1d ${text('MQTT')} 04 f4 ffff ${text('c1')} ${text('w')} ${text('bye')} ${text('u')} 0002 00ff`,
    packet: {
      ...plainConnect,
      version: 4,
      cleanStart: false,
      keepAlive: 65_535,
      username: 'u',
      password: Buffer.from([0, 255]),
      will: { topic: 'w', payload: Buffer.from('bye'), qos: 2, retain: true, properties: {} },
    },
  },
  {
    name: 'CONNECT 5',
    version: 5,
    from: 'client',
    hex: `10 0f ${text('MQTT')} 05 02 003c 00 ${text('c1')}`,
    packet: { ...plainConnect, version: 5 },
  },
  {
    name: 'CONNECT 5 with every property, a password and no user name',
    version: 5,
    from: 'client',
    hex: `10 64 ${text('MQTT')} 05 4e 0000 22 11 00000e10 15 ${text('X')} 16 0001 01 17 00 19 01 21 0014 22 000a
      26 ${text('k')} ${text('')} 27 00010000 ${text('')}
      2b 01 01 02 0000003c 03 ${text('text')} 08 ${text('re')} 09 0002 dead 18 00000005
      26 ${text('n')} ${text('1')} 26 ${text('n')} ${text('2')} ${text('w')} 0000 ${text('pw')}`.replaceAll(
      '\n',
      '',
    ),
    packet: {
      ...plainConnect,
      version: 5,
      keepAlive: 0,
      clientId: '',
      password: Buffer.from('pw'),
      properties: {
        sessionExpiry: 3600,
        authenticationMethod: 'X',
        authenticationData: Buffer.from([1]),
        requestProblemInformation: false,
        requestResponseInformation: true,
        receiveMaximum: 20,
        topicAliasMaximum: 10,
        userProperties: [['k', '']],
        maximumPacketSize: 65_536,
      },
      will: {
        topic: 'w',
        payload: Buffer.alloc(0),
        qos: 1,
        retain: false,
        properties: {
          payloadFormat: 1,
          messageExpiry: 60,
          contentType: 'text',
          responseTopic: 're',
          correlationData: Buffer.from([0xde, 0xad]),
          willDelay: 5,
          userProperties: [
            ['n', '1'],
            ['n', '2'],
          ],
        },
      },
    },
  },
];

const connacks: Vector[] = [
  {
    name: 'CONNACK 3.1',
    version: 3,
    from: 'server',
    hex: '20 02 00 00',
    packet: { type: 'connack', sessionPresent: false, reasonCode: 0, properties: {} },
  },
  {
    name: 'CONNACK 3.1.1 session present',
    version: 4,
    from: 'server',
    hex: '20 02 01 00',
    packet: { type: 'connack', sessionPresent: true, reasonCode: 0, properties: {} },
  },
  {
    name: 'CONNACK 3.1.1 refused',
    version: 4,
    from: 'server',
    hex: '20 02 00 05',
    packet: { type: 'connack', sessionPresent: false, reasonCode: 5, properties: {} },
  },
  {
    name: 'CONNACK 5',
    version: 5,
    from: 'server',
    hex: '20 03 00 87 00',
    packet: { type: 'connack', sessionPresent: false, reasonCode: 0x87, properties: {} },
  },
  {
    name: 'CONNACK 5 with every property',
    version: 5,
    from: 'server',
    hex: `20 42 01 00 3f 11 00000001 12 ${text('id')} 13 001e 15 ${text('m')} 16 0001 07 1a ${text('r')} 1c ${text('s')}
      1f ${text('why')} 21 0064 22 0010 24 01 25 00 26 ${text('a')} ${text('b')} 27 00001000 28 00 29 01 2a 00`.replaceAll(
      '\n',
      '',
    ),
    packet: {
      type: 'connack',
      sessionPresent: true,
      reasonCode: 0,
      properties: {
        sessionExpiry: 1,
        assignedClientId: 'id',
        serverKeepAlive: 30,
        authenticationMethod: 'm',
        authenticationData: Buffer.from([7]),
        responseInformation: 'r',
        serverReference: 's',
        reasonString: 'why',
        receiveMaximum: 100,
        topicAliasMaximum: 16,
        maximumQos: 1,
        retainAvailable: false,
        userProperties: [['a', 'b']],
        maximumPacketSize: 4096,
        wildcardSubscriptionsAvailable: false,
        subscriptionIdentifiersAvailable: true,
        sharedSubscriptionsAvailable: false,
      },
    },
  },
];

const publishes: Vector[] = [
  ...([3, 4] as const).map(
    (version): Vector => ({
      name: `PUBLISH QoS 0, level ${version}`,
      version,
      from: 'client',
      hex: `30 07 ${text('a/b')} 6869`,
      packet: plainPublish,
    }),
  ),
  {
    name: 'PUBLISH 3.1.1 QoS 2 with every flag',
    version: 4,
    from: 'client',
    hex: `3d 07 ${text('a/b')} 1234`,
    packet: { ...plainPublish, qos: 2, retain: true, dup: true, packetId: 0x1234, payload: Buffer.alloc(0) },
  },
  {
    name: 'PUBLISH with a topic beyond ASCII and a byte-order mark (MQTT-1.5.4-3)',
    version: 4,
    from: 'client',
    hex: `30 0c ${text('\ufeffé/😀')}`,
    packet: { ...plainPublish, topic: '\ufeffé/😀', payload: Buffer.alloc(0) },
  },
  {
    name: 'PUBLISH with a remaining length of two bytes',
    version: 4,
    from: 'server',
    hex: `30 8501 ${text('a/b')} ${'61'.repeat(128)}`,
    packet: { ...plainPublish, payload: Buffer.alloc(128, 'a') },
  },
  {
    name: 'PUBLISH 5',
    version: 5,
    from: 'client',
    hex: `32 0a ${text('a/b')} 0001 00 6869`,
    packet: { ...plainPublish, qos: 1, packetId: 1 },
  },
  {
    name: 'PUBLISH 5 by topic alias alone',
    version: 5,
    from: 'client',
    hex: '30 08 0000 03 23 000a 6869',
    packet: { ...plainPublish, topic: '', properties: { topicAlias: 10 } },
  },
  {
    name: 'PUBLISH 5 with every property',
    version: 5,
    from: 'server',
    hex: `30 35 ${text('a/b')} 2d 01 00 02 ffffffff 03 ${text('t')} 08 ${text('r/t')} 09 0001 00 0b 01 0b ffffff7f 23 ffff
      26 ${text('k')} ${text('v')} 26 ${text('')} ${text('é')} 6869`.replaceAll('\n', ''),
    packet: {
      ...plainPublish,
      properties: {
        payloadFormat: 0,
        messageExpiry: 0xffffffff,
        contentType: 't',
        responseTopic: 'r/t',
        correlationData: Buffer.from([0]),
        subscriptionIdentifiers: [1, 268_435_455],
        topicAlias: 65_535,
        userProperties: [
          ['k', 'v'],
          ['', 'é'],
        ],
      },
    },
  },
];

const kinds = [
  ['puback', '40', 0x97],
  ['pubrec', '50', 0x87],
  ['pubrel', '62', 0x92],
  ['pubcomp', '70', 0x92],
] as const;

const acks: Vector[] = kinds.flatMap(([type, first, code]): Vector[] => {
  const upper = type.toUpperCase();
  const plain = { type, packetId: 0x0102, reasonCode: 0, properties: {} };
  const reasoned = { ...plain, reasonCode: code };
  const hexCode = code.toString(16);
  return [
    { name: `${upper} 3.1`, version: 3, from: 'client', hex: `${first} 02 0102`, packet: plain },
    { name: `${upper} 3.1.1`, version: 4, from: 'server', hex: `${first} 02 0102`, packet: plain },
    { name: `${upper} 5`, version: 5, from: 'client', hex: `${first} 02 0102`, packet: plain },
    {
      name: `${upper} 5 code`,
      version: 5,
      from: 'server',
      hex: `${first} 03 0102 ${hexCode}`,
      packet: reasoned,
    },
    {
      name: `${upper} 5 success spelt out`,
      version: 5,
      from: 'client',
      hex: `${first} 04 0102 00 00`,
      packet: plain,
      readOnly: true,
    },
    {
      name: `${upper} 5 with properties`,
      version: 5,
      from: 'client',
      hex: `${first} 0f 0102 ${hexCode} 0b 1f ${text('x')} 26 ${text('n')} ${text('v')}`,
      packet: { ...reasoned, properties: { reasonString: 'x', userProperties: [['n', 'v']] } },
    },
  ];
});

const subscriptions: Vector[] = [
  ...([3, 4] as const).map(
    (version): Vector => ({
      name: `SUBSCRIBE level ${version}`,
      version,
      from: 'client',
      hex: `82 0c 000a ${text('a')} 00 ${text('+/#')} 02`,
      packet: {
        type: 'subscribe',
        packetId: 10,
        subscriptions: [
          { ...plainSubscription, filter: 'a' },
          { ...plainSubscription, filter: '+/#', qos: 2 },
        ],
        properties: {},
      },
    }),
  ),
  {
    name: 'SUBSCRIBE 3.1 with DUP and bits that it leaves undefined',
    version: 3,
    from: 'client',
    hex: `8a 06 000a ${text('a')} fd`,
    packet: {
      type: 'subscribe',
      packetId: 10,
      subscriptions: [{ ...plainSubscription, filter: 'a', qos: 1 }],
      properties: {},
    },
    readOnly: true,
  },
  {
    name: 'SUBSCRIBE 5 with options and properties',
    version: 5,
    from: 'client',
    hex: `82 1e 000a 0a 0b 8001 26 ${text('k')} ${text('v')} ${text('a')} 2d ${text('$share/g/b')} 1a`,
    packet: {
      type: 'subscribe',
      packetId: 10,
      subscriptions: [
        { filter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 },
        { filter: '$share/g/b', qos: 2, noLocal: false, retainAsPublished: true, retainHandling: 1 },
      ],
      properties: { subscriptionIdentifiers: [128], userProperties: [['k', 'v']] },
    },
  },
  {
    name: 'SUBACK 3.1.1',
    version: 4,
    from: 'server',
    hex: '90 06 000a 00 01 02 80',
    packet: { type: 'suback', packetId: 10, reasonCodes: [0, 1, 2, 0x80], properties: {} },
  },
  {
    name: 'SUBACK 5',
    version: 5,
    from: 'server',
    hex: `90 0a 000a 05 1f ${text('no')} 02 9e`,
    packet: { type: 'suback', packetId: 10, reasonCodes: [2, 0x9e], properties: { reasonString: 'no' } },
  },
  {
    name: 'UNSUBSCRIBE 3.1.1',
    version: 4,
    from: 'client',
    hex: `a2 08 000a ${text('a')} ${text('#')}`,
    packet: { type: 'unsubscribe', packetId: 10, filters: ['a', '#'], properties: {} },
  },
  {
    name: 'UNSUBSCRIBE 5',
    version: 5,
    from: 'client',
    hex: `a2 0d 000a 07 26 ${text('k')} ${text('v')} ${text('a')}`,
    packet: {
      type: 'unsubscribe',
      packetId: 10,
      filters: ['a'],
      properties: { userProperties: [['k', 'v']] },
    },
  },
  {
    name: 'UNSUBACK 3.1.1',
    version: 4,
    from: 'server',
    hex: 'b0 02 000a',
    packet: { type: 'unsuback', packetId: 10, reasonCodes: [], properties: {} },
  },
  {
    name: 'UNSUBACK 5',
    version: 5,
    from: 'server',
    hex: 'b0 05 000a 00 00 11',
    packet: { type: 'unsuback', packetId: 10, reasonCodes: [0, 0x11], properties: {} },
  },
];

const others: Vector[] = [
  ...([3, 4, 5] as const).flatMap((version): Vector[] => [
    { name: `PINGREQ level ${version}`, version, from: 'client', hex: 'c0 00', packet: { type: 'pingreq' } },
    {
      name: `PINGRESP level ${version}`,
      version,
      from: 'server',
      hex: 'd0 00',
      packet: { type: 'pingresp' },
    },
    {
      name: `DISCONNECT level ${version}`,
      version,
      from: 'client',
      hex: 'e0 00',
      packet: { type: 'disconnect', reasonCode: 0, properties: {} },
    },
  ]),
  {
    name: 'DISCONNECT 5 with will',
    version: 5,
    from: 'client',
    hex: 'e0 01 04',
    packet: { type: 'disconnect', reasonCode: 4, properties: {} },
  },
  {
    name: 'DISCONNECT 5 with session expiry',
    version: 5,
    from: 'client',
    hex: 'e0 07 00 05 11 00000000',
    packet: { type: 'disconnect', reasonCode: 0, properties: { sessionExpiry: 0 } },
  },
  {
    name: 'DISCONNECT 5 from the server',
    version: 5,
    from: 'server',
    hex: `e0 0e 9c 0c 1c ${text('b:1')} 1f ${text('off')}`,
    packet: {
      type: 'disconnect',
      reasonCode: 0x9c,
      properties: { serverReference: 'b:1', reasonString: 'off' },
    },
  },
  {
    name: 'AUTH from the client',
    version: 5,
    from: 'client',
    hex: `f0 0b 18 09 15 ${text('S')} 16 0002 ff00`,
    packet: {
      type: 'auth',
      reasonCode: 0x18,
      properties: { authenticationMethod: 'S', authenticationData: Buffer.from([255, 0]) },
    },
  },
  {
    name: 'AUTH success from the server',
    version: 5,
    from: 'server',
    hex: `f0 06 00 04 15 ${text('S')}`,
    packet: { type: 'auth', reasonCode: 0, properties: { authenticationMethod: 'S' } },
  },
];

const vectors = [...connects, ...connacks, ...publishes, ...acks, ...subscriptions, ...others];

function readerFor({ version, from, packet }: Vector): PacketReader {
  const role = from === 'client' ? 'server' : 'client';
  const reader = new PacketReader({ role, maxPacketBytes: 4096 });
  if (packet.type !== 'connect') reader.version = version;
  return reader;
}

function read(vector: Vector, chunks: readonly Buffer[]): Packet[] {
  const reader = readerFor(vector);
  const collector = new PacketCollector();
  for (const chunk of chunks) expect(reader.push(chunk, collector)).toBe(true);
  expect(reader.heldBytes).toBe(0);
  return collector.packets;
}

describe.each(vectors)('$name', (vector) => {
  const wire = bytes(vector.hex);

  it('decodes', () => {
    expect(read(vector, [wire])).toEqual([vector.packet]);
  });

  it.skipIf(vector.readOnly)('encodes', () => {
    expect(encodePacket(vector.version, vector.packet).toString('hex')).toBe(wire.toString('hex'));
  });

  it('decodes alike when split at every byte', () => {
    for (let cut = 0; cut <= wire.length; cut++) {
      expect(read(vector, [wire.subarray(0, cut), wire.subarray(cut)])).toEqual([vector.packet]);
    }
    const single = Array.from(wire, (_, index) => wire.subarray(index, index + 1));
    expect(read(vector, single)).toEqual([vector.packet]);
  });

  it.skipIf(vector.packet.type === 'connect')('decodes in a row, split at every byte', () => {
    const twice = Buffer.concat([wire, wire, wire]);
    for (let cut = 0; cut <= twice.length; cut++) {
      const packets = read(vector, [twice.subarray(0, cut), twice.subarray(cut)]);
      expect(packets).toEqual([vector.packet, vector.packet, vector.packet]);
    }
  });

  it('is refused or incomplete when its end is missing', () => {
    for (let cut = 1; cut < wire.length; cut++) {
      const reader = readerFor(vector);
      const collector = new PacketCollector();
      reader.push(wire.subarray(0, cut), collector);
      expect(collector.packets).toEqual([]);
      expect(reader.heldBytes).toBe(cut);
    }
  });
});

it('has a vector for every packet type of every version', () => {
  const seen = new Set(vectors.map(({ version, packet }) => `${packet.type} ${version}`));
  const types = [
    'connect',
    'publish',
    'puback',
    'pubrec',
    'pubrel',
    'pubcomp',
    'pingreq',
    'pingresp',
    'disconnect',
  ];
  for (const type of [...types, 'subscribe', 'connack']) {
    for (const version of [3, 4, 5]) expect(seen).toContain(`${type} ${version}`);
  }
  for (const type of ['suback', 'unsubscribe', 'unsuback']) {
    for (const version of [4, 5]) expect(seen).toContain(`${type} ${version}`);
  }
  expect(seen).toContain('auth 5');
});
