import { undecodable } from './errors.ts';

/*
 * The frame: magic, descriptor, [window u8], [dictionary id], [content size], blocks (u24: last flag, type, size;
 * bytes), [checksum u32]; little-endian. Measured before decompressing, since a decompressor allocates what the
 * header says, and streaming producers leave the content size out.
 */
const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;
const blockBytesMax = 128 * 1024;
const blockType = { raw: 0, rle: 1, compressed: 2 };
/** Clients write one; each costs a call. */
const framesMax = 256;
const dictionaryIdBytes = [0, 1, 2, 4];

/** One frame of a section. */
export interface ZstdFrame {
  readonly start: number;
  readonly end: number;
  /** The content is not larger than this, and exactly this large if `exact`. */
  readonly boundBytes: number;
  readonly exact: boolean;
}

/** The frames of a section, without skippable ones. Throws `BATCH_UNDECODABLE` if they do not fill it, or lie about their size. */
export function zstdFrames(section: Buffer): ZstdFrame[] {
  const frames: ZstdFrame[] = [];
  let at = 0;
  while (at < section.length) {
    if (section.length - at < 5) throw cutOff();
    const magic = section.readUInt32LE(at);
    if (magic === frameMagic) {
      if (frames.length === framesMax) throw undecodable('a zstd section has too many frames');
      const frame = measureFrame(section, at);
      frames.push(frame);
      at = frame.end;
    } else if ((magic & 0xffff_fff0) >>> 0 === skippableMagic && section.length - at >= 8) {
      at += 8 + section.readUInt32LE(at + 4);
      if (at > section.length) throw cutOff();
    } else {
      throw undecodable('no zstd frame');
    }
  }
  return frames;
}

function measureFrame(section: Buffer, start: number): ZstdFrame {
  const descriptor = section[start + 4] as number;
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = dictionaryIdBytes[descriptor & 0x03] as number;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag;
  if ((descriptor & 0x08) !== 0) throw undecodable('a zstd frame with a reserved bit');
  let at = start + 5;
  if (at + (singleSegment ? 0 : 1) + dictionaryBytes + sizeBytes > section.length) throw cutOff();
  const windowBytes = singleSegment ? Number.MAX_SAFE_INTEGER : windowSize(section[at++] as number);
  for (let i = 0; i < dictionaryBytes; i++) {
    if (section[at++] !== 0) throw undecodable('a zstd frame with a dictionary');
  }
  const declared = sizeBytes === 0 ? -1 : contentSize(section, at, sizeBytes);
  at += sizeBytes;

  let bound = 0;
  let last = false;
  while (!last) {
    if (at + 3 > section.length) throw cutOff();
    const block = section.readUIntLE(at, 3);
    last = (block & 1) === 1;
    const type = (block >>> 1) & 0x03;
    const size = block >>> 3;
    if (type > blockType.compressed || size > blockBytesMax) throw undecodable('a zstd block is damaged');
    at += 3 + (type === blockType.rle ? 1 : size);
    bound += type === blockType.compressed ? Math.min(blockBytesMax, windowBytes) : size;
  }
  if ((descriptor & 0x04) !== 0) at += 4;
  if (at > section.length) throw cutOff();
  if (declared > bound) throw undecodable('a zstd frame declares more than its blocks hold');
  return { start, end: at, boundBytes: declared < 0 ? bound : declared, exact: declared >= 0 };
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 0x07);
}

/** Two-byte sizes begin at 256. */
function contentSize(section: Buffer, at: number, bytes: number): number {
  if (bytes === 1) return section[at] as number;
  if (bytes === 2) return section.readUInt16LE(at) + 256;
  if (bytes === 4) return section.readUInt32LE(at);
  return section.readUInt32LE(at) + section.readUInt32LE(at + 4) * 2 ** 32;
}

function cutOff(): Error {
  return undecodable('a zstd frame is cut off');
}
