import { randomBytes } from 'node:crypto';
import type { Clock, Random } from './ports.ts';

/** Timers of the machine's clock that are set: neither fired nor cancelled. */
const live = new Set<NodeJS.Timeout>();

/** The machine's clock. Timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(() => {
      live.delete(timer);
      task();
    }, delayMs);
    timer.unref();
    live.add(timer);
    return {
      cancel: () => {
        live.delete(timer);
        clearTimeout(timer);
      },
    };
  },
};

/** How many timers of `systemClock` are set. Node's own figures leave them out: they do not keep the process alive. */
export function systemTimers(): number {
  return live.size;
}

/** The machine's randomness. */
export const systemRandom: Random = {
  u32: () => randomBytes(4).readUInt32BE(0),
  bytes: (length) => randomBytes(length),
};
