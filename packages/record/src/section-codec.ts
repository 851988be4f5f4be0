/** Above this many bytes of output, asynchronous decompression leaves the event loop. */
export const inlineBytesMax = 64 * 1024;

/** One compression codec, over the records section of a batch. Sections come from the network; nothing in them is trusted. */
export interface SectionCodec {
  /**
   * Bytes that the section will give: a bound that holds, or for gzip only a hint. Reads no more than frame and
   * block headers. Throws `BATCH_UNDECODABLE` if those are broken.
   */
  expectedBytes(section: Buffer): number;
  /** Throws `BATCH_TOO_LARGE_UNCOMPRESSED` instead of giving more than `maxBytes`, and `BATCH_UNDECODABLE`. */
  decompress(section: Buffer, maxBytes: number): Buffer;
  /** The same off the event loop. The section must not change meanwhile. */
  decompressAsync(section: Buffer, maxBytes: number): Promise<Buffer>;
  compress(records: Buffer): Buffer;
}
