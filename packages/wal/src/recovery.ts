import { crc32c, RobustError } from '@robustmq/core';
import type { FrameItem } from './frame.ts';
import { decodeFrameHeader, decodeTable, itemsAt } from './frame.ts';
import type { FileScan, FrameOwner, FrameRef } from './scan.ts';
import { findFirstHeader, isOwned, readFrame, scanFrames, scanHead } from './scan.ts';
import type { WalErrorCode } from './wal-error.ts';
import type { WalFile, WalPosition } from './wal-file.ts';

/** What the user of a log supplies. */
export interface WalUser {
  /** The CRC under which the item was appended, computed from its bytes, or null when the item is bad in itself. */
  check(item: Buffer): number | null;
  /**
   * The state from which recovery starts, in chunks of at most `itemBytesMax`; asked for whenever a file is begun. It
   * says, in the user's own words, from which generation on items are still needed.
   */
  checkpoint(): Uint8Array[];
  /** The oldest generation that a checkpoint says is still needed. */
  oldestNeeded(checkpoint: readonly Uint8Array[]): number;
}

/**
 * Something that was durable and is not there any more.
 * - `item`: a frame with some bad items; the good ones were handed over, `bad` has the others.
 * - `frame`: frames that cannot be read at all; `badItems` is null when nobody knows how many items they had.
 * - `generation`: whole files, of which `generation` is the last.
 * - `checkpoint`: the newest checkpoint; an older one was loaded.
 */
export interface RotReport {
  kind: 'item' | 'frame' | 'generation' | 'checkpoint';
  /** Name of the file, null when it is missing. */
  file: string | null;
  generation: number;
  /** How many in a row are missing up to this one: 1 but for a `generation`. */
  generations: number;
  /** Byte position and length of what is damaged. */
  position: number;
  bytes: number;
  goodItems: number;
  badItems: number | null;
  /** Of an `item`: the bad ones, in order. */
  bad: BadItem[];
}

/** A bad item of a frame whose table is whole. */
export interface BadItem {
  /** Where it begins in the damaged bytes, and its length. */
  at: number;
  bytes: number;
  /** The checksum that the table has for it. */
  crc: number;
}

export interface RecoveredItem {
  /** In a buffer that nothing else writes to. */
  bytes: Buffer;
  crc: number;
  position: WalPosition;
}

/** What recovery found. */
export interface Recovered {
  /** The newest complete checkpoint; null when there is none. */
  checkpoint: Buffer[] | null;
  /** The generation at whose head the checkpoint is; 0 without one. */
  checkpointGeneration: number;
  /** Generation and byte position at which the log ends: what follows was never acknowledged. */
  end: { generation: number; position: number };
  /** Frames after the end that were begun and cut; 0 or 1 after an honest crash. */
  tornFrames: number;
  /** The items from the oldest needed generation on, one array for each frame, in order. To be read once, to its end. */
  frames: AsyncIterable<RecoveredItem[]>;
  /** Complete when `frames` was read to its end. */
  rot: RotReport[];
}

/** A decision about the files that were found. */
export interface RecoveredFiles {
  recovered: Recovered;
  /** Files that are still needed; the others may be used again. */
  live: Set<WalFile>;
  /** CRC of the last valid header, which the next frame names; 0 for an empty log. */
  lastCrc: number;
}

/** Reads the log that `files` hold; sets their generations. */
export async function recover(files: WalFile[], owner: FrameOwner, user: WalUser): Promise<RecoveredFiles> {
  const scans = await scanFiles(files, owner);
  const { checkpoint, generation: checkpointGeneration } = await newestCheckpoint(scans);
  const lowest = scans[0]?.generation ?? 1;
  const oldest = checkpoint === null ? lowest : Math.min(user.oldestNeeded(checkpoint), checkpointGeneration);
  const chain = scans.filter((scan) => scan.generation >= oldest);
  refuseDuplicates(chain);
  const tornFrames = await cutTail(chain, user);
  const rot: RotReport[] = [];
  if (checkpoint === null && lowest > 1 && chain.length > 0) {
    rot.push(lostGenerations(lowest - 1, 1, 'checkpoint'));
  }
  reportGaps(chain, { oldest, rot });
  const newest = chain.at(-1);
  const last = newest?.frames.at(-1);
  // The last frame may be in the system's cache only; nothing may be built on it before it is durable.
  await newest?.file.file.sync('wal');
  return {
    live: new Set(chain.map((scan) => scan.file)),
    lastCrc: last?.header.crc ?? 0,
    recovered: {
      checkpoint,
      checkpointGeneration,
      end: {
        generation: newest?.generation ?? 0,
        position: last === undefined ? 0 : last.position + last.bytes,
      },
      tornFrames,
      frames: readItems(chain, { user, rot, checkpointGeneration }),
      rot,
    },
  };
}

/** The files that hold frames of ours, by generation. */
async function scanFiles(files: WalFile[], owner: FrameOwner): Promise<FileScan[]> {
  const scans: FileScan[] = [];
  for (const file of files) {
    const head = await scanHead(file);
    if (head !== null && !isOwned(head, owner)) {
      throw new RobustError<WalErrorCode>('WAL_FOREIGN', `${file.file.path} belongs to another log`, {
        detail: { file: file.name, kind: head.kind, uuid: head.uuid.toString('hex') },
      });
    }
    const first = head ?? (await findFirstHeader(file, owner));
    if (first === null) continue;
    file.generation = first.generation;
    file.salt = first.salt;
    scans.push({ file, generation: first.generation, frames: await scanFrames(file, first) });
  }
  return scans.sort((left, right) => left.generation - right.generation);
}

async function newestCheckpoint(
  scans: readonly FileScan[],
): Promise<{ checkpoint: Buffer[] | null; generation: number }> {
  for (let at = scans.length - 1; at >= 0; at--) {
    const scan = scans[at]!;
    const checkpoint = await readCheckpoint(scan);
    if (checkpoint !== null) return { checkpoint, generation: scan.generation };
  }
  return { checkpoint: null, generation: 0 };
}

/** The checkpoint at the head of a file, or null unless all of it is there. */
async function readCheckpoint(scan: FileScan): Promise<Buffer[] | null> {
  const chunks: Buffer[] = [];
  for (let at = 0; at < scan.frames.length; at++) {
    const frame = scan.frames[at]!;
    if (frame.header.sequence !== at || !frame.header.checkpoint) return null;
    const items = await validItems(scan.file, frame, crc32c);
    if (items === null) return null;
    for (const { bytes } of items) chunks.push(bytes);
    if (frame.header.complete) return chunks;
  }
  return null;
}

function refuseDuplicates(chain: readonly FileScan[]): void {
  for (let at = 1; at < chain.length; at++) {
    const { file, generation } = chain[at]!;
    if (chain[at - 1]!.generation !== generation) continue;
    throw new RobustError<WalErrorCode>(
      'WAL_AMBIGUOUS',
      `two files hold generation ${generation} of the log`,
      {
        detail: { generation, files: [chain[at - 1]!.file.name, file.name] },
      },
    );
  }
}

/**
 * Cuts what follows the last valid frame: a bad frame is rot only if a valid one comes after it, else it was torn and
 * never acknowledged. Returns the number of frames cut.
 */
async function cutTail(chain: FileScan[], user: WalUser): Promise<number> {
  let torn = 0;
  for (let scan = chain.at(-1); scan !== undefined; scan = chain.at(-1)) {
    for (let frame = scan.frames.at(-1); frame !== undefined; frame = scan.frames.at(-1)) {
      if ((await validItems(scan.file, frame, checkOf(frame, user))) !== null) return torn;
      scan.frames.pop();
      torn++;
    }
    chain.pop();
  }
  return torn;
}

/**
 * Finds frames that are missing, by the CRC with which each frame names the one before it. Where a generation begins
 * with the name of an earlier frame than the last one found, the later ones were torn and cut by the recovery that
 * began it: they are dropped again.
 */
function reportGaps(chain: readonly FileScan[], { oldest, rot }: { oldest: number; rot: RotReport[] }): void {
  let expected = oldest;
  let before: FileScan | null = null;
  for (const scan of chain) {
    if (expected < scan.generation) {
      // One report however many there are: where a damaged header says so, they are more than there is memory.
      rot.push(lostGenerations(scan.generation - 1, scan.generation - expected, 'generation'));
      before = null;
    }
    expected = scan.generation + 1;
    const first = scan.frames[0];
    if (first === undefined) continue;
    if (first.position > 0) rot.push(lostFrames(scan, 0, first.position));
    else if (before !== null && !dropCut(before, first.header.previousCrc)) {
      const end = endOf(before);
      rot.push(lostFrames(before, end, before.file.bytes - end));
    }
    reportInnerGaps(scan, rot);
    before = scan;
  }
}

function reportInnerGaps(scan: FileScan, rot: RotReport[]): void {
  for (let at = 1; at < scan.frames.length; at++) {
    const previous = scan.frames[at - 1]!;
    const frame = scan.frames[at]!;
    if (frame.header.previousCrc === previous.header.crc) continue;
    const start = previous.position + previous.bytes;
    rot.push(lostFrames(scan, start, frame.position - start));
  }
}

/** Drops the frames after the one with header CRC `last`; false when there is no such frame. */
function dropCut(scan: FileScan, last: number): boolean {
  for (let at = scan.frames.length - 1; at >= 0; at--) {
    if (scan.frames[at]!.header.crc !== last) continue;
    scan.frames.length = at + 1;
    return true;
  }
  return false;
}

interface ReadOptions {
  user: WalUser;
  rot: RotReport[];
  checkpointGeneration: number;
}

async function* readItems(chain: readonly FileScan[], options: ReadOptions): AsyncGenerator<RecoveredItem[]> {
  for (const scan of chain) {
    for (const frame of scan.frames) {
      if (frame.header.checkpoint) await reviewCheckpoint(scan, frame, options);
      else {
        const items = await readGoodItems(scan, frame, options);
        if (items.length > 0) yield items;
      }
    }
  }
}

/** A damaged checkpoint matters only if it is newer than the one that was loaded. */
async function reviewCheckpoint(scan: FileScan, frame: FrameRef, options: ReadOptions): Promise<void> {
  if (scan.generation <= options.checkpointGeneration) return;
  if ((await validItems(scan.file, frame, crc32c)) !== null) return;
  options.rot.push({ ...lostFrames(scan, frame.position, frame.bytes), kind: 'checkpoint' });
}

async function readGoodItems(
  scan: FileScan,
  frame: FrameRef,
  options: ReadOptions,
): Promise<RecoveredItem[]> {
  const { file, generation } = scan;
  const items = await readTable(file, frame);
  const position = frame.position;
  if (items === null) {
    options.rot.push({ ...lostFrames(scan, position, frame.bytes), badItems: frame.header.items });
    return [];
  }
  const good: RecoveredItem[] = [];
  const bad: BadItem[] = [];
  let at = itemsAt(items.length);
  for (let index = 0; index < items.length; index++) {
    const { bytes, crc } = items[index]!;
    if (options.user.check(bytes) === crc)
      good.push({ bytes, crc, position: { generation, position, index } });
    else bad.push({ at, bytes: bytes.length, crc });
    at += bytes.length;
  }
  if (bad.length > 0) {
    const report = lostFrames(scan, position, frame.bytes);
    const counts = { goodItems: good.length, badItems: bad.length, bad };
    options.rot.push({ ...report, kind: 'item', ...counts });
  }
  return good;
}

/** The items of a frame by its table, their bytes unchecked; null when header or table are not what was written. */
export async function readTable(file: WalFile, frame: FrameRef): Promise<FrameItem[] | null> {
  const bytes = await readFrame(file.file, frame);
  const header = decodeFrameHeader(bytes, 0);
  return header === null || header.crc !== frame.header.crc ? null : decodeTable(bytes, header);
}

/** The items of a frame when all of it is valid, else null. */
async function validItems(
  file: WalFile,
  frame: FrameRef,
  check: (item: Buffer) => number | null,
): Promise<FrameItem[] | null> {
  const items = await readTable(file, frame);
  if (items === null) return null;
  for (const { bytes, crc } of items) {
    if (check(bytes) !== crc) return null;
  }
  return items;
}

function checkOf(frame: FrameRef, user: WalUser): (item: Buffer) => number | null {
  return frame.header.checkpoint ? crc32c : (item) => user.check(item);
}

function endOf(scan: FileScan): number {
  const last = scan.frames.at(-1);
  return last === undefined ? 0 : last.position + last.bytes;
}

function lostFrames(scan: FileScan, position: number, bytes: number): RotReport {
  const { file, generation } = scan;
  const unknown = { goodItems: 0, badItems: null, bad: [] };
  return { kind: 'frame', file: file.name, generation, generations: 1, position, bytes, ...unknown };
}

function lostGenerations(
  generation: number,
  generations: number,
  kind: 'generation' | 'checkpoint',
): RotReport {
  const unknown = { goodItems: 0, badItems: null, bad: [] };
  return { kind, file: null, generation, generations, position: 0, bytes: 0, ...unknown };
}
