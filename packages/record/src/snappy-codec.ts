import { setImmediate as nextTurn } from 'node:timers/promises';
import { compressSync, uncompress, uncompressSync } from 'snappy';
import { tooLargeUncompressed, undecodable } from './errors.ts';
import type { SectionCodec } from './section-codec.ts';
import { inlineBytesMax } from './section-codec.ts';

/*
 * Two forms are in use: one raw block, and the block stream of the Java library: an 8-byte magic, two i32 versions, then
 * blocks of an i32 length and a raw block. A raw block begins with its uncompressed length, which is checked here
 * because the library allocates it unseen.
 */
const streamMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const streamVersion = 1;
const streamHeaderBytes = 16;
const streamBlockBytes = 32 * 1024;

/** Most output for three bytes of a raw block: a copy of 64 bytes. */
const copyBytesMax = 64;
const copyElementBytes = 3;

/** Small blocks are decompressed in place, and the event loop gets its turn after this much. */
const turnBytes = 256 * 1024;
const turnBlocks = 256;
/** 64 MiB in blocks of the smallest size that the Java library makes. */
const blocksMax = 65_536;

export const snappyCodec: SectionCodec = {
  expectedBytes(section) {
    let total = 0;
    for (const block of blocksOf(section)) total += declaredBytes(block);
    return total;
  },

  decompress(section, maxBytes) {
    const blocks = blocksOf(section);
    const output = allocateFor(blocks, maxBytes);
    let at = 0;
    for (const block of blocks) at = place(inflate(block), output, at);
    return output;
  },

  async decompressAsync(section, maxBytes) {
    const blocks = blocksOf(section);
    const output = allocateFor(blocks, maxBytes);
    let at = 0;
    let turnEnds = turnBytes;
    let index = 0;
    for (const block of blocks) {
      if (declaredBytes(block) > inlineBytesMax) {
        at = place(await inflateAsync(block), output, at);
      } else {
        at = place(inflate(block), output, at);
        if (at >= turnEnds || ++index % turnBlocks === 0) {
          turnEnds = at + turnBytes;
          await nextTurn();
        }
      }
    }
    return output;
  },

  /** The stream form, which every client reads. */
  compress(records) {
    const header = Buffer.alloc(streamHeaderBytes);
    streamMagic.copy(header);
    header.writeInt32BE(streamVersion, 8);
    header.writeInt32BE(streamVersion, 12);
    const parts: Buffer[] = [header];
    for (let at = 0; at < records.length; at += streamBlockBytes) {
      const block = compressSync(records.subarray(at, at + streamBlockBytes));
      const length = Buffer.alloc(4);
      length.writeInt32BE(block.length);
      parts.push(length, block);
    }
    return Buffer.concat(parts);
  },
};

function blocksOf(section: Buffer): Buffer[] {
  if (!isStreamHeader(section, 0)) return [section];
  const blocks: Buffer[] = [];
  let at = streamHeaderBytes;
  while (at < section.length) {
    // Streams may follow each other, each with its header.
    if (isStreamHeader(section, at)) {
      at += streamHeaderBytes;
      continue;
    }
    if (section.length - at < 4) throw undecodable('a snappy block length is cut off');
    const length = section.readInt32BE(at);
    at += 4;
    if (length <= 0 || length > section.length - at) throw undecodable('a snappy block is cut off');
    if (blocks.length === blocksMax) throw undecodable('a snappy section has too many blocks');
    blocks.push(section.subarray(at, at + length));
    at += length;
  }
  return blocks;
}

function isStreamHeader(section: Buffer, at: number): boolean {
  return (
    section.length - at >= streamHeaderBytes &&
    section.compare(streamMagic, 0, streamMagic.length, at, at + streamMagic.length) === 0
  );
}

/** The varint before a raw block, refused if the block can't possibly give as much. */
function declaredBytes(block: Buffer): number {
  let declared = 0;
  for (let index = 0; index < 5 && index < block.length; index++) {
    const byte = block[index] as number;
    declared += (byte & 0x7f) * 2 ** (7 * index);
    if (byte >= 0x80) continue;
    if (declared * copyElementBytes > block.length * copyBytesMax) break;
    return declared;
  }
  throw undecodable('a snappy block declares a wrong length');
}

function allocateFor(blocks: Buffer[], maxBytes: number): Buffer {
  let total = 0;
  for (const block of blocks) total += declaredBytes(block);
  if (total > maxBytes) throw tooLargeUncompressed(maxBytes);
  return Buffer.allocUnsafe(total);
}

function inflate(block: Buffer): Buffer {
  try {
    return uncompressSync(block, { asBuffer: true }) as Buffer;
  } catch (error) {
    throw undecodable('a snappy block is damaged', error);
  }
}

async function inflateAsync(block: Buffer): Promise<Buffer> {
  try {
    return (await uncompress(block, { asBuffer: true })) as Buffer;
  } catch (error) {
    throw undecodable('a snappy block is damaged', error);
  }
}

function place(piece: Buffer, output: Buffer, at: number): number {
  piece.copy(output, at);
  return at + piece.length;
}
