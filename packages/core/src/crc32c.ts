import { crc32c as native } from '@node-rs/crc32';

/** Up to so many bytes the table is faster than a view and a call of native code. */
const tableBytesMax = 96;
const table = makeTable();

/** CRC-32C (Castagnoli) of `data`, continuing from `seed` (the checksum of what came before). Unsigned. */
export function crc32c(data: Uint8Array, seed = 0): number {
  return native(data as Buffer, seed);
}

/** As `crc32c`, of `data[start, end)`. For headers and the like: no view is made of a few bytes. */
export function crc32cRange(data: Uint8Array, start: number, end: number, seed = 0): number {
  if (end - start > tableBytesMax) return native(data.subarray(start, end) as Buffer, seed);
  let crc = ~seed;
  for (let at = start; at < end; at++) crc = table[(crc ^ data[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

function makeTable(): Int32Array {
  const entries = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78;
    entries[byte] = crc;
  }
  return entries;
}
