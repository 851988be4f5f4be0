import type { DiskFile } from '@robustmq/core';
import type { FrameHeader } from './frame.ts';
import { decodeFrameHeader, frameBytes, frameBytesMax, frameHeaderBytes, pageBytes } from './frame.ts';
import type { WalFile } from './wal-file.ts';

/** Bytes per read while looking for headers: cheap beside a full frame, and many small frames at once. */
const windowBytes = 64 * 1024;

/** A frame whose header is intact; its body was not looked at. */
export interface FrameRef {
  /** Byte position in the file, and bytes with padding. */
  position: number;
  bytes: number;
  header: FrameHeader;
}

/** All frames of the one generation that a file holds. */
export interface FileScan {
  file: WalFile;
  generation: number;
  frames: FrameRef[];
}

/** Who writes the log; frames of others are not ours to read. */
export interface FrameOwner {
  kind: number;
  uuid: Buffer;
}

/** The header at the beginning of the file, whoever wrote it; null when it is not intact. */
export async function scanHead(file: WalFile): Promise<FrameHeader | null> {
  const page = Buffer.alloc(pageBytes);
  await file.file.pread('read', page, 0);
  return decodeFrameHeader(page, 0);
}

/**
 * The first header of ours in a file whose head is bad, or null. Pages of earlier laps follow those of the newest one.
 * The highest generation would not do: in what an item of an earlier lap held, somebody may have made up any.
 */
export async function findFirstHeader(file: WalFile, owner: FrameOwner): Promise<FrameHeader | null> {
  const pages = new PageReader(file);
  for (let at = 0; at + frameHeaderBytes <= file.bytes; at += pageBytes) {
    const header = await pages.header(at);
    if (header !== null && isOwned(header, owner)) return header;
  }
  return null;
}

/**
 * The frames of one file use: headers with its salt and generation, in ascending sequence. Where no such header is, the
 * search goes on at the next page.
 */
export async function scanFrames(file: WalFile, first: FrameHeader): Promise<FrameRef[]> {
  const frames: FrameRef[] = [];
  const pages = new PageReader(file);
  let sequence = -1;
  for (let at = 0; at + frameHeaderBytes <= file.bytes; ) {
    const header = await pages.header(at);
    const bytes = header === null ? 0 : frameBytes(header.bodyBytes);
    if (
      header === null ||
      !isSameUse(header, first) ||
      header.sequence <= sequence ||
      !isInside(header, at, file)
    ) {
      at += pageBytes;
      continue;
    }
    frames.push({ position: at, bytes, header });
    sequence = header.sequence;
    at += bytes;
  }
  return frames;
}

/** The frame that the file's present use has at `position`, or null. */
export async function scanFrame(file: WalFile, position: number): Promise<FrameRef | null> {
  const page = Buffer.alloc(pageBytes);
  await file.file.pread('read', page, position);
  const header = decodeFrameHeader(page, 0);
  if (header === null || header.generation !== file.generation || !header.salt.equals(file.salt)) return null;
  return { position, bytes: frameBytes(header.bodyBytes), header };
}

/** The bytes of a frame, in a buffer of its own. */
export async function readFrame(file: DiskFile, frame: FrameRef): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(frame.bytes, frameBytesMax));
  const bytes = await file.pread('read', buffer, frame.position);
  return buffer.subarray(0, bytes);
}

export function isOwned(header: FrameHeader, owner: FrameOwner): boolean {
  return header.kind === owner.kind && header.uuid.equals(owner.uuid);
}

/** Padding that is missing takes nothing away. */
function isInside(header: FrameHeader, at: number, file: WalFile): boolean {
  return at + frameHeaderBytes + header.bodyBytes <= file.bytes;
}

function isSameUse(header: FrameHeader, first: FrameHeader): boolean {
  return (
    header.generation === first.generation &&
    header.salt.equals(first.salt) &&
    header.kind === first.kind &&
    header.uuid.equals(first.uuid)
  );
}

/** Headers by position, read through a window that moves forward. */
class PageReader {
  readonly #file: WalFile;
  readonly #window = Buffer.alloc(windowBytes);
  #start = 0;
  #length = 0;

  constructor(file: WalFile) {
    this.#file = file;
  }

  async header(at: number): Promise<FrameHeader | null> {
    if (at < this.#start || at + frameHeaderBytes > this.#start + this.#length) {
      this.#start = at;
      this.#length = await this.#file.file.pread('read', this.#window, at);
    }
    return decodeFrameHeader(this.#window.subarray(0, this.#length), at - this.#start);
  }
}
