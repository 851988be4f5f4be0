import { systemClock } from '@robustmq/core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { OpenCall, ProduceDeadlines } from './produce-deadlines.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

class Call extends OpenCall {
  readonly dueAt: number;
  readonly #expired: () => void;

  constructor(dueAt: number, expired: () => void) {
    super();
    this.dueAt = dueAt;
    this.#expired = expired;
  }

  expire(): void {
    this.#expired();
  }
}

function rig(...timeouts: readonly number[]): {
  deadlines: ProduceDeadlines;
  calls: Call[];
  expired: number[];
} {
  const deadlines = new ProduceDeadlines(systemClock);
  const expired: number[] = [];
  const calls = timeouts.map((ms, index) => new Call(deadlines.dueIn(ms), () => void expired.push(index)));
  for (const call of calls) deadlines.add(call);
  return { deadlines, calls, expired };
}

it('ends the calls that are due, and no others', () => {
  const { expired } = rig(50, 5000, 60, 150, 250);
  vi.advanceTimersByTime(100);
  expect(expired).toEqual([0, 2]);
  vi.advanceTimersByTime(100);
  expect(expired).toEqual([0, 2, 3]);
  vi.advanceTimersByTime(10_000);
  expect(expired).toEqual([0, 2, 3, 4, 1]);
});

it.each([
  ['the first', [0], [1, 2, 3]],
  ['one in the middle', [1], [0, 2, 3]],
  ['two neighbours', [1, 2], [0, 3]],
  ['the last', [3], [0, 1, 2]],
  ['both ends', [3, 0], [1, 2]],
  ['all', [2, 0, 3, 1], []],
])('forgets %s', (_, removed, left) => {
  const { deadlines, calls, expired } = rig(10, 10, 10, 10);
  for (const index of removed) {
    deadlines.remove(calls[index]!);
    expect([calls[index]!.before, calls[index]!.next]).toEqual([null, null]);
    deadlines.remove(calls[index]!);
  }
  deadlines.remove(new Call(0, () => expired.push(-1)));
  vi.advanceTimersByTime(1000);
  expect(expired).toEqual(left);
});

it('has no timer while nothing is open, and starts again', () => {
  const { deadlines, expired } = rig(10);
  vi.advanceTimersByTime(1000);
  expect(vi.getTimerCount()).toBe(0);
  deadlines.add(new Call(deadlines.dueIn(10), () => void expired.push(7)));
  vi.advanceTimersByTime(200);
  expect(expired).toEqual([0, 7]);
  vi.advanceTimersByTime(200);
  expect(vi.getTimerCount()).toBe(0);
});
