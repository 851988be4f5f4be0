import { crc32c, RobustError } from '@robustmq/core';
import { SimDisk, SimRandom } from '@robustmq/sim';
import { openWal } from '@robustmq/wal';
import { numberedItem, NumberedUser, readAll, testUuid, untilDurable } from '@robustmq/wal/conformance';
import { codecTarget } from './codec-target.ts';
import type { Grammar } from './mutation.ts';
import type { FuzzTarget } from './target.ts';

const folder = '/wal';
const fileBytes = 64 * 1024;
const pageBytes = 4096;
/** The buffers that a log is read with, in the log and in the simulated disk. */
const freeBytes = 8 * 1024 * 1024;
const frameHeaderBytes = 64;
const bodyBytesAt = 44;
const itemsAt = 48;
const tableCrcAt = 56;
const headerCrcAt = 60;

/** Pages of a log: a frame begins with one, and may go on in others. */
const pageGrammar: Grammar = {
  reframe(packet) {
    const pages = Math.max(1, Math.ceil(packet.length / pageBytes));
    return Buffer.concat([packet], pages * pageBytes);
  },
  reseal(page) {
    if (page.length < frameHeaderBytes) return;
    const tableEnd = frameHeaderBytes + 8 * page.readUInt32BE(itemsAt);
    if (tableEnd <= page.length)
      page.writeUInt32BE(crc32c(page.subarray(frameHeaderBytes, tableEnd)), tableCrcAt);
    page.writeUInt32BE(crc32c(page.subarray(0, headerCrcAt)), headerCrcAt);
  },
  misstate(packet, choice) {
    const page = Buffer.from(packet);
    const wrong = [0, 1, 8, 4032, 4033, 65_536, 0x7fff_ffff, 0xffff_ffff];
    if (page.length >= frameHeaderBytes) page.writeUInt32BE(wrong[choice % wrong.length]!, bodyBytesAt);
    pageGrammar.reseal(page);
    return page;
  },
};

/** A write-ahead log whose pages are damaged, with checksums that match: it is opened and read to its end, or refused. */
export async function walTarget(): Promise<FuzzTarget> {
  const files = await written();
  const names = [...files.keys()];
  return codecTarget({
    name: 'write-ahead log',
    share: 0.5,
    freeBytes,
    synchronous: false,
    grammar: pageGrammar,
    traffic: [...files.values()],
    async decode(packets, script, budget) {
      const damaged = names[script.sequence % names.length]!;
      const disk = new SimDisk();
      await disk.mkdir(folder);
      for (const [name, pages] of files) {
        const options = { create: true, preallocateBytes: fileBytes };
        const file = await disk.open('wal', `${folder}/${name}`, options);
        await file.pwrite('wal', Buffer.concat(name === damaged ? packets : pages).subarray(0, fileBytes), 0);
      }
      // A log that was refused, or read, is as it was: it can be opened again.
      await budget.spendAsync(files.size * fileBytes, () => recover(disk));
    },
  });
}

async function recover(disk: SimDisk): Promise<void> {
  try {
    const { recovered } = await open(disk);
    for await (const frame of recovered.frames) for (const { bytes } of frame) crc32c(bytes);
  } catch (error) {
    if (error instanceof RobustError && error.code.startsWith('WAL_')) return;
    // The checkpoint is the user's own: this one's is JSON.
    if (error instanceof SyntaxError) return;
    throw error;
  }
}

function open(disk: SimDisk, user = new NumberedUser()): ReturnType<typeof openWal> {
  const sizes = { fileBytes, maxBytes: 3 * fileBytes };
  const random = new SimRandom(7);
  return openWal({ disk, folder, user, kind: 1, uuid: testUuid, random, ...sizes });
}

/** The pages in use of each file of a log that has gone round its ring. */
async function written(): Promise<Map<string, Buffer[]>> {
  const disk = new SimDisk();
  const user = new NumberedUser();
  const { wal, recovered } = await open(disk, user);
  await readAll(recovered);
  await wal.start();
  for (let id = 1; id <= 40; id++) {
    const item = numberedItem(id, 0, 200 * (1 + (id % 7)));
    await untilDurable(wal, wal.append([item], crc32c(item)));
    user.done = id;
    user.oldest = wal.generation;
    wal.release(wal.generation);
  }
  await wal.stop();
  const files = new Map<string, Buffer[]>();
  for (const { name } of await disk.list(folder)) {
    const bytes = disk.peek(`${folder}/${name}`);
    const pages = Array.from({ length: Math.ceil(bytes.length / pageBytes) }, (_, at) =>
      bytes.subarray(at * pageBytes, (at + 1) * pageBytes),
    );
    files.set(
      name,
      pages.filter((page) => page.some((byte) => byte !== 0)),
    );
  }
  return files;
}
