import { assert, RobustError } from '@robustmq/core';
import type { Codec } from './batch-header.ts';
import {
  attributeBits,
  batchCodec,
  batchHeaderBytes,
  codecs,
  readBatchFields,
  writeBatchHeader,
} from './batch-header.ts';
import { malformed, undecodable } from './errors.ts';
import { gzipCodec } from './gzip-codec.ts';
import { lz4Codec } from './lz4-codec.ts';
import type { SectionCodec } from './section-codec.ts';
import { inlineBytesMax } from './section-codec.ts';
import { snappyCodec } from './snappy-codec.ts';
import { zstdCodec } from './zstd-codec.ts';

export interface DecompressOptions {
  /** Most bytes of output, at most 1 GiB. Default 64 MiB. */
  readonly maxBytes?: number;
}

const defaultBytesMax = 64 * 1024 * 1024;
const ceilingBytes = 1024 * 1024 * 1024;

/** By number; 0 is no compression. */
const sectionCodecs: readonly (SectionCodec | null)[] = [null, gzipCodec, snappyCodec, lz4Codec, zstdCodec];

/**
 * The uncompressed records section of the batch in `[start, end)`: a view of it if it is not compressed, else a new buffer.
 * Throws `BATCH_UNDECODABLE`, and `BATCH_TOO_LARGE_UNCOMPRESSED` without ever holding more than about
 * twice the limit. Blocks the event loop: above 64 KiB of output use `decompressBatchAsync`.
 */
export function decompressBatch(
  buffer: Buffer,
  start: number,
  end: number,
  options: DecompressOptions = {},
): Buffer {
  const section = recordsSection(buffer, start, end);
  const codec = codecOf(buffer, start);
  return codec === null ? section : codec.decompress(section, bytesMax(options));
}

/**
 * The same for batches of any size: at once up to 64 KiB of output, above it on another thread, or in steps that give the
 * event loop its turns. The batch's records must not change until it settles (its base offset and epoch may).
 */
export async function decompressBatchAsync(
  buffer: Buffer,
  start: number,
  end: number,
  options: DecompressOptions = {},
): Promise<Buffer> {
  const section = recordsSection(buffer, start, end);
  const codec = codecOf(buffer, start);
  if (codec === null) return section;
  const maxBytes = bytesMax(options);
  // Zstd may not be loaded on this thread; the other codecs are always at hand.
  if (codec !== zstdCodec && codec.expectedBytes(section) <= inlineBytesMax) {
    const inlineMax = Math.min(maxBytes, inlineBytesMax);
    try {
      return codec.decompress(section, inlineMax);
    } catch (error) {
      // A gzip trailer may lie about the size; the limit that was asked for decides.
      const code = error instanceof RobustError ? error.code : null;
      if (code !== 'BATCH_TOO_LARGE_UNCOMPRESSED' || inlineMax === maxBytes) throw error;
    }
  }
  return codec.decompressAsync(section, maxBytes);
}

/**
 * The same batch with its records compressed by `codec`; a new buffer unless nothing is to be done. Takes uncompressed
 * batches only. Synchronous: for compaction, tools and tests.
 */
export function compressBatch(codec: Codec, batch: Buffer): Buffer {
  assert(batchCodec(batch, 0) === codecs.none, 'a batch is compressed once');
  const target = sectionCodecs[codec];
  if (target === null || target === undefined || batch.length === batchHeaderBytes) return batch;
  const section = target.compress(batch.subarray(batchHeaderBytes));
  const compressed = Buffer.allocUnsafe(batchHeaderBytes + section.length);
  section.copy(compressed, batchHeaderBytes);
  const fields = readBatchFields(batch, 0);
  const attributes = (fields.attributes & ~attributeBits.codecMask) | codec;
  writeBatchHeader(compressed, 0, compressed.length, { ...fields, attributes });
  return compressed;
}

function recordsSection(buffer: Buffer, start: number, end: number): Buffer {
  if (start < 0 || end > buffer.length || end - start < batchHeaderBytes) {
    throw malformed('a batch is shorter than its header', start);
  }
  return buffer.subarray(start + batchHeaderBytes, end);
}

function codecOf(buffer: Buffer, start: number): SectionCodec | null {
  const codec = sectionCodecs[batchCodec(buffer, start)];
  if (codec === undefined) throw undecodable('a batch has an unknown codec');
  return codec;
}

function bytesMax(options: DecompressOptions): number {
  return Math.max(1, Math.min(options.maxBytes ?? defaultBytesMax, ceilingBytes));
}
