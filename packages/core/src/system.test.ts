import { once } from 'node:events';
import { expect, it } from 'vitest';
import { systemClock, systemTimers } from './system.ts';

it('counts the timers of the clock that are set, until they fire or are cancelled', async () => {
  const before = systemTimers();
  const fired = new EventTarget();
  const cancelled = systemClock.after(60_000, () => undefined);
  const done = once(fired, 'fired');
  systemClock.after(1, () => fired.dispatchEvent(new Event('fired')));
  expect(systemTimers() - before).toBe(2);
  await done;
  expect(systemTimers() - before).toBe(1);
  cancelled.cancel();
  cancelled.cancel();
  expect(systemTimers() - before).toBe(0);
});
