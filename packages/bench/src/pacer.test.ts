import { describe, expect, it } from 'vitest';
import { DueQueue } from './due-queue.ts';
import { Pacer } from './pacer.ts';

describe('pacer', () => {
  it('keeps the rate whatever the ticks, and makes up for at most a short pause', () => {
    const counts: number[] = [];
    const pacer = new Pacer(2500, (count) => counts.push(count));
    let now = performance.now();
    pacer.start();
    pacer.stop();
    now = performance.now();
    pacer.tick(now);
    counts.length = 0;
    const before = pacer.due;
    for (let ms = 1; ms <= 40; ms++) pacer.tick(now + ms);
    expect(pacer.due - before).toBeGreaterThanOrEqual(99);
    expect(pacer.due - before).toBeLessThanOrEqual(101);
    expect(Math.max(...counts)).toBe(3);
    const paused = pacer.due;
    pacer.tick(now + 60_000);
    expect(pacer.due - paused).toBeLessThanOrEqual(251);
  });
});

describe('due queue', () => {
  it('gives the times in order and takes no more than it holds', () => {
    const queue = new DueQueue(3);
    const taken: number[] = [];
    for (let time = 1; time <= 5; time++) queue.push(time);
    while (queue.length > 1) taken.push(queue.shift());
    for (let time = 6; time <= 9; time++) queue.push(time);
    while (queue.length > 0) taken.push(queue.shift());
    expect(taken).toEqual([1, 2, 3, 6, 7]);
  });
});
