import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JournalUuid, StateStore } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import { openLevelStore, openNodeDisk } from '@robustmq/disk';
import { MemoryStateStore, SimRandom, SimClock } from '@robustmq/sim';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LocalMetadata } from './local-metadata.ts';
import { openLocalMetadata } from './local-metadata.ts';
import { createTopic, registerJournal, startBroker, stateOptions } from './testing/commands.ts';

/** `FLIP_STRIDE=1` flips a bit of every byte; in the suite only every so many bytes have their turn. */
const stride = Number(process.env['FLIP_STRIDE'] ?? 499);
const timeoutMs = process.env['FLIP_STRIDE'] === undefined ? 300_000 : 4 * 3_600_000;
const fileBytes = 64 * 1024;
const disk = openNodeDisk();

let root: string;
/** Content hash of the state behind each command, in order. */
const hashes: string[] = [];
/** Path below the folder, and how far it was written. */
const files: { readonly path: string; readonly usedBytes: number }[] = [];
/** Where the log ends: its newest file and the position of its last frame. */
let logEnd = { path: '', position: 0 };

async function boot(folder: string, store: StateStore): Promise<LocalMetadata> {
  const node = openLocalMetadata({
    ...stateOptions,
    disk,
    folder,
    store,
    uuid: 'e'.repeat(32) as JournalUuid,
    random: new SimRandom(7),
    clock: new SimClock(),
    logger: silentLogger,
    onFatal: (error) => {
      throw error as Error;
    },
    fileBytes,
    maxBytes: 4 * fileBytes,
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
    logEnd = { path, position: Math.floor((usedBytes - 1) / 4096) * 4096 };
  }
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

/** Starts on the files with one bit flipped: `repaired`, `refused`, or the state it has instead. */
async function outcome(path: string, at: number, storeOf: (folder: string) => StateStore): Promise<string> {
  const folder = join(root, 'flipped');
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(root, 'whole'), folder, { recursive: true });
  const bytes = readFileSync(join(folder, path));
  bytes[at] = bytes[at]! ^ (1 << (at % 8));
  writeFileSync(join(folder, path), bytes);
  try {
    const node = await boot(folder, storeOf(folder));
    const { stateHash } = node;
    await node.stop();
    return stateHash === hashes.at(-1) ? 'repaired' : stateHash;
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    expect(code, message).toBe('META_LOG_LOST');
    expect(message).toMatch(/wal.*, position \d+;.*accept-loss/);
    return 'refused';
  }
}

/** How often each outcome came, over every `stride`th byte that was written of the files that `wanted` takes. */
async function flipEverywhere(
  wanted: (path: string) => boolean,
  storeOf: (folder: string) => StateStore,
): Promise<Map<string, number>> {
  const outcomes = new Map<string, number>();
  for (const { path, usedBytes } of files) {
    if (!wanted(path)) continue;
    for (let at = 0; at < usedBytes; at += stride) {
      const found = await outcome(path, at, storeOf);
      // Damage to the last frame is a torn write of a command that nobody was told of.
      const torn = path === logEnd.path && at >= logEnd.position;
      const allowed = ['repaired', torn ? hashes.at(-2) : 'refused'];
      expect(allowed, `${path}, byte ${at}`).toContain(found);
      outcomes.set(found, (outcomes.get(found) ?? 0) + 1);
    }
  }
  return outcomes;
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
  it(
    'is repaired from the store, as is the store from the log',
    async () => {
      const outcomes = await flipEverywhere(
        () => true,
        (folder) => openLevelStore(join(folder, 'state'), disk),
      );
      expect([...outcomes.keys()]).toEqual(['repaired']);
    },
    timeoutMs,
  );

  it(
    'without a store is repaired from the snapshot, or the start is refused',
    async () => {
      const outcomes = await flipEverywhere(
        (path) => !path.startsWith('state'),
        () => new MemoryStateStore(),
      );
      expect(outcomes.get('repaired')).toBeGreaterThan(0);
      expect(outcomes.get('refused')).toBeGreaterThan(0);
    },
    timeoutMs,
  );
});
