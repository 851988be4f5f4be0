import * as zlib from 'node:zlib';
import { promisify } from 'node:util';
import { RobustError } from '@robustmq/core';
import type { RecordErrorCode } from './errors.ts';
import { tooLargeUncompressed, undecodable } from './errors.ts';
import type { SectionCodec } from './section-codec.ts';
import type { ZstdFrame } from './zstd-frame.ts';
import { zstdFrames } from './zstd-frame.ts';
import { ZstdThread } from './zstd-thread.ts';

/** What `node:zlib` has from Node 22.15 on. */
interface NodeZstd {
  zstdCompressSync(input: Uint8Array): Buffer;
  zstdDecompressSync(input: Uint8Array, options: { maxOutputLength: number }): Buffer;
  zstdDecompress(
    input: Uint8Array,
    options: { maxOutputLength: number },
    done: (error: Error | null, content: Buffer) => void,
  ): void;
}

type WasmZstd = typeof import('@bokuweb/zstd-wasm');

/** The compressor of zstd's command line uses the same. */
const compressionLevel = 3;

const native = 'zstdDecompressSync' in zlib ? (zlib as unknown as NodeZstd) : null;
const thread = new ZstdThread();
let wasm: WasmZstd | null = null;
let loading: Promise<void> | null = null;

/**
 * Loads the WebAssembly build of zstd where Node has none of its own (below 22.15); otherwise, and the second time, does
 * nothing. Only synchronous use needs it: `decompressBatch`, `readRecords` without records, `compressBatch`.
 */
export function loadZstd(): Promise<void> {
  if (native !== null || wasm !== null) return Promise.resolve();
  loading ??= loadWasm().finally(() => {
    loading = null;
  });
  return loading;
}

async function loadWasm(): Promise<void> {
  const library = await import('@bokuweb/zstd-wasm');
  await library.init();
  wasm = library;
}

export const zstdCodec: SectionCodec = {
  expectedBytes(section) {
    return boundOf(zstdFrames(section));
  },

  decompress(section, maxBytes) {
    const frames = checkedFrames(section, maxBytes);
    const contents: Buffer[] = [];
    let left = maxBytes;
    for (const frame of frames) {
      const content = inflate(
        section.subarray(frame.start, frame.end),
        Math.min(frame.boundBytes, left),
        maxBytes,
      );
      left -= content.length;
      contents.push(content);
    }
    return joined(contents);
  },

  async decompressAsync(section, maxBytes) {
    const frames = checkedFrames(section, maxBytes);
    const contents: Buffer[] = [];
    let left = maxBytes;
    for (const frame of frames) {
      const bytes = section.subarray(frame.start, frame.end);
      const content = await inflateAsync(bytes, Math.min(frame.boundBytes, left), maxBytes);
      left -= content.length;
      contents.push(content);
    }
    return joined(contents);
  },

  compress(records) {
    if (native !== null) return native.zstdCompressSync(records);
    return asBuffer(loaded().compress(records, compressionLevel));
  },
};

function boundOf(frames: ZstdFrame[]): number {
  let bound = 0;
  for (const frame of frames) bound += frame.boundBytes;
  return bound;
}

/** Refuses what its headers say is too large; a frame without a size is stopped by the room it gets. */
function checkedFrames(section: Buffer, maxBytes: number): ZstdFrame[] {
  const frames = zstdFrames(section);
  let certain = 0;
  for (const frame of frames) if (frame.exact) certain += frame.boundBytes;
  if (certain > maxBytes) throw tooLargeUncompressed(maxBytes);
  return frames;
}

function inflate(frame: Buffer, room: number, maxBytes: number): Buffer {
  try {
    // Node takes no limit of zero.
    if (native !== null) return native.zstdDecompressSync(frame, { maxOutputLength: Math.max(room, 1) });
    return asBuffer(loaded().decompress(frame, { defaultHeapSize: room }));
  } catch (error) {
    throw zstdError(error, maxBytes, room);
  }
}

async function inflateAsync(frame: Buffer, room: number, maxBytes: number): Promise<Buffer> {
  try {
    if (native === null) return await thread.decompress(frame, room);
    const inflateNative = promisify(native.zstdDecompress);
    return await inflateNative(frame, { maxOutputLength: Math.max(room, 1) });
  } catch (error) {
    throw zstdError(error, maxBytes, room);
  }
}

/** The WebAssembly build reports zstd's own code for "destination too small" in its message, and nowhere else. */
function zstdError(error: unknown, maxBytes: number, room: number): Error {
  if (error instanceof RobustError) return error;
  const full = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
  if (full || (error as Error).message.endsWith('code -70')) {
    return tooLargeUncompressed(maxBytes, room);
  }
  return undecodable('a zstd frame is damaged', error);
}

function loaded(): WasmZstd {
  if (wasm !== null) return wasm;
  throw new RobustError<RecordErrorCode>('BATCH_CODEC_NOT_LOADED', 'zstd is used before loadZstd', {
    retriable: true,
  });
}

function joined(contents: Buffer[]): Buffer {
  return contents.length === 1 ? (contents[0] as Buffer) : Buffer.concat(contents);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
