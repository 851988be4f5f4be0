import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, vi } from 'vitest';
import { entryHeaderBytes } from '@robustmq/kernel';
import { TestLog } from '@robustmq/kernel/conformance';
import { SimRandom } from '@robustmq/sim';
import { MemoryTail } from './memory-tail.ts';
import { headerOf, reaches, TailEntry, tailEntryOf } from './tail-entry.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

describe('storage 3.4: the memory tail', () => {
  it('regression: entries that left it stayed in memory until a thousand had', async () => {
    const tail = new MemoryTail(0);
    const log = new TestLog(7 as TestLog['shard'], 1);
    const memories: WeakRef<object>[] = [];
    for (let at = 0; at < 20; at++) {
      const entry = log.data(1, 1000, { bytes: 100_000 });
      const place = { position: 0, generation: 1 };
      const whole = Buffer.concat(entry.parts);
      memories.push(new WeakRef(whole.buffer));
      tail.push(tailEntryOf(headerOf(entry)!, [whole], place));
    }
    for (let at = 0; at < 15; at++) tail.shift();
    const left = memories.slice(0, 15);
    // A weak reference holds at least until the end of the turn that made it.
    await vi.waitFor(() => {
      collect();
      expect(left.filter((each) => each.deref() !== undefined)).toEqual([]);
    });
    expect([tail.length, tail.at(0).entryId, tail.indexOf(19), tail.find(17)]).toEqual([5, 15, 4, 2]);
  });

  it('is what a list of its entries is, whatever comes and leaves', () => {
    for (let seed = 1; seed <= 5; seed++) playAgainstList(new SimRandom(seed));
  });

  it('says of an empty tail that nothing is there', () => {
    const tail = new MemoryTail(7);
    expect([tail.shift(), tail.find(0), tail.indexOf(0), tail.findTimestamp(0), tail.coversFrom]).toEqual([
      0, 0, -1, -1, 7,
    ]);
  });

  it('puts parts together once, for all who read them', () => {
    const entry = new TestLog(7 as TestLog['shard'], 1).data(3, 1000, { bytes: 5000 });
    const whole = Buffer.concat(entry.parts);
    const cut = [whole.subarray(0, 100), whole.subarray(100, 9000), whole.subarray(9000)];
    const tail = new MemoryTail(0);
    tail.push(tailEntryOf(headerOf({ ...entry, parts: cut })!, cut, { position: 0, generation: 1 }));
    const payload = tail.at(0).payload;
    expect(payload).toEqual(whole.subarray(entryHeaderBytes));
    expect(tail.at(0).payload.buffer).toBe(payload.buffer);
    expect(Buffer.concat(tail.at(0).parts)).toEqual(whole);
  });
});

/** Pushes and shifts at random over many chunks; an id after an empty tail need not follow. */
function playAgainstList(random: SimRandom): void {
  const tail = new MemoryTail(0);
  let list: TailEntry[] = [];
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
        tail.push(entry);
        list.push(entry);
        offset += entry.count;
        position += entry.bytes;
      } else {
        const first = list.shift();
        expect(tail.shift()).toBe(first?.bytes ?? 0);
        if (first !== undefined) coversFrom = first.count > 0 ? first.endOffset : first.baseOffset + 1;
      }
    }
    expect(tail.length).toBe(list.length);
    expect(tail.coversFrom).toBe(coversFrom);
    if (step % 20 === 0) expect(list.map((_, index) => tail.at(index))).toEqual(list);
    const probes = [offset - random.below(20), offset, offset + 1, coversFrom, list[0]?.baseOffset ?? 0];
    for (const at of probes) {
      const first = list.findIndex(({ baseOffset, count }) => reaches(baseOffset, count, at));
      expect(tail.find(at)).toBe(first < 0 ? list.length : first);
    }
    const timestamp = random.below(100);
    expect(tail.findTimestamp(timestamp)).toBe(list.findIndex((entry) => entry.maxTimestamp >= timestamp));
    for (const entryId of [id, id - 1, (list[0]?.entryId ?? 0) - 1, list[0]?.entryId ?? -1]) {
      expect(tail.indexOf(entryId)).toBe(list.findIndex((entry) => entry.entryId === entryId));
    }
  }
}

function drawn(
  random: SimRandom,
  place: { readonly entryId: number; readonly baseOffset: number; readonly position: number },
): TailEntry {
  const count = random.below(4);
  const bytes = entryHeaderBytes + 1 + random.below(1000);
  const numbers = {
    count,
    flags: count === 0 ? 2 : 0,
    crc: random.below(2 ** 32),
    maxTimestamp: random.below(100),
  };
  return new TailEntry(
    { ...place, ...numbers, bytes, generation: random.below(9) },
    new ArrayBuffer(8),
    random.below(9),
  );
}
