import type { AppendEntry } from '@robustmq/kernel';
import { entryHeaderBytes } from '@robustmq/kernel';
import { TestLog } from '@robustmq/kernel/conformance';
import { SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { MemoryTail } from './memory-tail.ts';
import { EntryNumbers, entryNumbersOf, headerOf, reaches } from './tail-entry.ts';
import type { TailEntry } from './tail-entry.ts';

const shard = 7 as TestLog['shard'];

/** Takes an entry in, in these parts. */
function push(tail: MemoryTail, entry: AppendEntry, parts: readonly Buffer[] = entry.parts): void {
  tail.push(entryNumbersOf(headerOf({ ...entry, parts })!, parts, { position: 0, generation: 1 }), parts);
}

describe('storage 3.4: the memory tail', () => {
  it('is what a list of its entries is, whatever comes and leaves', () => {
    for (let seed = 1; seed <= 5; seed++) playAgainstList(new SimRandom(seed));
  });

  it('says of an empty tail that nothing is there', () => {
    const tail = new MemoryTail(7, 'written');
    expect([tail.shift(), tail.find(0), tail.indexOf(0), tail.findTimestamp(0), tail.coversFrom]).toEqual([
      0, 0, -1, -1, 7,
    ]);
  });

  it('copies the parts of an entry into one piece', () => {
    const entry = new TestLog(shard, 1).data(3, 1000, { bytes: 5000 });
    const whole = Buffer.concat(entry.parts);
    const tail = new MemoryTail(0, 'written');
    push(tail, entry, [whole.subarray(0, 100), whole.subarray(100, 9000), whole.subarray(9000)]);
    const expected = Buffer.from(whole);
    whole.fill(0);
    expect(tail.at(0).payload).toEqual(expected.subarray(entryHeaderBytes));
    expect(copied(tail, 0)).toEqual(expected);
  });
});

/** Pushes and shifts at random over many chunks; an id after an empty tail need not follow. */
function playAgainstList(random: SimRandom): void {
  const tail = new MemoryTail(0, 'written');
  const list: { readonly entry: EntryNumbers; readonly bytes: Buffer }[] = [];
  /** What readers were given, as it was then. */
  const given: { readonly payload: Buffer; readonly expected: Buffer }[] = [];
  let coversFrom = 0;
  let id = 0;
  let offset = 0;
  let position = 0;
  for (let step = 0; step < 400; step++) {
    const grows = random.chance(step % 100 < 60 ? 0.6 : 0.3);
    for (let times = random.below(80); times > 0; times--) {
      if (grows) {
        if (list.length === 0) id += random.below(3);
        const entry = drawn(random, { entryId: id++, baseOffset: offset, position });
        const bytes = Buffer.alloc(entry.bytes, entry.entryId % 251);
        tail.push(entry, random.chance(1 / 2) ? [bytes] : [bytes.subarray(0, 64), bytes.subarray(64)]);
        list.push({ entry, bytes });
        offset += entry.count;
        position += entry.bytes;
      } else {
        const first = list.shift()?.entry;
        expect(tail.shift()).toBe(first?.bytes ?? 0);
        if (first !== undefined) coversFrom = first.count > 0 ? first.endOffset : first.baseOffset + 1;
      }
    }
    expect(tail.length).toBe(list.length);
    expect(tail.coversFrom).toBe(coversFrom);
    if (step % 20 === 0) list.forEach((_, index) => expectSame(tail.at(index), list[index]!));
    if (step % 20 === 10 && list.length > 0) {
      const index = random.below(list.length);
      const read = tail.at(index);
      read.give();
      given.push({ payload: read.payload, expected: list[index]!.bytes.subarray(entryHeaderBytes) });
    }
    const first = list[0]?.entry;
    const probes = [offset - random.below(20), offset, offset + 1, coversFrom, first?.baseOffset ?? 0];
    for (const at of probes) {
      const found = list.findIndex(({ entry }) => reaches(entry.baseOffset, entry.count, at));
      expect(tail.find(at)).toBe(found < 0 ? list.length : found);
    }
    const timestamp = random.below(100);
    expect(tail.findTimestamp(timestamp)).toBe(
      list.findIndex(({ entry }) => entry.maxTimestamp >= timestamp),
    );
    for (const entryId of [id, id - 1, (first?.entryId ?? 0) - 1, first?.entryId ?? -1]) {
      expect(tail.indexOf(entryId)).toBe(list.findIndex(({ entry }) => entry.entryId === entryId));
    }
  }
  for (const { payload, expected } of given) expect(payload.equals(expected)).toBe(true);
}

function expectSame(read: TailEntry, { entry, bytes }: { entry: EntryNumbers; bytes: Buffer }): void {
  expect({ ...read }).toEqual({ ...entry });
  expect(read.payload.equals(bytes.subarray(entryHeaderBytes))).toBe(true);
}

/** The whole entry. */
function copied(tail: MemoryTail, index: number): Buffer {
  const bytes = Buffer.alloc(tail.bytesAt(index));
  expect(tail.copy(index, 0, bytes, 0)).toBe(bytes.length);
  return bytes;
}

function drawn(
  random: SimRandom,
  place: { readonly entryId: number; readonly baseOffset: number; readonly position: number },
): EntryNumbers {
  const count = random.below(4);
  const bytes = entryHeaderBytes + 1 + random.below(random.chance(0.1) ? 20_000 : 1000);
  const numbers = {
    count,
    flags: count === 0 ? 2 : 0,
    crc: random.below(2 ** 32),
    maxTimestamp: random.below(100),
  };
  return new EntryNumbers({ ...place, ...numbers, bytes, generation: random.below(9) });
}
