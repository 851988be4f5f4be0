import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JournalUuid, Logger, StateStore } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import { openLevelStore, openNodeDisk } from '@robustmq/disk';
import { SimRandom, SimClock } from '@robustmq/sim';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LocalMetadata } from './local-metadata.ts';
import { openLocalMetadata } from './local-metadata.ts';
import { createTopic, registerJournal, startBroker, stateOptions } from './testing/commands.ts';
import type { Flip, FlippedStart } from './testing/flip-fixture.ts';
import { startFlipped } from './testing/flip-fixture.ts';

/** `FLIP_STRIDE=1` flips a bit of every byte; in the suite only every so many bytes have their turn. */
const stride = Number(process.env['FLIP_STRIDE'] ?? 499);
const timeoutMs = process.env['FLIP_STRIDE'] === undefined ? 300_000 : 4 * 3_600_000;
const fileBytes = 64 * 1024;
const sizes = { fileBytes, maxBytes: 4 * fileBytes };
/** What a start says that builds the store again because the one before did not get through it. */
const rebuilt = 'the last start did not get through the applied metadata, which is built again';
const pageBytes = 4096;
/** Header and table of a frame with one item. */
const frameHeadBytes = 72;
const disk = openNodeDisk();

let root: string;
/** Content hash of the state behind each command, in order. */
const hashes: string[] = [];
/** Path below the folder, and how far it was written. */
const files: { readonly path: string; readonly usedBytes: number }[] = [];
/** Where the log ends: its newest file and the position of its last frame. */
let logEnd = { path: '', position: 0 };

/** Warnings and errors of the last start. */
let reports: string[] = [];
const logger: Logger = {
  ...silentLogger,
  warn: (_fields, message) => void reports.push(message),
  error: (_fields, message) => void reports.push(message),
};

async function boot(folder: string, store: StateStore): Promise<LocalMetadata> {
  reports = [];
  const node = openLocalMetadata({
    ...stateOptions,
    disk,
    folder,
    store,
    uuid: 'e'.repeat(32) as JournalUuid,
    random: new SimRandom(7),
    clock: new SimClock(),
    logger,
    onFatal: (error) => {
      throw error as Error;
    },
    ...sizes,
  });
  await node.start();
  return node;
}

/** Topics, one frame of the log for each. */
async function addTopics(node: LocalMetadata, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at++) {
    const [result] = await node.propose([createTopic(`topic-${at}`, { shards: 2 })]);
    if (result instanceof Error) throw result;
    hashes.push(node.stateHash);
  }
}

/** A snapshot, and commands behind it that only log and store have. */
async function write(folder: string): Promise<void> {
  const first = await boot(folder, openLevelStore(join(folder, 'state'), disk));
  await first.propose([registerJournal(), startBroker()]);
  await addTopics(first, 0, 4);
  await first.stop();
  const second = await boot(folder, openLevelStore(join(folder, 'state'), disk));
  await addTopics(second, 4, 9);
  await second.stop();
}

function note(folder: string): void {
  let newest = 0;
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    const bytes = contentOf(join(folder, path));
    if (bytes === null) continue;
    let usedBytes = bytes.length;
    while (usedBytes > 0 && bytes[usedBytes - 1] === 0) usedBytes--;
    files.push({ path, usedBytes });
    if (!path.startsWith('wal') || usedBytes === 0 || bytes.readUInt32BE(36) < newest) continue;
    newest = bytes.readUInt32BE(36);
    logEnd = { path, position: Math.floor((usedBytes - 1) / pageBytes) * pageBytes };
  }
}

/** Whether the byte is in a frame of the newest file of the log: not in the zeros that fill the frame's last page. */
function isInFrame(path: string, bytes: Buffer, at: number): boolean {
  if (path !== logEnd.path) return false;
  const pageEnd = Math.floor(at / pageBytes) * pageBytes + pageBytes;
  return bytes.subarray(at, pageEnd).some((byte) => byte !== 0);
}

/** Null for a folder, and for the file by which the store is locked. */
function contentOf(path: string): Buffer | null {
  try {
    const bytes = readFileSync(path);
    return bytes.length === 0 ? null : bytes;
  } catch {
    return null;
  }
}

/** What the start came to: `repaired`, `refused`, or the state it has instead. */
function outcomeOf({ stateHash, code, message }: FlippedStart): string {
  if (stateHash !== undefined) return stateHash === hashes.at(-1) ? 'repaired' : stateHash;
  expect(code, message).toBe('META_LOG_LOST');
  expect(message).toMatch(/wal.*, position \d+;.*accept-loss/);
  return 'refused';
}

/** Every `stride`th byte that was written, and in the log one in the head of each frame. */
function* positionsIn(path: string, usedBytes: number): Generator<number> {
  for (let at = 0; at < usedBytes; at += stride) yield at;
  if (!path.startsWith('wal')) return;
  for (let page = 0; page * pageBytes < usedBytes; page++)
    yield page * pageBytes + ((page * 13) % frameHeadBytes);
}

/** How often each outcome came, and how often it had to be reported and was, over the flips. */
async function startAll(
  flips: readonly Flip[],
  hasStore: boolean,
): Promise<{ outcomes: Map<string, number>; reported: number; aborts: string[] }> {
  const outcomes = new Map<string, number>();
  const aborts: string[] = [];
  let reported = 0;
  const starts = await startFlipped({ root, hasStore, sizes }, flips);
  for (const [number, start] of starts.entries()) {
    const { path, at, bit } = flips[number]!;
    const place = `${path}, byte ${at}, bit ${bit}`;
    const found = outcomeOf(start);
    // Damage to the last frame is taken for a torn write, by design (docs/storage.md 2.4), though its command was
    // answered here: without a store nothing tells the two apart, and the command is gone without a report.
    const torn = path === logEnd.path && at >= logEnd.position;
    const allowed = ['repaired', torn ? hashes.at(-2) : 'refused'];
    expect(allowed, place).toContain(found);
    outcomes.set(found, (outcomes.get(found) ?? 0) + 1);
    if (start.abort !== undefined) {
      expect(start.reports, place).toContain(rebuilt);
      aborts.push(`${place}: ${start.abort}`);
    }
    // What is made good is in the log of the process; a refusal says where the damage is.
    const bytes = readFileSync(join(root, 'whole', path));
    const needed = isInFrame(path, bytes, at) || path.startsWith('snapshots');
    if (found !== 'repaired' || !needed) continue;
    expect(start.reports, place).not.toEqual([]);
    reported++;
  }
  return { outcomes, reported, aborts };
}

/** One bit in each place of the files that `wanted` takes. */
function flipsIn(wanted: (path: string) => boolean): Flip[] {
  const flips: Flip[] = [];
  for (const { path, usedBytes } of files) {
    if (!wanted(path)) continue;
    for (const at of positionsIn(path, usedBytes)) flips.push({ path, at, bit: at % 8 });
  }
  return flips;
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'robustmq-meta-'));
  const folder = join(root, 'whole');
  await disk.mkdir(folder);
  await write(folder);
  note(folder);
}, timeoutMs);

afterAll(() => rmSync(root, { recursive: true }), timeoutMs);

describe('storage 2.6: one bit flipped anywhere in the files of metadata', () => {
  it('is what is reported: a start on the files as they are says nothing', async () => {
    const folder = join(root, 'whole-again');
    cpSync(join(root, 'whole'), folder, { recursive: true });
    const node = await boot(folder, openLevelStore(join(folder, 'state'), disk));
    await node.stop();
    expect(reports).toEqual([]);
  });

  it(
    'is repaired from the store, as is the store from the log, and reported where the log or a snapshot was hit',
    async () => {
      const { outcomes, reported } = await startAll(
        flipsIn(() => true),
        true,
      );
      expect([...outcomes.keys()]).toEqual(['repaired']);
      expect(reported).toBeGreaterThan(5);
    },
    timeoutMs,
  );

  it(
    'without a store is repaired from the snapshot and reported, or the start is refused with file and position',
    async () => {
      const { outcomes, reported } = await startAll(
        flipsIn((path) => !path.startsWith('state')),
        false,
      );
      expect(outcomes.get('repaired')).toBeGreaterThan(0);
      expect(reported).toBeGreaterThan(0);
      expect(outcomes.get('refused')).toBeGreaterThan(0);
    },
    timeoutMs,
  );

  it(
    'is repaired as well where LevelDB ends the process, by the start after that one',
    async () => {
      const flips: Flip[] = [];
      for (const { path } of files) {
        if (!path.endsWith('.ldb')) continue;
        for (let at = 0; at < 8; at++) for (let bit = 0; bit < 8; bit++) flips.push({ path, at, bit });
      }
      const { outcomes, aborts } = await startAll(flips, true);
      expect([...outcomes.keys()]).toEqual(['repaired']);
      expect(aborts).not.toEqual([]);
      for (const abort of aborts) expect(abort).toMatch(/SIGABRT.*Assertion/s);
    },
    timeoutMs,
  );
});
