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
