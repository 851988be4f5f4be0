import { crc32c, RobustError } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import type { FrameHeader } from './frame.ts';
import {
  decodeFrameHeader,
  decodeTable,
  encodeFrameHeader,
  frameBytes,
  frameBytesMax,
  frameHeaderBytes,
} from './frame.ts';

const header: Omit<FrameHeader, 'crc'> = {
  kind: 7,
  uuid: Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
  salt: Buffer.from('0102030405060708', 'hex'),
  generation: 0x1_0000_0002,
  sequence: 3,
  bodyBytes: 0x1234,
  items: 5,
  previousCrc: 0xdeadbeef,
  tableCrc: 0xcafebabe,
  checkpoint: true,
  complete: false,
};

/** The bytes as the comment above `FrameHeader` has them, without the code under test. */
const vector = [
  '5257414c 01 07 01 00',
  '00112233445566778899aabbccddeeff',
  '0102030405060708 0000000100000002',
  '00000003 00001234 00000005 deadbeef cafebabe',
]
  .join('')
  .replaceAll(' ', '');

function encoded(change: Partial<FrameHeader> = {}): Buffer {
  const bytes = Buffer.alloc(frameHeaderBytes);
  encodeFrameHeader(bytes, 0, { ...header, ...change });
  return bytes;
}

function sealed(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32c(bytes.subarray(0, 60)), 60);
  return bytes;
}

describe('storage 2.3: the frame header', () => {
  it('has exactly these bytes on the disk', () => {
    const bytes = encoded();
    expect(bytes.subarray(0, 60).toString('hex')).toBe(vector);
    expect(bytes.readUInt32BE(60)).toBe(crc32c(Buffer.from(vector, 'hex')));
    expect(bytes.readUInt32BE(60).toString(16)).toBe('c08d8a54');
  });

  it('decodes to what was encoded, at any position', () => {
    const bytes = Buffer.concat([Buffer.alloc(100, 1), encoded({ checkpoint: false, complete: true })]);
    const decoded = decodeFrameHeader(bytes, 100)!;
    const { crc, ...fields } = decoded;
    expect(fields).toEqual({ ...header, checkpoint: false, complete: true });
    expect(crc).toBe(bytes.readUInt32BE(160));
  });

  it('is nothing with any one bit flipped, and nothing when it is cut short', () => {
    for (let bit = 0; bit < frameHeaderBytes * 8; bit++) {
      const bytes = encoded();
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
      expect(decodeFrameHeader(bytes, 0), `bit ${bit}`).toBeNull();
    }
    for (let length = 0; length < frameHeaderBytes; length++) {
      expect(decodeFrameHeader(encoded().subarray(0, length), 0)).toBeNull();
    }
  });

  it('of a later version is refused, not taken for damage', () => {
    const bytes = encoded();
    bytes[4] = 2;
    expect(() => decodeFrameHeader(sealed(bytes), 0)).toThrow(RobustError);
    expect(() => decodeFrameHeader(bytes, 0)).toThrow(expect.objectContaining({ code: 'WAL_VERSION' }));
  });

  it('with lengths that no writer makes is nothing', () => {
    expect(decodeFrameHeader(encoded({ bodyBytes: frameBytesMax }), 0)).toBeNull();
    expect(decodeFrameHeader(encoded({ items: 1000, bodyBytes: 7999 }), 0)).toBeNull();
    expect(decodeFrameHeader(encoded({ items: 1000, bodyBytes: 8000 }), 0)).not.toBeNull();
    expect(decodeFrameHeader(encoded({ generation: 2 ** 53 }), 0)).toBeNull();
  });
});

describe('storage 2.1: the table of items', () => {
  /** A frame of two items, `ab` and `cde`, whose table says `lengths`. */
  function frame(lengths: readonly number[]): { bytes: Buffer; header: FrameHeader } {
    const table = Buffer.alloc(16);
    lengths.forEach((length, item) => {
      table.writeUInt32BE(length, item * 8);
      table.writeUInt32BE(100 + item, item * 8 + 4);
    });
    const bytes = Buffer.concat([Buffer.alloc(frameHeaderBytes), table, Buffer.from('abcde')]);
    encodeFrameHeader(bytes, 0, { ...header, bodyBytes: 21, items: 2, tableCrc: crc32c(table) });
    return { bytes, header: decodeFrameHeader(bytes, 0)! };
  }

  it('gives each item its bytes and its checksum', () => {
    const { bytes, header: decoded } = frame([2, 3]);
    const items = decodeTable(bytes, decoded)!;
    expect(items.map((item) => [item.bytes.toString(), item.crc])).toEqual([
      ['ab', 100],
      ['cde', 101],
    ]);
  });

  it('is refused when it points behind the frame, is damaged, or the frame is short', () => {
    const beyond = frame([2, 4]);
    expect(decodeTable(beyond.bytes, beyond.header)).toBeNull();
    const huge = frame([0xffff_ffff, 1]);
    expect(decodeTable(huge.bytes, huge.header)).toBeNull();
    const damaged = frame([2, 3]);
    damaged.bytes[frameHeaderBytes + 3] = 1;
    expect(decodeTable(damaged.bytes, damaged.header)).toBeNull();
    const short = frame([2, 3]);
    expect(decodeTable(short.bytes.subarray(0, -1), short.header)).toBeNull();
  });

  it('a frame takes whole pages', () => {
    expect([0, 4032, 4033, 8128].map((body) => frameBytes(body))).toEqual([4096, 4096, 8192, 8192]);
  });
});
