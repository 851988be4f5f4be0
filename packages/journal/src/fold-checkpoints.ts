import type { Disk, Logger, Offset, ShardId } from '@robustmq/core';
import { ByteReader, ByteWriter, crc32c } from '@robustmq/core';
import { isDiskError, storageFull } from './errors.ts';

const magic = 0x524d5143;
const version = 1;
const headerBytes = 28;
const checkpointName = /^(\d+)\.fold$/;

export interface FoldCheckpoint {
  readonly coveredTo: Offset;
  readonly state: Buffer;
}

/**
 * One small file a shard with its owner's opaque state, replaced whole: written beside the old one, synced, renamed.
 *
 *     0 u32 magic   4 u8 version   5 u8 zero   6 u16 zero   8 u32 shard   12 i64 covered to   20 u32 state bytes
 *    24 u32 crc of 0..23 and the state   28 state
 */
export class FoldCheckpoints {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #logger: Logger;
  /** Saves of one shard follow each other. */
  readonly #saving = new Map<ShardId, Promise<void>>();

  constructor(disk: Disk, folder: string, logger: Logger) {
    this.#disk = disk;
    this.#folder = folder;
    this.#logger = logger;
  }

  /** Makes the folder, clears what a crash left half done, and lists the shards that have one. */
  async start(): Promise<ShardId[]> {
    await this.#disk.mkdir(this.#folder);
    const shards: ShardId[] = [];
    for (const { name } of await this.#disk.list(this.#folder)) {
      const shard = checkpointName.exec(name)?.[1];
      if (shard !== undefined) shards.push(Number(shard) as ShardId);
      else if (name.endsWith('.new')) await this.#disk.unlink(`${this.#folder}/${name}`);
    }
    return shards;
  }

  async save(shard: ShardId, coveredTo: Offset, state: Uint8Array): Promise<void> {
    const before = this.#saving.get(shard) ?? Promise.resolve();
    const saving = before.catch(() => undefined).then(() => this.#write(shard, coveredTo, state));
    this.#saving.set(shard, saving);
    try {
      await saving;
    } finally {
      if (this.#saving.get(shard) === saving) this.#saving.delete(shard);
    }
  }

  /** Null when there is none, or when it is damaged: then the owner folds from the log. */
  async load(shard: ShardId): Promise<FoldCheckpoint | null> {
    const bytes = await this.#read(shard);
    if (bytes === null) return null;
    const found = decode(shard, bytes);
    if (found === null) this.#logger.warn({ shard }, 'a fold checkpoint is damaged and not used');
    return found;
  }

  async remove(shard: ShardId): Promise<void> {
    await this.#saving.get(shard)?.catch(() => undefined);
    await this.#disk.unlink(this.#path(shard));
  }

  async stop(): Promise<void> {
    for (const saving of [...this.#saving.values()]) await saving.catch(() => undefined);
  }

  #path(shard: ShardId): string {
    return `${this.#folder}/${shard}.fold`;
  }

  async #write(shard: ShardId, coveredTo: Offset, state: Uint8Array): Promise<void> {
    const header = new ByteWriter(headerBytes).u32(magic).u8(version).u8(0).u16(0).u32(shard);
    header.i64(coveredTo).u32(state.length);
    header.u32(crc32c(state, crc32c(header.view())));
    const path = this.#path(shard);
    const bytes = Buffer.concat([header.view(), state]);
    try {
      const file = await this.#disk.open('writeBehind', `${path}.new`, { create: true });
      try {
        await file.pwrite('writeBehind', bytes, 0);
        await file.truncate('writeBehind', bytes.length);
        await file.sync('writeBehind');
      } finally {
        await file.close();
      }
      await this.#disk.rename(`${path}.new`, path);
      await this.#disk.syncDir(this.#folder);
    } catch (error) {
      if (!isDiskError(error, 'DISK_FULL')) throw error;
      await this.#disk.unlink(`${path}.new`);
      throw storageFull(error);
    }
  }

  async #read(shard: ShardId): Promise<Buffer | null> {
    try {
      const file = await this.#disk.open('read', this.#path(shard));
      try {
        const bytes = Buffer.allocUnsafe(await file.size());
        return bytes.subarray(0, await file.pread('read', bytes, 0));
      } finally {
        await file.close();
      }
    } catch (error) {
      if (isDiskError(error, 'DISK_NOT_FOUND')) return null;
      throw error;
    }
  }
}

function decode(shard: ShardId, bytes: Buffer): FoldCheckpoint | null {
  if (bytes.length < headerBytes || bytes.readUInt32BE(0) !== magic || bytes[4] !== version) return null;
  const state = bytes.subarray(headerBytes);
  if (crc32c(state, crc32c(bytes.subarray(0, 24))) !== bytes.readUInt32BE(24)) return null;
  const at = new ByteReader(bytes, 8);
  if (at.u32() !== shard) return null;
  return { coveredTo: at.i64(), state };
}
