import { join } from 'node:path';
import type { Disk, DiskFile } from '@robustmq/core';
import { ByteReader, ByteWriter, crc32c, RobustError } from '@robustmq/core';
import type { MetaErrorCode } from '../errors.ts';
import type { StateOptions } from '../state/metadata-state.ts';
import { MetadataState } from '../state/metadata-state.ts';

/** A snapshot that is on disk: everything up to `index`. */
export interface SnapshotRef {
  readonly index: number;
  /** Content hash of the state at `index`. */
  readonly hash: string;
}

const magic = 0x524d5153;
const version = 1;
const chunkBytes = 256 * 1024;
const readBytes = 256 * 1024;

/**
 * Writes the state as it is now into `<folder>/<index>.snap`: a head, then chunks of pairs, each part with length and
 * checksum, an empty chunk at the end. The file has its name only when it and the name are durable.
 */
export async function writeSnapshot(
  disk: Disk,
  folder: string,
  clusterId: string,
  state: MetadataState,
): Promise<SnapshotRef & { readonly bytes: number }> {
  const { index, hash } = state;
  const head = new ByteWriter().u32(magic).u8(version).string(clusterId).string(state.defaultTopic);
  head.i64(index).u32(state.pairCount).string(hash);
  const pairs = state.pairs();
  const temporary = join(folder, `${fileName(index)}.tmp`);
  await disk.unlink(temporary);
  const file = await disk.open('writeBehind', temporary, { create: true });
  let bytes = 0;
  try {
    bytes += await writePart(file, head.finish(), bytes);
    for (let chunk = nextChunk(pairs); chunk !== null; chunk = nextChunk(pairs)) {
      bytes += await writePart(file, chunk, bytes);
    }
    bytes += await writePart(file, Buffer.alloc(0), bytes);
    await file.sync('writeBehind');
  } finally {
    await file.close();
  }
  await disk.rename(temporary, join(folder, fileName(index)));
  await disk.syncDir(folder);
  return { index, hash, bytes };
}

/** Throws META_SNAPSHOT_CORRUPT unless the file is whole and its content has the hash that its head names. */
export async function readSnapshot(disk: Disk, path: string, options: StateOptions): Promise<MetadataState> {
  const reader = new ByteReader(await readAll(disk, path));
  const head = new ByteReader(readPart(reader, path));
  if (head.u32() !== magic || head.u8() !== version) throw corrupt(path, 'it is no snapshot of this version');
  const clusterId = head.string();
  const defaultTopic = head.string();
  if (clusterId !== options.clusterId || defaultTopic !== options.defaultTopic) {
    throw new RobustError<MetaErrorCode>('META_IDENTITY', 'a snapshot belongs to another cluster', {
      detail: { path, clusterId, defaultTopic },
    });
  }
  const index = head.i64();
  const count = head.u32();
  const hash = head.string();
  const state = load(options, index, pairsOf(reader, path), path);
  if (state.pairCount !== count || state.hash !== hash) throw corrupt(path, 'its content has another hash');
  return state;
}

/** Snapshot files in the folder, newest first; leftovers of unfinished ones are removed. */
export async function listSnapshots(disk: Disk, folder: string): Promise<{ index: number; path: string }[]> {
  const found: { index: number; path: string }[] = [];
  for (const entry of await disk.list(folder)) {
    const path = join(folder, entry.name);
    const match = /^(\d{16})\.snap$/.exec(entry.name);
    if (match !== null) found.push({ index: Number(match[1]), path });
    else if (entry.name.endsWith('.snap.tmp')) await disk.unlink(path);
  }
  return found.sort((a, b) => b.index - a.index);
}

function fileName(index: number): string {
  return `${String(index).padStart(16, '0')}.snap`;
}

async function writePart(file: DiskFile, body: Buffer, position: number): Promise<number> {
  const head = new ByteWriter(8).u32(body.length).u32(crc32c(body)).view();
  await file.pwrite('writeBehind', Buffer.concat([head, body]), position);
  return head.length + body.length;
}

function nextChunk(pairs: Iterator<readonly [string, Buffer]>): Buffer | null {
  const writer = new ByteWriter(chunkBytes + 4096);
  while (writer.length < chunkBytes) {
    const next = pairs.next();
    if (next.done === true) break;
    writer.string(next.value[0]).bytes(next.value[1]);
  }
  return writer.length === 0 ? null : writer.view();
}

function* pairsOf(reader: ByteReader, path: string): Generator<readonly [string, Uint8Array]> {
  while (true) {
    const chunk = new ByteReader(readPart(reader, path));
    if (chunk.remaining === 0) return;
    while (chunk.remaining > 0) {
      const key = chunk.string();
      const value = chunk.bytes();
      if (value === null) throw corrupt(path, 'a pair has no value');
      yield [key, value];
    }
  }
}

function readPart(reader: ByteReader, path: string): Buffer {
  const at = reader.position;
  if (reader.remaining < 8) throw corrupt(path, 'it ends early', at);
  const length = reader.u32();
  const crc = reader.u32();
  if (reader.remaining < length) throw corrupt(path, 'it ends early', at);
  const body = reader.raw(length);
  if (crc32c(body) !== crc) throw corrupt(path, 'a checksum is wrong', at);
  return body;
}

async function readAll(disk: Disk, path: string): Promise<Buffer> {
  const file = await disk.open('read', path);
  try {
    const content = Buffer.alloc(await file.size());
    for (let at = 0; at < content.length; ) {
      const read = await file.pread('read', content.subarray(at, at + readBytes), at);
      if (read === 0) throw corrupt(path, 'it ends early', at);
      at += read;
    }
    return content;
  } finally {
    await file.close();
  }
}

/** A checksum that holds over content that no version of ours wrote is still a damaged file, not a crash. */
function load(
  options: StateOptions,
  index: number,
  pairs: Iterable<readonly [string, Uint8Array]>,
  path: string,
): MetadataState {
  try {
    return MetadataState.load(options, index, pairs);
  } catch (error) {
    if (error instanceof RobustError && error.code.startsWith('BYTES_')) {
      throw corrupt(path, 'a record is not readable', undefined, error);
    }
    throw error;
  }
}

function corrupt(
  path: string,
  problem: string,
  position?: number,
  cause?: unknown,
): RobustError<MetaErrorCode> {
  return new RobustError('META_SNAPSHOT_CORRUPT', `the snapshot ${path} is damaged: ${problem}`, {
    detail: { path, position },
    cause,
  });
}
