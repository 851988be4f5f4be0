import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LogBatch } from '@robustmq/kernel';
import { expect, it, vi } from 'vitest';
import { PublishQueue } from './publish-queue.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

it('regression: batches of publishes that were answered stayed in memory while others waited', async () => {
  const answered: number[] = [];
  const queue = new PublishQueue({
    answered: (packetId) => void answered.push(packetId),
    undecided: () => undefined,
    now: () => 0,
    watch: () => undefined,
    isOverdue: () => false,
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

/** A queue that is given up after 1000 ms, and what it asked for. */
function timed(): {
  readonly queue: PublishQueue;
  readonly clock: { now: number };
  readonly watched: number[];
  readonly undecided: () => number;
} {
  const clock = { now: 137 };
  const watched: number[] = [];
  let undecided = 0;
  const queue = new PublishQueue({
    answered: () => undefined,
    undecided: () => undecided++,
    now: () => clock.now,
    watch: (_item, sinceMs) => watched.push(sinceMs),
    isOverdue: (sinceMs) => sinceMs >= 1000,
  });
  return { queue, clock, watched, undecided: () => undecided };
}

it('semantics 4.3: gives up when nothing has moved for the timeout, and neither before nor later', () => {
  const { queue, clock, watched, undecided } = timed();
  const batches = [new LogBatch(true), new LogBatch(true)];
  for (const [at, batch] of batches.entries()) queue.add(at + 1, 1, batch);
  clock.now += 900;
  batches[0]!.settle(null);
  clock.now += 150;
  queue.expire();
  expect([watched, undecided()]).toEqual([[0, 150], 0]);
  clock.now += 849;
  queue.expire();
  expect([watched, undecided()]).toEqual([[0, 150, 999], 0]);
  clock.now += 1;
  queue.expire();
  expect([watched, undecided()]).toEqual([[0, 150, 999], 1]);
});

it('looks at nothing while nothing waits, and begins anew with the next publish', () => {
  const { queue, clock, watched, undecided } = timed();
  for (let round = 1; round <= 3; round++) {
    const batch = new LogBatch(true);
    queue.add(1, 1, batch);
    clock.now += 999;
    batch.settle(null);
    clock.now += 999;
    queue.expire();
    expect([watched.length, undecided()]).toEqual([round, 0]);
  }
  // One that comes before the old deadline has its own time.
  queue.add(1, 1, new LogBatch(true));
  expect(watched).toEqual([0, 0, 0, 0]);
});
