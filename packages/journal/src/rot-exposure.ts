import { checkEntry, decodeEntryHeader, entryHeaderBytes } from '@robustmq/kernel';

/** RWAL. */
const frameMagic = 0x5257414c;
const frameHeaderBytes = 64;
const pageBytes = 4096;

/** Path below the journal's folder -> content. */
export type JournalImages = ReadonlyMap<string, Buffer>;

/** An entry by segment and number. */
export type EntryName = `${number}/${number}`;

/** What rot has hit. */
interface Hits {
  /** Entries whose item in the log, or the frame around it, is not what was written. */
  readonly inLog: Set<EntryName>;
  /** Entries whose bytes in the segment's file are not what was written. */
  readonly inFile: Set<EntryName>;
  /** Segment -> how many entries its file has from its beginning on, all of them whole. */
  readonly whole: Map<number, number>;
  checkpoint: boolean;
}

/**
 * The entries that rot may cost, for tests: of a segment's file the ones that were hit. Of the log, when no file has
 * them, those that were hit or were in a frame whose header or table was, and what follows in the same segment, whose
 * chain is broken. An entry that was hit in its file also breaks the chain where recovery reads the file because the log
 * has lost something of it, or its checkpoint. Everything else has to be served.
 */
export function exposedEntries(before: JournalImages, after: JournalImages): (name: EntryName) => boolean {
  const hits: Hits = { inLog: new Set(), inFile: new Set(), whole: new Map(), checkpoint: false };
  for (const [path, image] of before) {
    if (path.startsWith('wal/')) hitsOfLog(image, after.get(path)!, hits);
    else if (path.endsWith('.seg')) hitsOfFile(image, after.get(path)!, hits);
  }
  /** Segment -> the entry from which on its chain is broken. */
  const broken = new Map<number, number>();
  const breakAt = (segment: number, entry: number): void =>
    void broken.set(segment, Math.min(entry, broken.get(segment) ?? entry));
  for (const name of hits.inLog) {
    const [segment, entry] = numbersOf(name);
    if (entry >= (hits.whole.get(segment) ?? 0)) breakAt(segment, entry);
  }
  const damaged = new Set([...hits.inLog].map((name) => numbersOf(name)[0]));
  for (const name of hits.inFile) {
    const [segment, entry] = numbersOf(name);
    if (hits.checkpoint || damaged.has(segment)) breakAt(segment, entry);
  }
  return (name) => {
    const [segment, entry] = numbersOf(name);
    return hits.inFile.has(name) || entry >= (broken.get(segment) ?? Number.POSITIVE_INFINITY);
  };
}

function hitsOfLog(image: Buffer, rotten: Buffer, hits: Hits): void {
  const changed = (from: number, to: number): boolean => image.compare(rotten, from, to, from, to) !== 0;
  for (let at = 0; at < image.length; ) {
    if (image.readUInt32BE(at) !== frameMagic) {
      at += pageBytes;
      continue;
    }
    const bodyBytes = image.readUInt32BE(at + 44);
    const items = image.readUInt32BE(at + 48);
    const table = at + frameHeaderBytes;
    const unreadable = changed(at, table + items * 8);
    const checkpoint = (image[at + 6]! & 1) !== 0;
    if (checkpoint && changed(at, table + bodyBytes)) hits.checkpoint = true;
    for (let item = 0, from = table + items * 8; item < items; item++) {
      const to = from + image.readUInt32BE(table + item * 8);
      const header = checkpoint ? null : decodeEntryHeader(image.subarray(from, to));
      if (header !== null && (unreadable || changed(from, to))) {
        hits.inLog.add(`${header.segment}/${header.entryId}`);
      }
      from = to;
    }
    at += Math.ceil((frameHeaderBytes + bodyBytes) / pageBytes) * pageBytes;
  }
}

function hitsOfFile(image: Buffer, rotten: Buffer, hits: Hits): void {
  let whole = true;
  for (let at = 0; at + entryHeaderBytes <= image.length; ) {
    const header = decodeEntryHeader(image, at);
    if (header === null) return;
    const end = at + entryHeaderBytes + header.payloadBytes;
    if (checkEntry(image.subarray(at, end)) === null) return;
    if (image.compare(rotten, at, end, at, end) !== 0) {
      hits.inFile.add(`${header.segment}/${header.entryId}`);
      whole = false;
    }
    if (whole) hits.whole.set(header.segment, header.entryId + 1);
    at = end;
  }
}

function numbersOf(name: EntryName): [segment: number, entry: number] {
  const [segment, entry] = name.split('/').map(Number);
  return [segment!, entry!];
}
