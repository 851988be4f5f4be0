import { randomBytes } from 'node:crypto';
import type { Clock, Random } from './ports.ts';

/** Timers of the machine's clock that are set: neither fired nor cancelled. */
let live = 0;

/** The machine's clock. Timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, task) => {
    let set = true;
    const unset = (): void => {
      if (set) live--;
      set = false;
    };
    live++;
    const timer = setTimeout(() => {
      unset();
      task();
    }, delayMs);
    timer.unref();
    return {
      cancel: () => {
        unset();
        clearTimeout(timer);
      },
    };
  },
};

/** How many timers of `systemClock` are set. Node's own figures leave them out: they do not keep the process alive. */
export function systemTimers(): number {
  return live;
}

/** The machine's randomness. */
export const systemRandom: Random = {
  u32: () => randomBytes(4).readUInt32BE(0),
  bytes: (length) => randomBytes(length),
};
