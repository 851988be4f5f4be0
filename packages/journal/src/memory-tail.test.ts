import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, vi } from 'vitest';
import { TestLog } from '@robustmq/kernel/conformance';
import { MemoryTail } from './memory-tail.ts';
import { headerOf, tailEntryOf } from './tail-entry.ts';

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
});
