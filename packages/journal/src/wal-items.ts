import type { Epoch, ShardId } from '@robustmq/core';
import { ByteWriter, crc32c } from '@robustmq/core';
import { checkEntry } from '@robustmq/kernel';

/*
 * An item of the journal's log is an entry, or the fence of a shard:
 *
 *     0 u32 magic   4 u8 version   5 u8 zero   6 u16 zero   8 u32 shard   12 u32 epoch   16 u32 crc of 0..15
 */
const fenceMagic = 0x524d5146;
const fenceVersion = 1;
const fenceBytes = 20;

export interface FenceItem {
  readonly shard: ShardId;
  readonly epoch: Epoch;
}

export function encodeFence(fence: FenceItem): Buffer {
  const out = new ByteWriter(fenceBytes)
    .u32(fenceMagic)
    .u8(fenceVersion)
    .u8(0)
    .u16(0)
    .u32(fence.shard)
    .u32(fence.epoch);
  return out.u32(crc32c(out.view())).finish();
}

export function fenceCrc(item: Buffer): number {
  return item.readUInt32BE(16);
}

/** Null when the item is something else. */
export function decodeFence(item: Buffer): FenceItem | null {
  if (item.length !== fenceBytes || item.readUInt32BE(0) !== fenceMagic) return null;
  return { shard: item.readUInt32BE(8) as ShardId, epoch: item.readUInt32BE(12) as Epoch };
}

/** The checksum of an item whose bytes hold, null of one that is damaged: what the log asks at recovery. */
export function checkItem(item: Buffer): number | null {
  if (item.length === fenceBytes && item.readUInt32BE(0) === fenceMagic) {
    const crc = fenceCrc(item);
    return crc32c(item.subarray(0, 16)) === crc ? crc : null;
  }
  return checkEntry(item);
}
