import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk, DiskErrorCode } from '@robustmq/core';
import { crc32c } from '@robustmq/core';
import { openNodeDisk } from '@robustmq/disk';
import { SimDisk, SimRandom, settle } from '@robustmq/sim';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NumberedUser, numberedItem, readNumbered, testUuid, untilDurable } from './conformance.ts';
import type { FrameHeader } from './frame.ts';
import { decodeFrameHeader, encodeFrameHeader, frameBytes, frameHeaderBytes, pageBytes } from './frame.ts';
import type { WalOptions } from './open-wal.ts';
import { openWal } from './open-wal.ts';
import type { Recovered, RotReport } from './recovery.ts';
import type { Wal } from './wal.ts';

const folder = '/wal';
const fileBytes = 64 * 1024;
const sector = 512;
/** Each trial syncs folders, which a busy disk makes slow. */
const filesTimeoutMs = 300_000;

type Images = ReadonlyMap<string, Buffer>;

async function open(
  disk: Disk,
  options: Partial<WalOptions> = {},
): Promise<{ wal: Wal; recovered: Recovered; user: NumberedUser }> {
  const user = new NumberedUser();
  const random = new SimRandom(disk instanceof SimDisk ? disk.ops + 7 : 7);
  const sizes = { fileBytes, maxBytes: 3 * fileBytes };
  const opened = await openWal({ disk, folder, user, kind: 1, uuid: testUuid, random, ...sizes, ...options });
  return { ...opened, user };
}

function append(wal: Wal, id: number, bytes: number): number {
  const item = numberedItem(id, 0, bytes);
  return wal.append([item], crc32c(item));
}

async function imagesOf(disk: SimDisk): Promise<Map<string, Buffer>> {
  const images = new Map<string, Buffer>();
  for (const { name } of await disk.list(folder)) images.set(name, disk.peek(`${folder}/${name}`));
  return images;
}

async function diskOf(images: Images): Promise<SimDisk> {
  const disk = new SimDisk();
  await disk.mkdir(folder);
  for (const [name, bytes] of images) {
    const file = await disk.open('wal', `${folder}/${name}`, { create: true });
    await file.pwrite('wal', bytes, 0);
    await file.sync('wal');
  }
  await disk.syncDir(folder);
  return disk;
}

interface Outcome {
  ids: number[];
  rot: RotReport[];
  torn: number;
  /** Up to which id the loaded checkpoint is done. */
  done: number;
}

async function outcomeOf(images: Images): Promise<Outcome> {
  return outcomeOn(await diskOf(images), folder);
}

/** What the log in `at` comes to. */
async function outcomeOn(disk: Disk, at: string): Promise<Outcome> {
  const { wal, recovered } = await open(disk, { folder: at });
  const ids: number[] = [];
  for await (const frame of recovered.frames) for (const { bytes } of frame) ids.push(readNumbered(bytes).id);
  const state = recovered.checkpoint?.[0];
  const done = state === undefined ? 0 : (JSON.parse(state.toString()) as { done: number }).done;
  await wal.stop();
  return { ids, rot: recovered.rot, torn: recovered.tornFrames, done };
}

interface WrittenFrame {
  header: FrameHeader;
  start: number;
  /** End of table and items; the rest is padding. */
  end: number;
  ids: number[];
}

function framesOf(image: Buffer): WrittenFrame[] {
  const frames: WrittenFrame[] = [];
  const first = decodeFrameHeader(image, 0)!;
  for (let at = 0; at < image.length; ) {
    const header = decodeFrameHeader(image, at);
    if (header === null || header.generation !== first.generation) break;
    const ids: number[] = [];
    let item = at + frameHeaderBytes + header.items * 8;
    for (let index = 0; index < header.items; index++) {
      if (!header.checkpoint) ids.push(image.readUInt32BE(item));
      item += image.readUInt32BE(at + frameHeaderBytes + index * 8);
    }
    frames.push({ header, start: at, end: at + frameHeaderBytes + header.bodyBytes, ids });
    at += frameBytes(header.bodyBytes);
  }
  return frames;
}

/** A log whose newest file was used before: its images, and what the newest file held before its last use. */
async function written(): Promise<{ images: Images; newest: string; stale: Buffer }> {
  const disk = new SimDisk();
  const { wal, user } = await open(disk);
  await wal.start();
  let before = await imagesOf(disk);
  let generation = 1;
  let id = 0;
  const next = async (bytes: number, items: number): Promise<void> => {
    let last = 0;
    for (let item = 0; item < items; item++) last = append(wal, ++id, bytes);
    await untilDurable(wal, last);
  };
  while (wal.generation < 5) {
    await next(3000, 2);
    if (wal.generation === generation) continue;
    generation = wal.generation;
    user.done = id - 2;
    user.oldest = generation;
    wal.release(generation);
    // The files as they are while the next one is still what it was.
    if (generation === 4) before = await imagesOf(disk);
  }
  for (let frame = 0; frame < 5; frame++) await next(90 + frame, 3);
  // More than a sector.
  await next(230, 2);
  const images = await imagesOf(disk);
  const newest = [...images].find(([, bytes]) => decodeFrameHeader(bytes, 0)?.generation === 5)![0];
  return { images, newest, stale: before.get(newest)! };
}

let images: Images;
let newest: string;
let stale: Buffer;
let image: Buffer;
let frames: WrittenFrame[];
let everything: number[];

beforeAll(async () => {
  ({ images, newest, stale } = await written());
  image = images.get(newest)!;
  frames = framesOf(image);
  everything = (await outcomeOf(images)).ids;
  expect(decodeFrameHeader(stale, 0)!.generation).toBeLessThan(5);
  expect(frames.length).toBeGreaterThan(6);
  expect(everything.at(-1)).toBe(frames.at(-1)!.ids.at(-1));
});

function withNewest(bytes: Buffer): Images {
  return new Map(images).set(newest, bytes);
}

describe('storage 2.4: a log in real files that is cut', () => {
  const disk = openNodeDisk();
  let root: string;
  let trials = 0;

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'robustmq-cut-'));
    for (const [name, bytes] of images) writeFileSync(join(root, name), bytes);
  });

  afterAll(() => rmSync(root, { recursive: true }), filesTimeoutMs);

  /** The outcome with these bytes in the newest file; recovery writes to none of the others. */
  async function outcomeOfFiles(bytes: Buffer): Promise<Outcome> {
    const at = join(root, String(++trials));
    mkdirSync(at);
    for (const name of images.keys()) if (name !== newest) linkSync(join(root, name), join(at, name));
    writeFileSync(join(at, newest), bytes);
    return outcomeOn(disk, at);
  }

  /** All before the cut is there, nothing behind it, and nothing is called rotten. */
  async function expectPrefix(bytes: Buffer, title: string): Promise<void> {
    const found = await outcomeOfFiles(bytes);
    const whole = frames.filter(({ start, end }) =>
      bytes.subarray(start, end).equals(image.subarray(start, end)),
    );
    const firstCut = frames.find((frame) => !whole.includes(frame));
    const kept = firstCut === undefined ? whole : whole.filter((frame) => frame.start < firstCut.start);
    const expected = kept.flatMap((frame) => frame.ids);
    expect(found.rot, title).toEqual([]);
    expect(found.torn, title).toBeLessThanOrEqual(1);
    expect(
      found.ids.filter((id) => id >= frames[1]!.ids[0]!),
      title,
    ).toEqual(expected);
    // With the newest checkpoint cut, the one before it says what else is needed.
    expect(found.ids[0] ?? found.done + 1, title).toBeLessThanOrEqual(found.done + 1);
    for (let at = 1; at < found.ids.length; at++) expect(found.ids[at]).toBe(found.ids[at - 1]! + 1);
  }

  const fills: Record<string, (cut: number) => Buffer> = {
    'nothing behind': (cut) => image.subarray(0, cut),
    'zeros behind': (cut) => Buffer.concat([image.subarray(0, cut), Buffer.alloc(fileBytes - cut)]),
    'what the file held before behind': (cut) => Buffer.concat([image.subarray(0, cut), stale.subarray(cut)]),
  };

  for (const [title, fill] of Object.entries(fills)) {
    it(`at every sector, with ${title}`, async () => {
      const end = frames.at(-1)!.end + pageBytes;
      for (let cut = 0; cut <= end; cut += sector) await expectPrefix(fill(cut), `cut at ${cut}`);
    });

    const everyByte = async (): Promise<void> => {
      const { start, end } = frames.at(-1)!;
      for (let cut = start; cut <= end + 8; cut++) await expectPrefix(fill(cut), `cut at ${cut}`);
    };
    it(`at every byte of its last frame, with ${title}`, everyByte, filesTimeoutMs);
  }

  it('in any choice of the sectors of its last frame: all of it or nothing', async () => {
    const last = frames.at(-1)!;
    for (let choice = 0; choice < 2 ** Math.ceil((last.end - last.start) / sector); choice++) {
      const bytes = Buffer.from(image);
      for (let at = 0; last.start + at * sector < last.end; at++) {
        const from = last.start + at * sector;
        if ((choice & (1 << at)) === 0) stale.copy(bytes, from, from, from + sector);
      }
      await expectPrefix(bytes, `sectors ${choice.toString(2)}`);
    }
  });
});

describe('storage 2.4: a log that rots', () => {
  it('any flipped bit before the last frame is reported, costs what it hit, and all else is served', async () => {
    for (const frame of frames.slice(1, -1)) {
      // Every byte of the header and the table, and some of the items.
      const step = frame.end - frame.start < 1000 ? 7 : 61;
      for (let at = frame.start; at < frame.end; at += at < frame.start + 80 ? 1 : step) {
        const bytes = Buffer.from(image);
        bytes[at] = bytes[at]! ^ (1 << (at & 7));
        const found = await outcomeOf(withNewest(bytes));
        const others = everything.filter((id) => !frame.ids.includes(id));
        expect(
          found.ids.filter((id) => !frame.ids.includes(id)),
          `byte ${at}`,
        ).toEqual(others);
        expect(found.rot, `byte ${at}`).toHaveLength(1);
        const [report] = found.rot;
        const left = found.ids.filter((id) => frame.ids.includes(id)).length;
        expect([report!.file, report!.generation, report!.position]).toEqual([newest, 5, frame.start]);
        // In an item: that one. In the table or the header: the frame.
        const inItems = at >= frame.start + frameHeaderBytes + frame.header.items * 8;
        expect(report!.kind, `byte ${at}`).toBe(inItems ? 'item' : 'frame');
        expect(left, `byte ${at}`).toBe(inItems ? frame.ids.length - 1 : 0);
        if (inItems) expect([report!.goodItems, report!.badItems]).toEqual([frame.ids.length - 1, 1]);
      }
    }
  });

  // By design: a torn write was never acknowledged, this frame was, and nothing in the log tells the two apart. So a bit
  // that flips in the very last frame costs what is in it, without a report.
  it('any flipped bit of the last frame cuts it as torn, although it was durable', async () => {
    const last = frames.at(-1)!;
    for (let at = last.start; at < last.end; at += at < last.start + 80 ? 1 : 3) {
      const bytes = Buffer.from(image);
      bytes[at] = bytes[at]! ^ (1 << (at & 7));
      const found = await outcomeOf(withNewest(bytes));
      expect(found.ids).toEqual(everything.filter((id) => !last.ids.includes(id)));
      expect(found.rot).toEqual([]);
    }
  });

  it('storage 2.5: any flipped bit of the newest checkpoint is reported, an older one is loaded, every item is served', async () => {
    const [checkpoint] = frames;
    for (let at = 0; at < checkpoint!.end; at++) {
      const bytes = Buffer.from(image);
      bytes[at] = bytes[at]! ^ (1 << (at & 7));
      const found = await outcomeOf(withNewest(bytes));
      expect(
        found.ids.filter((id) => id >= everything[0]!),
        `byte ${at}`,
      ).toEqual(everything);
      expect(found.rot.length, `byte ${at}`).toBeGreaterThan(0);
      expect(found.done).toBeLessThan(everything[0]!);
    }
  });

  it('a flipped bit in the padding is nobody’s', async () => {
    const frame = frames[2]!;
    for (let at = frame.end; at < frame.start + pageBytes; at += 97) {
      const bytes = Buffer.from(image);
      bytes[at] = 0xff;
      expect(await outcomeOf(withNewest(bytes))).toMatchObject({ ids: everything, rot: [], torn: 0 });
    }
  });

  it('any lost sector before the last frame is reported, and all other frames are served', async () => {
    for (let at = frames[1]!.start; at < frames.at(-1)!.start; at += sector) {
      const hit = frames.find((frame) => at + sector > frame.start && at < frame.end);
      const bytes = Buffer.from(image);
      bytes.fill(0, at, at + sector);
      const found = await outcomeOf(withNewest(bytes));
      const others = everything.filter((id) => hit?.ids.includes(id) !== true);
      expect(found.ids.filter((id) => hit?.ids.includes(id) !== true)).toEqual(others);
      expect(found.rot).toHaveLength(hit === undefined ? 0 : 1);
    }
  });

  it('storage 2.3: a whole generation that is missing is reported by its number', async () => {
    const needed = await oldestNeeded();
    const [name] = [...images].find(([, bytes]) => decodeFrameHeader(bytes, 0)?.generation === needed)!;
    const without = new Map(images);
    without.delete(name);
    const { rot } = await outcomeOf(without);
    expect(rot).toHaveLength(1);
    expect([rot[0]!.kind, rot[0]!.generation, rot[0]!.file]).toEqual(['generation', needed, null]);
    expect(rot[0]!.generations).toBe(1);
  });

  it('regression: a header that claims a generation far ahead is one report, not one for each between', async () => {
    const bytes = Buffer.from(image);
    let previousCrc: number | null = null;
    let generation = 0;
    for (const { start } of frames) {
      const header: FrameHeader = decodeFrameHeader(bytes, start)!;
      generation = header.generation;
      const forged = {
        ...header,
        generation: generation + 2 ** 40,
        previousCrc: previousCrc ?? header.previousCrc,
      };
      previousCrc = encodeFrameHeader(bytes, start, forged);
    }
    const { rot } = await outcomeOf(withNewest(bytes));
    const missing = { kind: 'generation', generation: generation + 2 ** 40 - 1, generations: 2 ** 40 };
    expect(rot).toMatchObject([missing]);
  });

  /** The generation that the newest checkpoint still needs. */
  async function oldestNeeded(): Promise<number> {
    const { recovered } = await open(await diskOf(images));
    const { oldest } = JSON.parse(recovered.checkpoint![0]!.toString()) as { oldest: number };
    return oldest;
  }
});

describe('storage 2.3: a recycled file', () => {
  it('gets a new salt for each use', async () => {
    const salts = new Set<string>();
    const disk = new SimDisk();
    const { wal, user } = await open(disk);
    await wal.start();
    while (wal.generation < 9) {
      await untilDurable(wal, append(wal, wal.appended + 1, 9000));
      user.oldest = wal.generation;
      wal.release(wal.generation);
      for (const bytes of (await imagesOf(disk)).values()) {
        const head = decodeFrameHeader(bytes, 0);
        if (head !== null) salts.add(`${head.generation} ${head.salt.toString('hex')}`);
      }
    }
    expect(salts.size).toBe(9);
    expect(new Set([...salts].map((salt) => salt.split(' ')[1])).size).toBe(9);
  });

  it('a frame with another salt is not of this use, even with the right generation and sequence', async () => {
    const last = frames.at(-1)!;
    const item = numberedItem(9999, 0, 50);
    const table = Buffer.alloc(8);
    table.writeUInt32BE(item.length, 0);
    table.writeUInt32BE(crc32c(item), 4);
    const forge = (salt: Buffer): Images => {
      const bytes = Buffer.from(image);
      const at = last.start + frameBytes(last.header.bodyBytes);
      bytes.fill(0, at, at + pageBytes);
      const { generation, kind, uuid, sequence, crc } = last.header;
      const counts = { bodyBytes: 8 + item.length, items: 1, tableCrc: crc32c(table) };
      const flags = { checkpoint: false, complete: false };
      const place = { generation, kind, uuid, sequence: sequence + 1, previousCrc: crc };
      encodeFrameHeader(bytes, at, { ...place, ...counts, ...flags, salt });
      table.copy(bytes, at + frameHeaderBytes);
      item.copy(bytes, at + frameHeaderBytes + 8);
      return withNewest(bytes);
    };
    expect((await outcomeOf(forge(last.header.salt))).ids).toEqual([...everything, 9999]);
    expect(await outcomeOf(forge(Buffer.alloc(8, 1)))).toMatchObject({ ids: everything, rot: [], torn: 0 });
  });
});

describe('storage 2.3: frames that an item of an earlier use held', () => {
  it('are not taken for the log when the first frame of the next use is torn', async () => {
    const disk = new SimDisk();
    const { wal, user } = await open(disk);
    await wal.start();
    let id = 0;
    const next = async (): Promise<void> => {
      await untilDurable(wal, append(wal, ++id, 9000));
      user.done = id - 1;
      user.oldest = wal.generation;
      wal.release(wal.generation);
    };
    await next();
    await next();
    // Alone in its frame, the item has a frame of a generation to come where recovery looks for one.
    const inner = numberedItem(9999, 0, 50);
    const table = Buffer.alloc(8);
    table.writeUInt32BE(inner.length, 0);
    table.writeUInt32BE(crc32c(inner), 4);
    const forgedAt = pageBytes - frameHeaderBytes - table.length;
    const item = Buffer.alloc(forgedAt + frameHeaderBytes + table.length + inner.length);
    encodeFrameHeader(item, forgedAt, {
      kind: 1,
      uuid: Buffer.from(testUuid, 'hex'),
      salt: Buffer.alloc(8, 9),
      generation: 5,
      sequence: 3,
      bodyBytes: table.length + inner.length,
      items: 1,
      previousCrc: 0,
      tableCrc: crc32c(table),
      checkpoint: false,
      complete: false,
    });
    table.copy(item, forgedAt + frameHeaderBytes);
    inner.copy(item, forgedAt + frameHeaderBytes + table.length);
    id++;
    await untilDurable(wal, wal.append([item], crc32c(item)));
    const first = [...(await imagesOf(disk))].find(([, bytes]) => bytes.includes(inner))![0];
    while (wal.generation < 3 || wal.files.free > 1) await next();
    let survivor: SimDisk | null = null;
    disk.fault = (op) => {
      const begins = op.kind === 'pwrite' && op.path.endsWith(first) && op.position === 0;
      if (begins) queueMicrotask(() => (survivor ??= disk.kill()));
      return undefined;
    };
    while (survivor === null) {
      append(wal, ++id, 9000);
      await settle();
    }
    const torn = await imagesOf(survivor);
    torn.get(first)!.fill(0, 0, sector);
    const found = await outcomeOf(torn);
    expect(found.rot).toEqual([]);
    expect(found.ids).not.toContain(9999);
  });
});

describe('storage 2: a log whose disk fails or is full', () => {
  for (const [title, op] of [
    ['a write', 'pwrite'],
    ['the read of what may not be durable', 'sync'],
  ] as const) {
    it(`storage 1.9: ends the process when ${title} fails, and acknowledges nothing more`, async () => {
      const disk = new SimDisk();
      const fatal: Error[] = [];
      let fail: DiskErrorCode | undefined;
      disk.fault = (call) => (call.kind === op ? fail : undefined);
      const onFatal = (error: Error): void => {
        fatal.push(error);
      };
      const { wal } = await open(disk, { onFatal });
      await wal.start();
      await untilDurable(wal, append(wal, 1, 100));
      if (op === 'sync') {
        fail = 'DISK_IO';
        await expect(open(disk)).rejects.toMatchObject({ code: 'DISK_IO' });
        return;
      }
      const told: number[] = [];
      wal.onDurable((upTo) => told.push(upTo));
      fail = 'DISK_IO';
      append(wal, 2, 100);
      for (let turn = 0; turn < 5; turn++) await settle();
      expect(fatal).toMatchObject([{ code: 'DISK_IO' }]);
      expect([told, wal.durable]).toEqual([[], 1]);
      expect(() => append(wal, 3, 100)).toThrow(expect.objectContaining({ code: 'WAL_STOPPED' }));
    });
  }

  it('storage 2.1: at its largest it pauses its sources, refuses above four times the bound, and goes on when released', async () => {
    const queueBytes = 40_000;
    const disk = new SimDisk();
    const { wal, user } = await open(disk, { queueBytes });
    await wal.start();
    let spaces = 0;
    wal.onSpace(() => spaces++);
    let id = 0;
    const turns = async (): Promise<void> => {
      for (let turn = 0; turn < 20; turn++) await settle();
    };
    while (!wal.full) {
      append(wal, ++id, 5000);
      await turns();
    }
    expect(wal.files).toEqual({ live: 2, free: 1 });
    expect(wal.stats.stalls).toBe(1);
    const durable = wal.durable;
    let refused: unknown;
    while (refused === undefined) {
      try {
        append(wal, id + 1, 5000);
        id++;
      } catch (error) {
        refused = error;
      }
    }
    expect(refused).toMatchObject({ code: 'WAL_FULL', retriable: true });
    expect(wal.pendingBytes).toBeLessThan(4 * queueBytes + 2 * fileBytes);
    await turns();
    expect([wal.durable, spaces]).toEqual([durable, 0]);
    for (let turn = 0; wal.durable < id && turn < 100; turn++) {
      user.oldest = wal.generation;
      wal.release(wal.generation);
      await turns();
    }
    expect([wal.durable, wal.full, spaces > 0, wal.pendingBytes]).toEqual([id, false, true, 0]);
    expect(wal.files.live + wal.files.free).toBe(3);
  });

  it('storage 4.6: with no space to grow it waits, and goes on when asked again after space was made', async () => {
    const disk = new SimDisk({ capacityBytes: 2 * fileBytes + 10_000 });
    const { wal } = await open(disk, { maxBytes: 8 * fileBytes });
    await wal.start();
    let id = 0;
    for (let count = 0; count < 40; count++) append(wal, ++id, 3000);
    for (let turn = 0; turn < 30; turn++) await settle();
    expect(wal.durable).toBeLessThan(id);
    disk.capacityBytes = 8 * fileBytes;
    wal.release(1);
    for (let turn = 0; turn < 30; turn++) await settle();
    expect(wal.durable).toBe(id);
  });
});
