import { crc32c as native } from '@node-rs/crc32';

/** CRC-32C (Castagnoli) of `data`, continuing from `seed` (the checksum of what came before). Unsigned. */
export function crc32c(data: Uint8Array, seed = 0): number {
  return native(data as Buffer, seed);
}
