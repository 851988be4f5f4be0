import { describe, expect, it } from 'vitest';
import {
  connectFrame,
  pubackFrames,
  publishFrame,
  publishQosOneFrame,
  repeatFrame,
  subscribeFrame,
} from './mqtt-frames.ts';
import { MqttScanner } from './mqtt-scanner.ts';

describe('MQTT frames', () => {
  it('makes a CONNECT of protocol level 4 with a clean session and no keep alive', () => {
    expect(connectFrame('c1').toString('hex')).toBe('100e00044d5154540402000000026331');
  });

  it('asks for a session that is kept', () => {
    expect(connectFrame('c1', true).toString('hex')).toBe('100e00044d5154540400000000026331');
  });

  it('makes PUBACKs of the first packet ids', () => {
    expect(pubackFrames(Uint16Array.of(1, 0x1234, 9), 2).toString('hex')).toBe('4002000140021234');
  });

  it('makes a SUBSCRIBE with the reserved flags', () => {
    expect(subscribeFrame(1, 'a/b', 1).toString('hex')).toBe('820800010003612f6201');
  });

  it('makes publishes, and says where a packet id and the payload lie', () => {
    expect(publishFrame('t', Buffer.from('xy')).toString('hex')).toBe('30050001747879');
    const { bytes, packetIdAt, payloadAt } = publishQosOneFrame('t', Buffer.from('xy'));
    bytes.writeUInt16BE(0x1234, packetIdAt);
    expect(bytes.toString('hex')).toBe('320700017412347879');
    expect(bytes.toString('utf8', payloadAt)).toBe('xy');
  });

  it('writes remaining lengths of two and three bytes', () => {
    expect(publishFrame('t', Buffer.alloc(125)).subarray(0, 3).toString('hex')).toBe('308001');
    expect(publishFrame('t', Buffer.alloc(16381)).subarray(0, 4).toString('hex')).toBe('30808001');
  });
});

describe('MQTT scanner', () => {
  const qosOne = publishQosOneFrame('topic', Buffer.alloc(200, 7));
  const stream = Buffer.concat([
    Buffer.from([0x20, 2, 0, 0]),
    repeatFrame(publishFrame('t', Buffer.alloc(64, 1)), 3),
    publishFrame('t', Buffer.alloc(300, 2)),
    qosOne.bytes,
    publishFrame('', Buffer.alloc(0)),
    Buffer.from([0xd0, 0]),
    Buffer.from([0x40, 2, 0, 9]),
    // Retained at QoS 0: counted too.
    Buffer.from([0x31, 3, 0, 1, 0x74]),
  ]);
  const expected = {
    published: 6,
    packets: ['20:0000', `32:${qosOne.bytes.toString('hex').slice(6)}`, 'd0:', '40:0009'],
  };

  function scan(pieces: readonly Buffer[]) {
    const packets: string[] = [];
    const scanner = new MqttScanner((first, bytes, at, end) => {
      packets.push(`${first.toString(16)}:${bytes.toString('hex', at, end)}`);
    });
    for (const piece of pieces) {
      // The socket reuses its buffer, so a scanner may not lean on an earlier chunk's bytes.
      const chunk = Buffer.from(piece);
      scanner.push(chunk);
      chunk.fill(0xff);
    }
    return { published: scanner.published, packets };
  }

  it('finds every packet wherever the stream is cut in two', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(scan([stream.subarray(0, cut), stream.subarray(cut)]), `cut at ${cut}`).toEqual(expected);
    }
  });

  it('finds every packet in pieces of any one size', () => {
    for (let size = 1; size < 40; size++) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < stream.length; at += size) pieces.push(stream.subarray(at, at + size));
      expect(scan(pieces), `pieces of ${size}`).toEqual(expected);
    }
  });

  it('gathers a frame of many pieces, however small the first', () => {
    const frame = publishQosOneFrame('topic', Buffer.from(Array.from({ length: 5000 }, (_, i) => i))).bytes;
    for (const size of [1, 3, 700, 1100]) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < frame.length; at += size) pieces.push(frame.subarray(at, at + size));
      expect(scan(pieces).packets, `pieces of ${size}`).toEqual([`32:${frame.toString('hex', 3)}`]);
    }
  });

  it('shows publishes at QoS 0 to who inspects them', () => {
    const seen: string[] = [];
    const scanner = new MqttScanner((first, bytes, at, end) => {
      seen.push(`${first.toString(16)}:${bytes.toString('latin1', at + 3, end)}`);
    }, true);
    scanner.push(publishFrame('t', Buffer.from('xy')));
    expect([scanner.published, seen]).toEqual([1, ['30:xy']]);
  });

  it('refuses a length field of five bytes and a frame beyond its bound', () => {
    expect(() => scan([Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 1])])).toThrow('more than 4 bytes');
    expect(() =>
      scan([publishFrame('t', Buffer.alloc(1_100_000))].map((frame) => frame.subarray(0, 1_090_000))),
    ).toThrow('exceeds');
  });
});
