import { HeaderCursor, HeaderEncoder } from '@robustmq/record';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Guarantee } from '../router/match.ts';
import type { MqHeader } from './mq-header.ts';
import { mqHeaderName, mqHeaderPrefixBytesMax, MqHeaderReader, writeMqHeader } from './mq-header.ts';

const plain: MqHeader = {
  guarantee: 0,
  retain: false,
  textPayload: false,
  bytesPayload: false,
  tokenProducer: -1,
  token: 0,
  tokenIsEpoch: false,
};

function written(header: Partial<MqHeader>, clientId = ''): Buffer {
  const target = Buffer.alloc(3 + mqHeaderPrefixBytesMax + clientId.length * 3, 0xee);
  const end = writeMqHeader(target, 3, { ...plain, ...header }, Buffer.from(clientId));
  return target.subarray(3, end);
}

describe('semantics 2.2: the header mq', () => {
  test.each([
    [{ guarantee: 1 }, 'c1', '016331'],
    [{ guarantee: 2, retain: true }, '', '06'],
    [{ textPayload: true }, 'x', '0878'],
    [{ bytesPayload: true }, 'x', '4078'],
    [{ guarantee: 2, tokenProducer: 5, token: 7 }, 'a', '12000000000000000500000007' + '61'],
    [
      { guarantee: 1, tokenProducer: 0x1_0000_0002, token: 0xffffffff, tokenIsEpoch: true },
      '',
      '31' + '0000000100000002' + 'ffffffff',
    ],
  ] as const)('%j by %j is %s', (header, clientId, hex) => {
    expect(written(header, clientId).toString('hex')).toBe(hex);
  });

  test('what is written is read, from any place in a buffer', () => {
    const headers = fc.record({
      guarantee: fc.constantFrom<Guarantee>(0, 1, 2),
      retain: fc.boolean(),
      textPayload: fc.boolean(),
      bytesPayload: fc.boolean(),
      tokenProducer: fc.oneof(fc.constant(-1), fc.maxSafeNat()),
      token: fc.nat({ max: 0xffffffff }),
      tokenIsEpoch: fc.boolean(),
    });
    const reader = new MqHeaderReader();
    fc.assert(
      fc.property(headers, fc.string({ unit: 'grapheme' }), (header, clientId) => {
        const value = written(header, clientId);
        const buffer = Buffer.concat([Buffer.from('??'), value, Buffer.from('??')]);
        expect(reader.read(buffer, 2, 2 + value.length)).toBe(true);
        const token = header.tokenProducer >= 0 ? header : { token: 0, tokenIsEpoch: false };
        expect(reader).toMatchObject({
          guarantee: header.guarantee,
          retain: header.retain,
          textPayload: header.textPayload,
          bytesPayload: header.bytesPayload,
          tokenProducer: header.tokenProducer,
          token: token.token,
          tokenIsEpoch: token.tokenIsEpoch,
        });
        expect(buffer.toString('utf8', reader.clientIdStart, reader.clientIdEnd)).toBe(clientId);
        expect(reader.isFrom(buffer, Buffer.from(clientId))).toBe(true);
        expect(reader.isFrom(buffer, Buffer.from(`${clientId}!`))).toBe(false);
      }),
    );
  });

  test('broken values are refused and read as a record that no broker encoded', () => {
    const reader = new MqHeaderReader();
    const none = { guarantee: 2, retain: false, tokenProducer: -1, clientIdStart: 0, clientIdEnd: 0 };
    // Guarantee 3; a token cut off; a producer id below zero; one that is no safe integer.
    for (const hex of [
      '',
      '03',
      '10',
      '1000',
      `10${'00'.repeat(11)}`,
      `10${'ff'.repeat(12)}`,
      '107f' + '00'.repeat(11),
    ]) {
      reader.read(Buffer.from('0561', 'hex'), 0, 2);
      const value = Buffer.from(hex, 'hex');
      expect(reader.read(value, 0, value.length), hex).toBe(false);
      expect(reader).toMatchObject(none);
    }
    expect(reader.read(Buffer.alloc(4), -1, -1)).toBe(false);
  });

  test('it is found among other headers', () => {
    const encoder = new HeaderEncoder();
    encoder
      .addText('m', 'x')
      .addText('mqq', 'x')
      .add(mqHeaderName, written({ guarantee: 1 }, 'me'));
    const cursor = new HeaderCursor();
    const reader = new MqHeaderReader();
    const open = () => cursor.open(encoder.buffer, 0, encoder.length, encoder.count);
    expect(reader.find(open(), encoder.buffer)).toBe(true);
    expect(reader.isFrom(encoder.buffer, Buffer.from('me'))).toBe(true);
    encoder.reset().addText('other', 'x');
    expect(reader.find(open(), encoder.buffer)).toBe(false);
    expect(reader.guarantee).toBe(2);
  });
});
