import { describe, expect, it } from 'vitest';
import type { ConnackPacket, Packet } from './packet.ts';
import { type AnswerPacket, encodePacket, encodeWithin } from './packet-encoder.ts';
import { connectReturnCodeOf, reasonCode } from './reason-code.ts';

const properties = { reasonString: 'because', userProperties: [['name', 'value']] as [string, string][] };

const answers: AnswerPacket[] = [
  { type: 'connack', sessionPresent: false, reasonCode: 0, properties },
  { type: 'puback', packetId: 1, reasonCode: 0x87, properties },
  { type: 'pubrec', packetId: 1, reasonCode: 0x87, properties },
  { type: 'pubrel', packetId: 1, reasonCode: 0x92, properties },
  { type: 'pubcomp', packetId: 1, reasonCode: 0x92, properties },
  { type: 'suback', packetId: 1, reasonCodes: [0], properties },
  { type: 'unsuback', packetId: 1, reasonCodes: [0], properties },
  { type: 'disconnect', reasonCode: 0x8e, properties },
  { type: 'auth', reasonCode: 0x18, properties },
];

describe.each(answers.map((answer) => [answer.type, answer] as const))(
  '%s under a maximum',
  (_type, answer) => {
    const sizeWith = (part: object) => encodePacket(5, { ...answer, properties: part } as Packet).length;
    const whole = sizeWith(properties);
    const reasoned = sizeWith({ reasonString: 'because' });
    const bare = sizeWith({});

    it('loses user properties first, then the reason string, then is not sent', () => {
      expect(encodeWithin(5, answer, whole)).toHaveLength(whole);
      expect(encodeWithin(5, answer, whole - 1)).toHaveLength(reasoned);
      expect(encodeWithin(5, answer, reasoned)).toHaveLength(reasoned);
      expect(encodeWithin(5, answer, reasoned - 1)).toHaveLength(bare);
      expect(encodeWithin(5, answer, bare)).toHaveLength(bare);
      expect(encodeWithin(5, answer, bare - 1)).toBeNull();
    });
  },
);

it('keeps a CONNACK with what it must say within 20 bytes', () => {
  const connack: ConnackPacket = {
    type: 'connack',
    sessionPresent: false,
    reasonCode: 0,
    properties: { receiveMaximum: 100, maximumPacketSize: 1000, topicAliasMaximum: 10, ...properties },
  };
  expect(encodeWithin(5, connack, 20)!.toString('hex')).toBe('200e00000b21006422000a27000003e8');
});

describe('MQTT 3', () => {
  it('gets the nearest return code in CONNACK', () => {
    const connack = (code: number) =>
      encodePacket(4, { type: 'connack', sessionPresent: false, reasonCode: code, properties }).toString(
        'hex',
      );
    expect(connack(0)).toBe('20020000');
    expect(connack(reasonCode.unsupportedProtocolVersion)).toBe('20020001');
    expect(connack(reasonCode.clientIdentifierNotValid)).toBe('20020002');
    expect(connack(reasonCode.serverBusy)).toBe('20020003');
    expect(connack(reasonCode.badUserNameOrPassword)).toBe('20020004');
    expect(connack(reasonCode.notAuthorized)).toBe('20020005');
    for (let code = 0x80; code <= 0xa2; code++) expect(connectReturnCodeOf(code)).toBeGreaterThan(0);
  });

  it('has no session present in 3.1, where the byte is reserved', () => {
    const connack: Packet = { type: 'connack', sessionPresent: true, reasonCode: 0, properties: {} };
    expect(encodePacket(3, connack).toString('hex')).toBe('20020000');
  });

  it('gets neither codes nor properties elsewhere', () => {
    expect(
      encodePacket(4, { type: 'puback', packetId: 1, reasonCode: 0x87, properties }).toString('hex'),
    ).toBe('40020001');
    expect(
      encodePacket(4, { type: 'suback', packetId: 1, reasonCodes: [1, 0x87], properties }).toString('hex'),
    ).toBe('900400010180');
    expect(
      encodePacket(4, { type: 'unsuback', packetId: 1, reasonCodes: [0], properties }).toString('hex'),
    ).toBe('b0020001');
    expect(encodePacket(4, { type: 'disconnect', reasonCode: 0x82, properties }).toString('hex')).toBe(
      'e000',
    );
  });
});

it.each<[string, Packet]>([
  [
    'a string of 65536 bytes',
    { type: 'disconnect', reasonCode: 0, properties: { reasonString: 'x'.repeat(65_536) } },
  ],
  ['packet id 0', { type: 'suback', packetId: 0, reasonCodes: [0], properties: {} }],
  ['packet id 65536', { type: 'puback', packetId: 65_536, reasonCode: 0, properties: {} }],
])('refuses to encode %s', (_name, packet) => {
  expect(() => encodePacket(5, packet)).toThrow(expect.objectContaining({ code: 'MQTT_UNENCODABLE' }));
});
