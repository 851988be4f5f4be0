import { deepEqual, equal, rejects } from 'node:assert/strict';
import type { JournalUuid, Random } from '@robustmq/core';
import { crc32c } from '@robustmq/core';
import type { DiskFixture, TestApi } from '@robustmq/core/conformance';
import type { WalOptions } from './open-wal.ts';
import { openWal } from './open-wal.ts';
import type { Recovered, WalUser } from './recovery.ts';
import type { Wal } from './wal.ts';

/** Identity of the logs that the suites write. */
export const testUuid = '00112233445566778899aabbccddeeff' as JournalUuid;

/** Bytes before the filling of a numbered item. */
const numberedHead = 12;

/** An item that says who it is: its id, in which run it was written, and a filling that follows from both. */
export function numberedItem(id: number, run: number, bytes: number): Buffer {
  const item = Buffer.alloc(Math.max(bytes, numberedHead), (id * 31 + run) & 0xff);
  item.writeUInt32BE(id, 0);
  item.writeUInt32BE(run, 4);
  item.writeUInt32BE(item.length, 8);
  return item;
}

/** Id and run of a numbered item; throws when it is not exactly what `numberedItem` made. */
export function readNumbered(item: Buffer): { id: number; run: number } {
  const [id, run] = [item.readUInt32BE(0), item.readUInt32BE(4)];
  equal(item.equals(numberedItem(id, run, item.readUInt32BE(8))), true, `item ${id} is not what was written`);
  return { id, run };
}

/** A user of a log for tests: numbered items, and a checkpoint that says what it is done with. */
export class NumberedUser implements WalUser {
  /** Items up to this id are done with. */
  done = 0;
  /** The oldest generation that holds an item that is not. */
  oldest = 1;
  /** Bytes of the checkpoint's first chunk, at least. */
  stateBytes = 0;
  /** Filling of the checkpoint, to have it span frames. */
  chunkBytes: number[] = [];

  check(item: Buffer): number {
    return crc32c(item);
  }

  checkpoint(): Uint8Array[] {
    const state = Buffer.from(
      JSON.stringify({ done: this.done, oldest: this.oldest }).padEnd(this.stateBytes),
    );
    return [state, ...this.chunkBytes.map((bytes) => Buffer.alloc(bytes, 7))];
  }

  oldestNeeded(checkpoint: readonly Uint8Array[]): number {
    return stateOf(checkpoint).oldest;
  }
}

/** What a `NumberedUser` wrote into its checkpoint; throws a `SyntaxError` when that is something else, or nothing. */
export function stateOf(checkpoint: readonly Uint8Array[]): { done: number; oldest: number } {
  return JSON.parse(Buffer.from(checkpoint[0] ?? []).toString()) as { done: number; oldest: number };
}

/** The items that recovery hands over, in order. */
export async function readAll(recovered: Recovered): Promise<Buffer[]> {
  const items: Buffer[] = [];
  for await (const frame of recovered.frames) for (const { bytes } of frame) items.push(bytes);
  return items;
}

/** Resolves when the item with this number is durable. */
export function untilDurable(wal: Wal, number: number): Promise<void> {
  if (wal.durable >= number) return Promise.resolve();
  return new Promise((resolve) => {
    wal.onDurable((upTo) => {
      if (upTo >= number) resolve();
    });
  });
}

type WalCheck = (title: string, body: (kit: WalKit) => Promise<void>) => void;

interface WalKit {
  user: NumberedUser;
  open(options?: Partial<WalOptions>): Promise<{ wal: Wal; recovered: Recovered }>;
}

/** The contract of a log, run on every implementation of `Disk`. */
export function walConformance(
  api: TestApi,
  name: string,
  { random, create }: { random: Random; create: () => Promise<DiskFixture> },
): void {
  const check: WalCheck = (title, body) => {
    api.it(title, async () => {
      const { disk, folder, dispose } = await create();
      const user = new NumberedUser();
      const defaults = { disk, folder: `${folder}/wal`, user, kind: 1, uuid: testUuid, random };
      const sizes = { fileBytes: 256 * 1024, maxBytes: 2 * 1024 * 1024 };
      const open: WalKit['open'] = (options) => openWal({ ...defaults, ...sizes, ...options });
      try {
        await body({ user, open });
      } finally {
        await dispose();
      }
    });
  };
  api.describe(`Wal: ${name}`, () => {
    writing(check);
    reopening(check);
  });
}

function writing(check: WalCheck): void {
  check('storage 2.2: what one turn appends shares a frame', async ({ open }) => {
    const { wal } = await open();
    await wal.start();
    const frames = wal.stats.frames;
    for (let id = 1; id <= 100; id++) append(wal, numberedItem(id, 0, 100));
    await untilDurable(wal, 100);
    equal(wal.stats.frames, frames + 1);
    equal(wal.pendingBytes, 0);
    await wal.stop();
  });

  check('reads an item back by number and by position', async ({ open }) => {
    const { wal } = await open();
    await wal.start();
    for (let id = 1; id <= 50; id++) {
      append(wal, numberedItem(id, 0, id * 400));
      if (id % 7 === 0) await untilDurable(wal, id);
    }
    await untilDurable(wal, 50);
    for (let id = 1; id <= 50; id++) {
      const item = await wal.read(id);
      equal(item !== null && readNumbered(item).id, id);
      const position = wal.locate(id);
      equal(position !== null && (await wal.read(position))?.equals(item!), true);
    }
    equal(await wal.read(51), null);
    await wal.stop();
  });

  check(
    'storage 4.7: lazy items travel with others, and alone only at a flush or 1 MiB',
    async ({ open }) => {
      const { wal } = await open({ fileBytes: 4 * 1024 * 1024, maxBytes: 12 * 1024 * 1024 });
      await wal.start();
      append(wal, numberedItem(1, 0, 100), true);
      await turns(5);
      equal(wal.durable, 0);
      append(wal, numberedItem(2, 0, 100));
      await untilDurable(wal, 2);
      append(wal, numberedItem(3, 0, 100), true);
      wal.flush();
      await untilDurable(wal, 3);
      for (let id = 4; id <= 20; id++) append(wal, numberedItem(id, 0, 64 * 1024), true);
      await untilDurable(wal, 20);
      await wal.stop();
    },
  );

  check('takes more than the staging holds, in order, and says when to pause', async ({ open }) => {
    const { wal } = await open({ queueBytes: 100_000 });
    await wal.start();
    let spaces = 0;
    wal.onSpace(() => spaces++);
    for (let id = 1; id <= 50; id++) append(wal, numberedItem(id, 0, 8000));
    equal(wal.full, true);
    await untilDurable(wal, 50);
    equal(wal.full, false);
    equal(spaces > 0, true);
    await wal.stop();
    const { recovered } = await open();
    deepEqual(ids(await readAll(recovered)), range(1, 50));
  });
}

function reopening(check: WalCheck): void {
  check('hands over every item of every run, with its generation', async ({ open }) => {
    let id = 0;
    for (let run = 0; run < 4; run++) {
      const { wal, recovered } = await open();
      const items = await readAll(recovered);
      deepEqual(ids(items), range(1, id));
      deepEqual(recovered.rot, []);
      await wal.start();
      for (let count = 0; count < 30; count++) append(wal, numberedItem(++id, run, 5000));
      await wal.stop();
      await wal.stop();
    }
  });

  check(
    'a stop lets go of what was released, so that restarts do not fill the ring',
    async ({ open, user }) => {
      let files = 0;
      for (let run = 1; run <= 10; run++) {
        const { wal, recovered } = await open();
        // Nothing of a run before: its stop wrote the checkpoint that says so.
        deepEqual(ids(await readAll(recovered)), []);
        await wal.start();
        append(wal, numberedItem(run, run, 5000));
        await untilDurable(wal, 1);
        user.done = run;
        user.oldest = wal.generation + 1;
        wal.release(wal.generation + 1);
        await wal.stop();
        if (run === 3) files = wal.files.live + wal.files.free;
        else if (run > 3) equal(wal.files.live + wal.files.free, files);
      }
    },
  );

  check('storage 2.1: uses released files again and never others', async ({ open, user }) => {
    const { wal } = await open();
    await wal.start();
    let id = 0;
    wal.onDurable((upTo, generation) => {
      user.done = upTo;
      user.oldest = generation;
      wal.release(generation);
    });
    while (wal.generation < 12) {
      append(wal, numberedItem(++id, 0, 20_000));
      await untilDurable(wal, id);
    }
    equal(wal.oldestGeneration >= 11, true);
    equal(wal.files.live + wal.files.free <= 4, true);
    await wal.stop();
    const { recovered } = await open();
    const items = ids(await readAll(recovered));
    equal(items.at(-1), id);
    equal(recovered.checkpoint !== null && stateOf(recovered.checkpoint).done >= items[0]! - 1, true);
  });

  check('refuses the log of another', async ({ open }) => {
    const { wal } = await open();
    await wal.start();
    await wal.stop();
    const other = 'ff'.repeat(16) as JournalUuid;
    await rejects(open({ uuid: other }), { code: 'WAL_FOREIGN' });
    await rejects(open({ kind: 2 }), { code: 'WAL_FOREIGN' });
  });
}

function append(wal: Wal, item: Buffer, lazy = false): void {
  wal.append([item.subarray(0, 5), item.subarray(5)], crc32c(item), { lazy });
}

function ids(items: readonly Buffer[]): number[] {
  return items.map((item) => readNumbered(item).id);
}

function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at);
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
