import { assert, RobustError } from '@robustmq/core';
import {
  batchHeaderBytes,
  batchRecordCount,
  codecs,
  compressBatch,
  computeBatchCrc,
  decompressBatch,
  HeaderCursor,
  KeyCursor,
  loadZstd,
  nextBatch,
  readRecords,
  RecordTable,
  validateBatch,
} from '@robustmq/record';
import { batchOf } from '../kafka-fixture.ts';
import { codecTarget } from './codec-target.ts';
import type { Grammar } from './mutation.ts';
import type { FuzzTarget } from './target.ts';

const overheadBytes = 12;
const crcAt = 17;
/** What one batch may become when it is uncompressed. */
const maxBytes = 1024 * 1024;

const batchGrammar: Grammar = {
  reframe(packet) {
    const batch = Buffer.from(packet);
    if (batch.length >= overheadBytes) batch.writeInt32BE(batch.length - overheadBytes, 8);
    return batch;
  },
  reseal(batch) {
    if (batch.length < batchHeaderBytes) return;
    batch.writeUInt32BE(computeBatchCrc(batch, 0, batch.length), crcAt);
  },
  misstate(packet, choice) {
    const batch = Buffer.from(packet);
    const wrong = [0, -1, 1, 48, 49, 50, batch.length, 0x7fff_ffff, -(2 ** 31)];
    if (batch.length >= overheadBytes) batch.writeInt32BE(wrong[choice % wrong.length]!, 8);
    return batch;
  },
};

/** Record batches as clients send them, of every codec: what is sound by its header is read to the last header. */
export async function recordTarget(): Promise<FuzzTarget> {
  await loadZstd();
  const values = [
    ['one'],
    ['', 'two', 'three'.repeat(20)],
    Array.from({ length: 40 }, (_, at) => `value ${at}`),
  ];
  const plain = values.map((each) => batchOf(each, { producerId: 5, producerEpoch: 1, baseSequence: 9 }));
  const { gzip, snappy, lz4, zstd } = codecs;
  const compressed = plain.flatMap((batch) =>
    [gzip, snappy, lz4, zstd].map((codec) => compressBatch(codec, batch)),
  );
  const table = new RecordTable({ recordsMax: 10_000 });
  const cursor = new HeaderCursor();
  const keys = new KeyCursor();
  return codecTarget({
    name: 'record batches',
    share: 2,
    grammar: batchGrammar,
    traffic: [...plain, ...compressed].map((batch) => [batch]),
    decode(packets, _script, budget) {
      const bytes = Buffer.concat(packets);
      for (let at = 0, next: number; (next = nextBatch(bytes, at)) !== -1; at = next) {
        if (validateBatch(bytes, at, next) !== null) continue;
        const start = at;
        const end = next;
        const section = refusable(() => decompressBatch(bytes, start, end, { maxBytes }));
        if (section === null) continue;
        // The columns of a table are kept, and hold a row for each seven bytes at most.
        const size = end - start + section.length;
        budget.spend(size, () => {
          keys.open(section, 0, section.length, batchRecordCount(bytes, start));
          const read = refusable(() => readAll(readRecords(table, bytes, start, section), cursor));
          compareKeys(keys, section, read === null ? null : table);
        });
      }
    },
  });
}

/** Walks all keys: of records that can be read they are those of the table, and others must do no harm. */
function compareKeys(keys: KeyCursor, section: Buffer, table: RecordTable | null): void {
  let row = 0;
  for (; keys.next(); row++) {
    const key = keys.keyStart < 0 ? null : section.subarray(keys.keyStart, keys.keyEnd);
    if (table === null) continue;
    const known = table.key(row);
    const isSame = key === null || known === null ? key === known : key.equals(known);
    assert(isSame, 'a key cursor finds the keys of a record table');
  }
  if (table !== null)
    assert(keys.isDone && row === table.count, 'a key cursor walks what a record table reads');
}

function readAll(table: RecordTable, cursor: HeaderCursor): number {
  let bytes = 0;
  for (let row = 0; row < table.count; row++) {
    bytes += (table.key(row)?.length ?? 0) + (table.value(row)?.length ?? 0);
    table.offset(row);
    table.timestamp(row);
    table.headers(row, cursor);
    while (cursor.next()) bytes++;
  }
  return bytes;
}

/** The result, or null when the bytes are refused as they may be. */
function refusable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof RobustError && /^(BATCH|RECORD)_/.test(error.code)) return null;
    throw error;
  }
}
