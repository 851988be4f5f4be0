import { compressFrameSync, decompressFrame, decompressFrameSync } from 'lz4-napi';
import { tooLargeUncompressed, undecodable } from './errors.ts';
import type { SectionCodec } from './section-codec.ts';

/*
 * The frame: magic, FLG, BD, [content size u64], header checksum, blocks (u32 size, top bit = stored; bytes; [checksum
 * u32]), u32 zero, [content checksum u32]; little-endian. The library decompresses without a limit, so the frame is
 * measured before it: by its block headers, and only if that bound is above the limit by its sequences.
 */
const frameMagic = 0x184d2204;
const flag = {
  version: 0xc0,
  versionOne: 0x40,
  blockChecksum: 0x10,
  contentSize: 0x08,
  contentChecksum: 0x04,
  dictionary: 0x01,
};
/** Most output for a byte of a compressed block: a length byte adds up to 255. */
const ratioMax = 255;
const matchBytesMin = 4;

interface FrameMeasure {
  /** Position after the frame. */
  readonly end: number;
  /** Output is not more than this. */
  readonly boundBytes: number;
}

export const lz4Codec: SectionCodec = {
  expectedBytes(section) {
    return measureFrame(section, blockBound).boundBytes;
  },

  decompress(section, maxBytes) {
    const frame = checkedFrame(section, maxBytes);
    try {
      return decompressFrameSync(frame);
    } catch (error) {
      throw undecodable('an lz4 frame is damaged', error);
    }
  },

  async decompressAsync(section, maxBytes) {
    const frame = checkedFrame(section, maxBytes);
    try {
      return await decompressFrame(frame);
    } catch (error) {
      throw undecodable('an lz4 frame is damaged', error);
    }
  },

  compress(records) {
    return compressFrameSync(records);
  },
};

/** The one frame of the section, once it is certain that it gives no more than `maxBytes`. */
function checkedFrame(section: Buffer, maxBytes: number): Buffer {
  const measure = measureFrame(section, blockBound);
  if (measure.boundBytes > maxBytes && measureFrame(section, blockSize).boundBytes > maxBytes) {
    throw tooLargeUncompressed(maxBytes);
  }
  return section.subarray(0, measure.end);
}

type BlockMeasure = (section: Buffer, start: number, end: number, blockBytesMax: number) => number;

function measureFrame(section: Buffer, measureBlock: BlockMeasure): FrameMeasure {
  if (section.length < 7 || section.readUInt32LE(0) !== frameMagic) throw undecodable('no lz4 frame');
  const flags = section[4] as number;
  if ((flags & flag.version) !== flag.versionOne || (flags & flag.dictionary) !== 0) {
    throw undecodable('an lz4 frame of an unknown version or with a dictionary');
  }
  const sizeClass = ((section[5] as number) >> 4) & 0x07;
  if (sizeClass < 4) throw undecodable('an lz4 frame with an unknown block size');
  // 64 KiB, 256 KiB, 1 MiB, 4 MiB.
  const blockBytesMax = 1 << (8 + 2 * sizeClass);
  const checksumBytes = (flags & flag.blockChecksum) !== 0 ? 4 : 0;
  let at = (flags & flag.contentSize) !== 0 ? 15 : 7;
  let boundBytes = 0;
  while (at + 4 <= section.length) {
    const word = section.readUInt32LE(at);
    at += 4;
    if (word === 0) {
      const end = at + ((flags & flag.contentChecksum) !== 0 ? 4 : 0);
      if (end > section.length) break;
      return { end, boundBytes };
    }
    const bytes = word & 0x7fff_ffff;
    const end = at + bytes;
    if (bytes > blockBytesMax || end + checksumBytes > section.length) break;
    boundBytes += word >>> 31 === 1 ? bytes : measureBlock(section, at, end, blockBytesMax);
    at = end + checksumBytes;
  }
  throw undecodable('an lz4 frame is cut off');
}

function blockBound(_section: Buffer, start: number, end: number, blockBytesMax: number): number {
  return Math.min((end - start) * ratioMax, blockBytesMax);
}

/** Exact output of a block, found by walking its sequences of literals and matches. */
function blockSize(section: Buffer, start: number, end: number, blockBytesMax: number): number {
  let at = start;
  let bytes = 0;
  while (at < end) {
    const token = section[at++] as number;
    let literals = token >>> 4;
    if (literals === 15) {
      let more: number;
      do {
        more = at < end ? (section[at++] as number) : 0;
        literals += more;
      } while (more === 255);
    }
    at += literals;
    bytes += literals;
    if (at >= end) break;
    at += 2;
    let match = (token & 0x0f) + matchBytesMin;
    if (match === 15 + matchBytesMin) {
      let more: number;
      do {
        more = at < end ? (section[at++] as number) : 0;
        match += more;
      } while (more === 255);
    }
    bytes += match;
  }
  if (at !== end || bytes > blockBytesMax) throw undecodable('an lz4 block is damaged');
  return bytes;
}
