import type { Clock } from '@robustmq/core';
import { expect, it } from 'vitest';
import { OpenCall, ProduceDeadlines } from './produce-deadlines.ts';

/** Time that goes on when told, and tasks that run when they are due. */
class HandClock implements Clock {
  #now = 0;
  tasks: { readonly due: number; readonly task: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(delayMs: number, task: () => void): { cancel(): void } {
    const timer = { due: this.#now + delayMs, task };
    this.tasks.push(timer);
    return { cancel: () => void (this.tasks = this.tasks.filter((each) => each !== timer)) };
  }

  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.tasks.toSorted((a, b) => a.due - b.due).find(({ due }) => due <= end);
      if (next === undefined) break;
      this.#now = next.due;
      this.tasks = this.tasks.filter((each) => each !== next);
      next.task();
    }
    this.#now = end;
  }
}

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
  clock: HandClock;
  deadlines: ProduceDeadlines;
  calls: Call[];
  expired: number[];
} {
  const clock = new HandClock();
  const deadlines = new ProduceDeadlines(clock);
  const expired: number[] = [];
  const calls = timeouts.map((ms, index) => new Call(clock.monotonic() + ms, () => void expired.push(index)));
  for (const call of calls) deadlines.add(call);
  return { clock, deadlines, calls, expired };
}

it('ends the calls that are due, and no others', () => {
  const { clock, expired } = rig(50, 5000, 60, 150, 250);
  clock.pass(100);
  expect(expired).toEqual([0, 2]);
  clock.pass(100);
  expect(expired).toEqual([0, 2, 3]);
  clock.pass(10_000);
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
  const { clock, deadlines, calls, expired } = rig(10, 10, 10, 10);
  for (const index of removed) {
    deadlines.remove(calls[index]!);
    expect([calls[index]!.before, calls[index]!.next]).toEqual([null, null]);
    deadlines.remove(calls[index]!);
  }
  deadlines.remove(new Call(0, () => expired.push(-1)));
  clock.pass(1000);
  expect(expired).toEqual(left);
});

it('has no timer while nothing is open, and starts again', () => {
  const { clock, deadlines, expired } = rig(10);
  clock.pass(1000);
  expect(clock.tasks).toEqual([]);
  deadlines.add(new Call(clock.monotonic() + 10, () => void expired.push(7)));
  clock.pass(200);
  expect(expired).toEqual([0, 7]);
  clock.pass(200);
  expect(clock.tasks).toEqual([]);
});
