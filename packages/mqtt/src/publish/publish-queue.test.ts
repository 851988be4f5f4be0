import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LogBatch } from '@robustmq/kernel';
import { expect, it, vi } from 'vitest';
import { looksPerTimeout, PublishQueue } from './publish-queue.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

it('regression: batches of publishes that were answered stayed in memory while others waited', async () => {
  const answered: number[] = [];
  const queue = new PublishQueue({
    answered: (packetId) => void answered.push(packetId),
    undecided: () => undefined,
    watch: () => undefined,
  });
  const weak: WeakRef<LogBatch>[] = [];
  const waiting = new LogBatch(true);
  const publish = (packetId: number): void => {
    const batch = new LogBatch(true);
    weak.push(new WeakRef(batch));
    queue.add(packetId, 1, batch);
    if (packetId === 30) queue.add(31, 1, waiting);
    batch.settle(null);
  };
  for (let packetId = 1; packetId <= 30; packetId++) publish(packetId);
  expect([answered.length, queue.size]).toEqual([30, 1]);
  await vi.waitFor(() => {
    collect();
    expect(weak.filter((each) => each.deref() !== undefined)).toEqual([]);
  });
  waiting.settle(null);
  expect([answered.at(-1), queue.size]).toEqual([31, 0]);
});

it('semantics 4.3: gives up when nothing moved for as many looks as make the timeout, and not before', () => {
  let watched = 0;
  let undecided = 0;
  const queue = new PublishQueue({
    answered: () => undefined,
    undecided: () => undecided++,
    watch: () => watched++,
  });
  const batches = [new LogBatch(true), new LogBatch(true)];
  for (const [at, batch] of batches.entries()) queue.add(at + 1, 1, batch);
  expect(watched).toBe(1);
  for (let look = 1; look < looksPerTimeout; look++) queue.expire();
  batches[0]!.settle(null);
  for (let look = 0; look < looksPerTimeout; look++) queue.expire();
  expect([watched, undecided]).toEqual([2 * looksPerTimeout, 0]);
  queue.expire();
  expect([watched, undecided]).toEqual([2 * looksPerTimeout, 1]);
});

it('looks at nothing while nothing waits, and begins anew with the next publish', () => {
  let watched = 0;
  const undecided = vi.fn();
  const queue = new PublishQueue({ answered: () => undefined, undecided, watch: () => watched++ });
  for (let round = 1; round <= 3; round++) {
    const batch = new LogBatch(true);
    queue.add(1, 1, batch);
    for (let look = 1; look < looksPerTimeout; look++) queue.expire();
    batch.settle(null);
    queue.expire();
    expect(watched).toBe(round * looksPerTimeout);
  }
  expect(undecided).not.toHaveBeenCalled();
});
