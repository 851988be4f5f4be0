import type { Clock } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { collectGarbage, MemoryWatch, processMemory } from './memory-watch.ts';

const limits = { bytes: 1000, pausePercent: 70, refusePercent: 85 };

/** Runs the one timer that is set. */
class StepClock implements Clock {
  #now = 0;
  #task: () => void = () => undefined;
  now = (): number => this.#now;
  monotonic = (): number => this.#now;

  after(_delayMs: number, task: () => void): { cancel(): void } {
    this.#task = task;
    return { cancel: () => undefined };
  }

  pass(ms: number): void {
    this.#now += ms;
  }

  step(ms: number): void {
    this.#now += ms;
    this.#task();
  }
}

it('the gate closes at one mark, refuses at the next, and opens again below', async () => {
  const clock = new StepClock();
  let used = 100;
  let garbage = 0;
  let collected = 0;
  const watch = new MemoryWatch(limits, {
    clock,
    logger: silentLogger,
    usage: () => ({ heapBytes: 0, heapBytesMax: 1000, bytes: used + garbage }),
    collect: () => {
      collected++;
      garbage = 0;
    },
  });
  await watch.start();
  let opened = 0;
  const state = (bytes: number): [boolean, boolean] => {
    used = bytes;
    clock.step(250);
    return [watch.closed, watch.refusing];
  };
  expect(state(699)).toEqual([false, false]);
  // What nobody needs is not held against anybody.
  garbage = 500;
  expect(state(300)).toEqual([false, false]);
  expect(collected).toBe(1);
  expect(state(700)).toEqual([true, false]);
  watch.whenOpen(() => opened++);
  const forgotten = (): void => void (opened += 100);
  watch.whenOpen(forgotten);
  watch.forget(forgotten);
  expect(state(850)).toEqual([true, true]);
  expect(state(810)).toEqual([true, true]);
  expect(state(790)).toEqual([true, false]);
  expect(state(660)).toEqual([true, false]);
  expect(opened).toBe(0);
  expect(state(640)).toEqual([false, false]);
  expect(opened).toBe(1);
  expect(watch.figures).toEqual({ bytes: 640, bytesMax: 1000, pauses: 1 });
  // Not with every look: each stops the process for a moment.
  for (let at = 0; at < 100; at++) state(900);
  expect(collected).toBeLessThan(10);
  await watch.stop();
});

it('the heap has a bound of its own', async () => {
  const clock = new StepClock();
  const watch = new MemoryWatch(limits, {
    clock,
    logger: silentLogger,
    usage: () => ({ heapBytes: 75, heapBytesMax: 100, bytes: 75 }),
    collect: () => undefined,
  });
  await watch.start();
  clock.step(250);
  expect(watch.closed).toBe(true);
  await watch.stop();
});

it('a collection frees buffers that nobody holds', async () => {
  const before = processMemory().bytes;
  let buffers: Buffer[] | null = Array.from({ length: 64 }, () => Buffer.alloc(1024 * 1024));
  expect(processMemory().bytes - before).toBeGreaterThan(buffers.length * 1024 * 768);
  buffers = null;
  collectGarbage();
  // What was freed is counted by another thread.
  await delay(250);
  expect(processMemory().bytes - before).toBeLessThan(16 * 1024 * 1024);
});

it('a collection that takes long is followed by a rest that is longer', async () => {
  const clock = new StepClock();
  let collected = 0;
  const watch = new MemoryWatch(limits, {
    clock,
    logger: silentLogger,
    usage: () => ({ heapBytes: 0, heapBytesMax: 1000, bytes: 900 }),
    collect: () => {
      collected++;
      clock.pass(1000);
    },
  });
  await watch.start();
  // 20 s of rest to each second: three in the first minute.
  while (clock.now() < 60_000) clock.step(250);
  expect(collected).toBe(3);
  await watch.stop();
});
