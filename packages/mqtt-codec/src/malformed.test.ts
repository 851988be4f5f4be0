import { RobustError } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import { encodeUnsupportedVersion } from './connack-codec.ts';
import type { MqttCodecErrorCode } from './error.ts';
import { headerFaults, noFault, type PeerRole } from './fixed-header.ts';
import type { ProtocolVersion } from './packet.ts';
import { PacketCollector } from './packet-collector.ts';
import { PacketReader } from './packet-reader.ts';
import { place, propertyDefinitions } from './property.ts';

const bytes = (hex: string) => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');
const hexOf = (value: string) => Buffer.from(value).toString('hex');
const sized = (hex: string) =>
  `${(bytes(hex).length >> 8).toString(16).padStart(2, '0')}${(bytes(hex).length & 255).toString(16).padStart(2, '0')}${hex}`;
const text = (value: string) => sized(hexOf(value));
/** A packet from its first byte and body, with a right remaining length of one or two bytes. */
function packet(first: string, body: string): string {
  const length = bytes(body).length;
  const header = length < 128 ? [length] : [(length & 127) | 128, length >> 7];
  return first + Buffer.from(header).toString('hex') + body;
}

function failure(
  wire: Buffer,
  version: ProtocolVersion | 0,
  role: PeerRole = 'server',
): RobustError<MqttCodecErrorCode> {
  const reader = new PacketReader({ role, maxPacketBytes: 65_536 });
  if (version !== 0) reader.version = version;
  const collector = new PacketCollector();
  try {
    reader.push(wire, collector);
  } catch (error) {
    expect(error).toBeInstanceOf(RobustError);
    expect(collector.packets).toEqual([]);
    return error as RobustError<MqttCodecErrorCode>;
  }
  throw new Error(`accepted: ${JSON.stringify(collector.packets)}, held ${reader.heldBytes}`);
}

function accepted(wire: Buffer, version: ProtocolVersion | 0): number {
  const reader = new PacketReader({ role: 'server', maxPacketBytes: 65_536 });
  if (version !== 0) reader.version = version;
  const collector = new PacketCollector();
  reader.push(wire, collector);
  return collector.packets.length;
}

type Row = [name: string, version: ProtocolVersion | 0, hex: string, reason: number];

const connect = (level: number, flags: string, rest: string) =>
  packet(
    '10',
    `${text(level === 3 ? 'MQIsdp' : 'MQTT')}${level.toString(16).padStart(2, '0')}${flags}003c${rest}`,
  );
const noProps = '00';

const connectRows: Row[] = [
  ['a first packet that is no CONNECT (MQTT-3.1.0-1)', 0, 'c000', 0x82],
  ['a first packet of type 0', 0, '0000', 0x82],
  ['CONNECT with reserved header flags', 0, `11${connect(4, '02', text('c')).slice(2)}`, 0x81],
  ['an unknown protocol name (MQTT-3.1.2-1)', 0, packet('10', `${text('MQTU')}0402003c${text('c')}`), 0x81],
  ['a protocol name in lower case', 0, packet('10', `${text('mqtt')}0402003c${text('c')}`), 0x81],
  ['the reserved connect flag (MQTT-3.1.2-3)', 0, connect(4, '03', text('c')), 0x81],
  ['the reserved connect flag in MQTT 5', 0, connect(5, '03', noProps + text('c')), 0x81],
  ['will QoS without a will (MQTT-3.1.2-11)', 0, connect(4, '0a', text('c')), 0x81],
  ['will retain without a will (MQTT-3.1.2-13)', 0, connect(4, '22', text('c')), 0x81],
  ['will QoS 3 (MQTT-3.1.2-12)', 0, connect(4, '1e', text('c') + text('w') + text('')), 0x81],
  ['a password without user name in 3.1.1', 0, connect(4, '42', text('c') + text('p')), 0x81],
  ['a password without user name in 3.1', 0, connect(3, '42', text('c') + text('p')), 0x81],
  ['no keep alive', 0, packet('10', `${text('MQTT')}0402`), 0x81],
  ['no client id (MQTT-3.1.3-3)', 0, packet('10', `${text('MQTT')}0402003c`), 0x81],
  ['a user name flag without user name (MQTT-3.1.2-17)', 0, connect(4, '82', text('c')), 0x81],
  ['a user name without its flag (MQTT-3.1.2-16)', 0, connect(4, '02', text('c') + text('u')), 0x81],
  ['bytes behind the end', 0, connect(4, '02', `${text('c')}00`), 0x81],
  ['a client id with U+0000 (MQTT-1.5.4-2)', 0, connect(4, '02', sized('610062')), 0x81],
  ['a client id with a surrogate (MQTT-1.5.4-1)', 0, connect(4, '02', sized('61eda080')), 0x81],
  ['a client id with an overlong slash', 0, connect(4, '02', sized('61c0af')), 0x81],
  ['a client id with U+0001', 0, connect(4, '02', sized('6101')), 0x81],
  ['a user name with CR LF', 0, connect(4, '82', text('c') + sized('610d0a')), 0x81],
  ['a user name with U+009F', 0, connect(4, '82', text('c') + sized('c29f')), 0x81],
  ['a client id of 257 bytes', 0, connect(4, '02', text('c'.repeat(257))), 0x85],
  ['a user name of 257 bytes', 0, connect(4, '82', text('c') + text('u'.repeat(257))), 0x86],
  ['a will topic with a wildcard', 0, connect(4, '06', text('c') + text('a/+') + text('')), 0x81],
  ['an empty will topic', 0, connect(4, '06', text('c') + text('') + text('')), 0x81],
  ['a will topic with U+FFFF', 0, connect(4, '06', text('c') + sized('efbfbf') + text('')), 0x81],
  ['a will without payload (MQTT-3.1.2-9)', 0, connect(4, '06', text('c') + text('w')), 0x81],
  ['receive maximum 0', 0, connect(5, '02', `03210000${text('c')}`), 0x82],
  ['maximum packet size 0', 0, connect(5, '02', `052700000000${text('c')}`), 0x82],
  ['request problem information 2', 0, connect(5, '02', `021702${text('c')}`), 0x82],
  ['authentication data without a method', 0, connect(5, '02', `0416000101${text('c')}`), 0x82],
  ['will delay outside the will', 0, connect(5, '02', `051800000001${text('c')}`), 0x82],
  [
    'will properties that are truncated',
    0,
    connect(5, '06', `00${text('c')}7f01${text('w')}${text('p')}`),
    0x81,
  ],
  ['no property length (MQTT-2.2.2-1)', 0, packet('10', `${text('MQTT')}0502003c`), 0x81],
  ['a second CONNECT (MQTT-3.1.0-2)', 4, connect(4, '02', text('c')), 0x82],
  ['lengths beyond the packet', 0, packet('10', `${text('MQTT')}04c2003c000b${hexOf('test')}`), 0x81],
];

const publish5 = (properties: string) => packet('32', `${text('t')}0001${properties}${hexOf('payload')}`);

const publishRows: Row[] = [
  ['QoS 3 (MQTT-3.3.1-4)', 4, packet('36', `${text('t')}0001`), 0x81],
  ['DUP at QoS 0 (MQTT-3.3.1-2)', 4, packet('38', text('t')), 0x81],
  ['packet id 0 (MQTT-2.2.1-3)', 4, packet('32', `${text('t')}0000`), 0x82],
  ['no packet id', 4, packet('32', text('t')), 0x81],
  ['half a packet id', 4, packet('34', `${text('t')}00`), 0x81],
  ['an empty body', 4, '3000', 0x81],
  ['a topic that is cut off', 4, packet('30', '000561'), 0x81],
  ['an empty topic (MQTT-4.7.3-1)', 4, packet('30', text('')), 0x82],
  ['an empty topic without alias', 5, packet('30', `${text('')}00`), 0x82],
  ['a topic with + (MQTT-3.3.2-2)', 4, packet('30', text('a/+')), 0x81],
  ['a topic with # (MQTT-4.7.0-1)', 5, packet('30', `${text('a/b#')}00`), 0x81],
  ['a topic with U+0000 (MQTT-4.7.3-2)', 4, packet('30', sized('610062')), 0x81],
  ['a topic with U+007F', 4, packet('30', sized('617f')), 0x81],
  ['a topic with U+0080', 4, packet('30', sized('61c280')), 0x81],
  ['a topic with a non-character', 4, packet('30', sized('efb790')), 0x81],
  ['a topic with U+1FFFF', 4, packet('30', sized('f09fbfbf')), 0x81],
  ['a topic with half a character', 4, packet('30', sized('61c3')), 0x81],
  ['a topic of 4097 bytes', 4, packet('30', text('a'.repeat(4097))), 0x90],
  ['a topic of 129 levels', 4, packet('30', text('/'.repeat(128))), 0x90],
  ['no property length', 5, packet('30', text('t')), 0x81],
  [
    'a property length that is not the shortest form (MQTT-1.5.5-1)',
    5,
    packet('30', `${text('t')}8000`),
    0x81,
  ],
  ['properties beyond the packet', 5, packet('30', `${text('t')}0501`), 0x81],
  ['topic alias 0 (MQTT-3.3.2-8)', 5, publish5('03230000'), 0x94],
  ['a topic alias twice', 5, publish5('06230001230001'), 0x82],
  ['payload format 2', 5, publish5('020102'), 0x82],
  ['a subscription identifier from a client (MQTT-3.3.4-6)', 5, publish5('020b01'), 0x82],
  ['a subscription identifier that is not the shortest form', 5, publish5('030b8000'), 0x81],
  [
    'a response topic with a wildcard (MQTT-3.3.2-14)',
    5,
    publish5(`08${text('a/#')}`.replace(/^/, '06')),
    0x82,
  ],
  ['an empty response topic', 5, publish5(`0308${text('')}`), 0x82],
  ['a content type with invalid UTF-8', 5, publish5(`04 03 ${sized('ff')}`), 0x81],
  ['a user property with a newline', 5, publish5(`07 26 ${sized('0a')} ${text('v')}`), 0x81],
  ['an unknown property', 5, publish5('020401'), 0x81],
  ['a property id of two bytes', 5, publish5('03810101'), 0x81],
  ['65 user properties', 5, publish5(`c502${`26${text('')}${text('')}`.repeat(65)}`), 0x97],
];

const otherRows: Row[] = [
  ['PUBACK packet id 0', 4, '40020000', 0x82],
  ['PUBACK too short', 5, '400101', 0x81],
  ['PUBREL without body', 5, '6200', 0x81],
  ['PUBACK too long in 3.1.1', 4, '4003000100', 0x81],
  ['PUBREC with bytes behind its properties', 5, '50050001000000', 0x81],
  ['PUBREL without property bytes that it announces', 5, '620400010001', 0x81],
  ['PUBACK with a code of another packet (MQTT-3.4.2-1)', 5, '4003000192', 0x82],
  ['PUBREL with a code of another packet (MQTT-3.6.2-1)', 5, '6203000187', 0x82],
  ['PUBREL with flags 0 (MQTT-3.6.1-1)', 4, '60020001', 0x81],
  ['PUBREL with DUP in 3.1.1', 4, '6a020001', 0x81],
  ['SUBSCRIBE with flags 0 (MQTT-3.8.1-1)', 4, packet('80', `0001${text('a')}00`), 0x81],
  ['SUBSCRIBE packet id 0', 4, packet('82', `0000${text('a')}00`), 0x82],
  ['SUBSCRIBE without filter (MQTT-3.8.3-2)', 5, packet('82', '000100'), 0x82],
  ['SUBSCRIBE without options', 4, packet('82', `0001${text('a')}`), 0x81],
  ['SUBSCRIBE QoS 3', 3, packet('82', `0001${text('a')}03`), 0x81],
  ['SUBSCRIBE reserved bits in 3.1.1', 4, packet('82', `0001${text('a')}04`), 0x81],
  ['SUBSCRIBE reserved bits in 5 (MQTT-3.8.3-5)', 5, packet('82', `000100${text('a')}40`), 0x81],
  ['SUBSCRIBE retain handling 3', 5, packet('82', `000100${text('a')}30`), 0x82],
  [
    'no local on a shared subscription (MQTT-3.8.3-4)',
    5,
    packet('82', `000100${text('$share/g/a')}04`),
    0x82,
  ],
  ['a filter with + inside a level (MQTT-4.7.1-2)', 4, packet('82', `0001${text('ab/+e')}00`), 0x81],
  ['a filter with # before its end (MQTT-4.7.1-1)', 4, packet('82', `0001${text('a/#/b')}00`), 0x81],
  ['an empty filter', 4, packet('82', `0001${text('')}00`), 0x81],
  ['a share without name (MQTT-4.8.2-1)', 5, packet('82', `000100${text('$share//a')}00`), 0x81],
  ['a share without filter', 5, packet('82', `000100${text('$share/g')}00`), 0x81],
  ['a share name with + (MQTT-4.8.2-2)', 5, packet('82', `000100${text('$share/g+/a')}00`), 0x81],
  ['a filter of 129 levels', 4, packet('82', `0001${text('+/'.repeat(128) + '+')}00`), 0x8f],
  [
    'a filter of 65400 slashes',
    4,
    packetOf(0x82, Buffer.concat([bytes('0001ff78'), Buffer.alloc(65_400, '/'), bytes('00')])),
    0x8f,
  ],
  ['1001 filters', 4, packetOf(0x82, bytes(`0001${`${text('a')}00`.repeat(1001)}`)), 0x97],
  ['two subscription identifiers', 5, packet('82', `0001040b010b02${text('a')}00`), 0x82],
  ['subscription identifier 0', 5, packet('82', `0001020b00${text('a')}00`), 0x82],
  ['UNSUBSCRIBE without filter (MQTT-3.10.3-2)', 4, packet('a2', '0001'), 0x82],
  ['UNSUBSCRIBE with flags 0 (MQTT-3.10.1-1)', 4, packet('a0', `0001${text('a')}`), 0x81],
  ['UNSUBSCRIBE with an empty filter', 5, packet('a2', `000100${text('q')}${text('')}`), 0x81],
  ['PINGREQ with a body', 4, 'c00100', 0x81],
  ['PINGREQ with flags', 5, 'c200', 0x81],
  ['DISCONNECT with a body in 3.1.1', 4, 'e00100', 0x81],
  ['DISCONNECT with flags (MQTT-3.14.1-1)', 5, 'e100', 0x81],
  ['DISCONNECT with a code of the server', 5, 'e0018e', 0x82],
  ['DISCONNECT with a server reference', 5, packet('e0', `00041c${text('s')}`), 0x82],
  ['DISCONNECT with session expiry cut off', 5, 'e0030001 11', 0x81],
  ['AUTH before MQTT 5', 4, 'f000', 0x82],
  ['AUTH with flags (MQTT-3.15.1-1)', 5, 'f100', 0x81],
  ['AUTH success from a client (MQTT-3.15.2-1)', 5, 'f000', 0x82],
  ['AUTH data without a method', 5, packet('f0', '1804 1600 0101'), 0x82],
  ['CONNACK from a client', 5, '2003000000', 0x82],
  ['SUBACK from a client', 4, '9003000100', 0x82],
  ['UNSUBACK from a client', 4, 'b0020001', 0x82],
  ['PINGRESP from a client', 5, 'd000', 0x82],
  ['packet type 0', 5, '0000', 0x82],
  ['a remaining length of five bytes', 4, '308080808001', 0x81],
  ['a remaining length that is not the shortest form (MQTT-1.5.5-1)', 4, 'c08000', 0x81],
];

function packetOf(first: number, body: Buffer): string {
  const header = [first, (body.length & 127) | 128, ((body.length >> 7) & 127) | 128, body.length >> 14];
  if (body.length < 16_384) header.splice(2, 2, body.length >> 7);
  return Buffer.concat([Buffer.from(header), body]).toString('hex');
}

const rows = [
  ...connectRows.map((row): [string, Row] => ['CONNECT', row]),
  ...publishRows.map((row): [string, Row] => ['PUBLISH', row]),
  ...otherRows.map((row): [string, Row] => ['other', row]),
].map(([group, row]) => [`${group}: ${row[0]}`, ...row.slice(1)] as Row);

it.each(rows)('refuses %s', (_name, version, hex, reason) => {
  const error = failure(bytes(hex), version);
  expect(error.detail['reasonCode']).toBe(reason);
  expect(error.retriable).toBe(false);
});

it.each([
  [
    '3.1 with the reserved connect flag, which it does not oblige a client to clear',
    0,
    connect(3, '03', text('c')),
  ],
  ['3.1 with will bits and no will', 0, connect(3, '3a', text('c'))],
  ['an empty client id, which is for the server to judge', 0, connect(4, '00', text(''))],
  ['a client id and user name with wildcards and slashes', 0, connect(4, '82', text('a+b/#') + text('u/+'))],
  ['a user name of 256 bytes', 0, connect(4, '82', text('c') + text('u'.repeat(256)))],
  ['PUBREL with DUP in 3.1', 3, '6a020001'],
  ['64 user properties', 5, publish5(`c002${`26${text('')}${text('')}`.repeat(64)}`)],
  ['a topic of 4096 bytes', 4, packet('30', text('a'.repeat(4096)))],
  ['a topic of 128 levels', 4, packet('30', text('/'.repeat(127)))],
  ['a topic that begins with $', 4, packet('30', text('$x'))],
  ['an empty content type', 5, publish5(`0303${text('')}`)],
] as [string, ProtocolVersion | 0, string][])('takes %s', (_name, version, hex) => {
  expect(accepted(bytes(hex), version)).toBe(1);
});

describe('protocol levels', () => {
  it.each([
    ['MQTT', 2],
    ['MQTT', 3],
    ['MQTT', 6],
    ['MQIsdp', 4],
    ['MQIsdp', 0x83],
  ])('refuses %s %i and names the level (MQTT-3.1.2-2)', (name, level) => {
    const hex = packet('10', `${text(name)}${level.toString(16).padStart(2, '0')}02003c${text('c')}`);
    const error = failure(bytes(hex), 0);
    expect(error.code).toBe('MQTT_UNSUPPORTED_VERSION');
    expect(error.detail).toEqual({ reasonCode: 0x84, protocolLevel: level });
  });

  it('are answered in a form that the client can read', () => {
    expect(encodeUnsupportedVersion(2).toString('hex')).toBe('20020001');
    expect(encodeUnsupportedVersion(0x84).toString('hex')).toBe('20020001');
    expect(encodeUnsupportedVersion(6).toString('hex')).toBe('2003008400');
  });

  it('are known although the rest of CONNECT is bad, so that the answer has the right form', () => {
    const reader = new PacketReader({ role: 'server', maxPacketBytes: 100 });
    expect(() => reader.push(bytes(connect(5, '03', noProps + text('c'))), new PacketCollector())).toThrow(
      RobustError,
    );
    expect(reader.version).toBe(5);
  });
});

describe('packets in the wrong direction', () => {
  it('are refused by their first byte, for every role and version', () => {
    const wrong: string[] = [];
    for (const role of ['server', 'client'] as const) {
      for (const version of [3, 4, 5] as const) {
        const faults = headerFaults(role, version);
        const open = Array.from(faults.keys()).filter((first) => faults[first] === noFault);
        const types = [...new Set(open.map((first) => first >> 4))];
        const server = [3, 4, 5, 6, 7, 8, 10, 12, 14];
        const client = [2, 3, 4, 5, 6, 7, 9, 11, 13];
        if (version === 5) client.push(14);
        const expected = role === 'server' ? server : client;
        if (version === 5) expected.push(15);
        if (String(types) !== String(expected)) wrong.push(`${role} ${version}: ${types}`);
        for (const first of faults.keys()) {
          if (faults[first] === noFault) continue;
          const error = failure(Buffer.from([first]), version, role);
          if (![0x81, 0x82].includes(error.detail['reasonCode'] as number)) wrong.push(`${first}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('properties', () => {
  const values = {
    flag: '01',
    u8: '01',
    u16: '0001',
    u32: '00000001',
    varint: '01',
    text: text('t'),
    binary: sized('00'),
    pair: text('k') + text('v'),
  };
  const idHex = (id: number) => id.toString(16).padStart(2, '0');
  const lengthHex = (hex: string) => bytes(hex).length.toString(16).padStart(2, '0');
  /** Each packet with room for a property section, its sender and place. */
  const carriers: [string, PeerRole, number, (properties: string) => string][] = [
    ['CONNECT', 'server', place.connect, (p) => connect(5, '02', lengthHex(p) + p + text('c'))],
    [
      'will',
      'server',
      place.will,
      (p) => connect(5, '06', `00${text('c')}${lengthHex(p)}${p}${text('w')}${text('')}`),
    ],
    ['CONNACK', 'client', place.connack, (p) => packet('20', `0000${lengthHex(p)}${p}`)],
    ['PUBLISH', 'server', place.publishFromClient, (p) => packet('30', `${text('t')}${lengthHex(p)}${p}`)],
    ['PUBLISH', 'client', place.publishFromServer, (p) => packet('30', `${text('t')}${lengthHex(p)}${p}`)],
    ['PUBACK', 'server', place.ack, (p) => packet('40', `000100${lengthHex(p)}${p}`)],
    ['PUBREC', 'server', place.ack, (p) => packet('50', `000100${lengthHex(p)}${p}`)],
    ['PUBREL', 'client', place.ack, (p) => packet('62', `000100${lengthHex(p)}${p}`)],
    ['PUBCOMP', 'client', place.ack, (p) => packet('70', `000100${lengthHex(p)}${p}`)],
    ['SUBSCRIBE', 'server', place.subscribe, (p) => packet('82', `0001${lengthHex(p)}${p}${text('a')}00`)],
    ['SUBACK', 'client', place.suback, (p) => packet('90', `0001${lengthHex(p)}${p}00`)],
    ['UNSUBSCRIBE', 'server', place.unsubscribe, (p) => packet('a2', `0001${lengthHex(p)}${p}${text('a')}`)],
    ['UNSUBACK', 'client', place.unsuback, (p) => packet('b0', `0001${lengthHex(p)}${p}00`)],
    ['DISCONNECT', 'server', place.disconnectFromClient, (p) => packet('e0', `00${lengthHex(p)}${p}`)],
    ['DISCONNECT', 'client', place.disconnectFromServer, (p) => packet('e0', `00${lengthHex(p)}${p}`)],
    ['AUTH', 'server', place.auth, (p) => packet('f0', `18${lengthHex(p)}${p}`)],
  ];

  describe.each(carriers)('of %s read by a %s', (name, role, where, wire) => {
    const version = name === 'CONNECT' || name === 'will' ? 0 : 5;
    const method = `15${text('m')}`;
    const needsMethod = (id: number) => (id === 0x16 ? method : '');

    it('may stand where the specification puts them, and nowhere else', () => {
      for (const { id, kind, places } of propertyDefinitions) {
        const property = idHex(id) + values[kind];
        if ((places & where) === 0) {
          expect(failure(bytes(wire(property)), version, role).detail['reasonCode']).toBe(0x82);
        } else {
          const reader = new PacketReader({ role, maxPacketBytes: 1000 });
          if (version === 5) reader.version = 5;
          const collector = new PacketCollector();
          reader.push(bytes(wire(needsMethod(id) + property)), collector);
          expect(collector.packets).toHaveLength(1);
        }
      }
    });

    it("may not be there twice, user properties and a delivery's subscription identifiers aside", () => {
      for (const { id, kind, places } of propertyDefinitions) {
        if ((places & where) === 0 || id === 0x26 || (id === 0x0b && where === place.publishFromServer))
          continue;
        const property = idHex(id) + values[kind];
        expect(failure(bytes(wire(property + property)), version, role).detail['reasonCode']).toBe(0x82);
      }
    });

    it('are malformed when cut off anywhere, allowed here or not', () => {
      for (const { id, kind } of propertyDefinitions) {
        const property = bytes(idHex(id) + values[kind]);
        for (let cut = 1; cut < property.length; cut++) {
          const hex = property.subarray(0, cut).toString('hex');
          expect(failure(bytes(wire(hex)), version, role).detail['reasonCode']).toBe(0x81);
        }
      }
    });

    it('are malformed when their id is unknown', () => {
      const known = new Set(propertyDefinitions.map(({ id }) => id));
      for (let id = 0; id < 256; id++) {
        if (known.has(id)) continue;
        expect(failure(bytes(wire(`${idHex(id)}01`)), version, role).detail['reasonCode']).toBe(0x81);
      }
    });
  });
});
