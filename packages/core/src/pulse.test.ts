import { describe, expect, it } from 'vitest';
import type { Clock } from './ports.ts';
import { Pulse } from './pulse.ts';

/** A clock whose process stands still when a test wants it. */
class HeldClock implements Clock {
  #now = 0;
  #timers: { due: number; task: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(delayMs: number, task: () => void): { cancel(): void } {
    const timer = { due: this.#now + delayMs, task };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  /** Time goes on, and only then the timers run that fell due meanwhile. */
  standStill(ms: number): void {
    this.#now += ms;
    const due = this.#timers.filter((timer) => timer.due <= this.#now);
    this.#timers = this.#timers.filter((timer) => timer.due > this.#now);
    for (const { task } of due) task();
  }
}

function pulse(): { clock: HeldClock; beats: number[]; pulse: Pulse } {
  const clock = new HeldClock();
  const beats: number[] = [];
  const made = new Pulse(clock, 100, () => beats.push(clock.now()));
  made.start();
  return { clock, beats, pulse: made };
}

describe('a pulse', () => {
  it('leaves out the beat behind a pause, and not the next one', () => {
    const { clock, beats, pulse: stood } = pulse();
    clock.standStill(100);
    clock.standStill(199);
    expect(beats).toEqual([100, 299]);
    clock.standStill(10_000);
    expect(beats).toEqual([100, 299]);
    clock.standStill(100);
    expect(beats).toEqual([100, 299, 10_399]);
    expect(stood.stoodStillMs).toBe(10_299 - 299 - 100);
  });

  it('beats at least every second time while the process is always late', () => {
    const { clock, beats } = pulse();
    for (let at = 0; at < 10; at++) clock.standStill(500);
    expect(beats.length).toBe(5);
  });

  it('ends when it is stopped', () => {
    const { clock, beats, pulse: stopped } = pulse();
    clock.standStill(100);
    stopped.stop();
    clock.standStill(100);
    expect(beats).toEqual([100]);
  });
});
