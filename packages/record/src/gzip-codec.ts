import type { InputType, ZlibOptions } from 'node:zlib';
import { gunzip, gunzipSync, gzipSync } from 'node:zlib';
import { promisify } from 'node:util';
import { tooLargeUncompressed, undecodable } from './errors.ts';
import type { SectionCodec } from './section-codec.ts';

const gunzipAsync: (input: InputType, options: ZlibOptions) => Promise<Buffer> = promisify(gunzip);

/** A header of 10 bytes and a trailer of 8. */
const gzipBytesMin = 18;

export const gzipCodec: SectionCodec = {
  /** The trailer's size, which whoever wrote it chose; `decompress` is bounded by `maxOutputLength` instead. */
  expectedBytes(section) {
    if (section.length < gzipBytesMin) throw undecodable('a gzip section is cut off');
    return section.readUInt32LE(section.length - 4);
  },

  decompress(section, maxBytes) {
    try {
      return gunzipSync(section, { maxOutputLength: maxBytes });
    } catch (error) {
      throw gzipError(error, maxBytes);
    }
  },

  async decompressAsync(section, maxBytes) {
    try {
      return await gunzipAsync(section, { maxOutputLength: maxBytes, chunkSize: 64 * 1024 });
    } catch (error) {
      throw gzipError(error, maxBytes);
    }
  },

  compress(records) {
    return gzipSync(records);
  },
};

function gzipError(error: unknown, maxBytes: number): Error {
  if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
    return tooLargeUncompressed(maxBytes, maxBytes);
  }
  return undecodable('a gzip section is damaged', error);
}
